"""`localstack/up --azure`, `deploy --azure` and `down --azure`: a project on Azurite, the Event Hubs emulator and the Functions host."""

import json
import os
import random
import signal
import subprocess
import threading
import time

import pytest

from azure_cloud import PARTITIONS, cloud  # noqa: F401
from conftest import ROOT
from local_azure import ACCOUNT, CONTROL

PIPELINE = "name: shop\nstorage: lake\nsources:\n  orders: {spool: events/orders}\nroots: {/landing: in}\n"
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT id, quantity, _metadata.attributes AS said
  FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('/landing/prices', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""
OFTEN = "HEADWATER_GOLD_SCHEDULE=* * * * * *"
KILLS = 30


@pytest.fixture
def shop(cloud, tmp_path):  # noqa: F811
    """The project, deployed on storage and hubs that are empty."""
    cloud.run("down")
    cloud.run("up")
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "pipeline.yml").write_text(PIPELINE)
    (folder / "shop.sql").write_text(SQL)
    cloud.run("deploy", folder, "--setting", OFTEN)
    return folder


def orders(first, count):
    return [json.dumps({"id": number, "quantity": 1}) for number in range(first, first + count)]


def test_events_and_files_pass_to_gold_and_are_looked_at(cloud, shop):  # noqa: F811
    for partition in range(PARTITIONS):
        cloud.send("orders", partition, orders(partition * 100, 100))
    (shop / "prices").mkdir()
    for name, rows in (("a b.csv", "1,10\n2,20\n"), ("c.csv", "3,30\n")):
        (shop / "prices" / name).write_text(f"id,price\n{rows}")
    cloud.run("land", shop / "prices/a b.csv", "prices/more/a b.csv")
    cloud.run("land", shop / "prices", "prices")
    assert "no file" in cloud.run("land", shop / "nothing", expect=1)
    cloud.await_rows("gold/total", [(400, 400)], lambda row: (row["orders"], row["quantity"]))
    cloud.await_rows("bronze/prices", [1, 1, 2, 2, 3], lambda row: row["id"])
    said = json.loads(cloud.rows("bronze/orders_raw")[0]["said"])
    assert said["shop"] == "online" and {"x-opt-sequence-number", "x-opt-partition-id"} <= set(said)

    status = json.loads(cloud.headwater("--project", shop, "status", "--format", "json"))
    assert {table["dataset"]: table["rows"] for table in status["datasets"]}["orders"] == 400
    for storage in ("az://lake/", f"abfss://lake@{ACCOUNT}.dfs.core.windows.net/"):
        shown = cloud.headwater("--project", shop, "query", "SELECT orders FROM total", "--format", "json", HEADWATER_STORAGE=storage)
        assert json.loads(shown) == [{"orders": 400}]


def test_a_trigger_wakes_all_sources_of_its_hub(cloud, shop):  # noqa: F811
    """Two sources of one hub, and one of another; no sweep helps."""
    hubs = {"orders": "orders", "same": "orders", "returns": "returns"}
    sources = "".join(f"  {name}: {{eventhubs: 'eventhubs://mine/{hub}'}}\n" for name, hub in hubs.items())
    (shop / "pipeline.yml").write_text(f"name: shop\nstorage: lake\nsources:\n{sources}")
    (shop / "shop.sql").write_text("".join(
        f"CREATE STREAMING TABLE {name}_raw AS SELECT id FROM STREAM read_events('{name}', format => 'json', schema => 'id BIGINT');\n"
        for name in hubs))
    cloud.run("deploy", shop, "--setting", "HEADWATER_SWEEP_SCHEDULE=0 0 0 1 1 *")
    cloud.send("orders", 1, orders(0, 50))
    cloud.send("returns", 2, orders(50, 50))
    for name, first in (("orders", 0), ("same", 0), ("returns", 50)):
        cloud.await_rows(f"bronze/{name}_raw", list(range(first, first + 50)), lambda row: row["id"])


def test_what_runs_is_changed_by_deploying_again(cloud, shop):  # noqa: F811
    before = cloud.status()
    assert (before["state"], "bronze-events" in before["functions"]) == ("Running", True)
    cloud.run("deploy", shop, "--setting", OFTEN)
    assert cloud.status() == before, "nothing changed"
    cloud.send("orders", 0, orders(0, 10))
    cloud.await_rows("gold/total", [10], lambda row: row["orders"])
    (shop / "more.sql").write_text("CREATE MATERIALIZED VIEW more AS SELECT max(id) AS last FROM orders;")
    cloud.run("deploy", shop, "--setting", OFTEN)
    assert cloud.status()["app"] != before["app"]
    cloud.await_rows("gold/more", [9], lambda row: row["last"])
    assert len(cloud.rows("bronze/orders_raw")) == 10, "checkpoints are kept"
    (shop / "more.sql").write_text("CREATE MATERIALIZED VIEW more AS SELECT nothing FROM orders;")
    assert "nothing" in cloud.run("deploy", shop, expect=1)
    assert "NAME=VALUE" in cloud.run("deploy", shop, "--setting", "x", expect=2)
    assert "runs already" in cloud.run("up")


@pytest.mark.parametrize(("function", "status"), [("compact", 202), ("copper", 404)])
def test_a_function_is_woken_by_hand(cloud, shop, function, status):  # noqa: F811
    assert cloud.wake(function) == status


def test_handlers_that_are_killed_and_hubs_that_fail_lose_no_row_and_double_none(cloud, shop):  # noqa: F811
    chance, kills, sent = random.Random(20130101), 0, 0
    cloud.control("/faults/detach?every=150")
    cloud.control("/faults/drop?every=250")
    ended = threading.Event()

    def feed():
        nonlocal sent
        while not ended.is_set():
            cloud.send("orders", sent // 50 % PARTITIONS, orders(sent, 50))
            sent += 50
            if sent % 500 == 0:
                cloud.land(f"prices/{sent}.csv", f"id,price\n{sent},1\n")
            ended.wait(0.25)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        while kills < KILLS:
            time.sleep(chance.uniform(0, 0.8))
            if (handler := cloud.handler()) is not None:
                os.kill(handler, signal.SIGKILL)
                kills += 1
    finally:
        ended.set()
        feeder.join()
    cloud.await_rows("bronze/orders_raw", list(range(sent)), lambda row: row["id"], seconds=200)
    cloud.await_rows("silver/orders", list(range(sent)), lambda row: row["id"], seconds=200)
    cloud.await_rows("gold/total", [(sent, sent)], lambda row: (row["orders"], row["quantity"]))
    faults = cloud.azure.ask(CONTROL, "/faults")
    assert all(faults[name] for name in ("detach", "drop")), faults


def test_an_address_that_is_not_of_this_machine_is_refused():
    done = subprocess.run(
        [str(ROOT / "localstack/up"), "--azure"], env=os.environ | {"HEADWATER_AZURE_ADDRESS": "0.0.0.0"}, capture_output=True, text=True)
    assert (done.returncode, "127.0.0.2" in done.stderr) == (1, True)
