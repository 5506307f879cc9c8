"""Times an old table beside a young one: an append, an update with nothing new, `status`, and a cold open, whose cost has nothing to do with how
many files there are; and what looks for keys among all of them: a batch that is deduplicated, and a query for one key.

    HEADWATER_BIN=target/release/headwater python3 benches/age.py --rounds 9
    HEADWATER_BIN=target/debug/headwater python3 benches/age.py --old 2000:5000 --rounds 3

Both are a bronze table of messages and a silver one that is deduplicated by key, made by one real update each. Then their logs are grown by
hand: so many commits and live files, all with statistics of their own, and a checkpoint with its checksum a few commits before the end, as
`headwater compact` leaves them. The data files are hard links of the first one, since what lies behind statistics that rule it out isn't read, and
large enough for the target size, so that none is compacted. What is timed is the process, from its start to its exit, and what it took of the
processors; the two take turns, and medians are told. With `--after-compact`, one compaction runs before.

With `--s3` the tables are those of a LocalStack that is started for them, and what it was asked for is told too: it sorts a bucket's names for each
list, so that times say less about S3 than requests do. Only what is read goes there: the logs, and of the data files the first one.

Needs the packages of tests/python/requirements.txt. PyPI's deltalake also reads the tables that were made and counts their files.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from commits import Asked, LocalCloud, installed, options
from deltalake import DeltaTable

PIPELINE = "name: age\nstorage: lake\ntarget_file_size: 2KiB\nsources:\n  orders: {spool: events/orders}\nlibraries:\n  - glob: {include: sql/**}\n"
SQL = """CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, customer STRING, quantity INT, price DOUBLE');
CREATE STREAMING TABLE orders TBLPROPERTIES ('headwater.dedup.keys' = 'id')
  AS SELECT id, customer, quantity, price FROM STREAM(orders_raw);"""
ROWS = 20
"""Rows of a file."""
TAIL = 7
"""Commits since the last checkpoint."""
EVERY = 120_000
"""Milliseconds between two commits."""
TABLES = ("bronze/orders_raw", "silver/orders")
GROWN = re.compile(r"part-\d{8}\.zstd\.parquet")
"""Data files that the logs were grown by."""


class Project:
    def __init__(self, folder, commits, files):
        self.folder, self.next, self.variables, self.asked = folder, time.time_ns(), {}, None
        if folder.exists():
            return
        (folder / "sql").mkdir(parents=True)
        (folder / "pipeline.yml").write_text(PIPELINE)
        (folder / "sql/tables.sql").write_text(SQL)
        self.send(first=0)
        self.run("run", "--quiet")
        for table in TABLES:
            grow(folder / "lake" / table, commits, files)

    def run(self, *arguments):
        """Seconds that the command takes, those of them on a processor, and the requests that it makes of S3."""
        binary = Path(os.environ["HEADWATER_BIN"]).resolve()
        started = time.monotonic()
        process = subprocess.Popen([binary, *arguments], cwd=self.folder, env=os.environ | self.variables, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"{arguments} ended with {status}")
        took = time.monotonic() - started, usage.ru_utime + usage.ru_stime
        return took if self.asked is None else (*took, sum(self.asked.since().values()))

    def move(self, cloud, bucket):
        """To a bucket of a local AWS, from where it is used from now on."""
        s3, lake = cloud.client("s3"), self.folder / "lake"
        s3.create_bucket(Bucket=bucket)
        moved = [path for path in lake.rglob("*") if path.is_file() and not GROWN.match(path.name)]
        with ThreadPoolExecutor(16) as threads:
            list(threads.map(lambda path: s3.upload_file(path, bucket, str(path.relative_to(lake))), moved))
        self.variables = options(cloud.endpoint) | {"HEADWATER_STORAGE": f"s3://{bucket}"}
        self.asked = Asked(installed() / f"port-{cloud.port}/localstack.log")

    def send(self, first=None):
        """Puts new messages into the queue."""
        first, self.next = self.next if first is None else first, self.next + ROWS
        rows = ({"id": id, "customer": f"c{id % 97}", "quantity": id % 7, "price": id % 1000 / 10} for id in range(first, first + ROWS))
        (self.folder / "orders.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.run("replay", "orders.ndjson", "--to", "orders", "--quiet")


def grow(table, commits, files):
    """Log entries after the first one, as if the same had come again and again until now."""
    log = table / "_delta_log"
    first = [json.loads(line) for line in (log / f"{0:020}.json").read_text().splitlines()]
    kinds = ("commitInfo", "metaData", "protocol", "add", "txn")
    info, metadata, protocol, add, txn = (next((action[kind] for action in first if kind in action), None) for kind in kinds)
    data, start, written = table / add["path"], int(time.time() * 1000) - commits * EVERY - 86_400_000, 1
    size, rows = add["size"], json.loads(add["stats"])["numRecords"]
    for version in range(1, commits):
        now = start + version * EVERY
        count = files * (version + 1) // commits - written
        live = written + count
        sizes = [0] * size.bit_length() + [live]
        totals = {"files": live, "bytes": live * size, "countedRows": live * rows, "sizes": sizes, "newest": now}
        told = {"timestamp": now, "headwaterToken": f"token-{version}", "headwaterRecords": None, "headwaterTotals": totals}
        actions = [{"commitInfo": {**info, **told}}]
        for number in range(written, written + count):
            path = f"part-{number:08}.zstd.parquet"
            os.link(data, table / path)
            actions.append({"add": {**add, "path": path, "modificationTime": now, "stats": stats(add["stats"], number, now)}})
        txns = [{**txn, "version": version, "lastUpdated": now}] if txn else []
        actions.extend({"txn": txn} for txn in txns)
        written += count
        entry = log / f"{version:020}.json"
        entry.write_text("\n".join(json.dumps(action) for action in actions))
        os.utime(entry, (now / 1000, now / 1000))
        if version == commits - 1 - TAIL:
            DeltaTable(str(table)).create_checkpoint()
            told = {"tableSizeBytes": live * size, "numFiles": live, "numMetadata": 1, "numProtocol": 1}
            checksum = {**told, "metadata": metadata, "protocol": protocol, "setTransactions": txns}
            (log / f"{version:020}.crc").write_text(json.dumps(checksum))
            os.utime(log / f"{version:020}.checkpoint.parquet", (now / 1000, now / 1000))
    assert len(DeltaTable(str(table)).file_uris()) == files


def stats(text, number, now):
    """A file's statistics with keys and times of its own."""
    found = json.loads(text)
    for bounds, id in ((found["minValues"], number * ROWS), (found["maxValues"], number * ROWS + ROWS - 1)):
        bounds["id"] = id
        if "_metadata" in bounds:
            bounds["_metadata"]["message_id"] = f"{number:032x}-{id}"
            bounds["_metadata"]["enqueued_time"] = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(now / 1000))
    return json.dumps(found)


def measured(project):
    """What each kind of work takes."""
    project.send()
    found = {"append": project.run("run", "--quiet", "--select", "orders_raw")}
    found["update with nothing new"] = project.run("run", "--quiet", "--select", "orders_raw")
    found["status"] = project.run("status")
    found["cold open"] = project.run("query", "SELECT * FROM orders LIMIT 0")
    found["batch without a key that is there"] = project.run("run", "--quiet")
    found["query for one key"] = project.run("query", "SELECT id FROM orders WHERE id = -1")
    return found


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--young", default="200:500", help="commits:files of the young tables (200:500)")
    arguments.add_argument("--old", default="20000:50000", help="of the old ones (20000:50000)")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--after-compact", action="store_true", help="compact once before")
    arguments.add_argument("--s3", action="store_true", help="on a LocalStack")
    arguments.add_argument("--keep", type=Path, help="folder to make the tables in, or where they are from a run before")
    given = arguments.parse_args()
    with ExitStack() as ends:
        work = given.keep or Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="age-")))
        cloud = LocalCloud() if given.s3 else None
        if cloud:
            ends.callback(cloud.run, "down")
        projects = {}
        for name, size in (("young", given.young), ("old", given.old)):
            projects[name] = Project(work / name, *map(int, size.split(":")))
            if cloud:
                projects[name].move(cloud, name)
            if given.after_compact:
                print(f"compaction of the {name} tables: {projects[name].run('compact')[0]:.1f} s")
        rounds = [{name: measured(project) for name, project in projects.items()} for _ in range(given.rounds + 1)]
    columns = f"young ({given.young}), ms | old ({given.old}), ms | ratio | young, ms of a processor | old | ratio"
    requests = " | young, requests | old | ratio" if cloud else ""
    print(f"| | {columns}{requests} |\n|---|--:|--:|--:|--:|--:|--:|{'--:|--:|--:|' if cloud else ''}")
    for kind in rounds[0]["old"]:
        # The first round warms the page cache.
        young, old = ([statistics.median(took) for took in zip(*(found[name][kind] for found in rounds[1:]))] for name in projects)
        cells = []
        for few, many, unit in zip(young, old, (1000, 1000, 1)):
            cells += [f"{few * unit:.0f}", f"{many * unit:.0f}", f"{many / few:.2f}"]
        print(f"| {kind} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
