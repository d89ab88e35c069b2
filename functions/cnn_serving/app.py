"""Classifies a picture with SqueezeNet 1.1.

    {"size": PIXELS, "seed": S}

The picture is size x size pixels that follow from the seed. The network is the
whole of SqueezeNet, made when the function initialises, with weights from a fixed
seed: the classes mean nothing, the work is that of trained weights. The result
is the five classes that score highest, with their probability in percent.
"""

import numpy

from layers import Convolution, max_pool, relu, softmax

SMALLEST, LARGEST = 48, 512  # pixels in a row
CLASSES = 1000
MEANS = numpy.array([103.939, 116.779, 123.68], numpy.float32).reshape(3, 1, 1)  # of ImageNet
SPREAD = 100  # keeps weights that have not been trained from being too sure


class Fire:
    """Squeezes channels, then expands them by two kernels side by side."""

    def __init__(self, random, inputs, squeeze, expand):
        self.squeeze = Convolution(random, inputs, squeeze)
        self.left = Convolution(random, squeeze, expand)
        self.right = Convolution(random, squeeze, expand, kernel=3, pad=1)

    def __call__(self, x):
        x = relu(self.squeeze(x))
        return numpy.concatenate([relu(self.left(x)), relu(self.right(x))])


def squeezenet(seed):
    """The layers of the network, in order."""
    random = numpy.random.default_rng(seed)
    layers = [Convolution(random, 3, 64, kernel=3, stride=2), relu, max_pool]
    layers += [Fire(random, 64, 16, 64), Fire(random, 128, 16, 64), max_pool]
    layers += [Fire(random, 128, 32, 128), Fire(random, 256, 32, 128), max_pool]
    layers += [Fire(random, 256, 48, 192), Fire(random, 384, 48, 192)]
    layers += [Fire(random, 384, 64, 256), Fire(random, 512, 64, 256)]
    return layers + [Convolution(random, 512, CLASSES), relu]


NETWORK = squeezenet(0)


def handler(event, context):
    size, seed = number(event, "size", SMALLEST, LARGEST), number(event, "seed", 1, 2**32 - 1)
    scores = classify(picture(size, seed))
    top = numpy.argsort(-scores)[:5]
    return {"result": ", ".join(f"{c}: {scores[c]:.1%}" for c in top)}


def number(event, name, least, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def picture(size, seed):
    """Coloured squares with noise: channels x height x width."""
    random = numpy.random.RandomState(seed)
    squares = random.randint(0, 192, (3, 8, 8)).repeat(size // 8 + 1, 1).repeat(size // 8 + 1, 2)
    return squares[:, :size, :size] + random.randint(0, 64, (3, size, size))


def classify(pixels):
    x = (pixels.astype(numpy.float32) - MEANS) / SPREAD
    for layer in NETWORK:
        x = layer(x)
    return softmax(x.mean(axis=(1, 2)))
