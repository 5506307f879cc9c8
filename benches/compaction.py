"""Times compaction beside delta-rs's OPTIMIZE: 1,000 files of 1,000 rows, and gigabytes in files of 16 MB.

A table that Headwater made is filled by delta-rs, and each program gets a copy of it whose data files are links. Both make files of 128 MiB.
What is timed is the process, from its start to its exit, with the peak of its own memory: `headwater compact` also writes checkpoints, looks for what
can be deleted, and sees to the project's other tables. After each round both tables must hold the same rows, in about as many files.

    python3 benches/compaction.py --gigabytes 10 --rounds 3
"""

import argparse
import json
import os
import shutil
import sys
import time

import polars
from deltalake import DeltaTable, QueryBuilder, WriterProperties, write_deltalake
from deltalake.transaction import AddAction

import peers

TARGET_SIZE = 128 << 20
PROJECT = "name: bench\nstorage: lake\ntarget_file_size: 128MiB\nlibraries:\n  - glob: {include: t.sql}\n"
SQL = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'parquet');"
PEER = f"""
import sys
from deltalake import DeltaTable
print(DeltaTable(sys.argv[1]).optimize.compact(target_size={TARGET_SIZE}))
"""
OWN, OPTIMIZE = "Headwater", "delta-rs OPTIMIZE"
LARGE = 16_000_000
"""Bytes of a large file, about."""
COMPRESSED = WriterProperties(compression="ZSTD")
"""As Headwater compresses."""
DIFFERENT = 12
"""Large files that differ; the others are links of these."""


def rows(first, count):
    """Rows of which some columns repeat themselves and some don't."""
    mixed = (polars.col("id") * 2654435761) % (1 << 32)
    table = polars.DataFrame({"id": polars.int_range(first, first + count, eager=True)})
    return table.with_columns(
        customer=polars.format("customer {}", mixed % 50_000),
        country=polars.format("C{}", mixed % 90),
        amount=(mixed % 1_000_000) / 100,
        at=(1_767_225_600_000_000 + mixed % 31_536_000 * 1_000_000).cast(polars.Datetime("us", "UTC")),
        note=polars.format("note {}", mixed),
    )


def empty(command, folder):
    """A project with a table of one row, as Headwater makes it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "pipeline.yml").write_text(PROJECT)
    (folder / "t.sql").write_text(SQL)
    rows(0, 1).write_parquet(folder / "in/base-0.parquet")
    peers.run(command, folder, "run", "--quiet")
    return folder, folder / "lake/bronze/t"


def many_small(command, folder, count):
    """So many files of 1,000 rows."""
    folder, table = empty(command, folder)
    for number in range(count):
        write_deltalake(table, rows(number * 1_000, 1_000).to_arrow(), mode="append", schema_mode="merge")
    return folder


def large(command, folder, gigabytes):
    """Gigabytes in files of 16 MB."""
    folder, table = empty(command, folder)
    sample = folder / "sample.parquet"
    rows(0, 100_000).write_parquet(sample, compression="zstd")
    count = LARGE * 100_000 // sample.stat().st_size
    for number in range(DIFFERENT):
        write_deltalake(table, rows(number * count, count).to_arrow(), mode="append", schema_mode="merge", writer_properties=COMPRESSED)
    found = DeltaTable(table)
    adds = polars.DataFrame(found.get_add_actions(flatten=False)).filter(polars.col("num_records") == count)
    sizes = {path: size for path, size in adds.select("path", "size_bytes").iter_rows()}
    stats = {path: add for path, add in stored_stats(table).items() if path in sizes}
    actions, total, number = [], sum(sizes.values()), 0
    while total < gigabytes * 1e9:
        path = list(sizes)[number % len(sizes)]
        name = f"part-link-{number:05}.parquet"
        os.link(table / path, table / name)
        actions.append(AddAction(name, sizes[path], {}, int(time.time() * 1000), True, stats[path]))
        total, number = total + sizes[path], number + 1
    found.create_write_transaction(actions, mode="append", schema=found.schema(), partition_by=[])
    return folder


def stored_stats(table):
    """The statistics of each file that a log entry adds."""
    lines = (line for entry in (table / "_delta_log").glob("*.json") for line in entry.read_text().splitlines())
    adds = (json.loads(line).get("add") for line in lines)
    return {add["path"]: add["stats"] for add in adds if add}


def figures(table):
    """What a table holds, and in how many files."""
    found = DeltaTable(str(table))
    query = "SELECT count(*), sum(id), sum(amount), min(note), max(note), min(at), max(at), count(DISTINCT country) FROM t"
    row = polars.DataFrame(QueryBuilder().register("t", found).execute(query).read_all()).row(0)
    return [round(value, 0) if isinstance(value, float) else value for value in row], len(found.file_uris())


def compared(command, filled, rounds):
    """Name, seconds and MiB of each program in each round."""
    before, files = figures(filled / "lake/bronze/t")
    for _ in range(rounds):
        folder = peers.linked(filled, filled.parent / "round")
        peer = peers.linked(folder / "lake/bronze/t", folder.parent / "peer")
        yield OWN, peers.timed([command, "compact", "--quiet"], folder)
        yield OPTIMIZE, peers.timed([sys.executable, "-c", PEER, str(peer)], peer)
        (own, own_files), (other, other_files) = figures(folder / "lake/bronze/t"), figures(peer)
        print(f"  files: {files} before, {own_files} of Headwater, {other_files} of delta-rs", file=sys.stderr)
        if not before == own == other:
            sys.exit(f"{before}, {own} and {other} should be the same")
        if own_files > 2 * other_files + 1:
            sys.exit(f"{own_files} files are left, of {other_files} that delta-rs makes")


def goals(found):
    """What is aimed at, and what it is."""
    for name, programs in found.items():
        yield f"{name}: times as long as the peer, at most 1", programs[OWN][0] / programs[OPTIMIZE][0], None, 1
        yield f"{name}: part of the peer's memory, at most 0.5", programs[OWN][1] / programs[OPTIMIZE][1], None, 0.5


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", type=int, default=1_000, help="small files (1,000)")
    options.add_argument("--gigabytes", type=float, default=2, help="of large files (2); the disk needs three times as much")
    peers.add_options(options)
    chosen = options.parse_args()
    command, work = peers.places(chosen)
    cases = {
        f"{chosen.files:,} files of 1,000 rows": (many_small, f"small-{chosen.files}", chosen.files),
        f"{chosen.gigabytes:g} GB in files of 16 MB": (large, f"large-{chosen.gigabytes:g}", chosen.gigabytes),
    }
    found = {}
    for name, (fill, folder, size) in cases.items():
        folder = work / f"compaction-{folder}"
        if not (chosen.keep and folder.exists()):
            fill(command, folder, size)
        print(name, file=sys.stderr)
        found[name] = peers.medians(compared(command, folder, chosen.rounds))
    print(f"medians of {chosen.rounds}\n\n| table | program | seconds | MiB at peak |\n|---|---|--:|--:|")
    for case, programs in found.items():
        for name, (seconds, memory) in programs.items():
            print(f"| {case} | {name} | {seconds:.2f} | {memory:.0f} |")
    peers.print_goals(goals(found))


if __name__ == "__main__":
    main()
