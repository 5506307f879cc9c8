"""The command reads hubs: each event once, whatever becomes of links, connections, ownership and the process itself."""

import json
import random
import shutil
import signal
import time
from datetime import UTC, datetime

import pytest
from airlines_cloud import GOLD, lines  # noqa: F401
from azure.eventhub import EventData, EventHubProducerClient
from conftest import ROOT, Project
from hub import Emulator

PARTITIONS = 4
KILLS = 30
# Where connections, links and ownership break, in events delivered or questions asked.
FAULTS = {"detach": 2_311, "drop": 7_003, "steal": 4_507, "busy": 29}
SMALL = """
name: t
storage: lake
sources: {numbers: {eventhubs: 'SOURCE'}}
libraries:
  - glob: {include: sql/**}
"""
RAW = "CREATE STREAMING TABLE raw AS SELECT n, _metadata FROM STREAM read_events('numbers', format => 'json', schema => 'n INT');"


@pytest.fixture
def hub(monkeypatch):
    emulator = Emulator("flights", PARTITIONS)
    monkeypatch.setenv("HEADWATER_EVENTHUBS_CONNECTION_STRING", emulator.connection)
    yield emulator
    emulator.stop()


@pytest.fixture
def small(hub, tmp_path):
    project = Project(tmp_path)
    project.write("pipeline.yml", SMALL.replace("SOURCE", hub.source))
    project.write("sql/raw.sql", RAW)
    return project


def numbers(first, last):
    return [json.dumps({"n": number}).encode() for number in range(first, last)]


def by_number(body):
    return str(json.loads(body)["n"] % 13)


def test_januarys_flights_are_the_same_through_a_hub_however_often_it_and_its_reader_break(airlines, hub, lines, tmp_path, monkeypatch):  # noqa: F811
    local = Project(tmp_path / "local")
    shutil.copytree(ROOT / "examples/airlines", local.folder, ignore=shutil.ignore_patterns("lake", "events"))
    local.run("replay", "data/flights-2013-01.ndjson.gz", "--to", "flights")
    local.run("run")
    hub.send(lines, key=lambda line: str(json.loads(line)["flight"] % 13))
    held = sum(partition["last"] + 1 for partition in hub.partitions())
    assert held == len(lines)
    monkeypatch.setenv("HEADWATER_SOURCES_FLIGHTS", hub.source)
    config = airlines.folder / "pipeline.yml"
    config.write_text(config.read_text() + "\nmax_batch_messages: 2000\n")
    for fault, every in FAULTS.items():
        hub.control("POST", f"/faults/{fault}?every={every}")
    chance = random.Random(2013)
    for kill in range(KILLS):
        reader = airlines.start("run", "--preview", "0")
        time.sleep(chance.uniform(0.2, 2.5))
        if kill % 3 == 0:
            hub.control("POST", f"/hubs/flights/{kill % PARTITIONS}/steal")
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    end = time.monotonic() + 240
    while waiting(airlines) != 0:
        reader = airlines.start("run", "--preview", "0")
        _, err = reader.communicate(timeout=300)
        assert "panicked" not in err and time.monotonic() < end, err
    struck = hub.control("GET", "/faults")
    assert all(struck[fault] for fault in FAULTS), struck
    hub.control("DELETE", "/faults")
    airlines.run("run", "--preview", "0")
    landed = airlines.rows("bronze/flight_events")
    places = [(row["_metadata"]["partition"], row["_metadata"]["sequence_number"]) for row in landed]
    wanted = {(str(at), number) for at, partition in enumerate(hub.partitions()) for number in range(partition["last"] + 1)}
    assert len(places) == len(lines) and set(places) == wanted
    assert all(row["_metadata"]["message_id"] == f"{place[0]}:{place[1]}" for row, place in zip(landed, places))
    assert sorted(row["event_id"] for row in landed) == sorted(json.loads(line)["event_id"] for line in lines)
    for name in GOLD:
        rows = [sorted(map(repr, project.rows(f"gold/{name}"))) for project in (airlines, local)]
        assert rows[0] == rows[1], name


def test_what_is_there_is_read_once_and_nothing_more_costs_little(small, hub):
    hub.send(numbers(0, 500), by_number)
    small.run("run", "--preview", "0")
    assert sorted(row["n"] for row in small.rows("bronze/raw")) == list(range(500))
    before = small.versions()
    assert "nothing new" in small.run("run")
    hub.send(numbers(500, 510), by_number)
    assert json.loads(small.run("status", "--format", "json"))["sources"][0]["waiting"] == 10
    small.run("run", "--preview", "0")
    assert sorted(row["n"] for row in small.rows("bronze/raw")) == list(range(510))
    assert small.versions() != before


def test_sources_of_one_hub_have_all_of_it_each_and_a_hub_that_is_missing_holds_up_neither(small, hub):
    sources = {"absent": hub.source.replace("/flights?", "/ships?"), "numbers": hub.source, "same": f"{hub.source}&consumer_group=more"}
    bound = ", ".join(f"{name}: {{eventhubs: '{source}'}}" for name, source in sources.items())
    small.write("pipeline.yml", SMALL.replace("{numbers: {eventhubs: 'SOURCE'}}", f"{{{bound}}}"))
    for name in ("absent", "same"):
        small.write(f"sql/{name}.sql", RAW.replace("TABLE raw", f"TABLE {name}").replace("'numbers'", f"'{name}'"))
    hub.send(numbers(0, 300), by_number)
    assert "/ships" in small.run("run", "--preview", "0", expect=2)
    for table in ("raw", "same"):
        assert sorted(row["n"] for row in small.rows(f"bronze/{table}")) == list(range(300)), table


def test_what_an_iot_hub_says_of_an_event_is_among_its_attributes(small, hub):
    event = EventData(b'{"n": 1}')
    event.properties = {"iothub-connection-device-id": "forged", "room": "attic"}
    event.raw_amqp_message.annotations = {
        "iothub-connection-device-id": "thermostat-7",
        "iothub-connection-auth-method": '{"scope":"device","type":"sas"}',
        "iothub-enqueuedtime": datetime(2026, 11, 21, 9, 59, 59, 900_000, UTC),
        "iothub-message-source": "Telemetry",
    }
    with EventHubProducerClient.from_connection_string(hub.connection, eventhub_name=hub.hub) as client:
        batch = client.create_batch(partition_id="2")
        batch.add(event)
        client.send_batch(batch)
    small.run("run", "--preview", "0")
    [row] = small.rows("bronze/raw")
    said = json.loads(row["_metadata"]["attributes"])
    assert (said["iothub-connection-device-id"], said["room"], said["iothub-message-source"]) == ("thermostat-7", "attic", "Telemetry")
    assert said["iothub-enqueuedtime"] == "2026-11-21T09:59:59.900Z"
    assert json.loads(said["iothub-connection-auth-method"])["type"] == "sas"


def test_what_retention_took_is_in_the_report(small, hub):
    hub.send(numbers(0, 100), lambda body: "one")
    small.run("run", "--preview", "0")
    hub.send(numbers(100, 200), lambda body: "one")
    [at] = [at for at, partition in enumerate(hub.partitions()) if partition["last"] == 199]
    hub.control("POST", f"/hubs/flights/{at}/trim?before=150")
    report = json.loads(small.run("run", "--preview", "0", "--format", "json"))
    [read] = [one for flow in report["flows"] for one in flow.get("inputs", []) if one["kind"] == "partition"]
    assert (read["after"], read["through"], read["events"], read["lost"]) == (99, 199, 50, [{"from": 100, "to": 149}])
    assert sorted(row["n"] for row in small.rows("bronze/raw")) == [*range(100), *range(150, 200)]


def test_a_watching_host_lands_what_comes_and_lives_through_an_outage(small, hub):
    watching = small.start("run", "--watch")
    try:
        for first in range(0, 300, 100):
            hub.send(numbers(first, first + 100), by_number)
            wait_for(small, first + 100)
            hub.control("POST", "/outage")
            time.sleep(1)
            hub.control("DELETE", "/faults")
    finally:
        watching.send_signal(signal.SIGTERM)
        _, err = watching.communicate(timeout=60)
    assert "panicked" not in err and hub.process.poll() is None, err


def waiting(project):
    """How many events the lake lacks; `None` where the hub was too busy to say."""
    shown, told = project.start("status", "--format", "json").communicate(timeout=60)
    assert shown, told
    return json.loads(shown)["sources"][0].get("waiting")


def wait_for(project, rows):
    end = time.monotonic() + 60
    while True:
        try:
            if len(project.rows("bronze/raw")) == rows:
                return
        except Exception:  # The table isn't there yet.
            pass
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_replay_keeps_the_order_of_each_key_and_loses_nothing_to_faults(small, hub):
    hub.control("POST", "/faults/throttle?every=3")
    hub.control("POST", "/faults/lose?every=5")
    events = [{"n": number, "k": number % 7} for number in range(20_000)]
    small.write("events.ndjson", "\n".join(map(json.dumps, events)))
    small.run("replay", "events.ndjson", "--to", "numbers", "--key", "k")
    assert hub.control("GET", "/faults")["throttle"] and hub.control("GET", "/faults")["lose"]
    hub.control("DELETE", "/faults")
    small.run("run", "--preview", "0")
    rows = sorted(small.rows("bronze/raw"), key=lambda row: row["_metadata"]["sequence_number"])
    assert {row["n"] for row in rows} == set(range(20_000))
    for key in range(7):
        of_key = [row for row in rows if row["n"] % 7 == key]
        assert len({row["_metadata"]["partition"] for row in of_key}) == 1
        # What was sent again, because an answer was lost, stands there twice.
        first = list(dict.fromkeys(row["n"] for row in of_key))
        assert first == sorted(first)
    told = small.run("replay", "events.ndjson", "--to", "eventhubs://localhost/ships?endpoint=" + hub.source.split("endpoint=")[1], expect=2)
    assert "ships" in told


def test_what_a_hub_lacks_is_told_with_what_to_do(small, hub, monkeypatch):
    told = small.run("redrive", "numbers", expect=2)
    assert "no dead letters" in told and "table" in told
    monkeypatch.setenv("HEADWATER_SOURCES_NUMBERS", hub.source.replace("/flights?", "/ships?"))
    told = small.run("run", expect=2)
    assert "hub `eventhubs://localhost/ships`" in told and "check" in told
    monkeypatch.setenv("HEADWATER_EVENTHUBS_CONNECTION_STRING", hub.connection.replace("c2VjcmV0", "Z3Vlc3M="))
    monkeypatch.delenv("HEADWATER_SOURCES_NUMBERS")
    told = small.run("run", expect=2)
    assert "Z3Vlc3M" not in told
