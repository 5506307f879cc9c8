"""Times deduplication of events against the keys of a large table, beside delta-rs's MERGE that inserts what isn't there.

The keys are random, so that the bounds of no file rule a key out; files follow the time of events, as in any table that is filled as events
come. One table looks for keys among all rows, the other has a watermark, which leaves a tenth of the time that the rows span. Half of a round's
events are there already, from the last tenth, and half are new. What is timed is the process, from its start to its exit, with the peak of its own
memory; the events are landed before. After each round all tables must hold the same rows.

    python3 benches/dedup.py --keys 10000000 --events 200000 --rounds 3
"""

import argparse
import random
import shutil
import sys
import time

import polars
from deltalake import DeltaTable, QueryBuilder

import peers

PROJECT = "name: bench\nstorage: lake\nlibraries:\n  - glob: {include: t.sql}\n"
SQL = """
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'parquet');
CREATE STREAMING TABLE t TBLPROPERTIES ('headwater.dedup.keys' = 'event_id') AS SELECT event_id, at, customer, amount FROM STREAM(raw);
CREATE STREAMING TABLE w TBLPROPERTIES ('headwater.dedup.keys' = 'event_id')
  AS SELECT event_id, at, customer, amount FROM STREAM raw WATERMARK at DELAY OF INTERVAL {delay} SECONDS;
"""
PEER = """
import sys
import polars
from deltalake import DeltaTable
events = polars.read_parquet(sys.argv[2]).to_arrow()
merge = DeltaTable(sys.argv[1]).merge(events, "t.event_id = s.event_id", source_alias="s", target_alias="t")
print(merge.when_not_matched_insert_all().execute())
"""
OWN, TIMELY, MERGE = "Headwater", "Headwater, watermark", "delta-rs MERGE"
CHUNK = 250_000


def events(numbers):
    """The events of these numbers: one a second."""
    hashed = polars.col("number").hash(7)
    return polars.DataFrame({"number": numbers}, schema={"number": polars.Int64}).select(
        event_id=polars.format("{}-{}", hashed, polars.col("number").hash(11)),
        at=(1_767_225_600_000_000 + polars.col("number") * 1_000_000).cast(polars.Datetime("us", "UTC")),
        customer=polars.format("customer {}", hashed % 50_000),
        amount=(hashed % 1_000_000) / 100,
    )


def filled(command, folder, count):
    """A project whose two tables have so many events."""
    start = time.perf_counter()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    (folder / "pipeline.yml").write_text(PROJECT)
    (folder / "t.sql").write_text(SQL.format(delay=count // 10))
    for first in range(0, count, CHUNK):
        numbers = polars.int_range(first, min(first + CHUNK, count), eager=True)
        events(numbers).write_parquet(folder / f"in/base-{first:012}.parquet")
        peers.run(command, folder, "run", "--quiet")
    peers.run(command, folder, "compact", "--quiet")
    files = {name: len(DeltaTable(str(folder / f"lake/silver/{name}")).file_uris()) for name in ("t", "w")}
    print(f"filled {count} rows in {time.perf_counter() - start:.0f} s; files: {files}", file=sys.stderr)
    return folder


def figures(table):
    query = "SELECT count(*), count(DISTINCT event_id), sum(amount), min(event_id), max(event_id), min(at), max(at) FROM t"
    row = polars.DataFrame(QueryBuilder().register("t", DeltaTable(str(table))).execute(query).read_all()).row(0)
    return [round(value, 0) if isinstance(value, float) else value for value in row]


def compared(command, filled_with, count, chosen):
    """Name, seconds and MiB of each program in each round."""
    folder = peers.linked(filled_with, filled_with.parent / "round")
    peer = peers.linked(folder / "lake/silver/t", folder.parent / "peer")
    dice, known = random.Random(5), count
    for number in range(1, chosen.rounds + 1):
        new = chosen.events // 2
        numbers = dice.sample(range(known - count // 10 + new, known), chosen.events - new) + list(range(known, known + new))
        dice.shuffle(numbers)
        known += new
        batch = events(numbers)
        batch.write_parquet(folder / f"in/events-{number:04}.parquet")
        peers.run(command, folder, "run", "--quiet", "--select", "raw")
        yield OWN, peers.timed([command, "run", "--quiet", "--select", "t"], folder)
        yield TIMELY, peers.timed([command, "run", "--quiet", "--select", "w"], folder)
        batch.write_parquet(peer / "events.parquet")
        yield MERGE, peers.timed([sys.executable, "-c", PEER, str(peer), str(peer / "events.parquet")], peer)
        own, timely, merged = (figures(table) for table in (folder / "lake/silver/t", folder / "lake/silver/w", peer))
        if not (own == timely == merged and own[0] == own[1] == known):
            sys.exit(f"round {number}: {own}, {timely} and {merged} should be the same, of {known} rows")


def goals(found):
    """What is aimed at, and what it is."""
    yield "times as fast as the peer, at least 5", found[MERGE][0] / found[OWN][0], 5, None
    yield "part of the peer's memory, at most 0.1", found[OWN][1] / found[MERGE][1], None, 0.1
    yield "with a watermark: times as fast as without, at least 5", found[OWN][0] / found[TIMELY][0], 5, None
    yield "with a watermark: part of the peer's memory, at most 0.1", found[TIMELY][1] / found[MERGE][1], None, 0.1


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--keys", type=int, default=10_000_000, help="rows of the table (10 million)")
    options.add_argument("--events", type=int, default=200_000, help="events of a round (200,000)")
    peers.add_options(options)
    chosen = options.parse_args()
    command, work = peers.places(chosen)
    folder = work / f"dedup-{chosen.keys}"
    if not (chosen.keep and folder.exists()):
        filled(command, folder, chosen.keys)
    found = peers.medians(compared(command, folder, chosen.keys, chosen))
    print(f"{chosen.events} events against {chosen.keys} keys, medians of {chosen.rounds}\n\n| program | seconds | MiB at peak |\n|---|--:|--:|")
    for name, (seconds, memory) in found.items():
        print(f"| {name} | {seconds:.2f} | {memory:.0f} |")
    peers.print_goals(goals(found))


if __name__ == "__main__":
    main()
