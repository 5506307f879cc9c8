"""A proxy in front of storage that refuses, stalls and forgets to answer, by chance with a seed."""

import contextlib
import http.client
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
NOT_FORWARDED = {"connection", "transfer-encoding", "content-length"}


class Server(ThreadingHTTPServer):
    """Clients that are killed drop their connections, which is nothing to report."""

    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class Storm:
    """While it rages, of 100 requests `refused` are answered by 503 and not done, `forgotten` are done and answered by 503,
    and `stalled` hang for some seconds first."""

    def __init__(self, port, seed, refused=12, forgotten=4, stalled=1.5, stall=10):
        self.port, self.chance, self.stall = port, random.Random(seed), stall
        self.weather = {"refused": refused, "forgotten": forgotten, "stalled": stalled}
        self.rages = False
        self.seen = Counter()
        self.lock = threading.Lock()
        self.server = Server(("127.0.0.1", 0), self._handler())
        self.endpoint = "http://127.0.0.1:%d" % self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def fate(self):
        """What becomes of the next request."""
        with self.lock:
            drawn, fate = self.chance.uniform(0, 100), "done"
            for name, share in self.weather.items() if self.rages else ():
                if 0 <= drawn < share:
                    fate = name
                drawn -= share
            self.seen[fate] += 1
            return fate

    def _handler(self):
        storm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            upstream = None

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                fate = storm.fate()
                if fate == "stalled":
                    time.sleep(storm.stall)
                status, headers, answer = (503, [], SLOW_DOWN) if fate == "refused" else self.ask(body)
                if fate == "forgotten":
                    status, headers, answer = 503, [], SLOW_DOWN
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in NOT_FORWARDED:
                        self.send_header(name, value)
                length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" and headers else len(answer)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer)

            def ask(self, body):
                self.upstream = self.upstream or http.client.HTTPConnection("127.0.0.1", storm.port, timeout=60)
                self.upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    self.upstream.putheader(name, value)
                self.upstream.endheaders(body)
                answer = self.upstream.getresponse()
                return answer.status, answer.getheaders(), answer.read()

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

            def finish(self):
                if self.upstream is not None:
                    self.upstream.close()
                with contextlib.suppress(OSError):
                    super().finish()

            def log_message(self, *_):
                pass

        return Handler
