"""Says which version it has of what requirements.txt asks for."""

import secrets

import six


def handler(event, context):
    assert six.__file__.startswith("/var/task/.packages/"), six.__file__
    return {"version": six.__version__, "drawn": secrets.token_hex(16)}
