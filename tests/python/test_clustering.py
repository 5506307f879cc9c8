"""A clustered table with keys, as other engines read it: the same rows, from fewer files."""

import json
import random

import polars
import pyarrow.dataset

SQL = """
CREATE STREAMING TABLE points CLUSTER BY (x, y) TBLPROPERTIES ('headwater.dedup.keys' = 'id') AS
SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id STRING, x BIGINT, y BIGINT', maxFilesPerTrigger => 1);
"""


def landed(project):
    """Lands 16 files of points that are anywhere."""
    draw = random.Random(5)
    rows = [{"id": f"{draw.getrandbits(64):016x}", "x": draw.randrange(10_000), "y": draw.randrange(10_000)} for _ in range(16_000)]
    project.write("sql/points.sql", SQL)
    for n in range(16):
        project.write(f"in/{n:02}.json", "".join(json.dumps(row) + "\n" for row in rows[n * 1000 : (n + 1) * 1000]))
    settings = (project.folder / "pipeline.yml").read_text()
    project.write("pipeline.yml", settings + "compact_min_files: 100\n")
    project.run("run")
    project.write("pipeline.yml", settings + "compact_min_files: 2\ntarget_file_size: 128KiB\n")
    return sorted(rows, key=lambda row: row["id"])


def fragments(table, column, value):
    """Files that PyArrow opens for one value, by the table's statistics."""
    return len(list(table.to_pyarrow_dataset().get_fragments(pyarrow.dataset.field(column) == value)))


def test_other_engines_read_the_same_rows_from_fewer_files(empty):
    rows = landed(empty)
    before = empty.table("bronze/points")
    plan = json.loads(empty.run("compact", "--explain", "--format", "json"))
    assert [(table["clustered by"], table["files"]) for table in plan] == [("x, y", 16)]
    empty.run("compact")
    after = empty.table("bronze/points")
    files = len(after.file_uris())
    assert 4 <= files < 16
    for column in ("x", "y"):
        assert fragments(before, column, 5_000) == 16
        assert fragments(after, column, 5_000) <= files * 3 // 4, column
    columns = ["id", "x", "y"]
    found = polars.read_delta(str(empty.folder / "lake/bronze/points")).select(columns).sort("id").to_dicts()
    assert found == rows == sorted(after.to_pyarrow_table(columns=columns).to_pylist(), key=lambda row: row["id"])
    one = rows[77]
    scan = polars.scan_delta(str(empty.folder / "lake/bronze/points")).select(columns).filter(polars.col("id") == one["id"])
    assert scan.collect().to_dicts() == [one]
    assert "nothing to do" in empty.run("compact")
