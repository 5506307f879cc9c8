"""Queues of SQS from the command line: filled, read by processes that die or work side by side, and redriven."""

import json
import random
import signal
import time

import pytest
from conftest import Project
from cloud import ACCOUNT, KEYS, local_cloud  # noqa: F401
from deltalake import DeltaTable

EVENTS = 1_500
PIPELINE = """
name: t
storage: lake
sources: {{orders: {{sqs: 'sqs://{queue}', visibility_timeout: 2s}}}}
max_batch_messages: {batch}
libraries:
  - glob: {{include: sql/**}}
"""
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""


@pytest.fixture
def make(local_cloud, tmp_path, monkeypatch):  # noqa: F811
    """Makes a project that reads a new queue, with a queue for its dead letters; both are removed when the test is over."""
    sqs = local_cloud.client("sqs")
    for name, value in KEYS.items():
        monkeypatch.setenv(name.upper(), value)
    monkeypatch.setenv("AWS_REGION", KEYS["region_name"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    made = []

    def queue(name, **attributes):
        made.append(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])
        return made[-1]

    def project(name, batch):
        dead = queue(f"{name}-dead")
        policy = {"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{ACCOUNT}:{name}-dead", "maxReceiveCount": "100"}
        urls = queue(name, RedrivePolicy=json.dumps(policy)), dead
        project = Project(tmp_path)
        project.write("pipeline.yml", PIPELINE.format(queue=name, batch=batch))
        project.write("sql/all.sql", SQL)
        lines = [json.dumps({"id": number, "quantity": 2}) for number in range(EVENTS)]
        project.write("events.ndjson", "\n".join(lines))
        return project, sqs, urls

    yield project
    for url in made:
        sqs.delete_queue(QueueUrl=url)


def document(project, *arguments):
    return json.loads(project.run(*arguments, "--format", "json"))


def drained(project):
    """Runs until neither waiting messages nor hidden ones are left."""
    end = time.monotonic() + 120
    while True:
        project.run("run", "--preview", "0")
        [source] = document(project, "status")["sources"]
        if source["waiting"] + source["in_flight"] == 0:
            return source
        assert time.monotonic() < end, source


def ids(rows):
    return sorted(row["_metadata"]["message_id"] for row in rows)


def test_each_message_lands_once_however_often_its_reader_dies(make):
    project, _, _ = make("dies", batch=100)
    mishaps = ("--duplicates", "0.05", "--disorder", "50", "--corruption", "0.02", "--seed", "7")
    sent = document(project, "replay", "events.ndjson", "--to", "sqs://dies", *mishaps)
    [waiting] = document(project, "status")["sources"]
    assert waiting == {"source": "orders", "waiting": sent["sent"], "in_flight": 0, "dead_letters": 0}
    chance = random.Random(11)
    for _ in range(12):
        reader = project.start("run", "--preview", "0")
        time.sleep(chance.uniform(0.3, 3))
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    drained(project)
    rows, quarantined = project.rows("bronze/orders_raw"), project.rows("bronze/orders_raw__quarantine")
    assert len(rows) == len(set(ids(rows))) == sent["sent"] - sent["corrupted"]
    assert len(quarantined) == sent["corrupted"]
    assert {row["id"] for row in rows} == set(range(EVENTS))
    assert project.rows("gold/total") == [{"orders": len(rows), "quantity": 2 * len(rows)}]


def test_readers_side_by_side_on_a_bucket_lose_and_double_nothing(make, local_cloud, monkeypatch):  # noqa: F811
    project, _, _ = make("many", batch=100)
    local_cloud.client("s3").create_bucket(Bucket="many-lake")
    monkeypatch.setenv("HEADWATER_STORAGE", "s3://many-lake/lake")
    sent = document(project, "replay", "events.ndjson", "--to", "orders", "--duplicates", "0.1")
    readers = [project.start("run", "--preview", "0") for _ in range(6)]
    for reader in readers:
        _, err = reader.communicate(timeout=300)
        assert "panicked" not in err, err
    assert drained(project)["dead_letters"] == 0
    rows = DeltaTable("s3://many-lake/lake/bronze/orders_raw").to_pyarrow_table().to_pylist()
    assert len(rows) == len(set(ids(rows))) == sent["sent"]
    silver = DeltaTable("s3://many-lake/lake/silver/orders").to_pyarrow_table().num_rows
    assert silver == sent["sent"]
    gold = DeltaTable("s3://many-lake/lake/gold/total").to_pyarrow_table().to_pylist()
    assert gold == [{"orders": sent["sent"], "quantity": 2 * sent["sent"]}]


def test_dead_letters_come_back_as_the_messages_that_they_were(make):
    project, sqs, (url, dead) = make("back", batch=100)
    sent = {sqs.send_message(QueueUrl=dead, MessageBody=json.dumps({"id": n, "quantity": 1}))["MessageId"] for n in range(15)}
    between = ("redrive", "--dead-letters", "sqs://back-dead", "--to", "sqs://back")
    assert "15" in project.run(*between, "--dry-run")
    assert document(project, "status")["sources"][0]["dead_letters"] == 15
    [done] = document(project, *between)
    assert (done["redriven"], done["refused"], done["left"]) == (15, 0, 0)
    # One that was returned and not deleted is returned again.
    [copy] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    sqs.send_message(QueueUrl=url, MessageBody=copy["Body"], MessageAttributes=copy["MessageAttributes"])
    drained(project)
    assert ids(project.rows("bronze/orders_raw")) == sorted(sent)


def test_what_is_wrong_with_a_queue_is_told_with_what_to_do(make, monkeypatch):
    project, _, _ = make("wrong", batch=100)
    told = project.run("replay", "events.ndjson", "--to", "sqs://nowhere", expect=2)
    assert "sqs://nowhere" in told and "region" in told
    told = project.run("replay", "events.ndjson", "--to", "sqs://wrong?endpoint=http://127.0.0.1:1", expect=3)
    assert "nothing answers" in told
    monkeypatch.setenv("HEADWATER_SOURCES_ORDERS", "sqs://nowhere")
    assert "source orders" in project.run("status")
    monkeypatch.delenv("AWS_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    assert "?region=" in project.run("replay", "events.ndjson", "--to", "sqs://wrong", expect=2)
