"""Runs a Python function under the AWS Lambda Runtime API, 2018-06-01.

The module named by _HANDLER is imported once. With snap-start, sample events are
served if there are any, hooks run and restore/next marks where the snapshot is
taken; after it every clone reseeds its random numbers. Then events are served one
at a time.

Only what every function needs is imported here: each page this script touches
is part of every function's working set, and what can be prepared for the first
event is, before the snapshot. It speaks HTTP over one kept-alive
connection by itself, because http.client would be most of its memory, and over
the agent's unix socket, because TCP would be most of the kernel's.
"""

import gc
import json
import os
import socket
import sys
import time
import types

API = "/2018-06-01/runtime/"
MAX_TRACE = 100  # lines of a stack trace in an error object
DECODER = json.JSONDecoder()
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class Fault(Exception):
    """An error with a type of Lambda's own and a trace that is already text."""

    def __init__(self, kind, message, trace=()):
        super().__init__(message)
        self.kind = kind
        self.trace = list(trace)


class Client:
    """An HTTP/1.1 client for the agent's server, which always sends a length."""

    def __init__(self, path):
        self.address = "\0" + path[1:] if path.startswith("@") else path
        self.sock = None
        self.rest = b""

    def connect(self):
        if self.sock is not None:
            self.sock.close()
        self.rest = b""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.address)

    def get(self, path):
        return self.request("GET", path, b"", "")

    def post(self, path, body, kind=""):
        return self.request("POST", path, body, kind)

    def request(self, method, path, body, kind):
        """Returns (status, headers with names in lower case, body)."""
        head = f"{method} {API}{path} HTTP/1.1\r\nHost: agent\r\n"
        if method == "POST":
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        if kind:
            shown = kind if kind.isascii() and kind.isprintable() else "Unhandled"
            head += f"Lambda-Runtime-Function-Error-Type: {shown}\r\n"
        if self.sock is None:
            self.connect()
        head = (head + "\r\n").encode("latin-1")
        if len(body) < 65536:
            self.sock.sendall(head + body)
        else:
            self.sock.sendall(head)
            self.sock.sendall(body)
        status, headers = self.read_head()
        length = int(headers.get("content-length", "0"))
        reply = self.read_body(length)
        if headers.get("connection", "").lower() == "close":
            self.sock.close()
            self.sock = None
        return status, headers, reply

    def read_head(self):
        data = self.rest
        while b"\r\n\r\n" not in data:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise ConnectionError("the Runtime API closed the connection")
            data += chunk
        head, _, self.rest = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(lines[0].split(" ", 2)[1]), headers

    def read_body(self, length):
        if len(self.rest) >= length:
            body, self.rest = self.rest[:length], self.rest[length:]
            return body
        body = bytearray(length)
        at = len(self.rest)
        body[:at] = self.rest
        self.rest = b""
        view = memoryview(body)
        while at < length:
            n = self.sock.recv_into(view[at:])
            if n == 0:
                raise ConnectionError("the Runtime API closed the connection")
            at += n
        return body


class Identity:
    """context.identity; without Cognito both fields are None."""

    cognito_identity_id = None
    cognito_identity_pool_id = None


class ClientContext:
    """context.client_context, from the caller's JSON."""

    def __init__(self, data):
        self.custom = data.get("custom")
        self.env = data.get("env")
        client = data.get("client")
        self.client = types.SimpleNamespace(**client) if isinstance(client, dict) else None


class Context:
    """The handler's second argument."""

    function_name = os.environ.get("AWS_LAMBDA_FUNCTION_NAME")
    function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
    memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
    log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
    log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")

    def __init__(self, headers):
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.identity = Identity()
        self.client_context = client_context(headers.get("lambda-runtime-client-context"))
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])

    def get_remaining_time_in_millis(self):
        return max(0, self._deadline_ms - int(time.time() * 1000))

    def log(self, message):
        sys.stdout.write(str(message))


def client_context(text):
    if not text:
        return None
    try:
        return ClientContext(json.loads(text))
    except (ValueError, AttributeError):
        return None


class Hooks:
    """What snapshot_restore_py registers."""

    def __init__(self):
        self.before = []
        self.after = []

    def module(self):
        """Returns a module that functions import as snapshot_restore_py."""
        module = types.ModuleType("snapshot_restore_py")

        def register_before_snapshot(func, *args, **kwargs):
            self.before.append((func, args, kwargs))
            return func

        def register_after_restore(func, *args, **kwargs):
            self.after.append((func, args, kwargs))
            return func

        module.register_before_snapshot = register_before_snapshot
        module.register_after_restore = register_after_restore
        return module

    def run_before(self):
        while self.before:  # the last registered is the first to run
            func, args, kwargs = self.before.pop()
            func(*args, **kwargs)

    def run_after(self):
        for func, args, kwargs in self.after:
            func(*args, **kwargs)


def load_handler(name):
    """Returns the function that "pkg/mod.func" or "pkg.mod.func" names."""
    import importlib

    module_name, dot, func_name = name.rpartition(".")
    if not dot or not module_name:
        raise Fault("Runtime.MalformedHandlerName", f"Bad handler '{name}': write it as module.function")
    shown = module_name
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as e:
        raise Fault("Runtime.ImportModuleError", f"Unable to import module '{shown}': {e}", trace_of(e)) from e
    except SyntaxError as e:
        trace = ['  File "%s" Line %s\n    %s' % (e.filename, e.lineno, e.text)]
        raise Fault("Runtime.UserCodeSyntaxError", f"Syntax error in module '{shown}': {e}", trace) from e
    func = getattr(module, func_name, None)
    if func is None:
        raise Fault("Runtime.HandlerNotFound", f"Handler '{func_name}' missing on module '{shown}'")
    if not callable(func):
        raise Fault("Runtime.HandlerNotFound", f"Handler '{func_name}' on module '{shown}' is not a function")
    return func


def trace_of(error):
    """Returns the lines of a trace, without this script's own frames."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = (__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
    frames = [f for f in frames if f.filename not in own and not f.filename.endswith("/importlib/__init__.py")]
    lines = traceback.format_list(frames)
    if len(lines) > MAX_TRACE:
        half = MAX_TRACE // 2
        lines = lines[:half] + ["  ...\n"] + lines[-half:]
    return lines


def describe(error):
    """Returns (type, message, trace) of an exception."""
    if isinstance(error, Fault):
        return error.kind, str(error), error.trace
    try:
        message = str(error)
    except Exception:  # a broken __str__ must not hide the error
        message = "<no message: __str__ failed>"
    return type(error).__name__, message, trace_of(error)


def error_body(error, request_id=None):
    """Logs an exception and returns it as Lambda's error object, encoded."""
    kind, message, trace = describe(error)
    sys.stderr.write(f"[ERROR] {kind}: {message}\n")
    if trace:
        sys.stderr.write("Traceback (most recent call last):\n" + "".join(trace))
    flush()
    obj = {"errorMessage": message, "errorType": kind, "requestId": request_id or "", "stackTrace": trace}
    return json.dumps(obj).encode()


def flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # the function closed or replaced it


def reseed():
    """Makes user-space generators differ between clones of one snapshot. The
    kernel's has been reseeded by the agent."""
    modules = sys.modules
    if "random" in modules:
        modules["random"].seed()
    if "numpy.random" in modules:
        modules["numpy.random"].seed()
    if "tempfile" in modules:
        modules["tempfile"]._name_sequence = None  # has a generator of its own; made anew
    if "_ssl" in modules:
        modules["_ssl"].RAND_add(os.urandom(48), 48.0)


def settle():
    """Frees garbage and keeps the collector away from all that is alive, so
    that collections in a clone touch no page of the snapshot."""
    gc.collect()
    gc.freeze()


def snapshot_point(client, hooks):
    """Runs the hooks around the snapshot. Returns in the clone."""
    try:
        hooks.run_before()
        flush()
        settle()
    except Exception as e:
        fail(client, "init/error", e, "Runtime.BeforeSnapshotError")
    status, _, _ = client.get("restore/next")
    if status != 200:
        raise ConnectionError(f"restore/next answered with status {status}")
    try:
        reseed()
        hooks.run_after()
        flush()
    except Exception as e:
        fail(client, "restore/error", e, "Runtime.AfterRestoreError")


def fail(client, path, error, kind):
    """Reports an error outside of invocations and ends the process."""
    client.post(path, error_body(error), kind)
    sys.exit(1)


def set_up_logging(current):
    """Gives the root logger Lambda's format, unless the function set it up by
    itself. Returns whether logging is in use."""
    logging = sys.modules.get("logging")
    if logging is None:
        return False
    root = logging.getLogger()
    if root.handlers:
        return True

    def add_request_id(record):
        record.aws_request_id = current.get("id", "")
        return True

    handler = logging.StreamHandler(sys.stdout)
    formatter = logging.Formatter(
        "[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(add_request_id)
    root.addHandler(handler)
    return True


def decode(body):
    try:
        return DECODER.decode(str(body, "utf-8")) if body else {}
    except ValueError as e:
        raise Fault("Runtime.UnmarshalError", f"Unable to unmarshal input: {e}") from e


def encode(reply):
    try:
        return ENCODER.encode(reply).encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise Fault("Runtime.MarshalError", f"Unable to marshal response: {e}") from e


def serve_one(client, handler, headers, body):
    """Runs the handler on one event and posts what came of it."""
    request_id = headers["lambda-runtime-aws-request-id"]
    try:
        reply = encode(handler(decode(body), Context(headers)))
    except Exception as e:
        failure = error_body(e, request_id)
        client.post(f"invocation/{request_id}/error", failure, describe(e)[0])
        return
    flush()
    status, _, answer = client.post(f"invocation/{request_id}/response", reply)
    if status == 413:
        sys.stderr.write("[ERROR] the reply is too large: " + answer.decode("utf-8", "replace") + "\n")
        flush()


def trace(trace_id, current):
    """Tells the function its trace, if that is another than before."""
    if trace_id == current.get("trace"):
        return
    current["trace"] = trace_id
    if trace_id:
        os.environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)


def serve(client, source, handler, current):
    """Serves the events that source has, until that says that there are no more."""
    logging_ready = set_up_logging(current)
    while True:
        status, headers, body = client.get(source)
        if status == 204:
            return
        if status != 200:
            raise ConnectionError(f"{source} answered with status {status}")
        current["id"] = headers["lambda-runtime-aws-request-id"]
        trace(headers.get("lambda-runtime-trace-id"), current)
        logging_ready = logging_ready or set_up_logging(current)
        serve_one(client, handler, headers, body)


def main():
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    client = Client(os.environ.pop("THAW_RUNTIME_SOCKET"))
    primed = os.environ.pop("THAW_PRIME", None)
    hooks = Hooks()
    sys.modules["snapshot_restore_py"] = hooks.module()
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    try:
        handler = load_handler(os.environ["_HANDLER"])
    except Exception as e:
        fail(client, "init/error", e, describe(e)[0])
    current = {}  # the invocation being served, for log lines
    set_up_logging(current)
    if primed:
        serve(client, "prime/next", handler, current)
        trace(None, current)
        current.clear()
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
        snapshot_point(client, hooks)
    serve(client, "invocation/next", handler, current)


if __name__ == "__main__":
    main()
