"""The host's own HTTP interface: a part of the real one's `/admin`."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Admin:
    """Serves what `status()` says, `invoke(name)` and `restart()`."""

    def __init__(self, address, status, invoke, restart):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.answer(200, status()) if self.path == "/admin/host/status" else self.answer(404, {})

            def do_POST(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                function = self.path.removeprefix("/admin/functions/")
                if self.path == "/admin/host/restart":
                    restart()
                    self.answer(202, {})
                elif function in status()["functions"]:
                    self.answer(202 if invoke(function) == 200 else 500, {})
                else:
                    self.answer(404, {})

            def answer(self, code, document):
                body = json.dumps(document).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """What is asked isn't logged."""

        self.server = ThreadingHTTPServer(address, Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, name="admin", daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
