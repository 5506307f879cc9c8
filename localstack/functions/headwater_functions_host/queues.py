"""Triggers by storage queues: a message comes again until it is done, and is poison after `maxDequeueCount` tries."""

from concurrent.futures import ThreadPoolExecutor

from .app import seconds
from .documents import message

HIDDEN_SECONDS = 600
"""How long a message is hidden while it is worked on, as on the real host."""


class QueueTrigger:
    """One function and its queue."""

    def __init__(self, app, function, handler, queues):
        self.app, self.function, self.handler, self.queues = app, function, handler, queues
        self.queue = queues.get_queue_client(app.resolved(function.binding["queueName"]))

    def poll(self, before=lambda: None):
        """Works on what is there, as many messages at once as `batchSize` says; returns how many there were. `before` is called first."""
        at_once = self.app.extension("queues", "batchSize", 16)
        messages = list(self.queue.receive_messages(
            messages_per_page=at_once, max_messages=at_once, visibility_timeout=HIDDEN_SECONDS))
        if messages:
            before()
            with ThreadPoolExecutor(at_once) as pool:
                list(pool.map(self._hand_over, messages))
        return len(messages)

    def _hand_over(self, received):
        status, _ = self.handler.post(self.function.name, message(self.function, received))
        if status == 200:
            self.queue.delete_message(received)
        elif received.dequeue_count >= self.app.extension("queues", "maxDequeueCount", 5):
            self.queues.get_queue_client(f"{self.queue.queue_name}-poison").send_message(received.content)
            self.queue.delete_message(received)
        else:
            hidden = seconds(self.app.extension("queues", "visibilityTimeout", "00:00:00"))
            self.queue.update_message(received, visibility_timeout=hidden)
