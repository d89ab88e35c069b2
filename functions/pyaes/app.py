"""Encrypts a message with AES in counter mode and decrypts it, in Python alone.

    {"size": BYTES, "seed": S}

The message is size letters and digits that follow from the seed. The result is
the SHA-256 of what it becomes.
"""

import hashlib
import random
import string

import pyaes

LARGEST = 1_000_000  # bytes
KEY = bytes(range(16))  # 128 bits
LETTERS = string.ascii_lowercase + string.digits


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    message = "".join(random.Random(seed).choices(LETTERS, k=size))
    hidden = pyaes.AESModeOfOperationCTR(KEY).encrypt(message)
    if pyaes.AESModeOfOperationCTR(KEY).decrypt(hidden) != message.encode():
        raise RuntimeError("what was decrypted is not what was encrypted")
    return {"result": hashlib.sha256(hidden).hexdigest()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
