"""The documents that the host posts to a custom handler."""

import base64
import json
import uuid
from datetime import datetime, timezone


def encoded(value):
    """Objects stay; all else is JSON as a text, so that a text is encoded twice."""
    return value if isinstance(value, dict) else json.dumps(value)


def invocation(function, value, metadata=None):
    """One value under the binding's name, and what is known of it beside."""
    sys = {"MethodName": function.name, "UtcNow": datetime.now(timezone.utc).isoformat(), "RandGuid": str(uuid.uuid4())}
    metadata = {key: encoded(entry) for key, entry in (metadata or {}).items()} | {"sys": sys}
    return {"Data": {function.binding["name"]: encoded(value)}, "Metadata": metadata}


def timer(function):
    return invocation(function, {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False})


def message(function, received):
    """A message of a storage queue; those who sent it encoded it in Base64."""
    return invocation(function, base64.b64decode(received.content).decode(), {
        "Id": received.id,
        "DequeueCount": received.dequeue_count,
        "PopReceipt": received.pop_receipt,
        "InsertionTime": received.inserted_on.isoformat(),
    })


def events(function, hub, partition, batch):
    """Events of a partition: each a dict of `body`, `sequence_number`, `offset`, `enqueued_time`, `partition_key`, `properties`, `system_properties`."""
    binding = function.binding
    assert binding["cardinality"] == "many", f"{function.name} takes one event at a time, which is not played here"
    is_binary = binding.get("dataType") == "binary"
    bodies = [base64.b64encode(event["body"]).decode() if is_binary else event["body"].decode() for event in batch]
    return invocation(function, bodies, {
        "PartitionContext": {
            "FullyQualifiedNamespace": "local", "EventHubName": hub, "ConsumerGroup": binding["consumerGroup"], "PartitionId": str(partition)},
        "SequenceNumberArray": [event["sequence_number"] for event in batch],
        "OffsetArray": [str(event["offset"]) for event in batch],
        "EnqueuedTimeUtcArray": [event["enqueued_time"].isoformat() for event in batch],
        "PartitionKeyArray": [event.get("partition_key") for event in batch],
        "PropertiesArray": [event.get("properties", {}) for event in batch],
        "SystemPropertiesArray": [event.get("system_properties", {}) for event in batch],
    })
