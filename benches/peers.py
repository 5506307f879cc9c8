"""What the benchmarks that hold a command beside a peer share: where things are, processes that are timed, medians, aims."""

import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "headwater-target"))
BINARY = Path(os.environ.get("HEADWATER_BIN", TARGET / "release/headwater"))


def add_options(options):
    """What all of them are told."""
    options.add_argument("--rounds", type=int, default=3, help="how many; the median counts (3)")
    options.add_argument("--headwater", type=Path, default=BINARY, help="the command to time (HEADWATER_BIN, or the release build)")
    options.add_argument("--work", type=Path, default=CACHE / "headwater-bench", help="where tables are kept")
    options.add_argument("--keep", action="store_true", help="use the tables of an earlier run, if they are there")


def places(chosen):
    """The command and the folder that were chosen."""
    if not chosen.headwater.exists():
        sys.exit(f"{chosen.headwater} is missing: cargo build --release -p headwater")
    return chosen.headwater.resolve(), chosen.work.resolve()


def run(command, folder, *arguments):
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"headwater {' '.join(arguments)}: {done.stdout}{done.stderr}")


def linked(source, folder):
    """The same tables again, without what they were filled with. Data files are never written twice, so that links do for them."""

    def place(old, new):
        os.link(old, new) if str(old).endswith(".parquet") else shutil.copy2(old, new)

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, copy_function=place, ignore=shutil.ignore_patterns("base-*"))
    return folder


def peak(pid):
    """The most that a process has held, in MiB; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def timed(command, folder):
    """Seconds from start to exit, and the peak of the process's memory."""
    most = [0]

    def watch():
        while process.returncode is None:
            most[0] = max(most[0], peak(process.pid))
            time.sleep(0.01)

    with open(folder / "output.log", "w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        watcher = threading.Thread(target=watch)
        watcher.start()
        _, status = os.waitpid(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
    if process.returncode != 0:
        sys.exit(f"{command} ended with {process.returncode}:\n{(folder / 'output.log').read_text()[-4000:]}")
    return seconds, most[0]


def medians(results):
    """Of programs' seconds and MiB, one of each round, by name."""
    measured = defaultdict(list)
    for name, found in results:
        print(f"  {name}: {found[0]:.2f} s, {found[1]:.0f} MiB", file=sys.stderr)
        measured[name].append(found)
    return {name: tuple(map(statistics.median, zip(*found))) for name, found in measured.items()}


def print_goals(goals):
    """Aims with what they are, and the least or the greatest that holds them."""
    print("\n| aim | it is | |\n|---|--:|---|")
    for aim, value, least, greatest in goals:
        held = (least is None or value >= least) and (greatest is None or value <= greatest)
        print(f"| {aim} | {value:.2f} | {'held' if held else 'missed'} |")
