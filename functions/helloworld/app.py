"""Greets: the least a function can do.

    {"name": "record"}  ->  {"result": "Hello, record!"}
"""


def handler(event, context):
    name = event.get("name")
    if not isinstance(name, str):
        raise ValueError("name must be text")
    return {"result": f"Hello, {name}!"}
