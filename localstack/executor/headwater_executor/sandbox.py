"""An execution environment of Lambda: one process that answers one invocation at a time, within its time and memory.

A process that dies, takes too long or too much is gone, and the next invocation starts another one.
"""

import shutil
import tempfile
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .interface import Answer, Interface, Request, error
from .process import Process

LOOK_EVERY = 0.02
"""Seconds between two looks at a process that is at work."""
SHORTEST_START = 10.0
GRACE = 1.0


class StartFailed(Exception):
    """The program ended, or told an error, before it asked for an invocation."""

    def __init__(self, answer: Answer, log: str):
        super().__init__(answer.document.decode("utf-8", "replace"))
        self.answer = answer
        self.log = log


@dataclass(frozen=True)
class Limits:
    """What an invocation may take."""

    seconds: float
    mib: int


class Sandbox:
    """Runs the program `bootstrap` in the folder `code`."""

    def __init__(self, code: Path, environment: dict[str, str], limits: Limits, version: str = "$LATEST"):
        self.code, self.limits, self.version = code, limits, version
        self._folder = Path(tempfile.mkdtemp(prefix="lambda-"))
        (self._folder / "tmp").mkdir()
        self._output = self._folder / "output.log"
        self._read_to = 0
        self._started_in: float | None = None
        self._stopped = threading.Event()
        self._process: Process | None = None
        self._interface: Interface | None = None
        self._environment = {
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            "PATH": "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
            "LD_LIBRARY_PATH": f"/lib64:/usr/lib64:{code}:{code}/lib:/opt/lib",
            **environment,
            "LAMBDA_TASK_ROOT": str(code),
            "TMPDIR": str(self._folder / "tmp"),
        }

    @property
    def pid(self) -> int | None:
        """The number of its process, if there is one."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Starts the program, and waits until it asks for its first invocation. Raises `StartFailed`."""
        self._interface = Interface()
        begun = time.monotonic()
        environment = self._environment | {"AWS_LAMBDA_RUNTIME_API": self._interface.address}
        self._process = Process(self.code / "bootstrap", environment, self._output)
        last = time.monotonic() + max(SHORTEST_START, self.limits.seconds)
        failure = None
        while failure is None and not self._interface.is_started.wait(LOOK_EVERY):
            if (end := self._process.end) is not None:
                failure = error("Runtime.ExitError", f"Runtime exited during its start: {end}")
            elif time.monotonic() > last or self._stopped.is_set():
                failure = error("Runtime.StartTimeout", "Runtime didn't ask for an invocation in time")
        failure = failure or self._interface.start_error
        if failure is not None:
            self._end()
            raise StartFailed(failure, self.new_output())
        self._started_in = time.monotonic() - begun

    def invoke(self, request: Request) -> tuple[Answer, str]:
        """The answer, and what was logged: as on Lambda, with lines of the platform around the function's own."""
        begun = time.monotonic()
        try:
            if self._process is None or self._process.end is not None:
                self._end()
                self.start()
            answer = self._await(request, time.time() + self.limits.seconds)
        except StartFailed as failure:
            answer = failure.answer
            return answer, self._framed(request, failure.log, begun, peak=0)
        peak = self._process.peak_mib() if self._process else 0
        if answer is None:
            answer = self._broken(request)
            self._end()
        return answer, self._framed(request, self.new_output(), begun, peak)

    def stop(self) -> None:
        """Ends the process, and with it an invocation that it is at."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill(GRACE)
        if self._interface is not None:
            self._interface.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _await(self, request: Request, deadline: float) -> Answer | None:
        """The answer; none when the process can't go on."""
        waiting = self._interface.hand_over(request, int(deadline * 1000))
        while not _is_done(waiting, LOOK_EVERY):
            if self._process.end is not None or time.time() >= deadline or self._is_over_memory():
                return None
        return None if self._is_over_memory() else waiting.result()

    def _is_over_memory(self) -> bool:
        return self._process.peak_mib() > self.limits.mib

    def _broken(self, request: Request) -> Answer:
        prefix = f"RequestId: {request.id} Error:"
        if (end := self._process.end) is not None:
            return error("Runtime.ExitError", f"{prefix} Runtime exited with error: {end}")
        if self._is_over_memory():
            return error("Runtime.OutOfMemory", f"{prefix} Runtime exited with error: signal: killed")
        message = f"Task timed out after {self.limits.seconds:.2f} seconds"
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        with self._output.open("a") as output:
            output.write(f"{now} {request.id} {message}\n")
        return error("Sandbox.Timedout", f"{prefix} {message}")

    def _framed(self, request: Request, lines: str, begun: float, peak: int) -> str:
        millis = (time.monotonic() - begun) * 1000
        start = "" if self._started_in is None else f"\tInit Duration: {self._started_in * 1000:.2f} ms"
        self._started_in = None
        return (
            f"START RequestId: {request.id} Version: {self.version}\n{lines}END RequestId: {request.id}\n"
            f"REPORT RequestId: {request.id}\tDuration: {millis:.2f} ms\tBilled Duration: {int(millis) + 1} ms\t"
            f"Memory Size: {self.limits.mib} MB\tMax Memory Used: {peak} MB{start}\n"
        )

    def new_output(self) -> str:
        """What was written since the last look. A function has written its lines before it answers."""
        try:
            with self._output.open("rb") as output:
                output.seek(self._read_to)
                lines = output.read()
        except FileNotFoundError:
            return ""
        self._read_to += len(lines)
        return lines.decode("utf-8", "replace")

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
        if self._interface is not None:
            self._interface.close()
        self._process = self._interface = None


def _is_done(future: Future, seconds: float) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True
