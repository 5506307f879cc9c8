"""Lands one large file of CSV, and one of NDJSON, in a table, and prints the memory that it takes and how fast it is.

    HEADWATER_BIN=target/release/headwater python3 benches/large_file.py --gigabytes 10
    HEADWATER_BIN=... python3 benches/large_file.py --gigabytes 1 --format csv --kill-every 20

Needs polars. Every row is counted and summed afterwards. With --kill-every the program is killed every so many seconds and started
again, until it ends by itself. What is aimed at is 512 MiB.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from landing import PROJECT, SCHEMA, SQL, check, record

ROWS_OF_A_BLOCK = 50_000


def quoted(line, number):
    front, note = line.rstrip("\n").rsplit(",", 1)
    return f'{front},"{note}\n{number}, ""quoted"""\n'


def write_file(path, form, size):
    """One file of at least so many bytes; how many rows it holds. Each line of CSV is quoted over two."""
    number = 0
    with path.open("w") as file:
        if form == "csv":
            file.write("id,carrier,origin,dest,delay,at,note\n")
        while file.tell() < size:
            block = range(number, number + ROWS_OF_A_BLOCK)
            file.write("".join(quoted(record(form, number), number) if form == "csv" else record(form, number) for number in block))
            number = block.stop
    return number


def run(work, kill_every):
    """One process after the other until one ends well: seconds, the most memory of one in MiB, and processes."""
    started, most, processes = time.monotonic(), 0, 0
    while True:
        processes += 1
        process = subprocess.Popen([Path(os.environ["HEADWATER_BIN"]).resolve(), "run"], cwd=work, stdout=subprocess.DEVNULL)
        if kill_every:
            signal.signal(signal.SIGALRM, lambda *_: process.kill())
            signal.alarm(kill_every)
        _, status, usage = os.wait4(process.pid, 0)
        signal.alarm(0)
        most = max(most, usage.ru_maxrss // 1024)
        if status == 0:
            return time.monotonic() - started, most, processes
        if not (kill_every and os.WIFSIGNALED(status)):
            sys.exit(f"headwater ended with {status}")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--gigabytes", type=float, default=10)
    options.add_argument("--format", choices=["csv", "json"], action="append")
    options.add_argument("--kill-every", type=int, metavar="SECONDS")
    options.add_argument("--work", type=Path, help="a folder on a disk with room for twice the file")
    chosen = options.parse_args()
    for form in chosen.format or ["csv", "json"]:
        with tempfile.TemporaryDirectory(dir=chosen.work) as folder:
            work = Path(folder)
            for name in ["in", "sql"]:
                (work / name).mkdir()
            (work / "pipeline.yml").write_text(PROJECT)
            more = ", header => true" if form == "csv" else ""
            (work / "sql/a.sql").write_text(SQL.format(format=form, more=more, schema=SCHEMA))
            rows = write_file(work / f"in/large.{form}", form, int(chosen.gigabytes * 1e9))
            size = (work / f"in/large.{form}").stat().st_size
            seconds, memory, processes = run(work, chosen.kill_every)
            check(work / "lake/bronze/events", rows)
            commits = len(list((work / "lake/bronze/events/_delta_log").glob("*.json")))
            print(
                f"{form}: {size / 1e9:.2f} GB, {rows} rows in {commits} commits by {processes} processes, {seconds:.1f} s,"
                f" {size / 1e6 / seconds:.0f} MB/s, {memory} MiB at most",
                flush=True,
            )


if __name__ == "__main__":
    main()
