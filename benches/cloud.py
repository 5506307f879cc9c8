"""Times a pipeline on a local AWS: cold and warm functions, and an event's way from the queue to gold.

    python3 benches/cloud.py --rounds 10

Needs the packages of tests/python/requirements.txt. It runs the program that was built last, or HEADWATER_BIN, on LocalStack, which takes a share of each time.
"""

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/python"))
from cloud import FUNCTIONS, LocalCloud, Stack

PIPELINE = "name: bench\nstorage: lake\nsources:\n  orders: {spool: events/orders}\n"
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE orders (CONSTRAINT positive EXPECT (quantity > 0) ON VIOLATION DROP ROW)
TBLPROPERTIES ('headwater.dedup.keys' = 'id') AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""
LARGE_BATCH = 2500
"""Messages that LocalStack hands over at once."""


def project(folder):
    (folder / "pipeline.yml").write_text(PIPELINE)
    (folder / "bench.sql").write_text(SQL)
    return folder


def reports(stack, function):
    """What the platform's lines say of each invocation: milliseconds, MiB, and milliseconds of the start."""
    for line in stack.logged(function):
        if line.startswith("REPORT"):
            read = re.search(r"Duration: ([\d.]+) ms.*Max Memory Used: (\d+) MB(?:\tInit Duration: ([\d.]+) ms)?", line)
            yield float(read[1]), int(read[2]), float(read[3]) if read[3] else None


def commits(stack, table):
    """When each commit of a table was made, in milliseconds, by version."""
    return {each["version"]: each["timestamp"] for each in stack.table(table).history() if "version" in each}


def until_version(stack, table, version):
    while True:
        made = commits(stack, table)
        if version in made:
            return made[version]
        time.sleep(0.02)


def event_to_gold(stack, number):
    """Milliseconds from the sending of one event to its commits in bronze, silver and, woken at once, gold."""
    version = stack.table("silver/orders").version() + 1
    sent = time.time() * 1000
    stack.send([json.dumps({"id": number, "quantity": 1})])
    silver = until_version(stack, "silver/orders", version)
    bronze = max(commits(stack, "bronze/orders_raw").values())
    woken = time.time() * 1000
    stack.invoke("gold")
    gold = max(commits(stack, "gold/total").values())
    return bronze - sent, silver - bronze, gold - woken


def functions_table(stack, rounds):
    """Functions that find nothing to do, but bronze-events, which lands an event each time."""
    for function in FUNCTIONS[1:] * rounds:
        stack.invoke(function)
    print("\n| function | start, ms | first, ms | warm, ms | MiB |\n|---|--:|--:|--:|--:|")
    for function in FUNCTIONS:
        seen = list(reports(stack, function))
        cold = [(millis, start) for millis, _, start in seen if start is not None]
        warm = [millis for millis, _, start in seen if start is None]
        first, start = (statistics.median(each) for each in zip(*cold))
        print(f"| {function} | {start:.0f} | {first:.0f} | {statistics.median(warm):.0f} | {max(mib for _, mib, _ in seen)} |")


def latency_table(stack, rounds):
    stages = zip(*(event_to_gold(stack, 1_000_000 + number) for number in range(rounds)))
    print("\n| stage | median, ms | slowest, ms |\n|---|--:|--:|")
    for name, millis in zip(("event to bronze", "bronze to silver", "gold, from its timer"), stages):
        print(f"| {name} | {statistics.median(millis):.0f} | {max(millis):.0f} |")


def large_batches(stack):
    before = len(list(reports(stack, "bronze-events")))
    stack.send([json.dumps({"id": number, "quantity": 1}) for number in range(4 * LARGE_BATCH)])
    stack.settle()
    seen = list(reports(stack, "bronze-events"))[before:]
    assert len(stack.rows("silver/orders")) >= 4 * LARGE_BATCH
    median, peak = statistics.median(millis for millis, _, _ in seen), max(mib for _, mib, _ in seen)
    print(f"\n{4 * LARGE_BATCH:,} messages in {len(seen)} invocations of {median:.0f} ms, at most {peak} MiB")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=10)
    rounds = arguments.parse_args().rounds
    cloud = LocalCloud()
    try:
        with tempfile.TemporaryDirectory() as folder:
            stack = Stack(cloud, "bench", project(Path(folder)), SourceName="orders")
            stack.send([json.dumps({"id": 0, "quantity": 1})])
            stack.settle()
            latency_table(stack, rounds)
            functions_table(stack, rounds)
            large_batches(stack)
    finally:
        cloud.run("down")


main()
