"""January's flights for a local AWS: how they are sent, and what the tables hold in the end."""

import gzip
import json
import random
from collections import Counter

import pytest
from conftest import EVENTS

GOLD = ("on_time_by_carrier_hour", "delay_by_airport", "cancellations_by_weather")


@pytest.fixture(scope="session")
def lines():
    with gzip.open(EVENTS, "rt") as recorded:
        return recorded.read().splitlines()


def disturbed(lines, seed):
    """As a careless sender sends them: 5% twice, out of order, ten a message; and 0.5% more that broke off on the way."""
    chance = random.Random(seed)
    doubled = [line for line in lines if chance.random() < 0.05]
    broken = [line[: chance.randrange(1, len(line))] for line in lines if chance.random() < 0.005]
    sent = [*enumerate(lines), *enumerate(doubled), *((chance.randrange(len(lines)), line) for line in broken)]
    sent.sort(key=lambda each: each[0] + chance.uniform(0, 5000))
    records = [line for _, line in sent]
    return ["\n".join(records[first : first + 10]) for first in range(0, len(records), 10)], broken


def upload(cloud, project):
    for file in sorted((project.folder / "data").glob("*/*")):
        cloud.upload(f"{file.parent.name}/{file.name}", file.read_bytes())
    cloud.drain("arrivals")


def check_against_local(cloud, local):
    for name in GOLD:
        rows = [sorted(map(repr, project.rows(f"gold/{name}"))) for project in (cloud, local)]
        assert rows[0] == rows[1], name


def check_landed(cloud, sent, broken):
    """Each record of each message is in bronze, as often as it was sent."""
    landed = Counter(row["event_id"] for row in cloud.rows("bronze/flight_events"))
    bad = Counter(broken)
    records = [line for message in sent for line in message.split("\n")]
    assert landed == Counter(json.loads(line)["event_id"] for line in records if not bad[line])


def check_broken(cloud, broken):
    """Each record that broke off is in quarantine, verbatim and once."""
    rows = cloud.rows("bronze/flight_events__quarantine")
    assert sorted(row["_headwater"]["raw"].decode() for row in rows) == sorted(broken)
    assert cloud.dead() == 0
