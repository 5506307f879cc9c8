"""A local Azure for tests, at an address of its own."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from azure import eventhub
from azure.eventhub.exceptions import EventDataSendError
from azure.storage.blob import BlobServiceClient
from deltalake import DeltaTable

from conftest import ROOT

sys.path.append(str(ROOT / "localstack"))
from local_azure import ACCOUNT, BLOBS, CONTROL, HOST, KEY, LocalAzure

PARTITIONS = 4


class Cloud:
    """A local Azure at an address of its own, which ends with the tests."""

    def __init__(self):
        # The Python client of Event Hubs takes no port but its own, so that each has an address.
        self.azure = LocalAzure(f"127.1.{os.getpid() // 200 % 200 + 20}.{os.getpid() % 200 + 20}")
        self.options = {"account_name": ACCOUNT, "account_key": KEY, "endpoint": f"{self.azure.url(BLOBS)}/{ACCOUNT}", "allow_http": "true"}

    def run(self, command, *arguments, expect=0):
        """One of localstack/'s commands, and what it printed."""
        which = [] if command == "land" else ["--azure"]
        done = subprocess.run(
            [str(ROOT / "localstack" / command), *which, *map(str, arguments)],
            env=os.environ | {"HEADWATER_AZURE_ADDRESS": self.azure.address}, capture_output=True, text=True, timeout=580)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def headwater(self, *arguments, **variables):
        environment = os.environ | self.azure.variables | variables
        done = subprocess.run([os.environ["HEADWATER_BIN"], *map(str, arguments)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def send(self, hub, partition, bodies):
        """As one batch, by the official client."""
        client = eventhub.EventHubProducerClient.from_connection_string(self.azure.event_hubs, eventhub_name=hub)
        with client:
            batch = client.create_batch(partition_id=str(partition))
            for body in bodies:
                event = eventhub.EventData(body)
                event.properties = {"shop": "online"}
                batch.add(event)
            self._until_taken(lambda: client.send_batch(batch))

    @staticmethod
    def _until_taken(send):
        """A server that is busy has taken nothing, so that it is sent again."""
        while True:
            try:
                return send()
            except EventDataSendError as refused:
                assert "busy" in str(refused)
                time.sleep(0.2)

    def land(self, name, text):
        with BlobServiceClient.from_connection_string(self.azure.storage) as blobs:
            blobs.get_blob_client("landing", name).upload_blob(text, overwrite=True)

    def rows(self, table):
        if not DeltaTable.is_deltatable(f"az://lake/{table}", storage_options=self.options):
            return []
        return DeltaTable(f"az://lake/{table}", storage_options=self.options).to_pyarrow_table().to_pylist()

    def count(self, table):
        """How many rows there are, as the table's log says."""
        if not DeltaTable.is_deltatable(f"az://lake/{table}", storage_options=self.options):
            return 0
        return DeltaTable(f"az://lake/{table}", storage_options=self.options).to_pyarrow_dataset().count_rows()

    def await_rows(self, table, expected, value, seconds=90):
        end = time.monotonic() + seconds
        while (there := sorted(map(value, self.rows(table)))) != expected:
            assert time.monotonic() < end, f"{table}: {there[:20]} …\n{self.logs()}"
            time.sleep(0.1)

    def logs(self):
        files = (self.azure.host.log, self.azure.state / "handler.log")
        return "\n".join(file.read_text(errors="replace")[-3000:] for file in files if file.exists())

    def handler(self):
        """The number of the handler's process; none while another is started."""
        parent = f"PPid:\t{self.azure.host.pid()}\n"
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if parent in (process / "status").read_text() and b"FUNCTIONS_CUSTOMHANDLER_PORT" in (process / "environ").read_bytes():
                    return int(process.name)
            except OSError:
                continue
        return None

    def control(self, path):
        urllib.request.urlopen(urllib.request.Request(self.azure.url(CONTROL) + path, method="POST"), timeout=10).close()

    def wake(self, function):
        """By hand; the status."""
        request = urllib.request.Request(f"{self.azure.url(HOST)}/admin/functions/{function}", method="POST")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code

    def status(self):
        return self.azure.ask(HOST, "/admin/host/status")


@pytest.fixture(scope="module")
def cloud():
    cloud = Cloud()
    cloud.run("up")
    yield cloud
    cloud.run("down")
    assert not any(server.pid() for server in cloud.azure.servers) and not cloud.azure.state.exists()
