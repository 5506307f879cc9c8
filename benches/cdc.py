"""Times changes of few rows of a large table (AUTO CDC, SCD type 1) beside delta-rs's MERGE.

The table is filled by Headwater; the peer gets a copy of it, file by file. In each round both get the same changes: 80% updates, 10%
inserts, 10% deletes, of keys that lie together or anywhere. What is timed is the process, from its start to its exit; the changes are
landed before. After each round the two tables must hold the same.

    python3 benches/cdc.py --rows 10000000 --changes 10000 --rounds 3
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy
import pyarrow
import pyarrow.csv
import pyarrow.parquet
from deltalake import DeltaTable, QueryBuilder

from run import CACHE, TARGET, timed

HISTORY = "STORED AS SCD TYPE 2"
SCHEMA = "id BIGINT, name STRING, amount DOUBLE, updated TIMESTAMP, op STRING, seq BIGINT"
KEPT = ("id", "name", "amount", "updated")
SQL = """
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true, schema => '{schema}');
CREATE STREAMING TABLE t;
CREATE FLOW changes AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
  COLUMNS (id, name, amount, updated) {history};
"""
CHUNK = 500_000

PEER = """
import sys
import pyarrow.parquet
from deltalake import DeltaTable
changes = pyarrow.parquet.read_table(sys.argv[2])
merge = DeltaTable(sys.argv[1]).merge(changes, "t.id = s.id", source_alias="s", target_alias="t")
columns = {name: f"s.{name}" for name in ("id", "name", "amount", "updated")}
merge = merge.when_matched_delete(predicate="s.op = 'D'").when_matched_update(columns, predicate="s.op <> 'D'")
print(merge.when_not_matched_insert(columns, predicate="s.op <> 'D'").execute())
"""


def rows(ids, op, seq):
    """Rows of these ids as they are after change number `seq`."""
    ids = numpy.asarray(ids, dtype="int64")
    mixed = (ids * 2654435761 + seq * 97) % (1 << 32)
    updated = (numpy.datetime64("2026-01-01T00:00:00", "us") + (mixed % 31_536_000).astype("timedelta64[s]")).astype("datetime64[us]")
    columns = {
        "id": ids,
        "name": pyarrow.array([f"{value:08x}-{number:x}" for value, number in zip(mixed.tolist(), ids.tolist())]),
        "amount": (mixed % 100_000) / 100,
        "updated": pyarrow.array(updated, pyarrow.timestamp("us", "UTC")),
        "op": pyarrow.array([op] * len(ids) if isinstance(op, str) else op),
        "seq": numpy.full(len(ids), seq, dtype="int64"),
    }
    return pyarrow.table(columns)


def run(command, folder, *arguments):
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"headwater {' '.join(arguments)}: {done.stdout}{done.stderr}")


def filled(command, folder, count, history):
    """A project whose table has so many rows, and ids as large."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "pipeline.yml").write_text("name: bench\nstorage: lake\nlibraries:\n  - glob: {include: t.sql}\n")
    (folder / "t.sql").write_text(SQL.format(schema=SCHEMA, history=history))
    for start in range(0, count, CHUNK):
        table = rows(range(start, min(start + CHUNK, count)), "I", 0)
        pyarrow.csv.write_csv(table, folder / f"in/base-{start:012}.csv")
    run(command, folder, "run", "--quiet")
    run(command, folder, "compact", "--quiet")
    return folder


def changes(dice, number, known, count, shape):
    """Changes of a table whose ids are all below `known`, and how many ids there are then."""
    inserts = count // 10
    touched = count - inserts
    if shape == "clustered":
        start = dice.randrange(known - touched)
        ids = list(range(start, start + touched))
    else:
        ids = dice.sample(range(known), touched)
    ops = ["D" if at < count // 10 else "U" for at in range(touched)]
    dice.shuffle(ops)
    ids += range(known, known + inserts)
    return rows(ids, ops + ["I"] * inserts, number), known + inserts


class Headwater:
    name = "Headwater"

    def __init__(self, command):
        self.command = command

    def update(self):
        return [self.command, "run", "--quiet", "--select", "t"], os.environ


class Peer:
    name = "delta-rs MERGE"

    def __init__(self, table, changes):
        self.arguments = [str(table), str(changes)]

    def update(self):
        return [sys.executable, "-c", PEER, *self.arguments], os.environ


def figures(table, history):
    where = "WHERE `__END_AT` IS NULL" if history else ""
    query = f"SELECT count(*), sum(id), sum(amount), max(name), min(updated) FROM t {where}".replace("`", '"')
    found = QueryBuilder().register("t", DeltaTable(str(table))).execute(query).read_all()
    return [round(value, 2) if isinstance(value, float) else value for value in pyarrow.table(found).to_pylist()[0].values()]


def compared(command, work, chosen, shape):
    """Seconds and MiB of each program in each round."""
    history = HISTORY if chosen.history else ""
    folder = filled(command, work / "cdc", chosen.rows, history)
    own, peer = folder / "lake/silver/t", folder / "peer"
    if not chosen.history:
        shutil.copytree(own, peer)
    dice, known = random.Random(5), chosen.rows
    for number in range(1, chosen.rounds + 1):
        table, known = changes(dice, number, known, chosen.changes, shape)
        pyarrow.csv.write_csv(table, folder / f"in/changes-{number:04}.csv")
        pyarrow.parquet.write_table(table, folder / "changes.parquet")
        run(command, folder, "run", "--quiet", "--select", "raw")
        yield Headwater.name, timed(Headwater(command), folder)
        if not chosen.history:
            program = Peer(peer, folder / "changes.parquet")
            yield program.name, timed(program, folder)
            if figures(own, "") != figures(peer, ""):
                sys.exit(f"round {number}: {figures(own, '')} is not {figures(peer, '')}")


def options():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=10_000_000, help="rows of the table (10 million)")
    options.add_argument("--changes", type=int, default=10_000, help="changes of a round (10,000)")
    options.add_argument("--rounds", type=int, default=3, help="how many; the median counts (3)")
    options.add_argument("--shape", choices=["clustered", "random"], action="append", help="how keys lie (both)")
    options.add_argument("--history", action="store_true", help="SCD type 2, which the peer has no like of")
    options.add_argument("--headwater", type=Path, default=TARGET / "release/headwater", help="the command to time")
    options.add_argument("--work", type=Path, default=CACHE / "headwater-bench", help="where tables are kept")
    return options.parse_args()


def main():
    chosen = options()
    if not chosen.headwater.exists():
        sys.exit(f"{chosen.headwater} is missing: cargo build --release -p headwater")
    print(f"{chosen.changes} changes of {chosen.rows} rows\n\n| keys | program | seconds | MiB at peak |\n|---|---|--:|--:|")
    for shape in chosen.shape or ["clustered", "random"]:
        results = defaultdict(list)
        for name, (seconds, memory) in compared(chosen.headwater.resolve(), chosen.work.resolve(), chosen, shape):
            print(f"{shape}, {name}: {seconds:.2f} s, {memory:.0f} MiB", file=sys.stderr)
            results[name].append((seconds, memory))
        for name, values in results.items():
            seconds, memory = map(statistics.median, zip(*values))
            print(f"| {shape} | {name} | {seconds:.2f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
