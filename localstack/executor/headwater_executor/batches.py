"""How many messages an invocation gets."""

import json

LARGEST_PAYLOAD = 6 * 1024 * 1024
AROUND_A_BODY = 1024
"""Bytes of a message's ids and attributes, at most or nearly so."""


def batches(messages, largest=LARGEST_PAYLOAD):
    """Cuts messages into batches whose payloads Lambda takes; a message alone may be larger."""
    batch, size = [], 0
    for message in messages:
        bytes_more = AROUND_A_BODY + len(json.dumps(message["Body"]))
        if batch and size + bytes_more > largest:
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += bytes_more
    if batch:
        yield batch
