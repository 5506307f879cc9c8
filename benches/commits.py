"""Counts the commits a second of writers that append to one table of a local AWS at the same time: Headwater's and delta-rs's.

    HEADWATER_BIN=... python3 benches/commits.py --writers 8 --commits 25 --rounds 3

Headwater's writers are functions `bronze-events`, each on a runtime interface of its own (tests/python/runtime_api.py), which get one batch
of ten new messages after another. delta-rs's are processes that append the same rows by `write_deltalake` on a handle that they keep, and leave
trying again to its own loop. All are warm before time is taken. The programs take turns on one LocalStack, whose log says what it was asked for.
Afterwards each row has to be there once.

Needs the packages of tests/python/requirements.txt.
"""

import argparse
import json
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pyarrow
from deltalake import CommitProperties, DeltaTable, write_deltalake

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/python"))
from cloud import KEYS, LocalCloud, client, installed  # noqa: E402
from runtime_api import Function, messages  # noqa: E402

BATCH = 10
"""Rows of a commit."""
DONE = ("response", {"batchItemFailures": []})
TABLE = "bronze/orders_raw"
PIPELINE = "name: commits\nstorage: lake\nsources:\n  orders: {spool: events/orders}\n"
SQL = """CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, customer STRING, quantity INT, price DOUBLE');"""


def rows(writer, commit):
    first = (writer * 100_000 + commit) * BATCH
    return [{"id": id, "customer": f"customer-{id % 97}", "quantity": id % 7, "price": id % 1000 / 10} for id in range(first, first + BATCH)]


def options(endpoint):
    keys = {name.upper(): value for name, value in KEYS.items() if name != "region_name"}
    return keys | {"AWS_REGION": KEYS["region_name"], "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}


def timed(commits, append, ready):
    """Seconds of each commit, and when the first began. One that isn't counted comes before, so that all are warm."""
    append(0)
    ready.wait()
    begun, taken = time.time(), []
    for commit in range(1, commits + 1):
        started = time.perf_counter()
        append(commit)
        taken.append(time.perf_counter() - started)
    return begun, taken


def by_headwater(endpoint, bucket, writers, commits):
    """What `timed` says of each writer."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "pipeline.yml").write_text(PIPELINE)
        (Path(folder) / "commits.sql").write_text(SQL)
        variables = options(endpoint) | {"HEADWATER_STORAGE": f"s3://{bucket}", "HEADWATER_QUEUES": "orders=queue"}
        running = [Function(SimpleNamespace(folder=Path(folder)), "bronze-events", **variables) for _ in range(writers)]
        ready = threading.Barrier(writers)

        def write(writer):
            def append(commit):
                answer = running[writer].invoke(document(rows(writer, commit)))
                assert answer == DONE, (answer, running[writer].log.read_text()[-2000:])

            return timed(commits, append, ready)

        with ThreadPoolExecutor(writers) as threads:
            taken = list(threads.map(write, range(writers)))
        for function in running:
            function.__exit__()
    return taken


def document(rows):
    """A batch of messages as Lambda hands it over: they were sent in the last second, and so were those of other writers."""
    event, now = messages({str(uuid.uuid4()): row for row in rows}), time.time() * 1000
    for record in event["Records"]:
        record["attributes"]["SentTimestamp"] = str(int(now - random.uniform(0, 1000)))
    return json.dumps(event).encode()


def write_by_delta_rs(writer, url, storage, commits, ready, results):
    table, tries = DeltaTable(url, storage_options=storage), CommitProperties(max_commit_retries=1000)

    def append(commit):
        write_deltalake(table, pyarrow.Table.from_pylist(rows(writer, commit)), mode="append", commit_properties=tries)

    results.put(timed(commits, append, ready))


def by_delta_rs(endpoint, bucket, writers, commits):
    """What `timed` says of each writer."""
    url, storage = f"s3://{bucket}/{TABLE}", options(endpoint)
    write_deltalake(url, pyarrow.Table.from_pylist(rows(0, 0)).slice(0, 0), storage_options=storage)
    processes = multiprocessing.get_context("spawn")
    ready, results = processes.Barrier(writers), processes.Queue()
    arguments = [(writer, url, storage, commits, ready, results) for writer in range(writers)]
    running = [processes.Process(target=write_by_delta_rs, args=each) for each in arguments]
    for process in running:
        process.start()
    taken = [results.get(timeout=900) for _ in running]
    for process in running:
        process.join()
    return taken


def by_puts(endpoint, bucket, writers, commits):
    """Each writer puts objects of a commit's size, and that is all: what LocalStack can do."""
    ready = threading.Barrier(writers)

    def write(writer):
        s3 = client(endpoint, "s3")
        return timed(commits, lambda commit: s3.put_object(Bucket=bucket, Key=f"{writer}/{commit}", Body=b"x" * 3000), ready)

    with ThreadPoolExecutor(writers) as threads:
        return list(threads.map(write, range(writers)))


class Asked:
    """What LocalStack was asked for since it was last looked at, by its log."""

    def __init__(self, log):
        self.log, self.read = log, log.stat().st_size

    def since(self):
        with self.log.open("rb") as log:
            log.seek(self.read)
            lines = log.read()
        self.read += len(lines)
        return Counter(re.findall(r"AWS s3\.(\w+) => (\d+)", lines.decode()))


def check(endpoint, bucket, writers, commits):
    """Each row is there once."""
    table = DeltaTable(f"s3://{bucket}/{TABLE}", storage_options=options(endpoint))
    found = sorted(table.to_pyarrow_table(columns=["id"])["id"].to_pylist())
    wanted = sorted(row["id"] for writer in range(writers) for commit in range(commits + 1) for row in rows(writer, commit))
    assert found == wanted, f"{len(found)} rows, and not {len(wanted)}"


def measured(cloud, program, number, given):
    """Commits a second, seconds of all commits, and requests by kind."""
    bucket = f"{program.__name__.replace('_', '-')}-{number}"
    cloud.client("s3").create_bucket(Bucket=bucket)
    asked = Asked(installed() / f"port-{cloud.port}/localstack.log")
    taken = program(cloud.endpoint, bucket, given.writers, given.commits)
    asked = asked.since()
    if program is not by_puts:
        check(cloud.endpoint, bucket, given.writers, given.commits)
    ended = max(begun + sum(seconds) for begun, seconds in taken)
    all_seconds = sorted(each for _, seconds in taken for each in seconds)
    return len(all_seconds) / (ended - min(begun for begun, _ in taken)), all_seconds, asked


def row(program, found, given):
    rates, seconds, asked = zip(*found)
    seconds = sorted(each for some in seconds for each in some)
    asked, count = sum(asked, Counter()), len(rates) * given.writers * (given.commits + 1)
    per_commit = {name: sum(number for (kind, _), number in asked.items() if kind.startswith(name)) / count for name in ("Put", "Get", "List")}
    lost = asked["PutObject", "412"] / count
    times = " | ".join(f"{1000 * each:.0f}" for each in (statistics.median(seconds), seconds[int(len(seconds) * 0.95)], seconds[-1]))
    requests = " | ".join(f"{each:.1f}" for each in (per_commit["Put"], lost, per_commit["Get"], per_commit["List"]))
    return f"| {program.__name__.removeprefix('by_').replace('_', '-')} | {statistics.median(rates):.1f} | {times} | {requests} |"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--writers", type=int, default=8)
    arguments.add_argument("--commits", type=int, default=25, help="of each writer (25)")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    programs, found = (by_headwater, by_delta_rs, by_puts), {}
    cloud = LocalCloud()
    try:
        for number in range(given.rounds):
            for program in programs:
                found.setdefault(program, []).append(measured(cloud, program, number, given))
    finally:
        cloud.run("down")
    print("| program | commits/s | median, ms | 95th, ms | slowest, ms | puts | of them lost | reads | lists |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for program in programs:
        print(row(program, found[program], given))


if __name__ == "__main__":
    main()
