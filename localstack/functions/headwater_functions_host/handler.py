"""The custom handler: the app's program, in an environment as the host makes it."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid

START_SECONDS = 60
STOP_SECONDS = 10
KEPT = ("PATH", "HOME", "LANG", "TZ", "RUST_BACKTRACE")
"""What a handler sees of this process's own environment."""


class HandlerFailed(Exception):
    """The program ended instead of answering."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Handler:
    """A process, which may be started again when it has ended."""

    def __init__(self, app, log):
        self.app, self.log = app, log
        self.process = None

    def start(self, must_answer=True):
        self.port = free_port()
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment |= {
            **self.app.settings,
            "FUNCTIONS_CUSTOMHANDLER_PORT": str(self.port),
            "FUNCTIONS_WORKER_RUNTIME": "custom",
            "AzureWebJobsScriptRoot": str(self.app.folder),
        }
        with open(self.log, "a") as log:
            self.process = subprocess.Popen(
                [self.app.program], cwd=self.app.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while must_answer:
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise HandlerFailed(f"the handler doesn't answer; the end of {self.log}:\n{self._last_lines()}")
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
            except OSError:
                time.sleep(0.01)

    def _last_lines(self):
        with open(self.log, errors="replace") as log:
            return "".join(log.readlines()[-10:])

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def stop(self):
        """Lets it answer what is under way."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def post(self, function, document, invocation=None):
        """The status and the body of an answer; 0 when the handler is gone."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "X-Azure-Functions-InvocationId": invocation or str(uuid.uuid4())}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{function}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self.app.timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            text = refused.read()
            return refused.code, json.loads(text) if text.startswith(b"{") else text.decode()
        except (OSError, EOFError):
            return 0, None
