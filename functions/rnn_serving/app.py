"""Makes up names in a language, letter by letter, with a recurrent neural network.

    {"language": "Scottish", "letters": "ABCD"}

Each letter begins a name. The network is made when the function initialises, with
weights from a fixed seed: its names are no names, the work is that of trained
weights. The result is the names.
"""

import string

import numpy

LANGUAGES = (
    "Arabic Chinese Czech Dutch English French German Greek Irish Italian Japanese Korean Polish Portuguese Russian Scottish Spanish Vietnamese".split()
)
LETTERS = string.ascii_letters + " .,;'-"
END = len(LETTERS)  # the output that ends a name
HIDDEN = 128
LONGEST = 20  # letters that are added to the first one
MOST = 1000  # names


class Linear:
    """A layer in which every output depends on every input."""

    def __init__(self, random, inputs, outputs):
        bound = inputs**-0.5
        self.weights = random.uniform(-bound, bound, (outputs, inputs)).astype(numpy.float32)
        self.bias = random.uniform(-bound, bound, outputs).astype(numpy.float32)

    def __call__(self, *parts):
        return self.weights @ numpy.concatenate(parts) + self.bias


class Network:
    """PyTorch's example of a network that generates names."""

    def __init__(self, random):
        inputs, outputs = len(LANGUAGES) + END + 1 + HIDDEN, END + 1
        self.hidden = Linear(random, inputs, HIDDEN)
        self.output = Linear(random, inputs, outputs)
        self.combine = Linear(random, HIDDEN + outputs, outputs)

    def step(self, language, letter, hidden):
        """The logarithm of each letter's probability to be next, and the new hidden state."""
        new = self.hidden(language, letter, hidden)
        scores = self.combine(new, self.output(language, letter, hidden))
        return scores - numpy.log(numpy.exp(scores).sum()), new

    def name(self, language, first):
        name, hidden = first, numpy.zeros(HIDDEN, numpy.float32)
        for _ in range(LONGEST):
            scores, hidden = self.step(one_hot(language, len(LANGUAGES)), one_hot(LETTERS.index(name[-1]), END + 1), hidden)
            best = int(scores.argmax())
            if best == END:
                break
            name += LETTERS[best]
        return name


def one_hot(at, length):
    v = numpy.zeros(length, numpy.float32)
    v[at] = 1
    return v


NETWORK = Network(numpy.random.RandomState(4))


def handler(event, context):
    language, letters = event.get("language"), event.get("letters")
    if language not in LANGUAGES:
        raise ValueError(f"language must be one of {', '.join(LANGUAGES)}")
    if not isinstance(letters, str) or not 1 <= len(letters) <= MOST or not set(letters) <= set(LETTERS):
        raise ValueError(f"letters must be 1 to {MOST} of the characters {LETTERS}")
    names = [NETWORK.name(LANGUAGES.index(language), letter) for letter in letters]
    return {"result": "|".join(names)}
