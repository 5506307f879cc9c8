"""A hub read live and by the files of Event Hubs Capture: silver has each event once, whichever way and however often it came."""

import json

import pytest

from capture import NAMESPACE, capture, received
from conftest import ROOT, Project
from hub import Emulator

PIPELINE = """
name: t
storage: lake
sources: {orders: {eventhubs: 'SOURCE'}}
roots: {/landing: captured}
libraries:
  - glob: {include: sql/**}
"""
GUIDE = (ROOT / "infra/azure/README.md").read_text().split("## Events that retention took: Capture")[1]
SQL = GUIDE.split("```sql\n")[1].split("```")[0].replace("NAMESPACE", NAMESPACE)
"""As the documentation has it."""
PARTITIONS = 3
SENT = 300


@pytest.fixture
def hub(monkeypatch):
    emulator = Emulator("orders", PARTITIONS)
    monkeypatch.setenv("HEADWATER_EVENTHUBS_CONNECTION_STRING", emulator.connection)
    yield emulator
    emulator.stop()


@pytest.fixture
def project(hub, tmp_path):
    project = Project(tmp_path / "project")
    project.write("pipeline.yml", PIPELINE.replace("SOURCE", hub.source))
    project.write("sql/events.sql", SQL)
    (project.folder / "captured" / NAMESPACE / hub.hub).mkdir(parents=True)
    send(hub, range(SENT))
    assert all(partition["last"] > 10 for partition in hub.partitions()), "each partition has a part"
    return project


def send(hub, numbers):
    orders = [json.dumps({"order_id": number, "quantity": 1}).encode() for number in numbers]
    hub.send(orders, lambda body: str(json.loads(body)["order_id"] % 13))


def part(events, of):
    """A part of each partition's events: `of` picks it out of all of them."""
    return {partition: batch[of(len(batch))] for partition, batch in events.items()}


def forget(hub, events, of):
    """Retention takes so many of each partition's."""
    for partition, batch in events.items():
        hub.control("POST", f"/hubs/{hub.hub}/{partition}/trim?before={of(len(batch))}")


def check(project, events):
    """Silver has what was sent, each once and in its place."""
    rows = {(row["partition"], row["sequence_number"]): row["order_id"] for row in project.rows("silver/orders")}
    assert len(rows) == len(project.rows("silver/orders"))
    assert rows == {
        (partition, event.sequence_number): json.loads(event.body_as_str())["order_id"]
        for partition, batch in events.items() for event in batch}


@pytest.mark.parametrize("first", ["live", "captured"])
def test_an_event_that_comes_live_and_captured_counts_once(project, hub, first):
    events = received(hub)
    capture(part(events, lambda count: slice(0, count * 2 // 3)), project.folder / "captured", hub)
    forget(hub, events, lambda count: count // 3)
    project.run("run", "--select", f"orders_{first},orders", "--preview", "0")
    assert 0 < len(project.rows("silver/orders")) < SENT
    project.run("run", "--preview", "0")
    check(project, events)
    assert len(project.rows("bronze/orders_live")) + len(project.rows("bronze/orders_captured")) > SENT, "they overlap"
    assert "nothing new" in project.run("run")


def test_what_retention_took_before_it_was_read_comes_by_capture(project, hub):
    events = received(hub)
    project.run("run", "--preview", "0")
    send(hub, range(SENT, 2 * SENT))
    later = received(hub)
    forget(hub, later, lambda count: count - 5)
    project.run("run", "--preview", "0")
    held = len(project.rows("silver/orders"))
    assert held == SENT + 5 * PARTITIONS, "the rest is lost to the live way"
    capture(part(events, lambda count: slice(count // 2, None)), project.folder / "captured", hub)
    capture(part(later, lambda count: slice(count // 2, None)), project.folder / "captured", hub, minute=5)
    capture({partition: [] for partition in events}, project.folder / "captured", hub, minute=10)
    project.run("run", "--preview", "0")
    check(project, later)


def test_a_captured_event_tells_what_a_live_one_tells(project, hub):
    events = received(hub)
    capture(events, project.folder / "captured", hub)
    project.run("run", "--preview", "0")
    live, captured = ({(row["_metadata"]["partition"], row["_metadata"]["sequence_number"]): row["_metadata"]["enqueued_time"]
                       for row in project.rows(f"bronze/orders_{way}")} for way in ("live", "captured"))
    assert len(live) == SENT and set(live) == set(captured)
    assert all(0 <= (live[place] - captured[place]).total_seconds() < 1 for place in live), "Capture writes no parts of seconds"
