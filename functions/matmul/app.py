"""Multiplies two square matrices.

    {"size": N, "seed": S}

The matrices are N x N doubles that follow from the seed. They hold whole numbers
small enough that no sum is rounded, in whatever order a BLAS adds: the result,
the SHA-256 of the product, is the same on every processor.
"""

import hashlib

import numpy

LARGEST = 4096  # rows
BOUND = 1 << 20  # 4096 products of numbers below it are below 2**53


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    random = numpy.random.RandomState(seed)
    a, b = (random.randint(0, BOUND, (size, size)).astype(numpy.float64) for _ in range(2))
    product = numpy.matmul(a, b)
    return {"result": hashlib.sha256(product.tobytes()).hexdigest()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
