"""The functions as Azure runs them: the real program, a host that speaks the Functions host's side, a lake on Azurite."""

import json
import os
import random
import signal
import subprocess
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable

from azurite import Azurite
from functions_host import FunctionsHost
from headwater_functions_host.notices import send

PIPELINE = "name: t\nstorage: lake\nsources:\n  orders: {spool: events/orders}\nroots: {/landing: in}\n"
SQL = """
CREATE STREAMING TABLE orders_raw AS SELECT * FROM STREAM read_events('orders', format => 'json',
  schema => 'id BIGINT, quantity INT');
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('/landing/prices', format => 'csv', header => true,
  schema => 'id BIGINT, price INT');
CREATE STREAMING TABLE orders AS SELECT id, quantity FROM STREAM(orders_raw);
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS orders, sum(quantity) AS quantity FROM orders;
"""
DONE = (200, {"Outputs": {}, "Logs": [], "ReturnValue": None})
KILLS = 30


@pytest.fixture
def azurite(tmp_path):
    folder = tmp_path / "azurite"
    folder.mkdir()
    with Azurite(folder) as azurite:
        yield azurite


@pytest.fixture
def app(tmp_path):
    """A function app as it is deployed, whose failed messages come again after a second."""
    project = tmp_path / "shop"
    project.mkdir()
    (project / "pipeline.yml").write_text(PIPELINE)
    (project / "shop.sql").write_text(SQL)
    return packaged(project, tmp_path / "app")


def packaged(project, app):
    """What `package azure` makes, and a link to the program: a debug build is half a gigabyte."""
    command = [os.environ["HEADWATER_BIN"], "--project", project, "package", "azure", "--without-program", "-o", app]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    [package] = app.glob("*-azure.zip")
    with zipfile.ZipFile(package) as files:
        files.extractall(app)
    package.unlink()
    (app / "headwater").symlink_to(os.environ["HEADWATER_BIN"])
    settings = json.loads((app / "host.json").read_text())
    settings["extensions"]["queues"]["visibilityTimeout"] = "00:00:01"
    (app / "host.json").write_text(json.dumps(settings))
    return app


@pytest.fixture
def shop(app, azurite):
    with FunctionsHost(app, azurite) as host:
        yield host


def rows(host, table):
    return DeltaTable(f"az://lake/{table}", storage_options=host.azurite.options).to_pyarrow_table().to_pylist()


def ids(host, table):
    return sorted(row["id"] for row in rows(host, table))


def order(number, quantity=1):
    return json.dumps({"id": number, "quantity": quantity}).encode()


def test_events_and_files_pass_to_gold(shop):
    assert shop.hand_over(0, {0: order(1, 2), 1: b"\xff no JSON"}) == DONE
    assert shop.hand_over(1, {0: order(2, 3)}) == DONE
    assert shop.hand_over(0, {1: b"\xff no JSON", 2: order(3, 4)}) == DONE, "the host hands over an event again"
    shop.land("prices/a+b c%.csv", "id,price\n1,10\n2,20\n")
    shop.land("elsewhere/x.csv", "id,price\n9,90\n")
    shop.settle()
    assert ids(shop, "bronze/orders_raw") == ids(shop, "silver/orders") == [1, 2, 3]
    assert len(rows(shop, "bronze/orders_raw__quarantine")) == 1
    assert ids(shop, "bronze/prices") == [1, 2]
    assert shop.fire("gold") == DONE
    assert [(row["orders"], row["quantity"]) for row in rows(shop, "gold/total")] == [(3, 9)]
    assert shop.fire("compact") == shop.fire("silver-sweep") == shop.fire("bronze-files-sweep") == DONE
    assert shop.poison("headwater-arrivals") == shop.poison("headwater-commits") == []
    log = shop.log.read_text()
    assert "no JSON" not in log and '"level":"ERROR"' not in log


def test_events_that_the_host_passed_over_are_read_with_the_next(shop):
    shop.send(0, {number: order(number) for number in range(5)})
    assert shop.hand_over(0, {5: order(5)}) == DONE, "its checkpoint moved on, though a batch had failed"
    assert ids(shop, "bronze/orders_raw") == list(range(6))
    shop.send(3, {0: order(6)})
    assert shop.fire("bronze-events-sweep") == DONE, "no trigger told of it"
    assert ids(shop, "bronze/orders_raw") == list(range(7))


def test_a_file_of_which_nobody_told_is_found_by_the_sweep(shop):
    shop.land("prices/a.csv", "id,price\n1,10\n")
    assert shop.fire("bronze-files-sweep") == DONE
    assert ids(shop, "bronze/prices") == [1]
    shop.settle()
    assert ids(shop, "bronze/prices") == [1], "its notice came late"


def test_what_is_no_notice_is_poison_and_holds_up_nobody(shop):
    send(shop.azurite.queues, "headwater-arrivals", "hunter2")
    send(shop.azurite.queues, "headwater-commits", {"eventType": "hunter2", "data": {"url": "hunter2"}})
    shop.land("prices/a.csv", "id,price\n1,10\n")
    shop.settle()
    assert ids(shop, "bronze/prices") == [1]
    assert shop.poison("headwater-arrivals") == ["hunter2"]
    assert shop.poison("headwater-commits") == [], "all else that Event Grid tells of is passed over"
    assert "hunter2" not in shop.log.read_text()


def test_hostile_documents_are_refused_without_being_quoted(shop):
    for document in [b"", b"hunter2", b'{"Data": "hunter2"}', b'{"Data": {"events": ["hunter2"]}, "Metadata": {}}', b"[" * 10_000]:
        status, body = shop.post("bronze-events", document)
        assert (status, "hunter2" in str(body)) == (400, False), body
    assert shop.post("copper", {})[0] == 404
    assert shop.post("silver", b" " * (65 << 20))[0] in (413, 0)
    status, body = shop.hand_over(0, {0: order(1)}, hub="other")
    assert (status, "eventhubs://<namespace>/other" in body["Logs"][0]) == (500, True)
    assert shop.hand_over(0, {0: order(1)}) == DONE
    assert "hunter2" not in shop.log.read_text()


def test_logs_name_the_invocation(shop):
    name = shop.functions["gold"].binding["name"]
    shop.hand_over(0, {0: order(1)})
    shop.settle()
    assert shop.post("gold", {"Data": {name: {}}, "Metadata": {}}, "invocation-7") == DONE
    committed = [line for line in shop.logged() if line["message"] == "committed" and line["dataset"] == "total"]
    assert [(line["span"]["invocation_id"], line["span"]["function"]) for line in committed] == [("invocation-7", "gold")]


def test_partitions_that_arrive_together_are_landed_in_few_commits(shop):
    shop.hand_over(0, {0: order(0)})
    batches = [(partition, {number: order(partition * 100 + number) for number in range(40)}) for partition in range(8)]
    for batch in batches:
        shop.send(*batch)
    with ThreadPoolExecutor(8) as pool:
        assert set(map(str, pool.map(lambda batch: shop.hand_over(*batch), batches))) == {str(DONE)}
    assert len(ids(shop, "bronze/orders_raw")) == len(set(ids(shop, "bronze/orders_raw"))) == 8 * 40
    table = DeltaTable("az://lake/bronze/orders_raw", storage_options=shop.azurite.options)
    assert table.version() < 8, "those that waited were worked on together"


def test_what_is_under_way_is_answered_before_the_handler_ends(shop):
    answers = []
    batch = {number: order(number) for number in range(500)}
    shop.send(0, batch)
    sender = threading.Thread(target=lambda: answers.append(shop.hand_over(0, batch)))
    sender.start()
    while "ready" not in shop.log.read_text():
        time.sleep(0.01)
    time.sleep(0.05)
    shop.process.send_signal(signal.SIGTERM)
    sender.join(timeout=60)
    assert shop.process.wait(timeout=60) == 0
    if answers == [DONE]:
        assert len(ids(shop, "bronze/orders_raw")) == 500
    else:
        assert answers[0][0] == 0, "it was told to end before it was asked"


def test_a_handler_that_is_killed_loses_no_row_and_doubles_none(shop):
    chance, kills, landed = random.Random(20130101), [], []

    def perhaps_kill():
        """Kills the handler a moment after it is handed something. The host starts another."""
        if shop.process.poll() is not None:
            shop.handler.start()
        if len(kills) < KILLS:
            kills.append(threading.Timer(chance.uniform(0, 0.25), shop.process.kill))
            kills[-1].start()

    while len(kills) < KILLS or len(landed) < 500:
        partition, first = len(landed) // 50 % 4, len(landed)
        numbered = {shop.held[partition] + index: order(first + index) for index in range(50)}
        shop.deliver(partition, numbered, perhaps_kill)
        landed += range(first, first + 50)
        shop.land(f"prices/{len(landed)}.csv", f"id,price\n{len(landed)},1\n")
        shop.settle(perhaps_kill)
    for kill in kills:
        kill.join()
    if shop.process.poll() is not None:
        shop.handler.start()
    shop.settle()
    assert shop.fire("silver-sweep") == shop.fire("bronze-files-sweep") == DONE
    assert ids(shop, "bronze/orders_raw") == ids(shop, "silver/orders") == landed
    assert ids(shop, "bronze/prices") == list(range(50, len(landed) + 1, 50))


def test_an_app_that_can_not_run_says_why(app, azurite):
    (app / "copper").mkdir()
    (app / "copper/function.json").write_text(json.dumps({"bindings": [{"type": "timerTrigger", "name": "timer"}]}))
    host = FunctionsHost(app, azurite)
    host.handler.start(must_answer=False)
    assert host.process.wait(timeout=60) == 2
    assert "bronze-events, bronze-files, silver, gold, compact" in host.log.read_text()


def test_the_program_is_still_the_command_for_a_person_on_the_same_machine(app):
    environment = {**os.environ, "FUNCTIONS_CUSTOMHANDLER_PORT": "1"}
    shown = subprocess.run([Path(app / "headwater"), "--version"], env=environment, capture_output=True, text=True)
    assert (shown.returncode, shown.stdout.startswith("headwater ")) == (0, True)
