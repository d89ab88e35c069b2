"""Tells good reviews from bad ones by logistic regression.

    {"size": REVIEWS, "seed": S}

The model is trained on reviews from a fixed seed when the function initialises,
and those stay in memory, as in the original. The reviews of an event follow from
its seed. The result says which of them are good, as bits.
"""

import reviews

LARGEST = 10_000  # reviews
TRAINED_ON = 4000  # reviews
RAREST = 20  # reviews that a word is in, or it does not count


def train():
    dataset = reviews.write(TRAINED_ON, 0)
    dataset["Cleaned"] = dataset["Text"].apply(reviews.clean)
    vectorizer = reviews.Vectorizer(dataset["Cleaned"], RAREST)
    model = reviews.LogisticRegression(vectorizer.transform(dataset["Cleaned"]), dataset["Score"].to_numpy())
    return dataset, vectorizer, model


DATASET, VECTORIZER, MODEL = train()


def handler(event, context):
    size, seed = number(event, "size", LARGEST), number(event, "seed", 2**32 - 1)
    asked = reviews.write(size, seed)
    guesses = MODEL.predict(VECTORIZER.transform(asked["Text"].apply(reviews.clean)))
    bits = "".join(map(str, guesses))
    return {"result": f"{int(bits, 2):x}", "right": int((guesses == asked["Score"]).sum())}


def number(event, name, most):
    """A whole number of the event."""
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise ValueError(f"{name} must be a whole number from 1 to {most}")
    return value
