"""A greeting, and the answer to a question that snapshots raise: who am I?

    {"name": "Ada"}   ->  {"message": "Hello, Ada!"}
    {"who": true}     ->  what must differ between clones of one snapshot

What is imported and computed out here runs once, when the function is deployed:
it is in the snapshot, and every start after that finds it done.
"""

import datetime
import os
import random
import time
import uuid

INSTANCE_ID = "/run/thaw/instance-id"
GREETINGS = {"en": "Hello", "de": "Hallo", "fr": "Bonjour", "es": "Hola", "it": "Ciao"}


def handler(event, context):
    if not isinstance(event, dict):
        event = {}
    if event.get("who"):
        return who()
    name = str(event.get("name", "world"))
    return {"message": f"{greeting(event.get('language', 'en'))}, {name}!"}


def greeting(language):
    return GREETINGS.get(str(language), GREETINGS["en"])


def who():
    """Everything here is made now, after the start: no two clones may agree."""
    return {
        "instance": read(INSTANCE_ID),
        "uuid": str(uuid.uuid4()),
        "random": os.urandom(16).hex(),
        "random_module": random.random(),
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
        "monotonic": time.monotonic(),
    }


def read(path):
    try:
        with open(path, encoding="ascii") as f:
            return f.read().strip()
    except OSError:
        return None
