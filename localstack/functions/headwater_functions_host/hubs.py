"""Triggers by event hubs: batches of a partition in its order, and a checkpoint behind each batch.

As on the real host, the checkpoint moves on when a batch is done or its `retry` is exhausted; without a `retry` it moves on whatever
became of the batch.
"""

from azure.eventhub import EventHubConsumerClient, LoadBalancingStrategy
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore

from .app import pauses
from .documents import events

CHECKPOINTS = "azure-webjobs-eventhub"
"""The container in which the real host keeps them, too."""
LOOK_FOR_PARTITIONS_SECONDS = 1
BEGINNING = "-1"


def event(received):
    """What the client received, as documents take it. Names and values of AMQP may be bytes."""
    def plain(entry):
        return entry.decode(errors="replace") if isinstance(entry, bytes) else entry

    def named(entries):
        return {plain(name): _json(plain(value)) for name, value in (entries or {}).items()}

    body = received.body
    return {
        "body": body if isinstance(body, bytes) else b"".join(body),
        "sequence_number": received.sequence_number,
        "offset": received.offset,
        "enqueued_time": received.enqueued_time,
        "partition_key": plain(received.partition_key),
        "properties": named(received.properties),
        "system_properties": named(received.system_properties),
    }


def _json(value):
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class HubTrigger:
    """One function and its hub. `stop` is an event that ends it."""

    def __init__(self, app, function, handler, stop):
        self.app, self.function, self.handler, self.stop = app, function, handler, stop
        self.hub = app.resolved(function.binding["eventHubName"])

    def run(self):
        """Receives until it is stopped."""
        store = BlobCheckpointStore.from_connection_string(self.app.settings["AzureWebJobsStorage"], CHECKPOINTS)
        client = EventHubConsumerClient.from_connection_string(
            self.app.settings[self.function.binding["connection"]],
            consumer_group=self.function.binding["consumerGroup"],
            eventhub_name=self.hub,
            checkpoint_store=store,
            load_balancing_interval=LOOK_FOR_PARTITIONS_SECONDS,
            load_balancing_strategy=LoadBalancingStrategy.GREEDY,
        )
        with client:
            self.close = client.close
            client.receive_batch(
                self._hand_over,
                max_batch_size=self.app.extension("eventHubs", "maxEventBatchSize", 100),
                prefetch=self.app.extension("eventHubs", "prefetchCount", 300),
                starting_position=BEGINNING,
            )

    def _hand_over(self, partition, received):
        if received and self.is_settled(partition.partition_id, [event(each) for each in received]):
            partition.update_checkpoint(received[-1])

    def is_settled(self, partition, batch):
        """Tries as often as the function's `retry` says. False when it was stopped before it was done."""
        again = pauses(self.function.retry)
        document = events(self.function, self.hub, partition, batch)
        while not self.stop.is_set():
            if self.handler.post(self.function.name, document)[0] == 200:
                return True
            pause = next(again, None)
            if pause is None:
                return True
            self.stop.wait(pause)
        return False
