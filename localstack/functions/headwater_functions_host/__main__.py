"""Runs the app that a link points to, and another when it is told that the link was changed."""

import argparse
import logging
import signal
import threading
from pathlib import Path

from .admin import Admin
from .app import App
from .host import Host
from .template import Template

LOG = logging.getLogger("headwater_functions_host")


class Runner:
    """At most one app at a time."""

    def __init__(self, link, template, handler_log):
        self.link, self.template, self.handler_log = link, template, handler_log
        self.host, self.trouble = None, None
        self.changed, self.ended = threading.Event(), threading.Event()

    def status(self):
        """`state` is Running, Offline (there is no app) or Error."""
        host = self.host
        return {
            "state": "Error" if self.trouble else "Running" if host else "Offline",
            "app": host.app.folder.name if host else None,
            "functions": sorted(host.app.functions) if host else [],
            "errors": [self.trouble] if self.trouble else [],
        }

    def invoke(self, function):
        host = self.host
        return host.invoke(function) if host else 0

    def end(self, *_):
        self.ended.set()
        self.changed.set()

    def run(self):
        while not self.ended.is_set():
            self.changed.clear()
            self._start()
            self.changed.wait()
            if self.host:
                host, self.host = self.host, None
                host.stop()

    def _start(self):
        self.trouble = None
        if not self.link.exists():
            return
        try:
            host = Host(App(self.link, self.template.settings()), self.template, self.handler_log)
            host.start()
        except Exception as failure:
            LOG.exception("the app can't be run")
            self.trouble = str(failure)
            return
        self.host = host
        LOG.info("running %s", host.app.folder.name)


def main():
    arguments = argparse.ArgumentParser(prog="headwater_functions_host", description=__doc__)
    arguments.add_argument("--app", type=Path, required=True, help="link to the folder of the app, which may not be there yet")
    arguments.add_argument("--template", type=Path, required=True, help="the Bicep file that deploys the app")
    arguments.add_argument("--handler-log", type=Path, required=True, help="file for what the handler says")
    arguments.add_argument("--address", default="127.0.0.1")
    arguments.add_argument("--port", type=int, default=7071)
    given = arguments.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    LOG.setLevel(logging.INFO)
    runner = Runner(given.app, Template(given.template), given.handler_log)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, runner.end)
    admin = Admin((given.address, given.port), runner.status, runner.invoke, runner.changed.set)
    runner.run()
    admin.close()


main()
