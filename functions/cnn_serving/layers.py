"""The layers of a convolutional neural network, over channels x height x width."""

import functools

import numpy
from numpy.lib.stride_tricks import sliding_window_view


class Convolution:
    """A convolution with weights that have not been trained (He and others, 2015)."""

    def __init__(self, random, inputs, outputs, kernel=1, stride=1, pad=0):
        fan_in = inputs * kernel * kernel
        self.weights = random.standard_normal((outputs, fan_in), dtype=numpy.float32)
        self.weights *= numpy.float32((2 / fan_in) ** 0.5)
        self.bias = numpy.zeros((outputs, 1), numpy.float32)
        self.kernel, self.stride, self.pad = kernel, stride, pad

    def __call__(self, x):
        w = windows(x, self.kernel, self.stride, self.pad)
        height, width = w.shape[1:3]
        columns = w.transpose(0, 3, 4, 1, 2).reshape(-1, height * width)
        return (self.weights @ columns + self.bias).reshape(-1, height, width)


def max_pool(x, pad=0):
    """The largest of each 3 x 3 pixels, every second pixel."""
    w = windows(x, 3, 2, pad)
    return functools.reduce(numpy.maximum, (w[..., i, j] for i in range(3) for j in range(3)))


def relu(x):
    return numpy.maximum(x, 0, out=x)


def windows(x, kernel, stride, pad):
    """A view of the squares of pixels that a kernel sees."""
    if pad:
        x = numpy.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    return sliding_window_view(x, (kernel, kernel), axis=(1, 2))[:, ::stride, ::stride]


def softmax(x):
    e = numpy.exp(x - x.max())
    return e / e.sum()
