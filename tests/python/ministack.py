"""Another local AWS, MiniStack, for what LocalStack does otherwise than AWS: EventBridge Scheduler, sequencers of notices, `+` in their keys."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from cloud import client
from conftest import ROOT

PINS = ROOT / "tests/ministack/requirements.txt"
FOLDER = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "headwater-ministack"


def install():
    """The program, with its packages of the lock file; once for each lock file."""
    installed, program = FOLDER / "requirements.txt", FOLDER / "venv/bin/ministack"
    if not (program.exists() and installed.exists() and installed.read_bytes() == PINS.read_bytes()):
        subprocess.run([sys.executable, "-m", "venv", FOLDER / "venv"], check=True)
        pip = [FOLDER / "venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", PINS], check=True)
        installed.write_bytes(PINS.read_bytes())
    return program


class Ministack:
    """A MiniStack that ends with the test."""

    def __init__(self, folder):
        self.folder = folder
        with contextlib.closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "HEADWATER_"))}
        own = {"AWS_ENDPOINT_URL": self.endpoint, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "EDGE_PORT": str(self.port)}
        own |= {"STATE_DIR": str(self.folder / "state"), "LAMBDA_EXECUTOR": "local", "PERSIST_STATE": "0", "SFTP_ENABLED": "0"}
        self.log = (self.folder / "ministack.log").open("w")
        self.process = subprocess.Popen([install()], env=kept | own, cwd=self.folder, stdout=self.log, stderr=self.log)
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.endpoint}/_localstack/health", timeout=2).close()
                return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, self.logged()
                time.sleep(0.05)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.log.close()

    def logged(self):
        return Path(self.log.name).read_text()

    def client(self, name):
        return client(self.endpoint, name)

    def deploy(self, project, name):
        """Deploys a project by the template, without the one alarm of two metrics, which MiniStack doesn't know."""
        template = (ROOT / "infra/aws/template.yaml").read_text()
        known = self.folder / "template.yaml"
        known.write_text(re.sub(r"\n  GoldStaleAlarm:.*?(?=\n  \w+:\n)", "", template, flags=re.DOTALL))
        command = [sys.executable, ROOT / "localstack/deploy", project, "--stack", name, "--template", known]
        done = subprocess.run(command, env=os.environ | {"LOCALSTACK_PORT": str(self.port)}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        functions = self.client("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            # It keeps the text of a parameter where it needs a number.
            bound = {"MaximumConcurrency": int(mapping["ScalingConfig"]["MaximumConcurrency"])}
            functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig=bound)
