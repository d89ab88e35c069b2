"""Makes a video grey, frame by frame.

    {"size": FRAMES, "seed": S}

The video is Motion JPEG of 640 x 480 pixels that follows from the seed. It lies
in /tmp, where a download would be: those of PREPARED are made when the function
initialises, others when they are first asked for. As in the original, each grey
frame goes through a JPEG file before it is written to the new video. The result is
the SHA-256 of that.
"""

import hashlib
import io
import os

import numpy
from PIL import Image

LARGEST = 1000  # frames
PREPARED = [(8, 1), (10, 2)]
WIDTH, HEIGHT = 640, 480
END = b"\xff\xd9"  # of a JPEG file


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    path, grey = stored(size, seed), f"/tmp/grey-{size}-{seed}.mjpeg"
    written = 0
    with open(grey, "wb") as out:
        for frame in frames(path):
            out.write(encoded(grey_frame(frame)))
            written += 1
    if written != size:
        raise RuntimeError(f"the video has {written} frames, want {size}")
    with open(grey, "rb") as f:
        return {"result": hashlib.sha256(f.read()).hexdigest(), "read": os.path.getsize(path), "written": f.tell()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def frames(path):
    """The pictures of a video, one after the other."""
    with open(path, "rb") as f:
        for part in f.read().split(END)[:-1]:
            yield Image.open(io.BytesIO(part + END))


def grey_frame(frame):
    """A frame without colours, from the file that it was saved to."""
    frame.convert("L").save("/tmp/frame.jpg")
    with Image.open("/tmp/frame.jpg") as grey:
        return grey.convert("RGB")


def encoded(frame):
    file = io.BytesIO()
    frame.save(file, "JPEG")
    return file.getvalue()


def stored(size, seed):
    """The path of a video, which is made unless it is there."""
    path = f"/tmp/video-{size}-{seed}.mjpeg"
    if not os.path.exists(path):
        with open(path, "wb") as f:
            f.writelines(encoded(Image.fromarray(scene(seed, n))) for n in range(size))
    return path


def scene(seed, n):
    """Waves that move, with noise. Whole numbers only: every machine gets the same."""
    y, x = numpy.ogrid[:HEIGHT, :WIDTH]
    noise = numpy.random.RandomState(seed + n).randint(0, 16, (HEIGHT, WIDTH), dtype=numpy.uint8)
    waves = [(x * x + y * y >> 6) + 4 * n, (x + 2 * n) * (y + seed) >> 6, 3 * x + y - 2 * n]
    return numpy.stack([(numpy.abs((w & 255) - 128) + noise).astype(numpy.uint8) for w in waves], axis=-1)


for video in PREPARED:
    stored(*video)
