"""Makes a picture and a thumbnail of it, as a function that resizes uploads would.

    {}                                          ->  320 x 240 pixels, turned by 30 degrees
    {"width": W, "height": H, "angle": A, "seed": S}

The reply says how large picture and thumbnail are and gives the SHA-256 of the
thumbnail's pixels: the same event always has the same reply.

NumPy and Pillow are Debian packages. Importing them takes longer than the work
itself; it happens once, when the function is deployed, and is in the snapshot.
"""

import hashlib

import numpy
from PIL import Image

LARGEST = 2048  # pixels in either direction
THUMBNAIL = 128  # pixels in the longer direction of a thumbnail


def handler(event, context):
    width, height = number(event, "width", 320, 1, LARGEST), number(event, "height", 240, 1, LARGEST)
    angle, seed = number(event, "angle", 30, -360, 360), number(event, "seed", 1, 0, 2**32 - 1)
    picture = Image.fromarray(pixels(width, height, seed))
    turned = picture.rotate(angle, resample=Image.Resampling.BILINEAR, expand=True)
    turned.thumbnail((THUMBNAIL, THUMBNAIL), resample=Image.Resampling.BICUBIC)
    return {
        "picture": [width, height],
        "thumbnail": list(turned.size),
        "sha256": hashlib.sha256(turned.tobytes()).hexdigest(),
    }


def number(event, name, default, least, most):
    """A whole number of the event, or its default."""
    value = event.get(name, default) if isinstance(event, dict) else default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}")
    return value


def pixels(width, height, seed):
    """Coloured waves with noise. Whole numbers only: every machine gets the same."""
    y, x = numpy.ogrid[:height, :width]
    noise = numpy.random.RandomState(seed).randint(0, 64, (height, width, 3), dtype=numpy.uint8)
    waves = [(x * x + y * y) // 64, x * y // 32, (x + 2 * y) // 2]
    return noise + numpy.stack([(w % 192).astype(numpy.uint8) for w in waves], axis=-1)
