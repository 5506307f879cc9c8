"""Bad input gets a clear error or goes to quarantine, and nothing is lost."""

import gzip
import json
import re
import sys

import pytest

TABLE = "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => '{format}', schema => 'id BIGINT, name STRING'{more});\n"


def project_of(project, files, format="json", more=""):
    project.write("sql/t.sql", TABLE.format(format=format, more=more))
    (project.folder / "in").mkdir(exist_ok=True)
    for name, content in files.items():
        project.write(f"in/{name}", content)
    return project


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("CREATE STREAMIN TABLE t AS SELECT 1", "sql/a.sql"),
        ("CREATE MATERIALIZED VIEW m AS SELECT * FROM nothing_here", "nothing_here"),
        ("CREATE MATERIALIZED VIEW a AS SELECT * FROM b; CREATE MATERIALIZED VIEW b AS SELECT * FROM a", "a"),
        ("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_events('nowhere', format => 'json')", "nowhere"),
    ],
)
def test_bad_sql_says_where_and_what(empty, sql, says):
    empty.write("sql/a.sql", sql)
    out = empty.run("run", expect=2)
    assert says in out and "help" in out
    assert not (empty.folder / "lake").exists()


def test_an_unknown_key_names_the_known_one(empty):
    empty.write("pipeline.yml", "name: t\nstorrage: lake\n")
    assert "storage" in empty.run("validate", expect=2)


def test_yaml_that_is_no_yaml(empty):
    empty.write("pipeline.yml", "name: [t\n")
    assert "pipeline.yml" in empty.run("validate", expect=2)


def test_bad_lines_go_to_quarantine_and_good_ones_land(empty):
    lines = [
        b'{"id": 1, "name": "a"}',
        b'{"id": 2, "name": "\xff\xfe"}',
        b'{"id": "x", "name": "c"}',
        b'{"id": 99999999999999999999, "name": "d"}',
        b"not json",
        b'{"id": 6, "name": "f"',
        b'{"id": 7} {"id": 8}',
        b'{"a": ' + b"[" * 100_000,
        b'{"id": 9, "name": "i"}',
    ]
    project_of(empty, {"a.json": b"\r\n".join(lines)})
    empty.run("run")
    assert sorted(row["id"] for row in empty.rows("bronze/t")) == [1, 9]
    raw = [row["_headwater"]["raw"] for row in empty.rows("bronze/t__quarantine")]
    assert sorted(raw) == sorted(lines[1:-1])
    assert "nothing new" in empty.run("run")


MEASURED = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print("peak:", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, "kB", file=sys.stderr)
sys.exit(code)
"""


def test_a_text_of_a_gigabyte_is_put_aside_in_little_memory(empty):
    project_of(empty, {})
    with open(empty.folder / "in/a.json", "wb") as file:
        file.write(b'{"id": 1, "name": "a"}\n{"id": 2, "name": "')
        file.seek(1 << 30, 1)
        file.write(b'"}\n{"id": 3, "name": "c"}\n')
    out = empty.run("run", before=[sys.executable, "-c", MEASURED])
    assert sorted(row["id"] for row in empty.rows("bronze/t")) == [1, 3]
    (aside,) = empty.rows("bronze/t__quarantine")
    assert aside["_headwater"]["raw"].startswith(b'{"id": 2')
    assert len(aside["_headwater"]["raw"]) < 64 << 20
    kilobytes = int(re.search(r"peak: (\d+) kB", out)[1])
    assert kilobytes < 700 << 10, f"{kilobytes} kB"


def test_a_truncated_file_is_quarantined_whole(empty):
    good = gzip.compress("".join(json.dumps({"id": n, "name": "x" * 20}) + "\n" for n in range(1000)).encode())
    project_of(empty, {"good.json.gz": good, "short.json.gz": good[: len(good) // 2]})
    empty.run("run")
    assert len(empty.rows("bronze/t")) == 1000
    (bad,) = empty.rows("bronze/t__quarantine")
    assert "short.json.gz" in bad["_metadata"]["file_path"]
    assert "nothing new" in empty.run("run")


def test_ragged_csv_rows_go_to_quarantine(empty):
    project_of(empty, {"a.csv": "id,name\n1,a\n2\n3,c,d\n4,\"x\ny\"\n"}, format="csv", more=", header => true")
    empty.run("run")
    assert sorted((row["id"], row["name"]) for row in empty.rows("bronze/t")) == [(1, "a"), (4, "x\ny")]
    assert len(empty.rows("bronze/t__quarantine")) == 2


def test_empty_files_and_headers_alone_are_read_once(empty):
    project_of(empty, {"none.csv": "", "header.csv": "id,name\n", "row.csv": "id,name\n1,a\n"}, format="csv", more=", header => true")
    empty.run("run")
    assert len(empty.rows("bronze/t")) == 1
    assert "nothing new" in empty.run("run")


def test_a_folder_that_is_missing_is_named(empty):
    empty.write("sql/t.sql", TABLE.format(format="json", more=""))
    out = empty.run("run", expect=1)
    assert "in" in out and "help" in out


def test_a_violated_fail_rule_writes_nothing_and_is_counted(empty):
    empty.write("sql/t.sql", TABLE.format(format="json", more=""))
    empty.write("sql/u.sql", "CREATE STREAMING TABLE u (CONSTRAINT small EXPECT (id < 2) ON VIOLATION FAIL UPDATE) AS SELECT id FROM STREAM t;")
    empty.write("in/a.json", '{"id": 1}\n{"id": 2}\n')
    out = empty.run("run", expect=1)
    assert "small" in out
    assert not (empty.folder / "lake/silver/u/_delta_log").exists()


def test_a_lake_of_a_newer_protocol_is_refused_before_anything_is_written(empty):
    project_of(empty, {"a.json": '{"id": 1}\n'})
    empty.run("run")
    log = empty.folder / "lake/bronze/t/_delta_log/00000000000000000001.json"
    log.write_text(json.dumps({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["fromTheFuture"], "writerFeatures": ["fromTheFuture"]}}))
    empty.write("in/b.json", '{"id": 2}\n')
    out = empty.run("run", expect=1)
    assert "fromTheFuture" in out or "feature" in out.lower()
    assert sorted(path.name for path in log.parent.glob("*.json")) == ["00000000000000000000.json", log.name]


def test_a_table_that_asks_too_much_of_its_writers_is_refused_before_any_file_is_written(empty):
    project_of(empty, {"a.json": '{"id": 1}\n'})
    empty.run("run")
    table = empty.folder / "lake/bronze/t"
    (table / "_delta_log/00000000000000000001.json").write_text(json.dumps({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": ["rowTracking", "domainMetadata"]}}))
    empty.write("in/b.json", '{"id": 2}\n')
    out = empty.run("run", expect=1)
    assert "rowTracking" in out and "help" in out
    assert len(list(table.rglob("*.parquet"))) == 1 and empty.table("bronze/t").version() == 1


def test_the_same_file_lands_once_however_often_it_is_run(empty):
    project_of(empty, {f"{n}.json": f'{{"id": {n}}}\n' for n in range(5)})
    for n in range(5, 8):
        empty.run("run")
        empty.write(f"in/{n}.json", f'{{"id": {n}}}\n')
    empty.run("run")
    assert sorted(row["id"] for row in empty.rows("bronze/t")) == list(range(8))
