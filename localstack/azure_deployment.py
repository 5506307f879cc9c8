"""Puts a project on the local Azure: as `headwater package azure` packs it, with a link to the program."""

import argparse
import hashlib
import io
import json
import os
import re
import subprocess
import tempfile
import time
import zipfile
from pathlib import Path

from local_azure import CONTROL, HOST, HUBS, VARIABLES, LocalAzure
from package import default_program
from telling import Failed, say

START_SECONDS = 90
LOOK_SECONDS = 0.1


def deploy(arguments):
    given = parse(arguments)
    azure = LocalAzure.here()
    if azure.ask(HOST, "/admin/host/status") is None:
        raise Failed(f"no Functions host answers at {azure.url(HOST)}; run localstack/up --azure first")
    begun = time.monotonic()
    program = (given.program or default_program()).resolve()
    if not os.access(program, os.X_OK):
        raise Failed(f"{program} is no program; build it by `cargo build`, or name it by --program")
    app, hubs = unpack(azure, packed(given.project, program), program, dict(given.setting))
    run(azure, app)
    say("✓", f"{given.project} runs after {time.monotonic() - begun:.1f} s")
    print(described(azure, given.project, hubs), end="")


def parse(arguments):
    parser = argparse.ArgumentParser(
        prog="deploy --azure", description=__doc__, epilog=VARIABLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", default=Path(), help="folder with pipeline.yml (.)")
    parser.add_argument("--program", type=Path, help="the program that the functions run (what cargo built last)")
    parser.add_argument(
        "--setting", type=setting, action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the app, such as HEADWATER_GOLD_SCHEDULE='*/5 * * * * *'")
    return parser.parse_args(arguments)


def setting(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"`{text}` is no NAME=VALUE")
    return name, value


def packed(project, program):
    """The bytes of the zip."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--project", project, "package", "azure", "--without-program", "-o", folder]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{project} can't be packed:\n{done.stderr.strip()}")
        [file] = Path(folder).glob("*.zip")
        return file.read_bytes()


def unpack(azure, package, program, settings):
    """The folder of the app, named after all that is in it, and the hub of each source that it reads."""
    built = str(program.stat().st_mtime_ns)
    digest = hashlib.sha256(package + json.dumps([str(program), built, settings]).encode()).hexdigest()
    app = azure.state / "apps" / digest[:16]
    app.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(package)) as files:
        files.extractall(app)
    link(app / "headwater", program)
    hubs, connections = {}, {}
    for file in sorted(app.glob("bronze-events*/function.json")):
        document = json.loads(file.read_text())
        binding = document["bindings"][0]
        if binding["type"] == "eventHubTrigger":
            connections[binding["connection"]] = azure.event_hubs
            names = [variable(name) for name in document.get("sources", [])] or [source(binding)]
            hubs.update((name, binding["eventHubName"]) for name in names)
    values = {
        **azure.variables,
        **reading(azure, hubs),
        "AzureWebJobsStorage": azure.storage,
        **connections,
        **settings,
    }
    (app / "local.settings.json").write_text(json.dumps({"IsEncrypted": False, "Values": values}, indent=2))
    return app, hubs


def source(binding):
    """Which a function lands, as settings name it: the template's hubs have the names of their sources."""
    return binding["connection"].removeprefix("HEADWATER_EVENT_HUBS").removeprefix("_") or variable(binding["eventHubName"])


def variable(source):
    """A source's name, in the names of variables."""
    return re.sub("[^A-Z0-9]+", "_", source.upper()).strip("_")


def reading(azure, hubs):
    """What binds sources to hubs of the emulator."""
    bound = {
        f"HEADWATER_SOURCES_{name}": f"eventhubs://localhost/{hub}?consumer_group=headwater-reads&endpoint=amqp://{azure.address}:{HUBS}"
        for name, hub in hubs.items()
    }
    return {**bound, "HEADWATER_EVENTHUBS_CONNECTION_STRING": azure.event_hubs}


def link(path, target):
    """At once, whatever was there."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(path)


def run(azure, app):
    """Has the host take it up, and waits until it does."""
    status = azure.ask(HOST, "/admin/host/status")
    if status and (status["state"], status["app"]) == ("Running", app.name):
        return
    link(azure.app, app)
    azure.ask(HOST, "/admin/host/restart", "POST")
    end = time.monotonic() + START_SECONDS
    while True:
        status = azure.ask(HOST, "/admin/host/status") or {}
        if (status.get("state"), status.get("app")) == ("Running", app.name):
            return
        if status.get("state") == "Error" or azure.host.pid() is None or time.monotonic() > end:
            errors = "\n".join(status.get("errors", []))
            raise Failed(f"the app doesn't run; see {azure.host.log}, and deploy again\n{errors}")
        time.sleep(LOOK_SECONDS)


def described(azure, project, hubs):
    """What is there, and what to type next."""
    variables = {**azure.variables, **reading(azure, hubs)}
    exports = " \\\n         ".join(f"{name}='{value}'" for name, value in variables.items())
    events = "".join(f"events   hub {hub}\n" for hub in dict.fromkeys(hubs.values()))
    return f"""
lake     az://lake/
landing  az://landing/
{events}
Speak to it:
  export {exports}
Then, for example:
  headwater --project {project} status
  localstack/land a.csv data/a.csv
  curl -X POST {azure.url(HOST)}/admin/functions/gold
  tail {azure.state / "handler.log"}
Events are sent over AMQP, without TLS: {azure.address}:{HUBS}, connection string
  {azure.event_hubs}
Faults of the hubs are ordered at {azure.url(CONTROL)} (localstack/eventhubs/README.md).
"""
