"""Lambda's runtime interface: the small HTTP server through which a process gets invocations and gives answers.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = "/2018-06-01/runtime"
LARGEST_ANSWER = 6 * 1024 * 1024 + 100


@dataclass(frozen=True)
class Request:
    """What a function is invoked with."""

    id: str
    function_arn: str
    trace: str
    payload: bytes


@dataclass(frozen=True)
class Answer:
    """What a function answered, or what is told instead when it didn't."""

    document: bytes
    is_error: bool = False


def error(kind: str, message: str) -> Answer:
    """An error as Lambda words it."""
    return Answer(json.dumps({"errorType": kind, "errorMessage": message}).encode(), is_error=True)


class Interface:
    """The interface of one process, from its start to its end."""

    def __init__(self):
        self.is_started = threading.Event()
        """Set when the process asks for its first invocation, or tells that it couldn't start."""
        self.start_error: Answer | None = None
        self._requests = queue.Queue()
        self._answers: dict[str, Future] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.interface = self
        threading.Thread(target=self._server.serve_forever, daemon=True, name="lambda-interface").start()

    @property
    def address(self) -> str:
        return "%s:%d" % self._server.server_address

    def hand_over(self, request: Request, deadline_ms: int) -> Future:
        """Gives the process an invocation. The future is done when it answers, which may be never."""
        answer = self._answers[request.id] = Future()
        self._requests.put((request, deadline_ms))
        return answer

    def close(self) -> None:
        self._requests.put(None)
        self._server.shutdown()
        self._server.server_close()

    def next_request(self):
        self.is_started.set()
        return self._requests.get()

    def take_start_error(self, document: bytes) -> None:
        self.start_error = Answer(document, is_error=True)
        self.is_started.set()

    def take_answer(self, request_id: str) -> Future | None:
        """The future that waits for this answer; none for a request that isn't waited for."""
        return self._answers.pop(request_id, None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A process that dies drops its connection, which its exit tells already."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path != f"{API}/invocation/next":
            return self._reply(404)
        handed_over = self.server.interface.next_request()
        if handed_over is None:
            self.close_connection = True
            return None
        request, deadline_ms = handed_over
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": request.id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": request.function_arn,
            "Lambda-Runtime-Trace-Id": request.trace,
        }
        return self._reply(200, request.payload, headers)

    def do_POST(self):
        body = self._body()
        if self.path == f"{API}/init/error":
            self.server.interface.take_start_error(body)
            return self._reply(202, b"{}")
        request_id, _, kind = self.path.removeprefix(f"{API}/invocation/").partition("/")
        if kind not in ("response", "error"):
            return self._reply(404)
        answer = self.server.interface.take_answer(request_id)
        if answer is None:
            return self._reply(400, error("InvalidRequestID", "Invalid request ID").document)
        if len(body) > LARGEST_ANSWER:
            self._reply(413)
            message = f"Response payload size exceeded maximum allowed payload size ({LARGEST_ANSWER} bytes)."
            return answer.set_result(error("Function.ResponseSizeTooLarge", message))
        # The process is told first: once the answer is there, it may be stopped.
        self._reply(202, b"{}")
        return answer.set_result(Answer(body, is_error=kind == "error"))

    def _reply(self, status, body=b"", headers=None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return bytes(body)
