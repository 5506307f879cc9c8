"""The official clients for Python and JavaScript against the Event Hubs emulator: it is no mirror of our own client."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from azure import eventhub as azure

from javascript import node

# The client takes no other port, so that the address is the test's own.
ADDRESS = f"127.0.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 200 + 20}"
CONTROL = f"{ADDRESS}:5673"
KEY = "c2VjcmV0"
PARTITIONS = 3


def connection(key=KEY):
    return f"Endpoint=sb://{ADDRESS};SharedAccessKeyName=own;SharedAccessKey={key};UseDevelopmentEmulator=true;"


def control(method, path):
    request = urllib.request.Request(f"http://{CONTROL}{path}", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def emulator():
    program = Path(os.environ["HEADWATER_BIN"]).with_name("eventhubs-emulator")
    arguments = ["--listen", f"{ADDRESS}:5672", "--control", CONTROL, "--hub", f"flights={PARTITIONS}"]
    process = subprocess.Popen([program, *arguments, "--key", f"own={KEY}"])
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((ADDRESS, 5673), timeout=1).close()
            break
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "the emulator didn't start"
            time.sleep(0.05)
    yield process
    process.terminate()
    process.wait(timeout=20)


def produce(events, **options):
    client = azure.EventHubProducerClient.from_connection_string(connection(), eventhub_name="flights")
    with client:
        batch = client.create_batch(**options)
        for body in events:
            event = azure.EventData(body)
            event.properties = {"length": len(body)}
            batch.add(event)
        client.send_batch(batch)


def consume(expected, position):
    """Events by partition, until there are so many."""
    got = {}
    client = azure.EventHubConsumerClient.from_connection_string(connection(), "$Default", eventhub_name="flights")
    done = threading.Event()

    def on_batch(context, events):
        got.setdefault(context.partition_id, []).extend(events)
        if sum(map(len, got.values())) >= expected:
            done.set()

    options = {"starting_position": position, "max_wait_time": 1}
    thread = threading.Thread(target=lambda: client.receive_batch(on_event_batch=on_batch, **options))
    thread.start()
    assert done.wait(60), {partition: len(events) for partition, events in got.items()}
    client.close()
    thread.join(30)
    return got


def test_events_go_through_the_python_client(emulator):
    for partition in range(PARTITIONS):
        produce([f"{partition}-{number}" for number in range(50)], partition_id=str(partition))
    produce(["keyed"], partition_key="device")
    control("POST", "/faults/detach?at=60")
    got = consume(50 * PARTITIONS + 1, "-1")
    bodies = [event.body_as_str() for events in got.values() for event in events]
    assert set(bodies) == {f"{p}-{n}" for p in range(PARTITIONS) for n in range(50)} | {"keyed"}
    assert control("GET", "/faults")["detach"] == 1
    (keyed,) = {e.partition_key for events in got.values() for e in events if e.body_as_str() == "keyed"}
    assert keyed == b"device"
    states = control("GET", "/hubs/flights")["partitions"]
    assert sum(state["last"] + 1 for state in states) == 50 * PARTITIONS + 1


def test_events_go_through_the_javascript_client(emulator):
    """It sends, and receives what the Python client sent as well, though its link breaks on the way."""
    produce([f"py {number}" for number in range(30)], partition_id="1")
    kept = sum(state["last"] + 1 for state in control("GET", "/hubs/flights")["partitions"])
    before = control("GET", "/faults")["detach"]
    control("POST", f"/faults/detach?at={kept // 2}")
    each, expected = 40, kept + 40 * PARTITIONS + 1
    seen = json.loads(node("hub.mjs", connection(), "flights", each, expected))
    assert seen["partitions"] == [str(partition) for partition in range(PARTITIONS)]
    assert seen["last"] == control("GET", "/hubs/flights")["partitions"][0]["last"]
    assert control("GET", "/faults")["detach"] == before + 1
    by_place = {(event["partition"], event["number"]): event for event in seen["received"]}
    assert len(by_place) == expected
    sent = {event["body"]: event for event in by_place.values() if event["body"].startswith("js ")}
    assert set(sent) == {f"js {p}-{n}" for p in range(PARTITIONS) for n in range(each)} | {"js keyed"}
    assert (sent["js 2-7"]["partition"], sent["js 2-7"]["properties"], sent["js keyed"]["key"]) == ("2", {"number": 7}, "device")
    assert {f"py {number}" for number in range(30)} <= {event["body"] for event in by_place.values()}


def test_a_busy_hub_takes_nothing(emulator):
    before = control("GET", "/hubs/flights")["partitions"][0]["last"]
    control("POST", "/faults/throttle?at=1")
    with pytest.raises(azure.exceptions.EventHubError, match="busy"):
        produce(["hasty"], partition_id="0")
    produce(["patient"], partition_id="0")
    assert control("GET", "/hubs/flights")["partitions"][0]["last"] == before + 1


def test_a_wrong_key_is_refused(emulator):
    client = azure.EventHubProducerClient.from_connection_string(
        connection("Z3Vlc3M="), eventhub_name="flights", retry_total=0
    )
    with client, pytest.raises(azure.exceptions.EventHubError):
        client.get_eventhub_properties()
