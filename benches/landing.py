"""Times how fast files land in a bronze table, beside Polars with PyPI's deltalake in the same run, which takes turns.

    HEADWATER_BIN=target/release/headwater python3 benches/landing.py --megabytes 512 --rounds 3
    HEADWATER_BIN=target/release/headwater python3 benches/landing.py --small 100000

Needs polars and deltalake. Rows and a sum are compared after each landing; the files are in the page cache.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SQL = "CREATE STREAMING TABLE events AS SELECT * FROM STREAM read_files('in', format => '{format}'{more}, schema => '{schema}');"
SCHEMA = "id BIGINT, carrier STRING, origin STRING, dest STRING, delay DOUBLE, at TIMESTAMP, note STRING"
PROJECT = "name: landing\nstorage: lake\nlibraries:\n  - glob: {include: sql/**}\n"
PEER = """
import sys, polars as pl
from pathlib import Path
from deltalake import write_deltalake
form, folder, table = sys.argv[1:]
types = {"id": pl.Int64, "carrier": pl.String, "origin": pl.String, "dest": pl.String, "delay": pl.Float64,
         "at": pl.Datetime("us", "UTC"), "note": pl.String}
text = types | {"at": pl.String}
for path in sorted(Path(folder).iterdir()):
    frame = pl.read_ndjson(path, schema=text) if form == "json" else pl.read_csv(path, schema=text)
    frame = frame.with_columns(pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"), pl.lit(str(path)).alias("path"))
    write_deltalake(table, frame.to_arrow(), mode="append")
"""
PEER_OF_SMALL = """
import sys, polars as pl
from deltalake import write_deltalake
form, folder, table = sys.argv[1:]
text = {"id": pl.Int64, "carrier": pl.String, "origin": pl.String, "dest": pl.String, "delay": pl.Float64, "at": pl.String, "note": pl.String}
frame = pl.scan_ndjson(f"{folder}/*.json", schema=text, include_file_paths="path")
frame = frame.with_columns(pl.col("at").str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_zone="UTC"))
write_deltalake(table, frame.collect().to_arrow(), mode="append")
"""


def record(form, number):
    values = (number, f"C{number % 14}", f"JFK{number % 3}", f"D{number % 105}", number % 977 / 4,
              f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}T{number % 24:02}:00:00Z", f"note {number * 2654435761 % 2**32:010}" * 3)
    if form == "csv":
        return ",".join(map(str, values)) + "\n"
    names = ("id", "carrier", "origin", "dest", "delay", "at", "note")
    quoted = (value if isinstance(value, (int, float)) else f'"{value}"' for value in values)
    return "{" + ",".join(f'"{name}":{value}' for name, value in zip(names, quoted)) + "}\n"


def write_files(folder, form, size, files):
    """Files of so many bytes together; how many rows they hold, and how many bytes."""
    folder.mkdir(parents=True)
    number = total = 0
    for file in range(files):
        lines = ["id,carrier,origin,dest,delay,at,note\n"] if form == "csv" else []
        filled = 0
        while filled < max(1, size // files):
            line = record(form, number)
            lines.append(line)
            filled += len(line)
            number += 1
        (folder / f"{file:06}.{form}").write_text("".join(lines))
        total += sum(map(len, lines))
    return number, total


def timed(command, folder):
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} ended with {status}")
    return time.monotonic() - started, usage.ru_maxrss // 1024


def headwater(form, files, work):
    (work / "sql").mkdir(parents=True)
    (work / "pipeline.yml").write_text(PROJECT)
    more = ", header => true" if form == "csv" else ""
    (work / "sql/a.sql").write_text(SQL.format(format=form, more=more, schema=SCHEMA))
    (work / "in").symlink_to(files)
    binary = Path(os.environ["HEADWATER_BIN"]).resolve()
    return timed([binary, "run"], work), work / "lake/bronze/events"


def peer(form, files, work):
    work.mkdir(parents=True)
    return timed([sys.executable, "-c", PEER, form, files, work / "table"], work), work / "table"


def peer_of_small(form, files, work):
    work.mkdir(parents=True)
    return timed([sys.executable, "-c", PEER_OF_SMALL, form, files, work / "table"], work), work / "table"


def check(table, rows):
    import polars as pl

    count, total = pl.scan_delta(str(table)).select(pl.len(), pl.col("id").sum().alias("sum")).collect().row(0)
    if (count, total) != (rows, rows * (rows - 1) // 2):
        sys.exit(f"{table}: {count} rows instead of {rows}, or others")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--megabytes", type=int, default=512)
    options.add_argument("--files", type=int, default=16)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--small", type=int, help="so many files of 1 KB instead; the peer reads all of them at once")
    chosen = options.parse_args()
    programs = [headwater, peer_of_small if chosen.small else peer]
    files, size = (chosen.small, chosen.small << 10) if chosen.small else (chosen.files, chosen.megabytes << 20)
    with tempfile.TemporaryDirectory() as folder:
        for form in ["json"] if chosen.small else ["json", "csv"]:
            rows, size_of_all = write_files(Path(folder) / form, form, size, files)
            found = {program.__name__: [] for program in programs}
            for turn in range(chosen.rounds):
                for program in programs:
                    work = Path(folder) / f"{program.__name__}-{form}-{turn}"
                    taken, table = program(form, Path(folder) / form, work)
                    check(table, rows)
                    found[program.__name__].append(taken)
                    shutil.rmtree(work)
            for name, taken in found.items():
                seconds = statistics.median(second for second, _ in taken)
                memory = max(most for _, most in taken)
                print(f"{form} {name}: {seconds:.2f} s, {size_of_all / 1e6 / seconds:.0f} MB/s, {memory} MiB, {rows} rows of {files} files")


if __name__ == "__main__":
    main()
