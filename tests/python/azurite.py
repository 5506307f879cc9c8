"""Azure's storage on this machine: Azurite, as `localstack/up --azure` installs it."""

import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

sys.path.append(str(Path(__file__).resolve().parents[2] / "localstack"))
from local_azure import ACCOUNT, KEY, LocalAzure, install


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Azurite:
    """A storage account that ends with the test."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {kind: free_port() for kind in ("blob", "queue", "table")}

    def __enter__(self):
        azure = LocalAzure("127.0.0.1")
        install(azure)
        ports = [part for kind, port in self.ports.items() for part in (f"--{kind}Port", str(port))]
        options = ["--location", str(self.folder), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        self.log = open(self.folder / "azurite.log", "w")
        self.process = subprocess.Popen([*azure.azurite_command, *options, *ports], stdout=self.log, stderr=self.log)
        for port in self.ports.values():
            self._wait(port)
        self.blobs = BlobServiceClient.from_connection_string(self.connection, retry_total=3)
        self.queues = QueueServiceClient.from_connection_string(self.connection, retry_total=3)
        return self

    def __exit__(self, *_):
        self.blobs.close()
        self.queues.close()
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def _wait(self, port):
        end = time.monotonic() + 60
        while True:
            try:
                return socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, Path(self.log.name).read_text()
                time.sleep(0.05)

    def url(self, kind):
        return f"http://127.0.0.1:{self.ports[kind]}/{ACCOUNT}"

    @property
    def connection(self):
        """A connection string."""
        endpoints = f"BlobEndpoint={self.url('blob')};QueueEndpoint={self.url('queue')};"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{endpoints}"

    @property
    def environment(self):
        """What makes Headwater use it."""
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self.ports['blob']}"}

    @property
    def options(self):
        """What makes the second reader use it."""
        return {"account_name": ACCOUNT, "account_key": KEY, "endpoint": self.url("blob"), "allow_http": "true"}
