"""The airlines example end to end, read by a second reader and computed a second time."""

import random
import time

import expected
import pytest


def check(project, events):
    """Silver holds each event once, and gold is what the recorded files say."""
    movements = project.rows("silver/movements")
    assert sorted(row["event_id"] for row in movements) == sorted(event["event_id"] for event in events)
    gold = {(row["airline"], row["hour"]): (row["departures"], row["on_time"]) for row in project.rows("gold/on_time_by_carrier_hour")}
    assert gold == expected.on_time(events, project.folder)
    gold = project.rows("gold/delay_by_airport")
    gold = {(row["dest"], row["destination"]): (row["arrivals"], row["p50_delay"], row["p95_delay"]) for row in gold}
    wanted = expected.delays(events, project.folder)
    assert gold.keys() == wanted.keys()
    for key, figures in wanted.items():
        assert gold[key] == pytest.approx(figures), key
    gold = {(row["origin"], row["sky"]): (row["flights"], row["cancelled"]) for row in project.rows("gold/cancellations_by_weather")}
    assert gold == expected.cancellations(events, project.folder)
    flights = {row["flight_id"]: row for row in project.rows("silver/silver_flights")}
    wanted = expected.flights(events)
    assert flights.keys() == wanted.keys()
    for key, state in wanted.items():
        assert {name: flights[key][name] for name in state} == state
    history = project.rows("silver/silver_planes_history")
    states = sorted((row["tailnum"], row["__START_AT"], row["airport"], row["__END_AT"]) for row in history)
    assert states == expected.whereabouts(events)


def replay(project, *arguments):
    return project.run("replay", "data/flights-2013-01.ndjson.gz", "--to", "flights", *arguments)


def test_a_clean_run_equals_an_independent_computation_and_a_second_run_commits_nothing(airlines, events):
    replay(airlines)
    airlines.run("run")
    check(airlines, events)
    before = airlines.versions()
    assert "nothing new" in airlines.run("run")
    assert airlines.versions() == before


def test_every_event_three_times_in_another_order_gives_the_same_tables(airlines, events):
    replay(airlines, "--repeat", "3", "--disorder", "5000", "--seed", "7")
    airlines.run("run")
    check(airlines, events)


def test_corrupt_records_are_in_quarantine_verbatim_and_nothing_is_lost(airlines, events):
    out = replay(airlines, "--corruption", "0.01", "--duplicates", "0.05", "--seed", "3")
    airlines.run("run")
    check(airlines, events)
    quarantined = airlines.rows("bronze/flight_events__quarantine")
    assert quarantined, out
    assert all(row["_headwater"]["reasons"] and row["_metadata"]["message_id"] for row in quarantined)


def test_two_runs_at_once_land_each_row_once(airlines, events):
    replay(airlines)
    both = [airlines.start("run"), airlines.start("run")]
    for process in both:
        out, err = process.communicate(timeout=300)
        assert process.returncode in (0, 3), out + err
        assert "panicked" not in err
    airlines.run("run")
    check(airlines, events)
    landed = airlines.rows("bronze/flight_events")
    ids = [row["_metadata"]["message_id"] for row in landed]
    assert len(ids) == len(set(ids)) == len(events)


def test_fifty_kills_at_random_moments_lose_and_double_nothing(airlines, events):
    replay(airlines)
    chance = random.Random(2013)
    config = airlines.folder / "pipeline.yml"
    config.write_text(config.read_text() + "\nmax_batch_messages: 2000\n")
    short = config.read_text().replace("visibility_timeout: 60s", "visibility_timeout: 1s").replace("max_receive_count: 5", "max_receive_count: 1000")
    config.write_text(short)
    for _ in range(50):
        process = airlines.start("run")
        time.sleep(chance.uniform(0.02, 0.9))
        process.kill()
        process.communicate()
    time.sleep(1.1)
    airlines.run("run")
    airlines.run("run")
    check(airlines, events)
    ids = [row["_metadata"]["message_id"] for row in airlines.rows("bronze/flight_events")]
    assert len(ids) == len(set(ids)) == len(events)


def test_compaction_changes_no_row(airlines, events):
    config = airlines.folder / "pipeline.yml"
    config.write_text(config.read_text() + "\nmax_batch_messages: 5000\n")
    replay(airlines)
    airlines.run("run")
    files = len(airlines.table("bronze/flight_events").file_uris())
    airlines.run("compact")
    assert len(airlines.table("bronze/flight_events").file_uris()) <= files
    check(airlines, events)
    assert "nothing new" in airlines.run("run")


def test_a_full_refresh_of_silver_and_gold_gives_the_same_tables(airlines, events):
    replay(airlines)
    airlines.run("run")
    airlines.run("run", "--full-refresh=movements,outcomes,departures,silver_flights,silver_planes_history")
    check(airlines, events)
