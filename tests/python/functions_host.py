"""The host of Azure Functions, as a custom handler sees it, and what storage and Event Grid do beside it.

Reads `host.json` and each `function.json`, starts the handler, and hands over messages of storage queues, events of hubs and timers,
encoded as the host encodes them (`ScriptInvocationContextExtensions` of azure-functions-host). What fails comes again as the host
documents it: a queue's message until `maxDequeueCount`, and then it is poison; events for as long as `retry` says. Nothing
happens by itself: a test says when timers fire and when queues are polled.
"""

import base64
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

from azure.core.exceptions import ResourceExistsError
from pycep import BicepParser

from azurite import free_port

ROOT = Path(__file__).resolve().parents[2]
BICEP = ROOT / "infra/azure/main.bicep"


def seconds(text):
    hours, minutes, rest = text.split(":")
    return (int(hours) * 60 + int(minutes)) * 60 + int(rest)


def encoded(value):
    """Objects stay; all else is JSON as a text, so that a text is encoded twice."""
    return value if isinstance(value, dict) else json.dumps(value)


class Notices:
    """Event Grid: tells queues of new blobs, by the subscriptions of the deployment."""

    def __init__(self, azurite):
        self.azurite, self.known = azurite, set()
        resources = BicepParser().parse(file_path=BICEP)["resources"]
        self.filters = [
            (queue, resources[subscription]["config"]["properties"]["filter"])
            for subscription, queue in (("arrivalNotices", "headwater-arrivals"), ("commitNotices", "headwater-commits"))
        ]

    def tell(self):
        """One message for each new blob and subscription that is for it; returns how many."""
        told = 0
        for container in self.azurite.blobs.list_containers():
            for blob in self.azurite.blobs.get_container_client(container.name).list_blobs():
                if (container.name, blob.name, blob.etag) in self.known:
                    continue
                self.known.add((container.name, blob.name, blob.etag))
                told += sum(self._send(queue, wanted, container.name, blob) for queue, wanted in self.filters)
        return told

    def _send(self, queue, wanted, container, blob):
        subject = f"/blobServices/default/containers/{container}/blobs/{blob.name}"
        contained = [part for rule in wanted.get("advancedFilters", []) for part in rule["values"]]
        if not (
            subject.startswith(wanted["subjectBeginsWith"])
            and subject.endswith(wanted.get("subjectEndsWith", ""))
            and all(part in subject for part in contained)
        ):
            return 0
        url = f"{self.azurite.url('blob')}/{container}/{urllib.parse.quote(blob.name)}"
        self.send(queue, {
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/lake",
            "subject": subject,
            "eventType": "Microsoft.Storage.BlobCreated",
            "id": str(uuid.uuid4()),
            "data": {"api": "PutBlob", "contentLength": blob.size, "blobType": "BlockBlob", "url": url},
            "dataVersion": "",
            "metadataVersion": "1",
            "eventTime": datetime.now(timezone.utc).isoformat(),
        })
        return 1

    def send(self, queue, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.azurite.queues.get_queue_client(queue).send_message(base64.b64encode(text.encode()).decode())


class FunctionsHost:
    """A function app and its handler."""

    def __init__(self, app, azurite, **variables):
        self.app, self.azurite, self.variables = Path(app), azurite, variables
        self.settings = json.loads((self.app / "host.json").read_text())
        self.functions = {
            file.parent.name: json.loads(file.read_text()) for file in sorted(self.app.glob("*/function.json"))
        }
        self.notices = Notices(azurite)
        self.log = self.app.parent / f"{self.app.name}.log"

    def __enter__(self):
        for name in ("headwater-arrivals", "headwater-commits"):
            for queue in (name, f"{name}-poison"):
                self._make(self.azurite.queues.create_queue, queue)
        for container in ("lake", "landing"):
            self._make(self.azurite.blobs.create_container, container)
        self.start()
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @staticmethod
    def _make(make, name):
        try:
            make(name)
        except ResourceExistsError:
            pass

    def start(self, ready=True):
        """The handler in an environment as the host makes it."""
        self.port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.app.parent),
            "FUNCTIONS_CUSTOMHANDLER_PORT": str(self.port),
            "FUNCTIONS_WORKER_RUNTIME": "custom",
            "AzureWebJobsScriptRoot": str(self.app),
            "HEADWATER_STORAGE": "az://lake/",
            "HEADWATER_ROOTS_LANDING": "az://landing/",
            "HEADWATER_HUBS": "orders=hub",
            **self.azurite.environment,
            **self.variables,
        }
        program = self.app / self.settings["customHandler"]["description"]["defaultExecutablePath"]
        with open(self.log, "a") as log:
            self.process = subprocess.Popen([program], cwd=self.app, env=environment, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while ready:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).close()
            except OSError:
                time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def logged(self):
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def post(self, function, document, invocation=None):
        """The status and the body of an answer; 0 when the handler is gone."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        headers = {"Content-Type": "application/json", "X-Azure-Functions-InvocationId": invocation or str(uuid.uuid4())}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{function}", data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds(self.settings["functionTimeout"])) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            text = refused.read()
            return refused.code, json.loads(text) if text.startswith(b"{") else text.decode()
        except (OSError, EOFError):
            return 0, None

    def invoke(self, function, value, metadata=None, invocation=None):
        name = self.functions[function]["bindings"][0]["name"]
        sys = {"MethodName": function, "UtcNow": datetime.now(timezone.utc).isoformat(), "RandGuid": str(uuid.uuid4())}
        metadata = {key: encoded(entry) for key, entry in (metadata or {}).items()} | {"sys": sys}
        return self.post(function, {"Data": {name: encoded(value)}, "Metadata": metadata}, invocation)

    def fire(self, function):
        """A timer."""
        assert self.functions[function]["bindings"][0]["type"] == "timerTrigger"
        return self.invoke(function, {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False})

    def hand_over(self, partition, numbered, function="bronze-events", hub="hub"):
        """A batch of a partition: bodies by their sequence numbers, each enqueued at a time that follows from its number."""
        binding = self.functions[function]["bindings"][0]
        assert (binding["cardinality"], binding["dataType"]) == ("many", "binary")
        at = [datetime.fromtimestamp(1_795_000_000 + number, timezone.utc).isoformat() for number in numbered]
        bodies = [base64.b64encode(body).decode() for body in numbered.values()]
        return self.invoke(function, bodies, {
            "PartitionContext": {"FullyQualifiedNamespace": "n", "EventHubName": hub, "ConsumerGroup": binding["consumerGroup"],
                                 "PartitionId": str(partition)},
            "SequenceNumberArray": list(numbered),
            "OffsetArray": [str(number * 100) for number in numbered],
            "EnqueuedTimeUtcArray": at,
            "PartitionKeyArray": [None] * len(bodies),
            "PropertiesArray": [{} for _ in bodies],
            "SystemPropertiesArray": [{} for _ in bodies],
        })

    def deliver(self, partition, numbered, before=lambda: None):
        """Until it is done, as the `retry` without an end says; the host's checkpoint moves only then."""
        assert self.functions["bronze-events"]["retry"]["maxRetryCount"] == -1
        while True:
            before()
            if self.hand_over(partition, numbered)[0] == 200:
                return

    def settle(self, before=lambda: None):
        """Tells of new blobs and polls the queues, until nothing is new. What is hidden for its next try is waited for."""
        while self.notices.tell() + sum(self._poll(name, before) for name in self.functions):
            pass

    def _poll(self, function, before):
        binding = self.functions[function]["bindings"][0]
        if binding["type"] != "queueTrigger":
            return 0
        queue = self.azurite.queues.get_queue_client(binding["queueName"])
        at_once = self.settings["extensions"]["queues"]["batchSize"]
        messages = list(queue.receive_messages(messages_per_page=at_once, max_messages=at_once, visibility_timeout=600))
        if messages:
            before()
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(lambda message: self._hand_over_message(function, queue, message), messages))
        return queue.get_queue_properties().approximate_message_count

    def _hand_over_message(self, function, queue, message):
        limits = self.settings["extensions"]["queues"]
        status, _ = self.invoke(function, base64.b64decode(message.content).decode(), {
            "Id": message.id,
            "DequeueCount": message.dequeue_count,
            "PopReceipt": message.pop_receipt,
            "InsertionTime": message.inserted_on.isoformat(),
        })
        if status == 200:
            queue.delete_message(message)
        elif message.dequeue_count >= limits["maxDequeueCount"]:
            poison = self.azurite.queues.get_queue_client(f"{queue.queue_name}-poison")
            poison.send_message(message.content)
            queue.delete_message(message)
        else:
            queue.update_message(message, visibility_timeout=seconds(limits["visibilityTimeout"]))

    def poison(self, queue):
        messages = self.azurite.queues.get_queue_client(f"{queue}-poison").peek_messages(max_messages=32)
        return [base64.b64decode(message.content).decode() for message in messages]

    def land(self, name, text):
        self.azurite.blobs.get_blob_client("landing", name).upload_blob(text)

