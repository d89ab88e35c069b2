"""Serves a function to peers that have no agent: an event is a line of standard
input, its reply a line of standard output. "ready" says that it is initialised."""

import gc
import importlib
import json
import os
import sys
import types


def load(name):
    module, _, func = name.rpartition(".")
    return getattr(importlib.import_module(module.replace("/", ".")), func)


def write(line):
    line += b"\n"
    while line:
        line = line[os.write(1, line) :]


sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
handler = load(os.environ["_HANDLER"])
context = types.SimpleNamespace(
    aws_request_id="peer",
    function_name=os.environ["AWS_LAMBDA_FUNCTION_NAME"],
    get_remaining_time_in_millis=lambda: 30000,
)
gc.collect()
gc.freeze()
write(b"ready")
for event in sys.stdin.buffer:
    write(json.dumps(handler(json.loads(event), context), ensure_ascii=False, allow_nan=False).encode())
