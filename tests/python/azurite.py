"""Azure's storage on this machine: Azurite, as `tests/azurite` pins it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

# Node comes with the other packages of the tests, beside Python.
WITH_NODE = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
PINS = Path(__file__).resolve().parents[1] / "azurite"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headwater-azurite"
# The account and key of every Azurite, which its documentation gives.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def install():
    """Azurite of the lock file, once for each lock file."""
    lock = (PINS / "package-lock.json").read_bytes()
    installed = CACHE / "package-lock.json"
    program = CACHE / "node_modules/.bin/azurite"
    if not (program.exists() and installed.exists() and installed.read_bytes() == lock):
        CACHE.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name, CACHE / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=CACHE, env=WITH_NODE, check=True)
    return program


class Azurite:
    """A storage account that ends with the test."""

    def __init__(self, folder):
        self.folder = folder
        self.ports = {kind: free_port() for kind in ("blob", "queue", "table")}

    def __enter__(self):
        ports = [part for kind, port in self.ports.items() for part in (f"--{kind}Port", str(port))]
        options = ["--location", str(self.folder), "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
        self.log = open(self.folder / "azurite.log", "w")
        self.process = subprocess.Popen([install(), *options, *ports], stdout=self.log, stderr=self.log, env=WITH_NODE)
        for port in self.ports.values():
            self._wait(port)
        credential = {"account_name": ACCOUNT, "account_key": KEY}
        self.blobs = BlobServiceClient(self.url("blob"), credential=credential, retry_total=3)
        self.queues = QueueServiceClient(self.url("queue"), credential=credential, retry_total=3)
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
    def environment(self):
        """What makes Headwater use it."""
        return {"AZURE_STORAGE_USE_EMULATOR": "true", "AZURITE_BLOB_STORAGE_URL": f"http://127.0.0.1:{self.ports['blob']}"}

    @property
    def options(self):
        """What makes the second reader use it."""
        return {"account_name": ACCOUNT, "account_key": KEY, "endpoint": self.url("blob"), "allow_http": "true"}
