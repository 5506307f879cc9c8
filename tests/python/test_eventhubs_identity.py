"""Hubs that are read by an identity of Entra ID, whose tokens a stand-in gives: what it is asked for, and that no token is ever told."""

import json
import os
import threading
import urllib.parse
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hub import Emulator

TOKEN = "a-token-of-an-identity"
SECRET = "the-header-of-the-identity-endpoint"
HUBS = "https://eventhubs.azure.net"
SQL = "CREATE STREAMING TABLE events AS SELECT n FROM STREAM read_events('events', format => 'json', schema => 'n BIGINT');"


class Identity(BaseHTTPRequestHandler):
    """The identity endpoint of an app."""

    def do_GET(self):
        asked = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        is_known = self.headers["X-IDENTITY-HEADER"] == SECRET
        self.server.asked.append((asked.get("resource"), is_known))
        end = int(datetime.now().timestamp()) + 3600
        body = json.dumps({"access_token": TOKEN, "expires_on": str(end), "resource": HUBS, "token_type": "Bearer"}).encode()
        self.send_response(200 if is_known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is logged."""


@pytest.fixture
def emulator():
    emulator = Emulator("events", 2)
    emulator.send([json.dumps({"n": number}).encode() for number in range(10)], lambda body: body.decode())
    yield emulator
    emulator.stop()


def reads_all(project, emulator, **variables):
    """The hub is read by these variables, and nothing that is said tells the token."""
    project.write("pipeline.yml", f"name: t\nstorage: lake\nsources: {{events: {{eventhubs: '{emulator.source}'}}}}\nlibraries:\n  - glob: {{include: sql/**}}\n")
    project.write("sql/events.sql", SQL)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "IDENTITY_", "HEADWATER_EVENTHUBS_"))}
    said = project.run("run", env=kept | {"HEADWATER_LOG": "debug"} | variables)
    shown = project.run("query", "SELECT count(DISTINCT n) AS n FROM events", "--format", "json", env=kept)
    assert json.loads(shown) == [{"n": 10}]
    assert TOKEN not in said and SECRET not in said


def test_the_identity_of_an_app(empty, emulator):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Identity)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}/identity"
        reads_all(empty, emulator, HEADWATER_EVENTHUBS_IDENTITY="managed", IDENTITY_ENDPOINT=endpoint, IDENTITY_HEADER=SECRET)
    finally:
        server.shutdown()
        server.server_close()
    assert server.asked and all(is_known and [name.rstrip("/") for name in resource] == [HUBS] for resource, is_known in server.asked)


def test_whoever_is_signed_in_at_the_command_line_of_azure(empty, emulator, tmp_path):
    answer = json.dumps({"accessToken": TOKEN, "expiresOn": "2037-01-01 00:00:00.000000", "expires_on": 2_114_380_800, "tokenType": "Bearer"})
    program, asked = tmp_path / "bin/az", tmp_path / "asked"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho \"$@\" >> '{asked}'\necho '{answer}'\n")
    program.chmod(0o755)
    reads_all(empty, emulator, HEADWATER_EVENTHUBS_IDENTITY="cli", PATH=f"{program.parent}:{os.environ['PATH']}")
    assert set(asked.read_text().splitlines()) == {f"account get-access-token -o json --scope {HUBS}/.default"}
