"""Plain processes that outlive the command that starts them, each known by a mark in its environment."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from telling import Failed

LAST_LINES = 20
LOOK_SECONDS = 0.05


class Server:
    """A process with a folder of its own for its number and its log."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.log = folder / f"{name}.log"
        self.pid_file = folder / f"{name}.pid"
        self.mark = f"HEADWATER_LOCAL_SERVER={folder / name}"

    def pid(self):
        """Its process, if it runs. A number that another process has by now isn't it."""
        try:
            pid = int(self.pid_file.read_text())
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if self.mark.encode() in variables else None

    def start(self, command, is_healthy, variables=None, seconds=60):
        """Returns once it is healthy."""
        if is_healthy():
            raise Failed(f"another {self.name} answers already; stop it where it was started, or choose another address")
        name, _, value = self.mark.partition("=")
        with self.log.open("w") as log:
            process = subprocess.Popen(
                list(map(str, command)), env={**os.environ, **(variables or {}), name: value}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)
        self.pid_file.write_text(str(process.pid))
        end = time.monotonic() + seconds
        while not is_healthy():
            if process.poll() is not None or time.monotonic() > end:
                self.stop()
                last = "\n".join(self.log.read_text(errors="replace").splitlines()[-LAST_LINES:])
                raise Failed(f"{self.name} didn't start; the end of {self.log}:\n{last}")
            time.sleep(LOOK_SECONDS)

    def stop(self, seconds=15):
        """Asks it to end, and ends it when it takes too long. What it started ends with it."""
        group = self.pid()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if (pid := self.pid()) is None:
                break
            os.kill(pid, number)
            end = time.monotonic() + seconds
            while self.pid() is not None and time.monotonic() < end:
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    pass
                time.sleep(LOOK_SECONDS)
        if group is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
