"""The airlines example's silver and gold, computed from the recorded files without Headwater."""

import csv
import gzip
import math
from collections import Counter, defaultdict
from datetime import datetime, timezone


def instant(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def dimension(folder, name):
    with open(folder / "data" / name / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def percentile(values, fraction):
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    return low + (high - low) * (position - math.floor(position))


def on_time(events, folder):
    names = {row["carrier"]: row["name"] for row in dimension(folder, "airlines")}
    departures, punctual = Counter(), Counter()
    for event in events:
        if event["event"] == "departed":
            key = names.get(event["carrier"]), instant(event["scheduled_departure"]).hour
            departures[key] += 1
            punctual[key] += event["dep_delay"] <= 15
    return {key: (count, punctual[key]) for key, count in departures.items()}


def delays(events, folder):
    names = {row["faa"]: row["name"] for row in dimension(folder, "airports")}
    by_airport = defaultdict(list)
    for event in events:
        if event["event"] == "arrived":
            by_airport[event["dest"]].append(event["arr_delay"])
    return {
        (dest, names.get(dest)): (len(values), percentile(values, 0.5), percentile(values, 0.95))
        for dest, values in by_airport.items()
    }


def sky_of(row):
    if float(row["visib"] or "inf") < 2 or float(row["wind_speed"] or 0) > 25:
        return "bad"
    return "wet" if float(row["precip"] or 0) > 0 else "fair"


def cancellations(events, folder):
    with gzip.open(folder / "data/weather/weather-2013-01.csv.gz", "rt", newline="") as file:
        hours = defaultdict(list)
        for row in csv.DictReader(file):
            hours[row["origin"], instant(row["time_hour"])].append(sky_of(row))
    flights, cancelled = Counter(), Counter()
    for event in events:
        if event["event"] in ("arrived", "cancelled"):
            hour = instant(event["scheduled_departure"]).replace(minute=0)
            for sky in hours.get((event["origin"], hour), ["unknown"]):
                flights[event["origin"], sky] += 1
                cancelled[event["origin"], sky] += event["event"] == "cancelled"
    return {key: (count, cancelled[key]) for key, count in flights.items()}


def flights(events):
    """The last state of each flight: what its last event tells, and of the other columns what an earlier one told."""
    states = defaultdict(dict)
    for event in sorted(events, key=lambda event: event["sequence"]):
        told = {name: event.get(name) for name in ("event", "carrier", "dest", "tailnum", "dep_delay", "arr_delay")}
        states[event["flight_id"]].update({name: value for name, value in told.items() if value is not None})
    return states


def whereabouts(events):
    """Where each plane was, from its landing there to its landing elsewhere."""
    landings = defaultdict(list)
    for event in sorted(events, key=lambda event: event["event_time"]):
        states = landings[event.get("tailnum")]
        if event["event"] == "arrived" and (not states or states[-1][1] != event["dest"]):
            states.append((instant(event["event_time"]), event["dest"]))
    found = []
    for plane, states in landings.items():
        ends = [start for start, _ in states[1:]] + [None]
        found += [(plane, start, airport, end) for (start, airport), end in zip(states, ends)]
    return sorted(found, key=lambda state: state[:2])
