"""A storage account that takes no keys: it wants a token, as Entra ID gives one to identities, and stands before Azurite."""

import http.client
import json
import threading
import urllib.parse
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

from local_azure import ACCOUNT, KEY

TOKEN = "a-token-of-an-identity"
SECRET = "the-header-of-the-identity-endpoint-or-the-secret-of-an-application"
ASSERTION = "an-assertion-of-kubernetes"
TENANT = "tenant"


def sas(permissions, hours=1):
    """A shared access signature of the account, which has ended if `hours` are below zero."""
    now = datetime.now(timezone.utc)
    return generate_account_sas(
        ACCOUNT, KEY, ResourceTypes(service=True, container=True, object=True), AccountSasPermissions.from_string(permissions),
        expiry=now + timedelta(hours=hours), start=now - timedelta(hours=2))


class Account(ThreadingHTTPServer):
    """Requests with the token are passed on to Azurite with a signature that is known here only."""

    daemon_threads = True

    def __init__(self, azurite):
        super().__init__(("127.0.0.1", 0), Requests)
        self.azurite, self.signature, self.asked = azurite, sas("rwdlacu"), []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        given = urllib.parse.parse_qs(query or body.decode(errors="replace"))
        if path == "/identity":
            return self.token("managed", self.headers["x-identity-header"] == SECRET, given.get("resource"))
        if path == f"/{TENANT}/oauth2/v2.0/token":
            is_known = given.get("client_assertion") == [ASSERTION] or given.get("client_secret") == [SECRET]
            return self.token("workload" if "client_assertion" in given else "application", is_known, given.get("scope"))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.answer(403, b"<?xml version='1.0'?><Error><Code>AuthorizationFailure</Code><Message>No.</Message></Error>")
        self.pass_on(body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

    def token(self, kind, is_known, audience):
        self.server.asked.append(kind)
        if not (is_known and audience and audience[0].startswith("https://storage.azure.com")):
            return self.answer(401, b"{}")
        end = int(datetime.now().timestamp()) + 3600
        self.answer(200, json.dumps({"access_token": TOKEN, "expires_on": str(end), "expires_in": 3600, "token_type": "Bearer"}).encode())

    def pass_on(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.azurite.ports["blob"], timeout=30)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("authorization", "host", "connection")}
        joint = "&" if "?" in self.path else "?"
        connection.request(self.command, f"{self.path}{joint}{self.server.signature}", body, headers)
        answer = connection.getresponse()
        content = answer.read()
        self.answer(answer.status, content, answer.getheaders())
        connection.close()

    def answer(self, status, body, headers=()):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "content-length", "connection", "keep-alive"):
                self.send_header(name, value)
        length = dict((name.lower(), value) for name, value in headers).get("content-length") if self.command == "HEAD" else len(body)
        self.send_header("Content-Length", str(length or 0))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Nothing is logged."""
