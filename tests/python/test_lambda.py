"""The five functions as Lambda runs them: the real program, a runtime interface, a lake on local disk."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from runtime_api import Function, messages, stored

SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""
COMMIT = "bronze/orders_raw/_delta_log/%020d.json"
DONE = ("response", {"batchItemFailures": []})
QUEUES = {"HEADWATER_QUEUES": "orders=queue"}
KILLS = 6


def failing(*ids):
    return "response", {"batchItemFailures": [{"itemIdentifier": name} for name in ids]}


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\n")
    empty.write("shop.sql", SQL)
    return empty


def test_events_pass_from_a_queue_to_gold(shop):
    first = messages({"a": {"id": 1, "quantity": 2}, "b": {"id": 2, "quantity": 3}, "bad": "no JSON"})
    with Function(shop, "bronze-events", **QUEUES) as bronze:
        assert bronze.invoke(first) == DONE
        again = {"a": {"id": 1, "quantity": 2}, "c": {"id": 3, "quantity": 4}}
        assert bronze.invoke(messages(again, received=2)) == DONE
        assert {line["level"] for line in bronze.logged()} == {"INFO"}
        committed = [line for line in bronze.logged() if line["message"] == "committed"]
        assert [line["span"]["request_id"] for line in committed if line["dataset"] == "orders_raw"][-1] == "request-2"
        assert "no JSON" not in bronze.log.read_text()
    assert sorted(row["id"] for row in shop.rows("bronze/orders_raw")) == [1, 2, 3]
    assert len(shop.rows("bronze/orders_raw__quarantine")) == 1

    with Function(shop, "silver") as silver:
        notices = {str(version): stored(COMMIT % version) for version in range(2)}
        assert silver.invoke(messages(notices)) == DONE
        assert silver.invoke(messages(notices, received=2)) == DONE
    assert sorted(row["id"] for row in shop.rows("silver/orders")) == [1, 2, 3]
    versions = shop.versions()

    with Function(shop, "gold") as gold:
        assert gold.invoke({"datasets": ["total"]}) == DONE
        scheduled = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
        assert gold.invoke(scheduled) == DONE
    assert [(row["orders"], row["quantity"]) for row in shop.rows("gold/total")] == [(3, 9)]
    assert shop.versions() == versions | {"lake/gold/total": 0}

    with Function(shop, "compact") as compact:
        assert compact.invoke({}) == DONE


def test_files_are_landed_once_whatever_the_notices_say(shop):
    shop.write("in/a+b c.csv", "id,price\n1,10\n2,20\n")
    with Function(shop, "bronze-files") as files:
        test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "lake"}
        assert files.invoke(messages({"test": test_event})) == DONE
        assert not (shop.folder / "lake/bronze/prices").exists()
        notice = stored("in/a%2Bb+c.csv")
        assert files.invoke(messages({"1": notice, "2": notice, "poison": {"Records": [{}]}})) == failing("poison")
        shop.write("in/unheard.csv", "id,price\n3,30\n")
        assert files.invoke({}) == DONE
    assert sorted(row["id"] for row in shop.rows("bronze/prices")) == [1, 2, 3]


def test_messages_come_again_while_storage_is_out_of_reach(shop):
    shop.write("lake/bronze", "a file where the folder has to be")
    batch = {"a": {"id": 1, "quantity": 2}, "b": {"id": 2, "quantity": 3}}
    with Function(shop, "bronze-events", **QUEUES) as bronze:
        assert bronze.invoke(messages(batch)) == failing("a", "b")
        (shop.folder / "lake/bronze").unlink()
        assert bronze.invoke(messages(batch, received=2)) == DONE
    assert sorted(row["id"] for row in shop.rows("bronze/orders_raw")) == [1, 2]


def deliver(shop, name, bodies, chance, **variables):
    """Hands a batch over again and again. The first times the function is killed on the way, or just after: then its answer
    is lost, and the messages come again."""
    for received in range(1, KILLS + 1):
        with Function(shop, name, **variables) as function:
            function.hand_over(messages(bodies, received=received))
            while not function.api.waiting.empty():
                assert function.process.poll() is None, function.log.read_text()
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.08))
    with Function(shop, name, **variables) as function:
        assert function.invoke(messages(bodies, received=KILLS + 1)) == DONE


def test_killed_functions_lose_no_row_and_double_none(shop):
    chance = random.Random(20130101)
    batches = [
        {f"{batch}-{index}": {"id": batch * 50 + index, "quantity": 1} for index in range(50)} for batch in range(4)
    ]
    for batch in batches:
        batch["bad-" + min(batch)] = "no JSON"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda batch: deliver(shop, "bronze-events", batch, chance, **QUEUES), batches))
    assert sorted(row["id"] for row in shop.rows("bronze/orders_raw")) == list(range(200))
    assert len(shop.rows("bronze/orders_raw__quarantine")) == len(batches)

    notices = {"commit": stored(*(COMMIT % version for version in range(len(batches))))}
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: deliver(shop, "silver", notices, chance), range(2)))
    assert sorted(row["id"] for row in shop.rows("silver/orders")) == list(range(200))


def test_what_a_function_did_is_measured(shop):
    with Function(shop, "bronze-events", **QUEUES) as bronze:
        assert bronze.invoke(messages({"a": {"id": 1, "quantity": 2}, "bad": "hunter2"})) == DONE
        assert bronze.invoke(messages({"a": {"id": 1, "quantity": 2}}, received=2)) == DONE
        assert bronze.invoke(messages({"b": {"id": 2, "quantity": 2}})) == DONE
        cold, first, *_, last = bronze.metrics()
        assert "hunter2" not in bronze.output.read_text()
    assert [len(line["_aws"]["CloudWatchMetrics"]) for line in (cold, first, last)] == [1, 1, 1]
    assert (cold["ColdStart"], cold["Function"], cold["Pipeline"]) == (1, "bronze-events", "t")
    assert (first["RowsRead"], first["RowsWritten"], first["RowsQuarantined"]) == (2, 1, 1)
    assert (last["RowsRead"], last["RowsWritten"], last["Flow"]) == (1, 1, "orders_raw")
    assert last["Lag"] >= 0 and last["Duration"] >= 0

    with Function(shop, "silver", HEADWATER_METRICS="off") as silver:
        assert silver.invoke({}) == DONE
        assert silver.metrics() == []
    with Function(shop, "gold", HEADWATER_METRICS="loud") as gold:
        assert gold.process.wait(timeout=60) == 2
        assert "HEADWATER_METRICS" in gold.log.read_text()


def test_what_is_no_event_fails_the_invocation_without_being_quoted(shop):
    with Function(shop, "bronze-events", **QUEUES) as bronze:
        for document in [b'"hunter2"', b'{"Records": "hunter2"}', b'{"hunter2": 1}', b'{"Records": [{"body": "hunter2"}]}']:
            kind, body = bronze.invoke(document)
            assert (kind, "hunter2" in body["errorMessage"]) == ("error", False), body
        kind, body = bronze.invoke(messages({"a": "hunter2"}, queue_name="other"))
        assert (kind, body["errorType"]) == ("error", "invalid")
        assert "HEADWATER_QUEUES" in body["errorMessage"]
        assert bronze.invoke(messages({"a": {"id": 1, "quantity": 2}})) == DONE
        assert "hunter2" not in bronze.log.read_text()


def test_a_function_that_can_not_run_says_why(shop):
    with Function(shop, "handler.main") as wrong:
        assert wrong.process.wait(timeout=60) == 2
        assert "bronze-events, bronze-files, silver, gold, compact" in wrong.log.read_text()
    with Function(shop, "silver", AWS_S3_LOCKING_PROVIDER="dynamodb") as locked:
        assert locked.process.wait(timeout=60) == 2
        assert "AWS_S3_LOCKING_PROVIDER" in locked.log.read_text()
