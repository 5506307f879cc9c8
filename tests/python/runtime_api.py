"""Lambda's runtime interface, as a function sees it, and a function that is started on it.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

API = "/2018-06-01/runtime/invocation/"
FUNCTION_ARN = "arn:aws:lambda:us-east-1:123456789012:function:headwater"
SENT = str(int(time.time() * 1000))


class Server(ThreadingHTTPServer):
    """A function that is killed drops its connection, which is nothing to report."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        pass


class RuntimeApi:
    """Hands over one invocation after another, and keeps the answers."""

    def __init__(self):
        self.waiting = queue.Queue()
        self.answers = queue.Queue()
        self.server = Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.server.server_address[1]

    def close(self):
        self.waiting.put(None)
        self.server.shutdown()
        self.server.server_close()

    def _handler(self):
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                assert self.path == API + "next", self.path
                invocation = api.waiting.get()
                if invocation is None:
                    return self.close_connection
                request_id, document, seconds = invocation
                self.send_response(200)
                self.send_header("Lambda-Runtime-Aws-Request-Id", request_id)
                self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + seconds) * 1000)))
                self.send_header("Lambda-Runtime-Invoked-Function-Arn", FUNCTION_ARN)
                self.send_header("Content-Length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request_id, kind = self.path.removeprefix(API).split("/")
                api.answers.put((request_id, kind, json.loads(body)))
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler


class Function:
    """One of the five functions, running as Lambda would run it."""

    def __init__(self, project, name, **variables):
        self.api = RuntimeApi()
        self.requests = 0
        bootstrap = project.folder / "bootstrap"
        with contextlib.suppress(FileExistsError):
            bootstrap.symlink_to(os.environ["HEADWATER_BIN"])
        self.log = project.folder / f"{name}.log"
        self.output = project.folder / f"{name}.out"
        self.process = subprocess.Popen(
            [str(bootstrap)],
            env={
                "AWS_LAMBDA_RUNTIME_API": self.api.address,
                "AWS_LAMBDA_FUNCTION_NAME": f"headwater-{name}",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "_HANDLER": name,
                "HEADWATER_PROJECT": str(project.folder),
                **variables,
            },
            stdout=self.output.open("a"),
            stderr=self.log.open("a"),
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.api.close()

    def invoke(self, document, seconds=60):
        """The kind of the answer, `response` or `error`, and its body."""
        request_id = self.hand_over(document, seconds)
        try:
            answered, kind, body = self.api.answers.get(timeout=seconds + 60)
        except queue.Empty:
            raise AssertionError(f"no answer; exit {self.process.poll()}\n{self.log.read_text()}") from None
        assert answered == request_id
        return kind, body

    def hand_over(self, document, seconds=60):
        """Begins an invocation, and returns the id of its request."""
        self.requests += 1
        request_id = f"request-{self.requests}"
        document = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.api.waiting.put((request_id, document, seconds))
        return request_id

    def logged(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metrics(self):
        return [json.loads(line) for line in self.output.read_text().splitlines()]


def messages(bodies, queue_name="queue", received=1):
    """An event of SQS with these messages, by id. A message that is received again was sent when it was."""
    return {
        "Records": [
            {
                "messageId": message_id,
                "receiptHandle": "handle",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {
                    "ApproximateReceiveCount": str(received),
                    "SentTimestamp": SENT,
                    "SenderId": "sender",
                    "ApproximateFirstReceiveTimestamp": SENT,
                },
                "messageAttributes": {},
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{queue_name}",
                "awsRegion": "us-east-1",
            }
            for message_id, body in bodies.items()
        ]
    }


def stored(*keys):
    """A notice of S3 that these objects were stored in the lake's bucket."""
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    return {"Records": [record | {"s3": {"bucket": {"name": "lake"}, "object": {"key": key}}} for key in keys]}
