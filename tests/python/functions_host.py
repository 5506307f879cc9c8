"""The local Functions host (`localstack/functions`), driven by hand: nothing happens by itself, a test says when timers fire, when
events are handed over and when queues are polled."""

import base64
import contextlib
import json
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path

from azure.core.exceptions import ResourceExistsError
from azure.eventhub import EventData, EventHubProducerClient

from hub import Emulator

ROOT = Path(__file__).resolve().parents[2]
BICEP = ROOT / "infra/azure/main.bicep"
sys.path.insert(0, str(ROOT / "localstack/functions"))
from headwater_functions_host import documents
from headwater_functions_host.app import App
from headwater_functions_host.handler import Handler
from headwater_functions_host.notices import Notices
from headwater_functions_host.queues import QueueTrigger
from headwater_functions_host.template import Template, listed  # noqa: F401


PARTITIONS = 9


class FunctionsHost:
    """A function app, its handler and the hub of its source."""

    def __init__(self, app, azurite, **variables):
        self.azurite, self.template = azurite, Template(BICEP)
        self.app = App(app, {
            "HEADWATER_STORAGE": "az://lake/",
            "HEADWATER_ROOTS_LANDING": "az://landing/",
            **azurite.environment,
            **variables,
        })
        self.functions = self.app.functions
        self.log = self.app.folder.parent / f"{self.app.folder.name}.log"
        self.handler = Handler(self.app, self.log)
        self.notices = Notices(azurite.blobs, azurite.queues, self.template.subscriptions())

    def __enter__(self):
        self.hub = Emulator("hub", PARTITIONS)
        self.app.settings |= {
            "HEADWATER_SOURCES_ORDERS": self.hub.source, "HEADWATER_EVENTHUBS_CONNECTION_STRING": self.hub.connection}
        self.producer = EventHubProducerClient.from_connection_string(self.hub.connection, eventhub_name=self.hub.hub)
        self.held, self.sending = [0] * PARTITIONS, threading.Lock()
        queues = self.template.names("queueServices/queues").values()
        for queue in (*queues, *(f"{queue}-poison" for queue in queues)):
            with contextlib.suppress(ResourceExistsError):
                self.azurite.queues.create_queue(queue)
        for container in self.template.names("blobServices/containers").values():
            with contextlib.suppress(ResourceExistsError):
                self.azurite.blobs.create_container(container)
        self.handler.start()
        self.triggers = [
            QueueTrigger(self.app, function, self.handler, self.azurite.queues) for function in self.app.of_trigger("queueTrigger")]
        return self

    def __exit__(self, *_):
        if self.handler.is_alive():
            self.handler.kill()
        self.producer.close()
        self.hub.stop()

    @property
    def process(self):
        return self.handler.process

    def logged(self):
        """What the functions say; libraries have lines without a message."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if "message" in line]

    def post(self, function, document, invocation=None):
        return self.handler.post(function, document, invocation)

    def fire(self, function):
        """A timer."""
        assert self.functions[function].trigger == "timerTrigger"
        return self.post(function, documents.timer(self.functions[function]))

    def send(self, partition, bodies):
        """To the hub. Of bodies by their numbers, those that it holds already are left out."""
        with self.sending:
            fresh = {number: body for number, body in sorted(bodies.items()) if number >= self.held[partition]}
            if fresh:
                assert list(fresh) == list(range(self.held[partition], self.held[partition] + len(fresh))), "a hub counts without holes"
                batch = self.producer.create_batch(partition_id=str(partition))
                for body in fresh.values():
                    batch.add(EventData(body))
                self.producer.send_batch(batch)
                self.held[partition] += len(fresh)

    def hand_over(self, partition, numbered, function="bronze-events", hub="hub", handler=None):
        """A batch of a partition, which its hub holds then: bodies by their sequence numbers, each enqueued at a time that follows from its
        number. To another process of the handler, if there are several."""
        self.send(partition, numbered)
        batch = [{
            "body": body,
            "sequence_number": number,
            "offset": number * 100,
            "enqueued_time": datetime.fromtimestamp(1_795_000_000 + number, timezone.utc),
        } for number, body in numbered.items()]
        return (handler or self.handler).post(function, documents.events(self.functions[function], hub, partition, batch))

    def deliver(self, partition, numbered, before=lambda: None):
        """Until it is done, as the `retry` without an end says; the host's checkpoint moves only then."""
        assert self.functions["bronze-events"].retry["maxRetryCount"] == -1
        while True:
            before()
            if self.hand_over(partition, numbered)[0] == 200:
                return

    def settle(self, before=lambda: None):
        """Tells of new blobs and polls the queues, until nothing is new. What is hidden for its next try is waited for."""
        while self.notices.tell() + sum(self._is_busy(trigger, before) for trigger in self.triggers):
            pass

    @staticmethod
    def _is_busy(trigger, before):
        trigger.poll(before)
        return trigger.queue.get_queue_properties().approximate_message_count

    def poison(self, queue):
        messages = self.azurite.queues.get_queue_client(f"{queue}-poison").peek_messages(max_messages=32)
        return [base64.b64decode(message.content).decode() for message in messages]

    def land(self, name, text):
        self.azurite.blobs.get_blob_client("landing", name).upload_blob(text)
