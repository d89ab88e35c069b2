"""Looks records up in a table held in memory, as a small search service does.

    {}                                    ->  1000 records that follow from seed 1
    {"seed": S, "count": N, "span": D}    ->  N records that follow from S, each D after the last

The reply says how many records were found and gives the SHA-256 of them as JSON:
the same event always has the same reply.

Loading the table takes seconds; it happens once, when the function is deployed,
and is in the snapshot. An event looks at a few regions of it: its seed says
where they begin, and count times span how far they reach. Twice the span is the
same work on about twice as many pages of memory.
"""

import gc
import hashlib
import json

RECORDS = 50_000  # about 600 bytes of JSON each
BATCH = 500  # records parsed at a time
REGIONS = 8  # places in the table that an event looks at
COLOURS = ("amber", "black", "coral", "denim", "ebony", "green", "ivory", "khaki")

# Text to cut descriptions from.
TEXT = hashlib.shake_256(b"lookup").hexdigest(32_768)


def numbers(seed):
    """Pseudo-random numbers below 2**24, without end (a linear congruential generator)."""
    while True:
        seed = (seed * 1664525 + 1013904223) % 2**32
        yield seed >> 8


def key(number):
    return f"record-{number:06d}"


def written(number, n):
    """A record as it would be in a file."""
    return (
        f'{{"id": "{key(number)}", "name": "item {n} of {number}", "price": {n % 99_991}.25, "stock": {n % 1009}, '
        f'"colour": "{COLOURS[n % 8]}", "tags": ["tag-{n % 17}", "tag-{n % 257}"], "text": "{TEXT[n % 65_000 : n % 65_000 + 450]}"}}'
    )


def load():
    """Parses the whole table and returns its records by id."""
    table, random = {}, numbers(0)
    gc.disable()  # nothing of this is garbage
    for first in range(0, RECORDS, BATCH):
        batch = ", ".join(written(n, next(random)) for n in range(first, first + BATCH))
        table.update((record["id"], record) for record in json.loads(f"[{batch}]"))
    gc.enable()
    return table


table = load()


def handler(event, context):
    if not isinstance(event, dict):
        event = {}
    seed, count, span = number(event, "seed", 1, 2**32 - 1), number(event, "count", 1000, 20_000), number(event, "span", 4, 100)
    found = [table[key(n)] for n in chosen(seed, count, span)]
    text = json.dumps(found)
    return {"count": len(found), "bytes": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def number(event, name, default, most):
    """A whole number of the event, or its default."""
    value = event.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def chosen(seed, count, span):
    """The numbers of the records to look up, region by region."""
    random, size = numbers(seed), -(-count // REGIONS)
    for first in range(0, count, size):
        begin = next(random)
        for i in range(min(size, count - first)):
            yield (begin + i * span) % RECORDS
