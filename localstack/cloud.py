"""Where the local cloud is: its port, its folder, its process."""

import json
import os
import signal
import time
import urllib.request
from pathlib import Path

from telling import Failed

PORT = 4566


class Cloud:
    """The LocalStack of one port."""

    def __init__(self, port):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.port = port
        self.folder = Path(os.environ.get("HEADWATER_LOCALSTACK") or cache / "headwater-localstack").absolute()
        self.python = self.folder / "venv/bin/python"
        self.state = self.folder / f"port-{port}"
        self.log = self.state / "localstack.log"
        self.pid_file = self.state / "pid"

    @classmethod
    def here(cls):
        """The one that `LOCALSTACK_PORT` names."""
        text = os.environ.get("LOCALSTACK_PORT") or str(PORT)
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise Failed(f"LOCALSTACK_PORT is `{text}`, which is no port; set a number such as {PORT}")
        return cls(int(text))

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def mark(self):
        """What the environment of its process holds, and no other's."""
        return f"HEADWATER_LOCALSTACK_STATE={self.state}"

    def pid(self):
        """Its process, if it runs. A number that another process has by now isn't it."""
        try:
            pid = int(self.pid_file.read_text())
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.mark.encode() in variables else None

    def health(self):
        """The version that answers at the port; none when nothing does."""
        try:
            with urllib.request.urlopen(f"{self.endpoint}/_localstack/health", timeout=2) as answer:
                return json.load(answer).get("version", "unknown")
        except (OSError, ValueError):
            return None

    def stop(self, seconds=3):
        """Asks the process to end, and ends it when it takes too long."""
        for name in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid()) is None:
                return
            os.kill(pid, name)
            end = time.monotonic() + seconds
            while self.pid() is not None and time.monotonic() < end:
                _reap(pid)
                time.sleep(0.05)


def _reap(pid):
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass
