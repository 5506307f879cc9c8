"""Batches of queues as Lambda's event source mappings deliver them.

LocalStack hands over one batch after another, whatever `MaximumConcurrency` says, writes bodies that are JSON anew, and
knows no bound of a batch's bytes. Here batches of standard queues run side by side, as many as the mapping allows, within
Lambda's bytes, and bodies are handed over as they were sent. Mappings with filters and queues in order stay with LocalStack.
"""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

from localstack.services.lambda_.event_source_mapping import esm_worker
from localstack.services.lambda_.event_source_mapping.event_processor import PartialBatchFailureError
from localstack.services.lambda_.event_source_mapping.pollers.poller import parse_batch_item_failures
from localstack.services.lambda_.event_source_mapping.pollers.sqs_poller import SqsPoller, transform_into_events

from .batches import batches

LOG = logging.getLogger(__name__)
FIRST_CONCURRENCY = 5
"""How many batches a mapping without a bound begins with on AWS."""


def poll_side_by_side() -> None:
    """Puts it in LocalStack's place; once."""
    if hasattr(SqsPoller, "slots"):
        return
    SqsPoller.slots = None
    begin, one_by_one = esm_worker.EsmWorker.__init__, SqsPoller.handle_messages

    def begin_with_slots(worker, mapping, poller, *arguments, **options):
        if isinstance(poller, SqsPoller) and not mapping.get("FilterCriteria"):
            count = (mapping.get("ScalingConfig") or {}).get("MaximumConcurrency") or FIRST_CONCURRENCY
            poller.slots = threading.BoundedSemaphore(count)
            poller.pool = ThreadPoolExecutor(count, thread_name_prefix=f"batches-{mapping['UUID'][:8]}")
        begin(worker, mapping, poller, *arguments, **options)

    def side_by_side(poller, messages):
        if poller.slots is None or poller.is_fifo_queue:
            return one_by_one(poller, messages)
        for batch in batches(messages):
            poller.slots.acquire()
            poller.pool.submit(_deliver, poller, batch)
        return None

    esm_worker.EsmWorker.__init__ = begin_with_slots
    SqsPoller.handle_messages = side_by_side


def _deliver(poller, messages):
    """Invokes the function with a batch, and deletes what it doesn't ask to have again."""
    try:
        done = {message["MessageId"] for message in messages}
        events = poller.add_source_metadata(transform_into_events(messages))
        try:
            poller.processor.process_events_batch(events)
        except PartialBatchFailureError as failure:
            done -= set(parse_batch_item_failures(failure.partial_failure_payload, done))
        poller.delete_messages(messages, done)
    except Exception as failure:
        LOG.warning("a batch of %s comes again: %s", poller.source_arn, failure)
    finally:
        poller.slots.release()
