"""Tables that were compacted, as other engines read them."""

import json
import shutil

import polars
from deltalake import DeltaTable

SQL = """
CREATE STREAMING TABLE t PARTITIONED BY (place) AS
SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, place STRING, more STRUCT<a: INT, b: ARRAY<STRING>>', maxFilesPerTrigger => 1);
"""
PLACES = [None, "a", "a b", "x/y=z", "%41", "ü~", "it's \"here\""]


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


def test_a_stream_reads_every_partition(empty):
    rows = landed(empty)
    empty.write("sql/s.sql", "CREATE STREAMING TABLE s AS SELECT id, place FROM STREAM t;")
    empty.run("run")
    copied = empty.table("silver/s").to_pyarrow_table(columns=["id", "place"]).to_pylist()
    assert sorted((row["id"], row["place"]) for row in copied) == [(row["id"], row["place"]) for row in rows]


def test_files_of_an_engine_that_does_not_escape_letters_are_compacted(empty):
    """Spark names the folder of a partition as it is in `add.path`, if it isn't ASCII."""
    landed(empty)
    folder = empty.folder / "lake/bronze/t"
    template = next(folder.glob("place=*/*.parquet"))
    foreign = folder / "place=Z\u00fcrich"
    foreign.mkdir()
    for number in range(3):
        shutil.copy(template, foreign / f"{number}.parquet")
        count = DeltaTable(str(folder)).version() + 1
        add = {"path": f"{foreign.name}/{number}.parquet", "partitionValues": {"place": "Z\u00fcrich"}, "size": template.stat().st_size,
               "modificationTime": 1, "dataChange": True, "stats": json.dumps({"numRecords": polars.read_parquet(template).height})}
        (folder / f"_delta_log/{count:020}.json").write_text(json.dumps({"add": add}, ensure_ascii=False) + "\n")
    before = read(empty.table("bronze/t"))
    assert sum(row["place"] == "Z\u00fcrich" for row in before) > 2
    empty.run("compact")
    after = empty.table("bronze/t")
    in_order = lambda rows: sorted(rows, key=lambda row: (row["id"], str(row["place"])))
    assert in_order(read(after)) == in_order(before)
    assert len(after.file_uris()) == len(PLACES) + 1
    empty.run("run", "--full-refresh=t")
    assert all(row["place"] != "Z\u00fcrich" for row in read(empty.table("bronze/t")))


def test_a_name_that_is_not_ascii_is_that_of_a_table(empty):
    empty.write("sql/g.sql", SQL.replace("TABLE t", "TABLE gr\u00f6\u00dfe"))
    empty.write("in/0.json", json.dumps({"id": 1, "place": "a"}) + "\n")
    empty.run("run")
    assert [row["id"] for row in read(empty.table("bronze/gr\u00f6\u00dfe"))] == [1]
    assert "nothing new" in empty.run("run")
