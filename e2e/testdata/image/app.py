"""A function in an image, run by the client that AWS publishes (awslambdaric)."""

import os
import socket

import snapshot_restore_py

restored = 0


@snapshot_restore_py.register_after_restore
def count():
    global restored
    restored += 1


def writable(path):
    try:
        with open(os.path.join(path, "written"), "w") as f:
            f.write("x")
        return True
    except OSError as e:
        return e.errno


def read(path):
    with open(path) as f:
        return f.read().strip()


def handler(event, context):
    if event.get("do") == "raise":
        raise ValueError("that is no number")
    return {
        "message": "hello, " + event.get("name", "nobody"),
        "user": [os.getuid(), os.getgid()],
        "folder": os.getcwd(),
        "env": {k: os.environ.get(k) for k in ("COLOUR", "SHAPE", "PATH", "LD_LIBRARY_PATH")},
        "writable": {p: writable(p) for p in ("/tmp", "/srv/mine", "/var/task")},
        "hidden": os.path.exists("/etc/debian_version"),
        "restored": restored,
        "machine": read("/etc/machine-id"),
        "host": socket.gethostname(),
        "localhost": socket.gethostbyname("localhost"),
        "function": context.function_name,
    }
