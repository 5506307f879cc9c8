"""Event Hubs Capture, played for the emulator: what a hub holds, in Avro files of the records and names that the service gives them."""

import threading

import fastavro
from azure.eventhub import EventHubConsumerClient

NAMESPACE = "my-hubs"
VALUES = ["long", "double", "string", "bytes"]
SCHEMA = fastavro.parse_schema({
    "type": "record", "name": "EventData", "namespace": "Microsoft.ServiceBus.Messaging", "fields": [
        {"name": "SequenceNumber", "type": "long"},
        {"name": "Offset", "type": "string"},
        {"name": "EnqueuedTimeUtc", "type": "string"},
        {"name": "SystemProperties", "type": {"type": "map", "values": VALUES}},
        {"name": "Properties", "type": {"type": "map", "values": [*VALUES, "null"]}},
        {"name": "Body", "type": ["null", "bytes"]},
    ]})


def received(hub):
    """All events that the hub keeps, by partition, as the official client gives them."""
    expected = sum(partition["last"] + 1 - partition["beginning"] for partition in hub.partitions())
    events, done = {}, threading.Event()

    def take(partition, batch):
        events.setdefault(partition.partition_id, []).extend(batch)
        if sum(map(len, events.values())) >= expected:
            done.set()

    client = EventHubConsumerClient.from_connection_string(hub.connection, "$Default", eventhub_name=hub.hub)
    reader = threading.Thread(target=lambda: client.receive_batch(on_event_batch=take, starting_position="-1", max_wait_time=1))
    reader.start()
    assert done.wait(60), {partition: len(batch) for partition, batch in events.items()}
    client.close()
    reader.join(30)
    return events


def record(event):
    return {
        "SequenceNumber": event.sequence_number,
        "Offset": str(event.offset),
        "EnqueuedTimeUtc": event.enqueued_time.strftime("%-m/%-d/%Y %-I:%M:%S %p"),
        "SystemProperties": {},
        "Properties": {},
        "Body": b"".join(event.body),
    }


def capture(events, folder, hub, minute=0):
    """A file for each partition, which is empty where there was nothing, as with the service's defaults."""
    for partition, batch in events.items():
        file = folder / f"{NAMESPACE}/{hub.hub}/{partition}/2026/11/21/14/{minute:02}/00.avro"
        file.parent.mkdir(parents=True)
        with file.open("wb") as out:
            fastavro.writer(out, SCHEMA, map(record, batch), codec="deflate")
