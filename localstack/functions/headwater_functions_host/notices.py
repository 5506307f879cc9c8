"""Event Grid: tells queues of new blobs, by the subscriptions of the deployment."""

import base64
import json
import urllib.parse
import uuid
from datetime import datetime, timezone

CONTAINERS = "/blobServices/default/containers/"


def is_wanted(subject, wanted):
    """Whether a subscription's filter lets a blob pass."""
    contained = [part for rule in wanted.get("advancedFilters", []) for part in rule["values"]]
    return (
        subject.startswith(wanted["subjectBeginsWith"])
        and subject.endswith(wanted.get("subjectEndsWith", ""))
        and all(part in subject for part in contained)
    )


def send(queues, queue, message):
    text = message if isinstance(message, str) else json.dumps(message)
    queues.get_queue_client(queue).send_message(base64.b64encode(text.encode()).decode())


class Notices:
    """What was told of already. A new one tells of all that is there."""

    def __init__(self, blobs, queues, subscriptions):
        self.blobs, self.queues, self.known = blobs, queues, set()
        self.subscriptions = list(subscriptions)
        self.containers = {wanted["subjectBeginsWith"].removeprefix(CONTAINERS).split("/")[0] for _, wanted in self.subscriptions}

    def tell(self):
        """One message for each new blob and subscription that is for it; returns how many."""
        told = 0
        for container in self.containers:
            for blob in self.blobs.get_container_client(container).list_blobs():
                if (container, blob.name, blob.etag) in self.known:
                    continue
                self.known.add((container, blob.name, blob.etag))
                told += sum(self._send(queue, wanted, container, blob) for queue, wanted in self.subscriptions)
        return told

    def _send(self, queue, wanted, container, blob):
        subject = f"{CONTAINERS}{container}/blobs/{blob.name}"
        if not is_wanted(subject, wanted):
            return 0
        url = f"{self.blobs.url.rstrip('/')}/{container}/{urllib.parse.quote(blob.name)}"
        send(self.queues, queue, {
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/lake",
            "subject": subject,
            "eventType": "Microsoft.Storage.BlobCreated",
            "id": str(uuid.uuid4()),
            "data": {"api": "PutBlob", "contentLength": blob.size, "blobType": "BlockBlob", "url": url},
            "dataVersion": "",
            "metadataVersion": "1",
            "eventTime": datetime.now(timezone.utc).isoformat(),
        })
        return 1
