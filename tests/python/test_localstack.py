"""Projects on a local AWS, by the template that deploys them to the real one: LocalStack, the real program, no Docker."""

import io
import json
import os
import re
import sys
import time
import zipfile

import pytest
from cloud import local_cloud, stack  # noqa: F401
from runtime_api import messages

PIPELINE = "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\nroots: {/landing: data}\n"
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('/landing/prices', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""

SLEEPER = """#!%s
import json, os, time, urllib.request

api = "http://%%s/2018-06-01/runtime/invocation/" %% os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    with urllib.request.urlopen(api + "next") as answer:
        event, request = json.load(answer), answer.headers["Lambda-Runtime-Aws-Request-Id"]
    begun = time.time()
    time.sleep(0.5)
    bodies = [record["body"] for record in event["Records"]]
    print(json.dumps({"begun": begun, "ended": time.time(), "bodies": bodies}), flush=True)
    urllib.request.urlopen(urllib.request.Request(api + request + "/response", b"{}"))
"""


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", PIPELINE)
    empty.write("shop.sql", SQL)
    return empty


def test_a_deployed_project_lands_events_and_files_and_answers(shop, stack):  # noqa: F811
    cloud = stack(shop.folder)
    cloud.send([json.dumps({"id": number, "quantity": 2}) for number in range(25)] + ["no JSON"])
    cloud.upload("prices/a+b c é.csv", "id,price\n1,10\n2,20\n")
    cloud.settle()
    assert sorted(row["id"] for row in cloud.rows("bronze/orders_raw")) == list(range(25))
    assert [row["_headwater"]["raw"] for row in cloud.rows("bronze/orders_raw__quarantine")] == [b"no JSON"]
    assert sorted(row["id"] for row in cloud.rows("bronze/prices")) == [1, 2]
    assert [(row["orders"], row["quantity"]) for row in cloud.rows("gold/total")] == [(25, 50)]
    assert cloud.dead() == 0

    version = cloud.table("gold/total").version()
    assert cloud.invoke("gold", {"datasets": ["total"]}) == {"batchItemFailures": []}
    assert cloud.invoke("compact") == {"batchItemFailures": []}
    assert cloud.table("gold/total").version() == version

    log = cloud.logged("bronze-events")
    assert any(line.startswith("REPORT RequestId:") for line in log)
    assert any('"message":"committed"' in line for line in log)
    assert not any("no JSON" in line for line in log)


def test_what_can_not_be_read_as_an_event_fails_and_is_not_quoted(shop, stack):  # noqa: F811
    cloud = stack(shop.folder)
    event = messages({"a": "hunter2"}, queue_name="other")
    answer = cloud.functions.invoke(FunctionName=f"{cloud.name}-bronze-events", Payload=json.dumps(event))
    body = json.load(answer["Payload"])
    assert (answer["FunctionError"], body["errorType"]) == ("Unhandled", "invalid")
    assert "hunter2" not in str(cloud.logged("bronze-events")) + body["errorMessage"]
    environments = [variables for variables in cloud.cloud.functions().values() if cloud.name in variables["AWS_LAMBDA_FUNCTION_NAME"]]
    assert environments and not any(name.startswith("LOCALSTACK") for each in environments for name in each)
    assert not os.environ.keys() & {"HEADWATER_BIN"} & environments[0].keys()


def test_a_project_that_is_deployed_again_changes_what_runs(shop, stack):  # noqa: F811
    cloud = stack(shop.folder)
    cloud.send([json.dumps({"id": 1, "quantity": 2})])
    cloud.settle()
    shop.write("more.sql", "CREATE MATERIALIZED VIEW largest AS SELECT max(quantity) AS quantity FROM orders;")
    assert "is up to date" in cloud.deploy()
    cloud.settle()
    assert [row["quantity"] for row in cloud.rows("gold/largest")] == [2]
    assert "is up to date" in cloud.deploy()


def test_the_command_speaks_to_a_deployed_project_as_deploy_says(shop, stack, monkeypatch):  # noqa: F811
    cloud = stack(shop.folder)
    for name, value in re.findall(r"\b((?:AWS|HEADWATER)_[A-Z_]+)=(\S+)", cloud.deploy()):
        monkeypatch.setenv(name, value)
    shop.write("events.ndjson", "".join(json.dumps({"id": id, "quantity": 3}) + "\n" for id in range(40)))
    shop.run("replay", "events.ndjson", "--to", "orders")
    cloud.settle()
    status = json.loads(shop.run("status", "--format", "json"))
    assert {row["dataset"]: row["rows"] for row in status["datasets"]} == {"orders_raw": 40, "prices": None, "orders": 40, "total": 1}
    assert [(row["source"], row["waiting"]) for row in status["sources"]] == [("orders", 0)]
    assert json.loads(shop.run("query", "SELECT quantity FROM total", "--format", "json")) == [{"quantity": 120}]


def test_batches_run_side_by_side_up_to_the_mappings_bound_with_bodies_as_sent(local_cloud):  # noqa: F811
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("bootstrap", SLEEPER % sys.executable)
    sqs, functions, logs = map(local_cloud.client, ("sqs", "lambda", "logs"))
    url = sqs.create_queue(QueueName="sleeper")["QueueUrl"]
    functions.create_function(
        FunctionName="sleeper", Runtime="provided.al2023", Handler="sleeper", Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": packed.getvalue()}, Timeout=10,
    )
    functions.get_waiter("function_active_v2").wait(FunctionName="sleeper", WaiterConfig={"Delay": 1})
    bodies = ['{"a":  1.0, "a": 2}', '"text"', "no JSON", *(f"body {number}" for number in range(9))]
    for body in bodies:
        sqs.send_message(QueueUrl=url, MessageBody=body)
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    mapping = functions.create_event_source_mapping(
        EventSourceArn=arn, FunctionName="sleeper", BatchSize=1, ScalingConfig={"MaximumConcurrency": 3}
    )
    runs, end = [], time.monotonic() + 60
    while len(runs) < len(bodies):
        assert time.monotonic() < end, runs
        time.sleep(0.2)
        try:
            events = logs.filter_log_events(logGroupName="/aws/lambda/sleeper")["events"]
        except logs.exceptions.ResourceNotFoundException:
            continue
        runs = [json.loads(event["message"]) for event in events if event["message"].startswith("{")]
    functions.delete_event_source_mapping(UUID=mapping["UUID"])
    assert sorted(body for run in runs for body in run["bodies"]) == sorted(bodies)
    at_once = [sum(other["begun"] <= run["begun"] < other["ended"] for other in runs) for run in runs]
    assert max(at_once) == 3
