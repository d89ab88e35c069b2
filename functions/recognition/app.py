"""Recognises what is on a JPEG picture with ResNet-50.

    {"size": PIXELS, "side": PIXELS, "seed": S}

The picture is size pixels wide and follows from the seed; those of PREPARED are
made when the function initialises, others when they are first asked for. The
network sees the middle of it, side x side pixels. It is the whole of ResNet-50,
made when the function initialises, with weights from a fixed seed: the classes
mean nothing, the work is that of trained weights. The result is the five classes
that score highest, with their probability in percent.
"""

import io

import numpy
from PIL import Image

from layers import Convolution, max_pool, relu, softmax

SMALLEST, LARGEST = 32, 512  # pixels in a row that the network sees
WIDEST = 4096  # pixels in a row of the picture
PREPARED = [(867, 1), (867, 2), (433, 1), (612, 2), (867, 3), (867, 4), (1226, 5), (1734, 6)]
CLASSES = 1000
MEANS, DEVIATIONS = (numpy.array(v, numpy.float32) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))  # of ImageNet
STAGES = [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)]  # width, blocks, stride of the first


class Bottleneck:
    """Three convolutions around which the input passes. What batch normalisation
    would do to trained weights is a part of the weights."""

    def __init__(self, random, inputs, width, stride):
        outputs = 4 * width
        self.reduce = Convolution(random, inputs, width)
        self.convolve = Convolution(random, width, width, kernel=3, stride=stride, pad=1)
        self.expand = Convolution(random, width, outputs)
        self.expand.weights *= numpy.float32(0.25)  # or 16 blocks would add up
        self.project = Convolution(random, inputs, outputs, stride=stride) if stride > 1 or inputs != outputs else None

    def __call__(self, x):
        past = self.project(x) if self.project else x
        return relu(self.expand(relu(self.convolve(relu(self.reduce(x))))) + past)


def resnet50(seed):
    """The layers of the network, in order, but for the last one."""
    random = numpy.random.default_rng(seed)
    layers = [Convolution(random, 3, 64, kernel=7, stride=2, pad=3), relu, lambda x: max_pool(x, pad=1)]
    inputs = 64
    for width, blocks, stride in STAGES:
        for block in range(blocks):
            layers.append(Bottleneck(random, inputs, width, 1 if block else stride))
            inputs = 4 * width
    return layers, random.standard_normal((CLASSES, inputs), dtype=numpy.float32) * numpy.float32(inputs**-0.5)


def photograph(width, seed):
    """A JPEG file: coloured squares with some noise."""
    random = numpy.random.RandomState(seed)
    squares = random.randint(0, 240, (3, 2, 3)).astype(numpy.uint8).repeat(width // 2, 0).repeat(width // 2 + 1, 1)
    noise = random.randint(0, 10, (len(squares), width, 1)).astype(numpy.uint8)
    file = io.BytesIO()
    Image.fromarray(squares[:, :width] + noise).save(file, "JPEG")
    return file.getvalue()


LAYERS, LAST = resnet50(0)
PHOTOGRAPHS = {which: photograph(*which) for which in PREPARED}


def handler(event, context):
    which = number(event, "size", SMALLEST, WIDEST), number(event, "seed", 1, 2**32 - 1)
    if which not in PHOTOGRAPHS:
        PHOTOGRAPHS[which] = photograph(*which)
    scores = recognise(prepare(PHOTOGRAPHS[which], number(event, "side", SMALLEST, LARGEST)))
    top = numpy.argsort(-scores)[:5]
    return {"result": ", ".join(f"{c}: {scores[c]:.1%}" for c in top)}


def number(event, name, least, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def prepare(file, side):
    """The middle of a picture as the network wants it: channels x height x width."""
    image = Image.open(io.BytesIO(file))
    width = side * 8 // 7
    image = image.resize((width, image.height * width // image.width), Image.Resampling.BILINEAR)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    pixels = numpy.asarray(image.crop((left, top, left + side, top + side)), numpy.float32) / 255
    return ((pixels - MEANS) / DEVIATIONS).transpose(2, 0, 1)


def recognise(x):
    for layer in LAYERS:
        x = layer(x)
    return softmax(LAST @ x.mean(axis=(1, 2)))
