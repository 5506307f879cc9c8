"""The host of one app: what wakes its functions, each on a thread of its own."""

import logging
import threading
import time

from azure.core.exceptions import ResourceExistsError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient
from croniter import croniter

from . import documents
from .app import seconds
from .handler import Handler, HandlerFailed
from .hubs import CHECKPOINTS, HubTrigger
from .notices import Notices
from .queues import QueueTrigger

NOTICES_SECONDS = 0.2
SHORTEST_POLL_SECONDS = 0.1
HANDLER_SECONDS = 0.2
TROUBLE_SECONDS = 1
LOG = logging.getLogger(__name__)


class Host:
    """Runs between `start` and `stop`."""

    def __init__(self, app, template, handler_log):
        self.app, self.template = app, template
        self.stopping = threading.Event()
        self.handler = Handler(app, handler_log)
        storage = app.settings["AzureWebJobsStorage"]
        self.blobs = BlobServiceClient.from_connection_string(storage, retry_total=3)
        self.queues = QueueServiceClient.from_connection_string(storage, retry_total=3)
        self.threads, self.hubs = [], []

    def start(self):
        """Makes what the template makes in storage, starts the handler, and lets functions be woken."""
        self._make_storage()
        self.handler.start()
        self._on_a_thread("handler", self._keep_handler)
        self._on_a_thread("notices", self._tell)
        for function in self.app.functions.values():
            wake = {"queueTrigger": self._poll, "eventHubTrigger": self._receive, "timerTrigger": self._fire}[function.trigger]
            self._on_a_thread(function.name, lambda wake=wake, function=function: wake(function))

    def stop(self):
        self.stopping.set()
        for hub in self.hubs:
            hub.close()
        self.handler.stop()
        for thread in self.threads:
            thread.join(timeout=10)
        if self.handler.is_alive():
            # It was started again at that very moment.
            self.handler.kill()
        self.blobs.close()
        self.queues.close()

    def _on_a_thread(self, name, work):
        """Again after a while when it fails: storage or hubs may be away."""
        def run():
            while not self.stopping.is_set():
                try:
                    work()
                except Exception:
                    if not self.stopping.is_set():
                        LOG.exception("%s had trouble", name)
                self.stopping.wait(TROUBLE_SECONDS)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        self.threads.append(thread)

    def _make_storage(self):
        queues = self.template.names("queueServices/queues").values()
        for queue in (*queues, *(f"{queue}-poison" for queue in queues)):
            self._make(self.queues.create_queue, queue)
        for container in (*self.template.names("blobServices/containers").values(), CHECKPOINTS):
            self._make(self.blobs.create_container, container)

    @staticmethod
    def _make(make, name):
        try:
            make(name)
        except ResourceExistsError:
            pass

    def _keep_handler(self):
        """The host starts another when it ends."""
        while not self.stopping.wait(HANDLER_SECONDS):
            if not self.handler.is_alive():
                LOG.warning("the handler ended; another is started")
                try:
                    self.handler.start()
                except HandlerFailed as failure:
                    LOG.error("%s", failure)
                    self.stopping.wait(TROUBLE_SECONDS)

    def _tell(self):
        notices = Notices(self.blobs, self.queues, self.template.subscriptions())
        while not self.stopping.wait(NOTICES_SECONDS):
            notices.tell()

    def _poll(self, function):
        trigger = QueueTrigger(self.app, function, self.handler, self.queues)
        longest = seconds(self.app.extension("queues", "maxPollingInterval", "00:01:00"))
        pause = SHORTEST_POLL_SECONDS
        while not self.stopping.wait(pause):
            pause = SHORTEST_POLL_SECONDS if trigger.poll() else min(pause * 2, longest)

    def _receive(self, function):
        trigger = HubTrigger(self.app, function, self.handler, self.stopping)
        self.hubs.append(trigger)
        try:
            trigger.run()
        finally:
            self.hubs.remove(trigger)

    def _fire(self, function):
        """At the times of the schedule, which begins with seconds. What is still at work then is not disturbed."""
        schedule = self.app.resolved(function.binding["schedule"])
        while not self.stopping.is_set():
            now = time.time()
            if not self.stopping.wait(croniter(schedule, now, second_at_beginning=True).get_next(float) - now):
                self.invoke(function.name)

    def invoke(self, name):
        """Wakes a function by hand, as `POST /admin/functions/<name>` does. The status of its answer."""
        return self.handler.post(name, documents.timer(self.app.functions[name]))[0]
