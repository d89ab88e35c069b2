"""What is measured when no function is named: a greeting, and a module that took
time to import."""

import json


def handler(event, context):
    return {"message": "Hello, " + str(event.get("name", "world")) + "!", "event": json.dumps(event, sort_keys=True)}
