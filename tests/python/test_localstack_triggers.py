"""What wakes functions besides the template's own notices: topics and buses between bucket and queue, queues in order, and batches that are filled up."""

import json
import time

import pytest
from cloud import ACCOUNT, local_cloud, stack  # noqa: F401

SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, customer STRING');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('/landing/prices', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
"""
MESSAGES = 400


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\nroots: {/landing: data}\n")
    empty.write("shop.sql", SQL)
    return empty


def arn(service, name):
    return f"arn:aws:{service}:us-east-1:{ACCOUNT}:{name}"


def until_landed(cloud, names):
    """Waits for these files: a bus delivers when it likes."""
    end = time.monotonic() + 60
    while (landed := sorted(row["_metadata"]["file_path"].rpartition("/prices/")[2] for row in cloud.rows("bronze/prices"))) != names:
        assert time.monotonic() < end, landed
        time.sleep(0.2)
    cloud.drain("arrivals")
    assert cloud.dead() == 0


def test_notices_come_through_a_topic_and_through_a_bus_too(shop, stack):  # noqa: F811
    cloud = stack(shop.folder)
    sns, events, queue = cloud.cloud.client("sns"), cloud.cloud.client("events"), arn("sqs", f"{cloud.name}-arrivals")
    topic = sns.create_topic(Name=f"{cloud.name}-arrivals")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)
    through_topic = {"TopicConfigurations": [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]}
    cloud.s3.put_bucket_notification_configuration(Bucket=cloud.landing, NotificationConfiguration=through_topic)
    cloud.upload("prices/topic.csv", "id,price\n1,10\n")
    cloud.drain("arrivals")
    until_landed(cloud, ["topic.csv"])

    pattern = {"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": [cloud.landing]}}}
    events.put_rule(Name=f"{cloud.name}-arrivals", EventPattern=json.dumps(pattern))
    events.put_targets(Rule=f"{cloud.name}-arrivals", Targets=[{"Id": "queue", "Arn": queue}])
    cloud.s3.put_bucket_notification_configuration(Bucket=cloud.landing, NotificationConfiguration={"EventBridgeConfiguration": {}})
    # No character that LocalStack escapes here: AWS hands keys over as they are.
    cloud.upload("prices/bus.csv", "id,price\n2,20\n")
    until_landed(cloud, ["bus.csv", "topic.csv"])

    # A notice that never came is made up for by the timer.
    cloud.s3.put_bucket_notification_configuration(Bucket=cloud.landing, NotificationConfiguration={})
    cloud.upload("prices/silent.csv", "id,price\n3,30\n")
    cloud.invoke("bronze-files")
    until_landed(cloud, ["bus.csv", "silent.csv", "topic.csv"])


def mapping_of(cloud, function):
    [mapping] = cloud.functions.list_event_source_mappings(FunctionName=f"{cloud.name}-{function}")["EventSourceMappings"]
    return mapping["UUID"]


def committed(cloud):
    lines = (json.loads(line) for line in cloud.logged("bronze-events") if line.startswith("{"))
    return [line["read"] for line in lines if line.get("message") == "committed"]


def check_landed(cloud):
    rows = cloud.rows("bronze/orders_raw")
    assert sorted(row["id"] for row in rows) == list(range(MESSAGES))
    assert len({row["_metadata"]["message_id"] for row in rows}) == MESSAGES
    assert cloud.dead() == 0


def orders():
    return [json.dumps({"id": id, "customer": f"customer-{id % 7}"}) for id in range(MESSAGES)]


def test_small_batches_are_filled_up_from_their_queue_and_leave_nothing_in_it(shop, stack):  # noqa: F811
    cloud = stack(shop.folder, DrainBytes="1000000")
    mapping = mapping_of(cloud, "bronze-events")
    cloud.functions.update_event_source_mapping(UUID=mapping, BatchSize=10, MaximumBatchingWindowInSeconds=0, Enabled=False)
    cloud.send(orders())
    cloud.functions.update_event_source_mapping(UUID=mapping, Enabled=True)
    cloud.drain("events")
    check_landed(cloud)
    assert max(committed(cloud)) > 10 and len(committed(cloud)) < MESSAGES / 20


def test_a_queue_in_order_lands_each_message_once_with_groups_in_order(shop, stack):  # noqa: F811
    cloud = stack(shop.folder, DrainBytes="1000000")
    name = f"{cloud.name}-events.fifo"
    url = cloud.sqs.create_queue(QueueName=name, Attributes={"FifoQueue": "true", "VisibilityTimeout": "720"})["QueueUrl"]
    cloud.configure(60, HEADWATER_QUEUES=f"orders={cloud.name}-events,orders={name}")
    for id, body in enumerate(orders()):
        cloud.sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=str(id % 7), MessageDeduplicationId=str(id))
    function = f"{cloud.name}-bronze-events"
    mapping = cloud.functions.create_event_source_mapping(
        EventSourceArn=arn("sqs", name), FunctionName=function, BatchSize=10, FunctionResponseTypes=["ReportBatchItemFailures"]
    )
    cloud.drain("events.fifo")
    cloud.functions.delete_event_source_mapping(UUID=mapping["UUID"])
    cloud.sqs.delete_queue(QueueUrl=url)
    check_landed(cloud)
    seen = {}
    for row in sorted(cloud.rows("bronze/orders_raw"), key=lambda row: row["_metadata"]["enqueued_time"]):
        seen.setdefault(row["customer"], []).append(row["id"])
    assert all(ids == sorted(ids) for ids in seen.values())
