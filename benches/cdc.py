"""Times changes of few rows of a large table (AUTO CDC, SCD types 1 and 2) beside delta-rs's MERGE.

The tables are filled by Headwater once and then linked, file by file, for each way that keys may lie; the peer gets a copy of the
one with the last states. In each round all get the same changes: 80% updates, 10% inserts, 10% deletes, of keys that lie together or
anywhere. What is timed is the process, from its start to its exit, with the peak of its own memory; the changes are landed before. After each
round Headwater's table, its history's open states, and the peer's table must hold the same rows. A table of a tenth of the rows tells whether time follows
the table or the changes.

    python3 benches/cdc.py --rows 10000000 --changes 10000 --rounds 3
"""

import argparse
import random
import shutil
import sys
import time

import polars
from deltalake import DeltaTable, QueryBuilder

import peers
from peers import linked, medians, run, timed

PROJECT = "name: bench\nstorage: lake\nmax_batch_bytes: 8MiB\nlibraries:\n  - glob: {include: t.sql}\n"
SQL = """
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'parquet');
CREATE STREAMING TABLE t;
CREATE FLOW states AS AUTO CDC INTO t FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
  COLUMNS (id, name, amount, updated);
CREATE STREAMING TABLE h;
CREATE FLOW history AS AUTO CDC INTO h FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
  COLUMNS (id, name, amount, updated) STORED AS SCD TYPE 2;
"""
CHUNK = 250_000

PEER = """
import sys
import polars
from deltalake import DeltaTable
changes = polars.read_parquet(sys.argv[2]).to_arrow()
merge = DeltaTable(sys.argv[1]).merge(changes, "t.id = s.id", source_alias="s", target_alias="t")
columns = {name: f"s.{name}" for name in ("id", "name", "amount", "updated")}
merge = merge.when_matched_delete(predicate="s.op = 'D'").when_matched_update(columns, predicate="s.op <> 'D'")
print(merge.when_not_matched_insert(columns, predicate="s.op <> 'D'").execute())
"""

OWN, HISTORY, MERGE = "Headwater, SCD type 1", "Headwater, SCD type 2", "delta-rs MERGE"


def rows(ids, op, seq):
    """Rows of these ids as they are after change number `seq`; `op` is one for all, or one for each."""
    mixed = (polars.col("id") * 2654435761 + seq * 97) % (1 << 32)
    table = polars.DataFrame({"id": ids}, schema={"id": polars.Int64})
    table = table.with_columns(op=polars.lit(op) if isinstance(op, str) else polars.Series(op, dtype=polars.String))
    return table.select(
        "id",
        name=polars.format("{}-{}", mixed, polars.col("id")),
        amount=(mixed % 100_000) / 100,
        updated=(1_767_225_600_000_000 + mixed % 31_536_000 * 1_000_000).cast(polars.Datetime("us", "UTC")),
        op="op",
        seq=polars.lit(seq, polars.Int64),
    )


def filled(command, folder, count):
    """A project whose tables have so many rows, and ids as large."""
    start = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "pipeline.yml").write_text(PROJECT)
    (folder / "t.sql").write_text(SQL)
    for first in range(0, count, CHUNK):
        ids = polars.int_range(first, min(first + CHUNK, count), eager=True)
        rows(ids, "I", 0).write_parquet(folder / f"in/base-{first:012}.parquet")
    run(command, folder, "run", "--quiet")
    run(command, folder, "compact", "--quiet")
    files = {name: len(DeltaTable(str(folder / f"lake/silver/{name}")).file_uris()) for name in ("t", "t__changes", "h", "h__changes")}
    print(f"filled {count} rows in {time.perf_counter() - start:.0f} s; files: {files}", file=sys.stderr)
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


def figures(table, where=""):
    query = f"SELECT count(*), sum(id), sum(amount), min(name), max(name), min(updated), max(updated), sum(length(name)) FROM t {where}"
    found = QueryBuilder().register("t", DeltaTable(str(table))).execute(query).read_all()
    row = polars.DataFrame(found).row(0)
    return [round(value, 2) if isinstance(value, float) else value for value in row]


def compared(command, filled_with, count, shape, chosen, only=None):
    """Name, seconds and MiB of each program in each round."""
    folder = linked(filled_with, filled_with.parent / "round")
    peer = linked(folder / "lake/silver/t", folder.parent / "peer")
    dice, known = random.Random(5), count
    for number in range(1, chosen.rounds + 1):
        table, known = changes(dice, number, known, chosen.changes, shape)
        table.write_parquet(folder / f"in/changes-{number:04}.parquet")
        run(command, folder, "run", "--quiet", "--select", "raw")
        yield OWN, timed([command, "run", "--quiet", "--select", "t"], folder)
        if only == OWN:
            continue
        yield HISTORY, timed([command, "run", "--quiet", "--select", "h"], folder)
        table.write_parquet(peer / "changes.parquet")
        yield MERGE, timed([sys.executable, "-c", PEER, str(peer), str(peer / "changes.parquet")], peer)
        own, open_states, merged = figures(folder / "lake/silver/t"), figures(folder / "lake/silver/h", 'WHERE "__END_AT" IS NULL'), figures(peer)
        if not own == open_states == merged:
            sys.exit(f"round {number}: {own}, {open_states} and {merged} should be the same")


def goals(found, small):
    """What is aimed at, and what it is."""
    clustered, anywhere = found.get("clustered"), found.get("random")
    if clustered:
        yield "clustered: times as fast as the peer, at least 3", clustered[MERGE][0] / clustered[OWN][0], 3, None
        yield "clustered: part of the peer's memory, at most 0.25", clustered[OWN][1] / clustered[MERGE][1], None, 0.25
        yield "clustered: SCD type 2 beside type 1, at most 2", clustered[HISTORY][0] / clustered[OWN][0], None, 2
    if anywhere:
        yield "random: times as fast as the peer, at least 1", anywhere[MERGE][0] / anywhere[OWN][0], 1, None
        yield "random: part of the peer's memory, at most 0.25", anywhere[OWN][1] / anywhere[MERGE][1], None, 0.25
        yield "random: SCD type 2 beside type 1, at most 2", anywhere[HISTORY][0] / anywhere[OWN][0], None, 2
    if clustered and small:
        yield "clustered: a tenfold table, at most 1.5", clustered[OWN][0] / small[OWN][0], None, 1.5
    most = max((found[name][1] for found in found.values() for name in (OWN, HISTORY)), default=0)
    yield "MiB at most, below 1024", most, None, 1024


def options():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=10_000_000, help="rows of the table (10 million)")
    options.add_argument("--changes", type=int, default=10_000, help="changes of a round (10,000)")
    options.add_argument("--shape", choices=["clustered", "random"], action="append", help="how keys lie (both)")
    peers.add_options(options)
    return options.parse_args()


def main():
    chosen = options()
    command, work = peers.places(chosen)

    def base(count):
        folder = work / f"cdc-{count}"
        return folder if chosen.keep and (folder / "lake/silver/h__changes").exists() else filled(command, folder, count)

    found, small = {}, None
    shapes = chosen.shape or ["clustered", "random"]
    if "clustered" in shapes:
        count = chosen.rows // 10
        print(f"{count} rows, clustered", file=sys.stderr)
        small = medians(compared(command, base(count), count, "clustered", chosen, only=OWN))
    for shape in shapes:
        print(f"{chosen.rows} rows, {shape}", file=sys.stderr)
        found[shape] = medians(compared(command, base(chosen.rows) if not found else work / f"cdc-{chosen.rows}", chosen.rows, shape, chosen))
    print(f"{chosen.changes} changes of {chosen.rows} rows, medians of {chosen.rounds}\n\n| keys | program | seconds | MiB at peak |\n|---|---|--:|--:|")
    for shape, programs in [*found.items(), *([("clustered, a tenth of the rows", small)] if small else [])]:
        for name, (seconds, memory) in programs.items():
            print(f"| {shape} | {name} | {seconds:.2f} | {memory:.0f} |")
    peers.print_goals(goals(found, small))


if __name__ == "__main__":
    main()
