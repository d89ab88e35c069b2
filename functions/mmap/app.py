"""Maps memory and writes to every page of it.

    {"size": MEBIBYTES, "seed": S}

The seed is what is written. The result counts the pages and adds up what they
hold.
"""

import mmap

LARGEST = 4096  # MiB


def handler(event, context):
    size, seed = number(event, "size", LARGEST) << 20, number(event, "seed", 255)
    with mmap.mmap(-1, size) as memory:
        for at in range(0, size, mmap.PAGESIZE):
            memory[at] = seed
        pages = memory[:: mmap.PAGESIZE]
    return {"result": f"{len(pages)} pages, sum {sum(pages)}"}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
