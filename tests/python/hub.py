"""An Event Hubs emulator of a test's own, and a project that reads it."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

KEY = "c2VjcmV0"


class Emulator:
    """A process that listens on an address of its own: the official Python client takes no port but 5672."""

    def __init__(self, hub, partitions):
        self.hub = hub
        self.address = f"127.1.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 200 + 20}"
        program = Path(os.environ["HEADWATER_BIN"]).with_name("eventhubs-emulator")
        arguments = ["--listen", f"{self.address}:5672", "--control", f"{self.address}:5673", "--hub", f"{hub}={partitions}"]
        self.process = subprocess.Popen([program, *arguments, "--key", f"own={KEY}"])
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection((self.address, 5673), timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "the emulator didn't start"
                time.sleep(0.05)

    @property
    def connection(self):
        return f"Endpoint=sb://{self.address};SharedAccessKeyName=own;SharedAccessKey={KEY};UseDevelopmentEmulator=true;"

    @property
    def source(self):
        return f"eventhubs://localhost/{self.hub}?endpoint=amqp://{self.address}:5672"

    def control(self, method, path):
        request = urllib.request.Request(f"http://{self.address}:5673{path}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def partitions(self):
        return self.control("GET", f"/hubs/{self.hub}")["partitions"]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=20)

    def send(self, bodies, key):
        """Sends by the official Python client, in the order of each key; `key` says the key of a body."""
        from azure import eventhub as azure

        by_key = {}
        for body in bodies:
            by_key.setdefault(key(body), []).append(body)
        client = azure.EventHubProducerClient.from_connection_string(self.connection, eventhub_name=self.hub)
        with client:
            for name, waiting in by_key.items():
                batch = client.create_batch(partition_key=name)
                for body in waiting:
                    try:
                        batch.add(azure.EventData(body))
                    except ValueError:
                        client.send_batch(batch)
                        batch = client.create_batch(partition_key=name)
                        batch.add(azure.EventData(body))
                client.send_batch(batch)
