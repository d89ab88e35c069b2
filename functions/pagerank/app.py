"""Ranks the nodes of a graph by PageRank.

    {"size": NODES, "seed": S}

The graph grows by preferential attachment (Barabasi and Albert), ten edges a
node, and follows from the seed. The result names the ten nodes that rank highest.
"""

import random

import igraph

LARGEST = 1_000_000  # nodes
EDGES = 10  # of each new node
TOP = 10


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    random.seed(seed)  # what igraph draws from
    graph = igraph.Graph.Barabasi(size, EDGES)
    ranks = graph.pagerank()
    if abs(sum(ranks) - 1) > 1e-6:
        raise RuntimeError(f"the ranks add up to {sum(ranks)}, want 1")
    top = sorted(range(size), key=ranks.__getitem__, reverse=True)[:TOP]
    return {"result": " ".join(map(str, top)), "edges": graph.ecount()}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
