"""Triggers as another local AWS makes them: keys with `+` for a space, sequencers that grow, batches side by side, EventBridge Scheduler."""

import json
import time
from datetime import datetime, timedelta, timezone

import pytest
from cloud import ACCOUNT, KEYS
from deltalake import DeltaTable
from deltalake.exceptions import TableNotFoundError
from ministack import Ministack

SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('/landing/prices', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\nroots: {/landing: data}\n")
    empty.write("shop.sql", SQL)
    return empty


def rows(cloud, lake, path):
    options = {name.upper(): value for name, value in KEYS.items()} | {"AWS_ENDPOINT_URL": cloud.endpoint, "AWS_ALLOW_HTTP": "true"}
    options["AWS_REGION"] = options.pop("REGION_NAME")
    try:
        return DeltaTable(f"s3://{lake}/{path}", storage_options=options).to_pyarrow_table().to_pylist()
    except TableNotFoundError:
        return []


def until(cloud, lake, path, count):
    end = time.monotonic() + 90
    while len(found := rows(cloud, lake, path)) != count:
        assert time.monotonic() < end, (path, len(found), cloud.logged()[-4000:])
        time.sleep(0.2)
    return found


def test_notices_and_schedules_as_another_emulator_makes_them_bring_rows_to_gold(shop, tmp_path_factory):
    with Ministack(tmp_path_factory.mktemp("ministack")) as cloud:
        cloud.deploy(shop.folder, "shop")
        lake, landing = (f"shop-{name}-{ACCOUNT}" for name in ("lake", "landing"))
        sqs, s3, scheduler = map(cloud.client, ("sqs", "s3", "scheduler"))
        queue = sqs.get_queue_url(QueueName="shop-events")["QueueUrl"]
        for first in range(0, 60, 10):
            entries = [{"Id": str(id), "MessageBody": json.dumps({"id": id, "quantity": 2})} for id in range(first, first + 10)]
            sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        s3.put_object(Bucket=landing, Key="prices/a+b c é.csv", Body="id,price\n1,10\n2,20\n")
        silver = until(cloud, lake, "silver/orders", 60)
        assert sorted(row["id"] for row in silver) == list(range(60))
        [*_, file] = until(cloud, lake, "bronze/prices", 2)
        assert file["_metadata"]["file_path"].endswith("/prices/a+b%20c%20%C3%A9.csv")

        at = (datetime.now(timezone.utc) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%S")
        arn = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:shop-gold"
        target = {"Arn": arn, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/scheduler", "Input": "{}"}
        scheduler.create_schedule(Name="gold", ScheduleExpression=f"at({at})", FlexibleTimeWindow={"Mode": "OFF"}, Target=target)
        assert until(cloud, lake, "gold/total", 1) == [{"orders": 60, "quantity": 120}]


def test_sequencers_of_a_key_grow_and_its_notices_in_any_order_land_its_file_once(shop, tmp_path_factory):
    with Ministack(tmp_path_factory.mktemp("ministack")) as cloud:
        cloud.deploy(shop.folder, "shop")
        lake, landing = (f"shop-{name}-{ACCOUNT}" for name in ("lake", "landing"))
        sqs, s3, functions = map(cloud.client, ("sqs", "s3", "lambda"))
        queue = sqs.get_queue_url(QueueName="shop-arrivals")["QueueUrl"]
        mappings = [at for at in functions.list_event_source_mappings()["EventSourceMappings"] if at["EventSourceArn"].endswith("arrivals")]
        for mapping in mappings:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        time.sleep(2)
        notices = []
        for _ in range(2):
            s3.put_object(Bucket=landing, Key="prices/a+b c.csv", Body="id,price\n1,10\n2,20\n")
        end = time.monotonic() + 30
        while len(notices) < 2:
            assert time.monotonic() < end, (notices, cloud.logged()[-4000:])
            for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get("Messages", []):
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
                notices.append(message["Body"])
        objects = [json.loads(body)["Records"][0]["s3"]["object"] for body in notices]
        assert {at["key"] for at in objects} == {"prices/a%2Bb+c.csv"}
        older, newer = sorted(zip((int(at["sequencer"], 16) for at in objects), notices))
        assert older[0] < newer[0]
        for mapping in mappings:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
        for body in (newer[1], older[1], newer[1]):
            sqs.send_message(QueueUrl=queue, MessageBody=body)
        until(cloud, lake, "bronze/prices", 2)
        time.sleep(2)
        assert len(rows(cloud, lake, "bronze/prices")) == 2
