"""Reads a JSON document and writes it again, indented.

    {"size": BYTES, "seed": S}

The document is about size bytes of records that follow from the seed. The result
is the SHA-256 of the indented text.
"""

import hashlib
import json

LARGEST = 8_000_000  # bytes
RECORD = 183  # bytes of a record, about


def handler(event, context):
    text = document(number(event, "size", LARGEST), number(event, "seed", 2**32 - 1))
    written = json.dumps(json.loads(text), indent=4)
    return {"result": hashlib.sha256(written.encode()).hexdigest(), "read": len(text), "written": len(written)}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def document(size, seed):
    """JSON text as an interface for searching would reply it."""
    records = ", ".join(record(i, (seed * 1664525 + i * 1013904223) % 2**32) for i in range(max(1, size // RECORD)))
    return f'{{"count": {size // RECORD}, "next": null, "results": [{records}]}}'


def record(i, n):
    return (
        f'{{"id": {i}, "name": "item {n}", "price": {n % 9973}.25, "stock": {n % 1009}, "sold": {"true" if n & 64 else "false"}, '
        f'"tags": ["tag-{n % 17}", "tag-{n % 257}"], "at": {{"x": {n % 3600 - 1800}, "y": -{n % 1800}}}, "text": "{n * 2654435761 % 2**96:024x}"}}'
    )
