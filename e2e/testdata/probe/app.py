"""A function that does what the test asks for."""

import os
import random
import time
import uuid

with open("/dev/urandom", "rb") as f:
    BORN = f.read(8).hex()  # the same in every clone
    HOARD = f.read(8 << 20)  # pages that a function may need, or not


def secret(name):
    path = "/run/thaw/secrets/" + name
    with open(path) as f, open("/var/openfaas/secrets/" + name) as g:
        values = [f.read(), g.read()]
    info = os.stat(path)
    try:
        open(path, "w")
        writing = "allowed"
    except PermissionError:
        writing = "denied"
    return values + [oct(info.st_mode & 0o7777), info.st_uid, writing]


def handler(event, context):
    do = event.get("do", "hello")
    if do == "hello":
        return {"message": "hello, " + event.get("name", "you")}
    if do == "who":
        with open("/run/thaw/instance-id") as f:
            instance = f.read().strip()
        return {
            "born": BORN,
            "instance": instance,
            "hostname": os.uname().nodename,
            "urandom": os.urandom(16).hex(),
            "uuid": str(uuid.uuid4()),
            "random": random.random(),
            "time": time.time(),
            "request": context.aws_request_id,
            "remaining": context.get_remaining_time_in_millis(),
            "version": context.function_version,
            "uid": os.getuid(),
            "env": os.environ.get("COLOUR"),
        }
    if do == "sum":  # touches so many pages of the hoard
        return {"sum": sum(HOARD[i * 4096] << i % 24 for i in range(event["pages"]))}
    if do == "secrets":
        return {name: secret(name) for name in os.listdir("/run/thaw/secrets")}
    if do == "write":
        with open("/tmp/mark", "a") as f:
            f.write("x")
        return os.path.getsize("/tmp/mark")
    if do == "raise":
        raise ValueError("that is no number")
    if do == "sleep":
        time.sleep(event["seconds"])
        return "slept"
    if do == "exit":
        os._exit(3)
    if do == "eat":
        hoard = []
        while True:
            hoard.append(bytearray(1 << 20))
    if do == "print":
        for i in range(event["lines"]):
            print("line", i)
        return event["lines"]
    if do == "big":
        return "x" * event["bytes"]
    if do == "echo":
        return event
    if do == "object":
        return object()
    raise KeyError(do)
