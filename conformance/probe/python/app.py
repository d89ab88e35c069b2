"""The conformance suite's function in Python: it says what a clone sees.

What it notes at its import, before the snapshot, is the same in every clone. The
fields of its reply are those of Report in report.go.
"""

import os
import random
import secrets
import socket
import tempfile
import time
import uuid

from snapshot_restore_py import register_after_restore, register_before_snapshot

try:
    import numpy
except ImportError:  # it is in the root disk only when it was asked for
    numpy = None

MARK = "/tmp/mark"
PATTERN = b"this was there before a snapshot"  # as long as a token
COPIES = 2048


def read(path):
    with open(path) as f:
        return f.read().strip()


def moment():
    return {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), "identity": identity()}


def identity():
    return {
        "instance": read("/run/thaw/instance-id"),
        "hostname": os.uname().nodename,
        "machine": read("/etc/machine-id"),
        "boot": read("/proc/sys/kernel/random/boot_id"),
    }


def draw():
    drawn = {
        "getrandom": os.getrandom(16).hex(),
        "/dev/urandom": device(),
        "os.urandom": os.urandom(16).hex(),
        "random": "%032x" % random.getrandbits(128),
        "secrets": secrets.token_hex(16),
        "uuid4": str(uuid.uuid4()),
        "tempfile": tempfile.mktemp(),
    }
    if numpy is not None:
        drawn["numpy"] = numpy.random.bytes(16).hex()
    return drawn


def device():
    with open("/dev/urandom", "rb", buffering=0) as f:
        return f.read(16).hex()


def backward():
    """Counts how often the monotonic clock went backwards in many readings."""
    count, last = 0, time.monotonic_ns()
    for _ in range(500):
        now = time.monotonic_ns()
        count += now < last
        last = now
    return count


def nap(seconds):
    """Returns how long a sleep was by the monotonic and by the wall clock."""
    wall, mono = time.time_ns(), time.monotonic_ns()
    time.sleep(seconds)
    return {"mono_ns": time.monotonic_ns() - mono, "wall_ns": time.time_ns() - wall}


def content():
    """What is all over the buffer, or that it is not all the same."""
    first = bytes(BUFFER[: len(PATTERN)])
    return first.decode() if BUFFER == first * COPIES else "a mixture"


def files():
    return {name: read("/tmp/" + name) for name in os.listdir("/tmp")}


def connections():
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        try:
            lines = read("/proc/net/" + kind).split("\n")[1:]
        except FileNotFoundError:
            continue
        for line in lines:
            fields = line.split()
            found.append({"kind": kind, "local": fields[1], "remote": fields[2]})
    return found


def reach():
    """Tries an address outside (RFC 5737 keeps it for documentation)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
        except OSError as e:
            return e.strerror
    return "reached"


def loop():
    """Returns the two ends of a connection within this guest."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def echo(token):
    NEAR.sendall(token.encode())
    return FAR.recv(len(token)).decode()


HOOKS = {"before": 0, "after": 0}
RESTORED = {}


@register_before_snapshot
def before():
    HOOKS["before"] += 1


@register_after_restore
def after():
    HOOKS["after"] += 1
    RESTORED.update(moment())


BUFFER = bytearray(PATTERN * COPIES)
NEAR, FAR = loop()
with open(MARK, "w") as mark:
    mark.write(PATTERN.decode())
BORN, DRAWN = moment(), draw()


def handler(event, context):
    served = moment()
    token = event["token"]
    found = {"memory": content(), "files": files()}
    BUFFER[:] = token.encode() * COPIES
    with open(MARK, "w") as f:
        f.write(token)
    report = {
        "born": BORN,
        "restored": RESTORED,
        "served": served,
        "before": HOOKS["before"],
        "after": HOOKS["after"],
        "drawn_before": DRAWN,
        "drawn": draw(),
        "backward": backward(),
        "nap": nap(event["nap_ms"] / 1e3),
        "found": found,
        "environ": dict(os.environ),
        "proc_environ": read("/proc/self/environ"),
        "interfaces": os.listdir("/sys/class/net"),
        "connections": connections(),
        "reach": reach(),
        "secret": read("/run/thaw/secrets/thaw-conformance"),
        "echo": echo(token),
    }
    time.sleep(event["hold_ms"] / 1e3)
    report["left"] = {"memory": content(), "files": files()}
    report["ended"] = moment()
    return report
