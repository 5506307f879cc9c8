"""Times a year of flights through bronze, silver and gold, beside Spark Declarative Pipelines.

In each round, both programs start on an empty folder with the whole year, and then get one more file.
What is timed is the process, from its start to its exit. After each of them, the gold table is compared
with the same figures computed from the input; a wrong one ends the run.

    python3 benches/run.py --rounds 5
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", CACHE / "headwater-target"))
MORE = "flights-60.ndjson"


def year(folder):
    """The year's 60 files, and one more: the first again, with ids of its own."""
    data = folder / "year"
    if not (data / "complete").exists():
        script = HERE.parent / "examples/airlines/make_data.py"
        subprocess.run([sys.executable, script, "--year", data], check=True)
        with open(data / "flights-00.ndjson") as first, open(folder / MORE, "w") as more:
            for line in first:
                more.write(json.dumps({**json.loads(line), "id": 1_000_000 + json.loads(line)["id"]}) + "\n")
        (data / "complete").touch()
    return sorted(data.glob("*.ndjson")), folder / MORE


def figures(files):
    """Gold, from the input: flights, sum of the delays, worst delay and miles by carrier and month."""
    groups = defaultdict(lambda: [0, 0, -1_000_000, 0])
    for file in files:
        with open(file) as lines:
            for flight in map(json.loads, lines):
                if flight["dep_delay"] is not None:
                    group = groups[flight["carrier"], int(flight["scheduled_departure"][5:7])]
                    group[0] += 1
                    group[1] += flight["dep_delay"]
                    group[2] = max(group[2], flight["dep_delay"])
                    group[3] += flight["distance"]
    return {key: (count, round(total / count, 9), worst, miles) for key, (count, total, worst, miles) in groups.items()}


def gold(rows):
    return {
        (row["carrier"], int(row["month"])): (row["flights"], round(row["mean_delay"], 9), row["worst_delay"], row["miles"])
        for row in rows
    }


class Headwater:
    """The release build of the command."""

    name = "Headwater"

    def __init__(self, command):
        self.command = command

    def prepare(self, folder):
        shutil.copytree(HERE / "flights", folder, dirs_exist_ok=True)

    def update(self):
        return [self.command, "run", "--quiet"], os.environ

    def gold(self, folder):
        query = [self.command, "query", "SELECT * FROM delay_by_carrier_month", "--format", "json", "--limit", "1000"]
        out = subprocess.run(query, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
        return gold(json.loads(out))


class Peer:
    """Spark Declarative Pipelines, from PyPI's pyspark."""

    name = "Spark Declarative Pipelines"

    def prepare(self, folder):
        shutil.copytree(HERE / "peer", folder, dirs_exist_ok=True)
        project = folder / "spark-pipeline.yml"
        known = {"{storage}": (folder / "storage").as_uri(), "{input}": str(folder / "in")}
        text = project.read_text()
        for mark, value in known.items():
            text = text.replace(mark, value)
        project.write_text(text)

    def update(self):
        import pyspark

        environment = {**os.environ, "SPARK_HOME": str(Path(pyspark.__file__).parent), "PYSPARK_PYTHON": sys.executable}
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        pipelines = Path(environment["SPARK_HOME"], "bin/spark-pipelines")
        return [pipelines, "--conf", "spark.sql.catalogImplementation=hive", "run"], environment

    def gold(self, folder):
        table = folder / "spark-warehouse/delay_by_carrier_month"
        return gold(pyarrow.parquet.read_table(table).to_pylist())


def resident(pid):
    """MiB that a process and its descendants hold at this moment."""
    process = Path(f"/proc/{pid}")
    try:
        status = (process / "status").read_text()
        children = [child for thread in process.glob("task/*/children") for child in thread.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    own = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return own / 1024 + sum(map(resident, children))


def watch(process, peak):
    while process.returncode is None:
        peak[0] = max(peak[0], resident(process.pid))
        time.sleep(0.05)


def timed(program, folder):
    """Seconds from start to exit, and the peak of the memory that its processes held."""
    command, environment = program.update()
    peak = [0]
    with open(folder / "output.log", "w") as log:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        watcher = threading.Thread(target=watch, args=(process, peak))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        watcher.join()
    if process.returncode != 0:
        sys.exit(f"{program.name} ended with {process.returncode}:\n{(folder / 'output.log').read_text()[-4000:]}")
    return seconds, max(peak[0], used.ru_maxrss / 1024)


def check(program, folder, expected, step):
    found = program.gold(folder)
    if found != expected:
        wrong = [key for key in expected.keys() | found.keys() if found.get(key) != expected.get(key)]
        sys.exit(f"{program.name}, {step}: {len(wrong)} wrong rows in gold, among them {sorted(wrong)[0]}")


def measure(program, work, steps):
    """One round on an empty folder: adds each step's files, and times the update."""
    folder = work / "round"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    program.prepare(folder)
    for step, (files, expected) in steps.items():
        for file in files:
            os.link(file, folder / "in" / file.name)
        yield step, timed(program, folder)
        check(program, folder, expected, step)


def rounds(programs, work, steps, count):
    results = defaultdict(list)
    for number in range(count):
        for program in programs:
            for step, (seconds, memory) in measure(program, work, steps):
                print(f"round {number + 1}, {program.name}, {step}: {seconds:.2f} s, {memory:.0f} MiB", file=sys.stderr)
                results[step, program.name].append((seconds, memory))
    return {key: tuple(map(statistics.median, zip(*values))) for key, values in results.items()}


def report(medians, steps, programs):
    """A table of the medians, with how many times faster than the peer the first program is."""
    print("| update | program | seconds | MiB at peak | times as long |\n|---|---|--:|--:|--:|")
    for step in steps:
        own = medians[step, programs[0].name][0]
        for program in programs:
            seconds, memory = medians[step, program.name]
            print(f"| {step} | {program.name} | {seconds:.2f} | {memory:.0f} | {seconds / own:.1f} |")


def sizes():
    for profile in ("debug", "release"):
        binary = TARGET / profile / "headwater"
        if binary.exists():
            print(f"{profile} binary: {binary.stat().st_size / 2**20:.0f} MiB")


def options():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=3, help="how many of each, in turn; the median counts (3)")
    options.add_argument("--without-peer", action="store_true", help="time Headwater only")
    options.add_argument("--headwater", type=Path, default=TARGET / "release/headwater", help="the command to time")
    options.add_argument("--work", type=Path, default=CACHE / "headwater-bench", help="where data and tables are kept")
    return options.parse_args()


def main():
    chosen = options()
    if not chosen.headwater.exists():
        sys.exit(f"{chosen.headwater} is missing: cargo build --release -p headwater")
    programs = [Headwater(chosen.headwater.resolve())] + ([] if chosen.without_peer else [Peer()])
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    files, more = year(work)
    steps = {
        "the year, 60 files": (files, figures(files)),
        "one more file": ([more], figures([*files, more])),
    }
    report(rounds(programs, work, steps, chosen.rounds), steps, programs)
    sizes()


if __name__ == "__main__":
    main()
