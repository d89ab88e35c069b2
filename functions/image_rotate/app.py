"""Turns a JPEG picture by 90, 180 and 270 degrees and saves each.

    {"size": PIXELS, "seed": S}

The picture is size pixels wide and follows from the seed. It is in /tmp, where a
download would be: those of PREPARED are made when the function initialises,
others when they are first asked for. The result is the SHA-256 of the three
files.
"""

import hashlib
import os

import numpy
from PIL import Image

LARGEST = 4096  # pixels in a row
PREPARED = [(867, 1), (867, 2), (433, 1), (612, 2), (867, 3), (867, 4), (1226, 5), (1734, 6)]
TURNS = [Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270]


def handler(event, context):
    picture = stored(number(event, "size", LARGEST), number(event, "seed", 2**32 - 1))
    digest = hashlib.sha256()
    with Image.open(picture) as image:
        for turn in TURNS:
            turned = picture.replace(".jpg", f"-{turn.name}.jpg")
            image.transpose(turn).save(turned)
            with open(turned, "rb") as f:
                digest.update(f.read())
    return {"result": digest.hexdigest(), "read": os.path.getsize(picture)}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def stored(size, seed):
    """The path of a picture, which is made unless it is there."""
    path = f"/tmp/picture-{size}-{seed}.jpg"
    if not os.path.exists(path):
        Image.fromarray(pixels(size, size * 3 // 2, seed)).save(path)
    return path


def pixels(width, height, seed):
    """Coloured waves with some noise. Whole numbers only: every machine gets the same."""
    y, x = numpy.arange(height, dtype=numpy.int32)[:, None], numpy.arange(width, dtype=numpy.int32)
    waves = [(x * x + y * y) >> 9, x * y >> 9, ((x + 3 * seed) * (y + 5 * seed)) >> 10]
    noise = numpy.random.RandomState(seed).randint(0, 16, (height, width), dtype=numpy.uint8)
    return numpy.stack([(numpy.abs((w & 255) - 128) + noise).astype(numpy.uint8) for w in waves], axis=-1)


for picture in PREPARED:
    stored(*picture)
