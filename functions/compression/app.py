"""Packs a file into a zip archive.

    {"size": BYTES, "seed": S}

The file holds size bytes of text that follow from the seed. It lies in /tmp, where
a download would be: those of PREPARED are written when the function initialises,
others when they are first asked for. The result is the SHA-256 of the archive.
"""

import hashlib
import os
import random
import shutil
import zipfile

LARGEST = 8_000_000  # bytes
PREPARED = [(219_000, 1), (449_000, 2), (143_000, 1), (219_000, 2), (449_000, 3), (449_000, 4), (1_090_000, 5), (2_949_000, 6)]
NAME = "input.txt"
LONG_AGO = 946_684_800  # seconds; the archive holds the times of files
SYLLABLES = "ba be bi ch da de en er fa go he in ka la li ma mo na ne on or pa ra ri sa se st ta te th tu un va we".split()
WORDS = [a + b for a in SYLLABLES for b in SYLLABLES]


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    folder = stored(size, seed)
    archive = shutil.make_archive(folder, "zip", root_dir=folder)
    check(archive, size)
    with open(archive, "rb") as f:
        return {"result": hashlib.sha256(f.read()).hexdigest(), "bytes": f.tell()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def check(archive, size):
    """Looks whether the file in the archive is whole."""
    with zipfile.ZipFile(archive) as z:
        if z.testzip() is not None or z.getinfo(NAME).file_size != size:
            raise RuntimeError("the archive is damaged")


def stored(size, seed):
    """The path of the file's folder, which is made unless it is there."""
    folder = f"/tmp/text-{size}-{seed}"
    path = os.path.join(folder, NAME)
    if not os.path.exists(path):
        os.mkdir(folder)
        with open(path, "w") as f:
            f.write(text(size, seed))
        for p, mode in (path, 0o644), (folder, 0o755):
            os.chmod(p, mode)
            os.utime(p, (LONG_AGO, LONG_AGO))
    return folder


def text(size, seed):
    """Words, the first ones much more often than the last ones, as in a language."""
    draw = random.Random(seed).random
    words = [WORDS[int(len(WORDS) * draw() ** 3)] for _ in range(size // 4)]
    return " ".join(words)[:size].ljust(size)


for file in PREPARED:
    stored(*file)
