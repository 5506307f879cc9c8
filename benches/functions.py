"""Measures the five functions as Lambda runs them: cold starts, memory, batches of three sizes, requests to S3.

The program runs on a runtime interface of its own (tests/python/runtime_api.py). Times and memory are those on local disk;
requests are counted by an S3 in this process (moto), whose own time counts nowhere.

    HEADWATER_BIN=target/release/headwater python3 benches/functions.py times
    HEADWATER_BIN=target/debug/headwater python3 benches/functions.py requests    # any build asks the same
"""

import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/python"))
from runtime_api import Function, messages, stored  # noqa: E402

FUNCTIONS = ["bronze-events", "silver", "gold", "compact"]
BATCHES = [1, 100, 10_000]
COLD, WARM = 7, 10
COMMIT = "bronze/orders_raw/_delta_log/%020d.json"
DONE = ("response", {"batchItemFailures": []})


class Batches:
    """Batches of new messages. 10,000 of them, with what SQS says of each, are the 6 MB that Lambda hands over at most."""

    def __init__(self):
        self.sent = 0

    def of(self, count):
        self.sent += count
        return messages({f"m{index}": self._order(index) for index in range(self.sent - count, self.sent)})

    @staticmethod
    def _order(index):
        return {
            "id": index, "customer": f"customer-{index % 9973}", "product": f"product-{index % 100}", "quantity": index % 7,
            "price": index % 1000 / 10, "ordered_at": "2026-01-31T12:00:00Z", "note": "n" * 40,
        }


def spread(name, times):
    """The median, and the best: what else the machine does makes times longer, never shorter."""
    return {name: round(statistics.median(times)), f"best_{name}": round(min(times))}


def memory(process, field):
    """MiB that a process holds (`VmRSS`), or held at most (`VmHWM`)."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024)


def processor(process):
    """Milliseconds of processor time that a process used so far, of all its threads."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


@contextmanager
def project():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(HERE / "orders", folder, dirs_exist_ok=True)
        yield SimpleNamespace(folder=Path(folder))


def invocation(name, batches, size):
    """What wakes a function."""
    if name == "bronze-events":
        return batches.of(size)
    return messages({"notice": stored(COMMIT % 0)}) if name == "silver" else {}


def timed(function, document):
    """Milliseconds of an invocation, which has to succeed, and of processor time for it."""
    document = json.dumps(document).encode()
    begun, used = time.perf_counter(), processor(function.process)
    answer = function.invoke(document)
    taken = (time.perf_counter() - begun) * 1000
    assert answer == DONE, (answer, function.log.read_text()[-2000:])
    return taken, processor(function.process) - used


def start(place, name, **variables):
    return Function(place, name, HEADWATER_QUEUES="orders=queue", **variables)


def cold(place, name, batches):
    """From the start of the process to its first answer, with one new message on the way; and memory then."""
    times, cpus, rest = [], [], []
    for _ in range(COLD):
        for earlier in FUNCTIONS[: FUNCTIONS.index(name)]:
            with start(place, earlier) as function:
                timed(function, invocation(earlier, batches, 1))
        document = json.dumps(invocation(name, batches, 1)).encode()
        begun = time.perf_counter()
        with start(place, name) as function:
            assert function.invoke(document) == DONE
            times.append((time.perf_counter() - begun) * 1000)
            cpus.append(processor(function.process))
            rest.append(memory(function.process, "VmRSS"))
    return spread("cold_ms", times) | {"cold_cpu_ms": round(statistics.median(cpus)), "rest_mib": max(rest)}


def warm(size):
    """Median time of a warm invocation that has a batch of this size to work on, and memory at most."""
    with project() as place:
        batches, running = Batches(), [start(place, name) for name in FUNCTIONS]
        times = {name: [] for name in FUNCTIONS}
        for _ in range(WARM + 1):
            for name, function in zip(FUNCTIONS, running):
                times[name].append(timed(function, invocation(name, batches, size)))
        peaks = {name: memory(function.process, "VmHWM") for name, function in zip(FUNCTIONS, running)}
        for function in running:
            function.__exit__()
    walls, cpus = ({name: [pair[index] for pair in times[name][1:]] for name in FUNCTIONS} for index in (0, 1))
    return {
        name: spread("ms", walls[name]) | {"cpu_ms": round(statistics.mean(cpus[name])), "peak_mib": peaks[name]}
        for name in FUNCTIONS
    }


class Storage:
    """An S3 that counts what it is asked for."""

    def __init__(self):
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.counts, self.application = Counter(), DomainDispatcherApplication(create_backend_app)
        self.server = make_server("127.0.0.1", 0, self, threaded=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        endpoint = f"http://127.0.0.1:{self.server.server_port}"
        self.variables = keys | {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "HEADWATER_STORAGE": "s3://lake"}
        secrets = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
        boto3.client("s3", endpoint_url=endpoint, **secrets).create_bucket(Bucket="lake")

    def __call__(self, environment, respond):
        method, is_list = environment["REQUEST_METHOD"], "list-type" in environment.get("QUERY_STRING", "")
        self.counts["writes" if method in ("PUT", "POST") or is_list else "reads"] += 1
        return self.application(environment, respond)


def requests():
    """What a warm invocation with new work asks S3 for: writes, to which lists are counted as S3 does, and reads."""
    with project() as place:
        storage, batches, asked = Storage(), Batches(), {}
        running = [start(place, name, **storage.variables) for name in FUNCTIONS]
        for _ in range(5):
            for name, function in zip(FUNCTIONS, running):
                storage.counts.clear()
                timed(function, invocation(name, batches, 100))
                asked[name] = {"writes": storage.counts["writes"], "reads": storage.counts["reads"]}
        for function in running:
            function.__exit__()
        storage.server.shutdown()
    return asked


def times():
    """Cold starts, and warm invocations with a batch of each size."""
    with project() as place:
        batches = Batches()
        colds = {name: cold(place, name, batches) for name in FUNCTIONS}
    warms = {size: warm(size) for size in BATCHES}
    return {name: colds[name] | {"warm": {str(size): warms[size][name] for size in BATCHES}} for name in FUNCTIONS}


if __name__ == "__main__":
    print(json.dumps({"times": times, "requests": requests}[sys.argv[1]](), indent=1))
