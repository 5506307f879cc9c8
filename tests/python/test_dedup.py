"""Deduplication by key: the first row wins, whatever had to be read to find out."""

import json
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

SQL = """
CREATE OR REFRESH STREAMING TABLE raw
AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id {id}, at TIMESTAMP, n BIGINT');

CREATE OR REFRESH STREAMING TABLE once TBLPROPERTIES ('headwater.dedup.keys' = 'id')
AS SELECT id, at AS seen_at, n FROM STREAM(raw) {watermark};
"""
START = datetime(2026, 1, 1, tzinfo=UTC)


def pipeline(project, id_type="STRING", watermark=""):
    project.write("sql/t.sql", SQL.format(id=id_type, watermark=watermark))
    (project.folder / "in").mkdir()


def land(project, name, rows):
    """A file of rows `(id, microseconds since the start or None, n)`, and an update."""
    at = lambda micros: None if micros is None else (START + timedelta(microseconds=micros)).isoformat()
    lines = [json.dumps({"id": key, "at": at(micros), "n": n}) for key, micros, n in rows]
    project.write(f"in/{name}.json", "\n".join(lines))
    project.run("run")


def kept(project):
    return sorted(row["n"] for row in project.rows("silver/once"))


def lose_files(project):
    """Takes the table's data files away, so that reading any of them fails; returns how to undo it."""
    files = list((project.folder / "lake/silver/once").glob("*.parquet"))
    assert files
    for file in files:
        file.rename(file.with_suffix(".gone"))
    return lambda: [file.with_suffix(".gone").rename(file) for file in files]


def test_a_key_is_found_again_in_any_file_of_the_table(empty):
    pipeline(empty)
    dice = random.Random(7)
    # Longer than any statistic of text, equal to their last characters, and the highest there are.
    keys = ["\U0010ffff" * 70 + str(n) for n in range(40)] + ["k" * 100 + str(n) for n in range(40)] + [None]
    expected, number = {}, 0
    for batch in range(6):
        rows = []
        for key in dice.choices(keys, k=30):
            rows.append((key, 0, number))
            expected.setdefault((key, number if key is None else 0), number)
            number += 1
        land(empty, f"{batch}", rows)
    assert kept(empty) == sorted(expected.values())


def test_files_outside_the_range_of_a_batchs_keys_are_not_read(empty):
    pipeline(empty, "BIGINT")
    land(empty, "a", [(n, 0, n) for n in range(100)])
    give_back = lose_files(empty)
    land(empty, "b", [(n, 0, n) for n in range(100, 200)])
    give_back()
    land(empty, "c", [(n, 0, n) for n in range(150, 250)])
    assert kept(empty) == list(range(250))


def test_under_a_watermark_only_keys_within_its_delay_are_remembered(empty):
    pipeline(empty, watermark="WATERMARK at DELAY OF INTERVAL 1 SECOND")
    second = 1_000_000
    land(empty, "a", [("old", 0, 0), ("new", 3 * second, 1)])  # the watermark is at 2 s now
    land(empty, "b", [("new", 2 * second, 2), ("old", 2 * second, 3), ("late", 2 * second - 1, 4), ("untimed", None, 5)])
    assert kept(empty) == [0, 1, 3, 5]
    assert [row["n"] for row in empty.rows("silver/once__late")] == [4]
    land(empty, "c", [("far", 100 * second, 6)])
    land(empty, "d", [("far", 100 * second, 7), ("new", 100 * second, 8), ("untimed", None, 9)])
    assert kept(empty) == [0, 1, 3, 5, 6, 8]


def test_files_with_nothing_but_older_rows_are_not_read(empty):
    pipeline(empty, watermark="WATERMARK at DELAY OF INTERVAL 1 SECOND")
    second = 1_000_000
    land(empty, "a", [("a", 0, 0), ("b", second - 1, 1)])
    give_back = lose_files(empty)
    land(empty, "b", [("c", 100 * second, 2)])  # the watermark is at 0: its key alone rules the files out
    land(empty, "c", [("a", 100 * second, 3), ("b", 100 * second, 4), ("c", 100 * second, 5)])
    give_back()
    assert kept(empty) == [0, 1, 2, 3, 4]


def test_statistics_cut_to_milliseconds_hide_no_row(empty):
    pipeline(empty, watermark="WATERMARK at DELAY OF INTERVAL 1 SECOND")
    land(empty, "a", [("a", 10_000_999, 0)])
    land(empty, "b", [("b", 11_000_999, 1)])  # the watermark is exactly the first row's time
    land(empty, "c", [("a", 10_000_999, 2), ("b", 11_000_999, 3)])
    assert kept(empty) == [0, 1]


def test_a_whole_row_with_nulls_is_one_row(empty):
    empty.write(
        "sql/t.sql",
        "CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'a BIGINT, b STRING');"
        "CREATE STREAMING TABLE once AS SELECT DISTINCT a, b FROM STREAM(raw);",
    )
    dice = random.Random(11)
    given = set()
    for batch in range(4):
        rows = [(dice.choice([None, 1, 2, 3]), dice.choice([None, "x", "y"])) for _ in range(6)]
        given.update(rows)
        empty.write(f"in/{batch}.json", "\n".join(json.dumps({"a": a, "b": b}) for a, b in rows))
        empty.run("run")
    assert Counter((row["a"], row["b"]) for row in empty.rows("silver/once")) == Counter(given)
