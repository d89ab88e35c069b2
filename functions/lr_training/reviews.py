"""Reviews of food, and what tells a good one from a bad one: the text as numbers
(TF-IDF) and logistic regression."""

import re
from collections import Counter

import numpy
import pandas

LETTERS = re.compile("[^a-z]+")
SYLLABLES = "ba be cho de fa gri he lo ma ne pi ro sa te ti va".split()
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]
# How much a word belongs in good reviews.
LEANINGS = numpy.random.RandomState(0).permutation(len(WORDS))
LENGTH = 60  # words in a review


def write(count, seed):
    """Returns texts, each with the score 1 if it is good, 0 if it is bad."""
    random = numpy.random.RandomState(seed)
    good = random.randint(0, 2, (count, 1))
    # Common words come first. One of two is chosen, now and then by its leaning.
    words = (len(WORDS) * random.random_sample((2, count, LENGTH)) ** 3).astype(int)
    fits = LEANINGS[words[0]] > LEANINGS[words[1]]
    chosen = numpy.where((fits == good) | (random.random_sample((count, LENGTH)) < 0.6), words[0], words[1])
    texts = [", ".join(WORDS[w] for w in row).capitalize() + "!" for row in chosen]
    return pandas.DataFrame({"Score": good[:, 0], "Text": texts})


def clean(text):
    return LETTERS.sub(" ", text.lower()).strip()


class Rows:
    """A sparse matrix, row by row. No row is empty: the last column is all ones."""

    def __init__(self, rows, width):
        lengths = numpy.array([len(r) + 1 for r in rows])
        self.starts = numpy.concatenate([[0], lengths.cumsum()[:-1]])
        self.columns = numpy.array([c for r in rows for c in [*r, width]])
        self.values = numpy.array([v for r in rows for v in [*r.values(), 1.0]])
        self.lengths, self.width = lengths, width + 1

    def times(self, vector):
        return numpy.add.reduceat(self.values * vector[self.columns], self.starts)

    def transposed_times(self, vector):
        return numpy.bincount(self.columns, self.values * numpy.repeat(vector, self.lengths), self.width)


class Vectorizer:
    """Counts words, weighs rare ones more, and gives every text the same length."""

    def __init__(self, texts, least):
        documents = Counter(word for text in texts for word in set(text.split()))
        known = sorted(word for word, n in documents.items() if n >= least)
        self.columns = {word: i for i, word in enumerate(known)}
        self.weights = [float(numpy.log((1 + len(texts)) / (1 + documents[w]))) + 1 for w in known]

    def transform(self, texts):
        return Rows([self.row(text) for text in texts], len(self.columns))

    def row(self, text):
        counts = Counter(c for c in map(self.columns.get, text.split()) if c is not None)
        row = {c: n * self.weights[c] for c, n in sorted(counts.items())}
        length = sum(v * v for v in row.values()) ** 0.5
        return {c: v / length for c, v in row.items()}


class LogisticRegression:
    """Fitted by Newton's method, each step solved by conjugate gradients."""

    def __init__(self, rows, labels, steps=6):
        self.weights = numpy.zeros(rows.width)
        for _ in range(steps):
            likely = sigmoid(rows.times(self.weights))
            gradient = rows.transposed_times(likely - labels) + self.weights
            curvature = likely * (1 - likely)
            self.weights -= solve(lambda v: rows.transposed_times(curvature * rows.times(v)) + v, gradient)

    def predict(self, rows):
        return (rows.times(self.weights) > 0).astype(int)


def sigmoid(x):
    return 1 / (1 + numpy.exp(-x))


def solve(times, right, most=20):
    """The x for which times(x) is right, by conjugate gradients."""
    x, rest = numpy.zeros_like(right), right.copy()
    direction, square = rest.copy(), rest @ rest
    goal = square * 1e-8
    for _ in range(most):
        if square <= goal:
            break
        image = times(direction)
        far = square / (direction @ image)
        x += far * direction
        rest -= far * image
        square, before = rest @ rest, square
        direction = rest + square / before * direction
    return x
