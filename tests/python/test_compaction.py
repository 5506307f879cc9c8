"""Tables that were compacted, as other engines read them."""

import json

import polars
from deltalake import DeltaTable

SQL = """
CREATE STREAMING TABLE t PARTITIONED BY (place) AS
SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, place STRING, more STRUCT<a: INT, b: ARRAY<STRING>>', maxFilesPerTrigger => 1);
"""
PLACES = [None, "a", "a b", "x/y=z", "%41", "ü", "it's \"here\""]


def landed(project):
    """Lands 45 files, one a commit."""
    project.write("sql/t.sql", SQL)
    rows = []
    for n in range(45):
        part = [{"id": n * 10 + k, "place": PLACES[n % 7], "more": {"a": k, "b": ["x"] * (k % 3)} if k else None} for k in range(1 + n % 4)]
        project.write(f"in/{n:02}.json", "".join(json.dumps(row) + "\n" for row in part))
        rows += part
    project.run("run")
    project.write("pipeline.yml", (project.folder / "pipeline.yml").read_text() + "compact_min_files: 2\n")
    return sorted(rows, key=lambda row: row["id"])


def read(table):
    rows = table.to_pyarrow_table(columns=["id", "place", "more"]).to_pylist()
    return sorted(rows, key=lambda row: row["id"])


def test_a_compacted_and_checkpointed_table_is_the_same_to_other_readers(empty):
    rows = landed(empty)
    before = empty.table("bronze/t")
    assert before.version() >= 44 and len(before.file_uris()) == 45
    empty.run("compact")
    after = empty.table("bronze/t")
    assert len(after.file_uris()) == len(PLACES)
    assert read(before) == read(after) == rows
    frame = polars.read_delta(str(empty.folder / "lake/bronze/t")).sort("id")
    assert frame["id"].to_list() == [row["id"] for row in rows]
    assert frame["place"].to_list() == [row["place"] for row in rows]
    assert "nothing to do" in empty.run("compact")
    assert "nothing new" in empty.run("run")


def test_the_checkpoint_alone_is_enough_to_read_what_came_before_it(empty):
    rows = landed(empty)
    empty.run("compact")
    log = empty.folder / "lake/bronze/t/_delta_log"
    version = json.loads((log / "_last_checkpoint").read_text())["version"]
    assert version >= 44
    told = json.loads((log / f"{version:020}.crc").read_text())
    assert told["numFiles"] == len(DeltaTable(str(log.parent), version=version).file_uris())
    for entry in log.glob("*.json"):
        if int(entry.stem) < version:
            entry.unlink()
    assert read(DeltaTable(str(log.parent))) == rows
    assert polars.read_delta(str(log.parent)).height == len(rows)
    assert "nothing new" in empty.run("run")
