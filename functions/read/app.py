"""Reads one item of each page of a long list.

    {"size": MEBIBYTES, "seed": S}

The list is made when the function initialises. The event says how much of it is
read, and which item of each page. The result is the sum of the items.
"""

import random

LARGEST = 128  # MiB, the size of the list
PAGE = 512  # items of a list on a page of memory

# Small integers are objects that exist once: the list holds addresses alone.
ITEMS = list(random.Random(0).randbytes((LARGEST << 20) // 8))


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    total = 0
    for i in range(seed % PAGE, (size << 20) // 8, PAGE):
        total += ITEMS[i]
    return {"result": f"sum {total}"}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
