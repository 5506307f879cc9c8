"""Times the way of events from a hub into a Delta table: `headwater run` against the official Python client and the PyPI package `deltalake`.

    HEADWATER_BIN=... python3 benches/hub.py --events 400000

Needs the packages of tests/python/requirements.txt, and the emulator beside the program. Both read the same hub of the emulator, which shares the machine with them. Both take each
event's body, number, time and partition. The Python reader decodes nothing and appends what it has read of all partitions as one commit per `--batch` events, without a checkpoint store: less
than what it would have to do.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/python"))
import pyarrow
from azure import eventhub as azure
from deltalake import DeltaTable, write_deltalake
from hub import Emulator

PIPELINE = """
name: bench
storage: lake
max_batch_messages: {batch}
sources: {{events: {{eventhubs: '{source}'}}}}
libraries:
  - glob: {{include: sql/**}}
"""
SQL = "CREATE STREAMING TABLE events AS SELECT n, text, _metadata FROM STREAM read_events('events', format => 'json', schema => 'n BIGINT, text STRING');"


def body(number):
    text = f"{number:032x}" * 31
    return json.dumps({"n": number, "text": text}).encode()


def fill(hub, events):
    client = azure.EventHubProducerClient.from_connection_string(hub.connection, eventhub_name=hub.hub)
    with client:
        batch = client.create_batch()
        for number in range(events):
            event = azure.EventData(body(number))
            try:
                batch.add(event)
            except ValueError:
                client.send_batch(batch)
                batch = client.create_batch()
                batch.add(event)
        client.send_batch(batch)


def by_headwater(hub, folder, batch):
    (folder / "sql").mkdir()
    (folder / "pipeline.yml").write_text(PIPELINE.format(batch=batch, source=hub.source))
    (folder / "sql/events.sql").write_text(SQL)
    environment = {**os.environ, "HEADWATER_EVENTHUBS_CONNECTION_STRING": hub.connection}

    def run():
        started = time.monotonic()
        command = [os.environ["HEADWATER_BIN"], "run", "--preview", "0", "--quiet"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    return run(), min(run() for _ in range(5)), DeltaTable(str(folder / "lake/bronze/events"))


def by_python(hub, folder, events, batch):
    rows, done, lock = [], threading.Event(), threading.Lock()
    read = 0

    def append():
        columns = list(zip(*rows))
        names = ("body", "sequence_number", "enqueued_time", "partition")
        write_deltalake(str(folder / "python"), pyarrow.table(dict(zip(names, columns))), mode="append")
        rows.clear()

    def on_batch(context, received):
        nonlocal read
        new = [(event.body_as_str(), event.sequence_number, event.enqueued_time, context.partition_id) for event in received]
        with lock:
            rows.extend(new)
            read += len(new)
            if len(rows) >= batch or read >= events:
                append()
            if read >= events:
                done.set()

    client = azure.EventHubConsumerClient.from_connection_string(hub.connection, "$Default", eventhub_name=hub.hub)
    options = {"starting_position": "-1", "max_batch_size": 5_000, "prefetch": 5_000}
    started = time.monotonic()
    reader = threading.Thread(target=lambda: client.receive_batch(on_event_batch=on_batch, **options))
    reader.start()
    done.wait()
    seconds = time.monotonic() - started
    client.close()
    reader.join()
    return seconds, DeltaTable(str(folder / "python"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--partitions", type=int, default=4)
    arguments = parser.parse_args()
    hub = Emulator("events", arguments.partitions)
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            fill(hub, arguments.events)
            megabytes = arguments.events * len(body(0)) / 1e6
            ours, idle, table = by_headwater(hub, folder, arguments.batch)
            assert table.to_pyarrow_dataset().count_rows() == arguments.events
            theirs, table = by_python(hub, folder, arguments.events, arguments.batch)
            assert table.to_pyarrow_dataset().count_rows() == arguments.events
    finally:
        hub.stop()
    print(f"{arguments.events} events, {megabytes:.0f} MB, {arguments.partitions} partitions, commits of {arguments.batch}")
    for who, seconds in (("headwater", ours), ("python", theirs)):
        print(f"{who:10} {seconds:8.2f} s {megabytes / seconds:8.1f} MB/s")
    print(f"{'idle run':10} {idle * 1000:8.0f} ms, the start of the process and its end included")


if __name__ == "__main__":
    main()
