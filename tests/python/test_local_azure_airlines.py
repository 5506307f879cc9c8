"""January's flights through a local Azure: events through a hub that fails, files through a container, gold as on one machine.

The first 10,000 of them; with `HEADWATER_JANUARY=whole` all 80,406.
"""

import gzip
import os
import random
import signal
import threading
import time

from airlines_cloud import check_against_local, lines  # noqa: F401
from azure_cloud import PARTITIONS, cloud  # noqa: F401
from deltalake import DeltaTable
from local_azure import CONTROL
from test_airlines import check, replay

IS_WHOLE = os.environ.get("HEADWATER_JANUARY") == "whole"
EVENTS = None if IS_WHOLE else 10_000
KILLS = 40 if IS_WHOLE else 10
SECONDS = 3_000 if IS_WHOLE else 500
BATCH = 500


def test_flights_through_a_hub_and_containers_give_the_gold_of_one_machine(airlines, lines, events, cloud):  # noqa: F811
    lines, events = lines[:EVENTS], events[:EVENTS]
    with gzip.open(airlines.folder / "data/flights-2013-01.ndjson.gz", "wt") as recorded:
        recorded.write("".join(f"{line}\n" for line in lines))
    for fault in ("detach?every=2300", "drop?every=3700", "throttle?every=7"):
        cloud.control(f"/faults/{fault}")
    cloud.run("deploy", airlines.folder, "--setting", "HEADWATER_GOLD_SCHEDULE=*/20 * * * * *")
    for folder in ("airports", "airlines", "planes", "weather"):
        cloud.run("land", airlines.folder / "data" / folder, folder)
    sender = threading.Thread(target=send, args=(cloud, lines))
    sender.start()
    replay(airlines)
    airlines.run("run")
    disturb(cloud, random.Random(2013), len(lines))
    sender.join()
    settle(cloud)
    cloud.folder = airlines.folder
    check(cloud, events)
    check_against_local(cloud, airlines)
    landed = sorted(row["event_id"] for row in cloud.rows("bronze/flight_events"))
    assert landed == sorted(event["event_id"] for event in events), "once in bronze, too"
    faults = cloud.azure.ask(CONTROL, "/faults")
    assert all(faults[name] for name in ("detach", "drop", "throttle")), faults


def send(cloud, lines):  # noqa: F811
    """Each partition has a part of each minute."""
    for first in range(0, len(lines), BATCH):
        cloud.send("flights", first // BATCH % PARTITIONS, lines[first : first + BATCH])


def disturb(cloud, chance, expected):  # noqa: F811
    """Kills handlers all along the way and has receivers robbed of their partitions, until bronze is whole."""
    kills, landed, end = 0, 0, time.monotonic() + SECONDS
    while kills < KILLS or landed < expected:
        assert time.monotonic() < end, cloud.logs()
        time.sleep(chance.uniform(0.1, 2))
        landed = cloud.count("bronze/flight_events")
        if kills < KILLS and kills <= KILLS * landed / expected and (handler := cloud.handler()) is not None:
            os.kill(handler, signal.SIGKILL)
            kills += 1
        if chance.random() < 0.1:
            cloud.control(f"/hubs/flights/{chance.randrange(PARTITIONS)}/steal")


def settle(cloud):  # noqa: F811
    """Until silver has nothing to do any more, and views have seen it all."""
    before = None
    while before != (now := versions(cloud)):
        before = now
        assert cloud.wake("silver-sweep") == 202, cloud.logs()
    assert cloud.wake("gold") == 202, cloud.logs()


def versions(cloud):  # noqa: F811
    """Of silver's tables; none of one that isn't there yet."""
    tables = (f"az://lake/silver/{name}" for name in ("movements", "departures", "silver_flights", "silver_planes_history"))
    there = [table for table in tables if DeltaTable.is_deltatable(table, storage_options=cloud.options)]
    return [(table, DeltaTable(table, storage_options=cloud.options).version()) for table in there]
