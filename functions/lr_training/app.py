"""Trains a logistic regression that tells good reviews from bad ones.

    {"size": REVIEWS, "seed": S}

The reviews are a CSV file that follows from the seed and lies in /tmp, where a
download would be: those of PREPARED are written when the function initialises,
others when they are first asked for. The result says how many words count and
how many of the reviews the model gets right.
"""

import os

import pandas

import reviews

LARGEST = 50_000  # reviews
PREPARED = [(1500, 1), (1800, 2)]
RAREST = 5  # reviews that a word is in, or it does not count


def handler(event, context):
    dataset = pandas.read_csv(stored(number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)))
    texts, scores = dataset["Text"].apply(reviews.clean), dataset["Score"].to_numpy()
    vectorizer = reviews.Vectorizer(texts, RAREST)
    matrix = vectorizer.transform(texts)
    model = reviews.LogisticRegression(matrix, scores)
    right = int((model.predict(matrix) == scores).sum())
    return {"result": f"{len(vectorizer.columns)} words, {right} of {len(dataset)} right"}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value


def stored(size, seed):
    """The path of a dataset, which is written unless it is there."""
    path = f"/tmp/reviews-{size}-{seed}.csv"
    if not os.path.exists(path):
        reviews.write(size, seed).to_csv(path, index=False)
    return path


for dataset in PREPARED:
    stored(*dataset)
