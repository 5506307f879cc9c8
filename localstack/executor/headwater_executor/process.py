"""The process of a function: a group of its own, its output in a file, its memory watched, gone with whoever started it."""

import ctypes
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
# The signal of a parent's death is sent when the thread that forked ends: all forks come from one that stays.
_FORKS = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lambda-fork")


def _end_with_parent():
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Process:
    """A running program. Nothing of the environment of its parent is handed on."""

    def __init__(self, program: Path, environment: dict[str, str], output: Path):
        with output.open("ab") as file:
            self._child = _FORKS.submit(
                subprocess.Popen,
                [str(program)],
                cwd=program.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            ).result()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def end(self) -> str | None:
        """How the process ended, as Lambda words it."""
        code = self._child.poll()
        if code is None:
            return None
        return f"signal: {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def peak_mib(self) -> int:
        """The most memory that it has held so far; 0 when it has ended."""
        try:
            status = Path(f"/proc/{self._child.pid}/status").read_text()
        except OSError:
            return 0
        peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(peaks[0]) // 1024 if peaks else 0

    def kill(self, grace: float = 0) -> None:
        """Ends the process and all that it started; with `grace`, it is asked to end by itself for so many seconds."""
        try:
            if grace and self._child.poll() is None:
                os.killpg(self._child.pid, signal.SIGTERM)
                self._child.wait(grace)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait()
