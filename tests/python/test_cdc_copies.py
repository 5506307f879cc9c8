"""Tables kept by changes whose files have many row groups, of which most are copied: read by two other engines after each batch."""

import json
import random

import polars
import pyarrow.parquet

PROJECT = "name: t\nstorage: lake\ntarget_file_size: 4MiB\nlibraries:\n  - glob: {include: sql/**}\n"
SQL = """
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json',
  schema => 'id BIGINT, name STRING, n INT, place STRUCT<city: STRING, zip: INT>, tags ARRAY<STRING>, op STRING, seq BIGINT');
CREATE STREAMING TABLE latest;
CREATE FLOW states AS AUTO CDC INTO latest FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
  COLUMNS * EXCEPT (op, seq);
CREATE STREAMING TABLE history;
CREATE FLOW states_of_old AS AUTO CDC INTO history FROM STREAM raw KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq
  COLUMNS * EXCEPT (op, seq) STORED AS SCD TYPE 2;
"""
ROWS = 60_000


def change(dice, key, op, seq):
    """A change of a row; some values are NULL, and some strings longer than statistics keep."""
    city = dice.choice([None, f"{dice.random()}"])
    return {
        "id": key,
        "name": dice.choice([None, "é" * 80 + f"{dice.random()}", f"{dice.random()}"]),
        "n": dice.choice([None, dice.randrange(1000)]),
        "place": dice.choice([None, {"city": city, "zip": dice.randrange(100_000)}]),
        "tags": [f"{dice.random()}" for _ in range(dice.randrange(3))],
        "op": op,
        "seq": seq,
    }


def batches(dice):
    """One of all rows, and then some of keys that lie together, of keys anywhere, of new keys, and deletes."""
    yield [change(dice, key, "U", 1) for key in range(ROWS)]
    yield [change(dice, key, dice.choice("UUUD"), 2) for key in range(20_000, 20_300)]
    yield [change(dice, key, dice.choice("UUUD"), 3) for key in dice.sample(range(ROWS), 5)] + [change(dice, ROWS + 1, "U", 3)]
    yield [change(dice, key, "D", 4) for key in range(30_000, 45_000)]


def groups(project, path):
    """The bytes of the row groups of all files, each by where its file has them."""
    found = []
    for file in project.table(path).file_uris():
        body = open(file.removeprefix("file://"), "rb").read()
        parquet = pyarrow.parquet.ParquetFile(file.removeprefix("file://"))
        for at in range(parquet.num_row_groups):
            group = parquet.metadata.row_group(at)
            starts = [group.column(c).dictionary_page_offset or group.column(c).data_page_offset for c in range(group.num_columns)]
            end = max(start + group.column(c).total_compressed_size for c, start in enumerate(starts))
            found.append(body[min(starts) : end])
    return found


def read(project, path, order):
    """The rows of a table as delta-rs and as Polars read them, which must be the same."""
    rows = sorted(project.rows(path), key=order)
    others = polars.read_delta(str(project.folder / "lake" / path)).to_dicts()
    assert sorted(others, key=order) == rows, path
    return rows


def test_tables_of_many_row_groups_are_the_same_for_other_readers(empty):
    empty.write("pipeline.yml", PROJECT)
    empty.write("sql/t.sql", SQL)
    dice, latest, states, current, before = random.Random(11), {}, [], {}, []
    for number, batch in enumerate(batches(dice)):
        empty.write(f"in/{number}.json", "\n".join(map(json.dumps, batch)))
        empty.run("run")
        for row in batch:
            key, values = row["id"], {name: row[name] for name in ("id", "name", "n", "place", "tags")}
            if key in current:
                states.append({**current.pop(key), "__END_AT": row["seq"]})
            latest.pop(key, None)
            if row["op"] != "D":
                latest[key] = values
                current[key] = {**values, "__START_AT": row["seq"], "__END_AT": None}
        by_key, by_state = (lambda row: row["id"]), (lambda row: (row["id"], row["__START_AT"]))
        assert read(empty, "silver/latest", by_key) == sorted(latest.values(), key=by_key)
        assert read(empty, "silver/history", by_state) == sorted(states + list(current.values()), key=by_state)
        now = groups(empty, "silver/latest")
        assert number == 0 or len(set(now) & set(before)) * 2 > len(now), "most row groups are those that were there"
        before = now
    counted = empty.table("silver/latest").get_add_actions(flatten=True)
    counts = polars.DataFrame(counted).select("num_records", "null_count.name", "null_count.place.zip").sum().row(0)
    null = lambda value: value is None
    rows = list(latest.values())
    zips = [row["place"] and row["place"]["zip"] for row in rows]
    assert counts == (len(rows), sum(map(null, (row["name"] for row in rows))), sum(map(null, zips)))
