"""Many invocations at once on the same tables: nothing is lost, nothing is there twice, and nobody waits for ever."""

import json
import random
import statistics
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from cloud import local_cloud, stack  # noqa: F401
from runtime_api import messages

WRITERS, ROUNDS, BATCH = 16, 4, 20
PIPELINE = "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\n"
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", PIPELINE)
    empty.write("shop.sql", SQL)
    return empty


def batches(chance):
    """The bodies of each invocation's messages, by id. One message of each batch comes with another batch too."""
    orders = iter(range(WRITERS * ROUNDS * BATCH))
    made = [{str(uuid.UUID(int=chance.getrandbits(128))): {"id": next(orders), "quantity": 1} for _ in range(BATCH)} for _ in range(WRITERS * ROUNDS)]
    for first, second in zip(made, made[1:]):
        first.update([next(iter(second.items()))])
    made[3][str(uuid.uuid4())] = "no JSON"
    return made


class Together:
    """Wakes a function again and again, until it is told to end."""

    def __init__(self, cloud, *functions):
        self.cloud, self.is_over, self.woken = cloud, threading.Event(), 0
        self.threads = [threading.Thread(target=self._wake, args=(function,)) for function in functions]

    def _wake(self, function):
        while not self.is_over.is_set():
            self.cloud.invoke(function)
            self.woken += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def committed(cloud, function):
    """What each commit of a function says of itself."""
    lines = (json.loads(line) for line in cloud.logged(function) if line.startswith("{"))
    return [line for line in lines if line.get("message") == "committed"]


def test_sixteen_writers_two_silvers_and_compaction_on_one_table_lose_and_double_nothing(shop, stack):  # noqa: F811
    cloud = stack(shop.folder, MaximumConcurrency="16")
    made = batches(random.Random(5))

    def land(bodies):
        return cloud.invoke("bronze-events", messages(bodies, queue_name=f"{cloud.name}-events", received=2))

    with ThreadPoolExecutor(WRITERS) as writers:
        # A function that never ran is loaded first: what is tried here is how they race, not how they start.
        land(made[0])
        list(writers.map(cloud.invoke, ["silver"] * 2 + ["compact"]))
        with Together(cloud, "silver", "silver", "compact"):
            answers = list(writers.map(land, made[1:]))
    assert answers == [{"batchItemFailures": []}] * (len(made) - 1)
    cloud.settle()

    wanted = {id for bodies in made for id, body in bodies.items() if body != "no JSON"}
    landed = [row["_metadata"]["message_id"] for row in cloud.rows("bronze/orders_raw")]
    assert len(landed) == len(set(landed)) and set(landed) == wanted
    assert len(cloud.rows("bronze/orders_raw__quarantine")) == 1
    assert sorted(row["id"] for row in cloud.rows("silver/orders")) == list(range(len(wanted)))
    assert cloud.rows("gold/total") == [{"orders": len(wanted), "quantity": len(wanted)}]
    assert cloud.dead() == 0

    tries = [line["attempts"] for line in committed(cloud, "bronze-events")]
    print(f"{len(tries)} commits of {WRITERS} writers: {statistics.mean(tries):.1f} tries in the mean, {max(tries)} at most")
    assert max(tries) > 1, "nobody raced"
    assert max(tries) <= 4 * WRITERS
