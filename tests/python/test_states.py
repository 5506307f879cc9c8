"""Tables as they were, and tables that are computed beside those in use."""

import json

SQL = """
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, n INT');
CREATE STREAMING TABLE scaled AS SELECT id, n * {factor} AS n FROM STREAM raw;
CREATE STREAMING TABLE held TBLPROPERTIES ('pipelines.reset.allowed' = 'false') AS SELECT id FROM STREAM raw;
CREATE MATERIALIZED VIEW total AS SELECT sum(n) AS n FROM scaled;
"""


def asked(project, query, *options):
    return json.loads(project.run("query", query, "--format", "json", *options))


def begun(project):
    project.write("sql/t.sql", SQL.format(factor=1))
    for number in range(2):
        project.write(f"in/{number}.json", json.dumps({"id": number, "n": number + 1}))
        project.run("run")


def test_a_query_reads_tables_as_they_were(empty):
    begun(empty)
    assert asked(empty, "SELECT count(*) AS c FROM scaled") == [{"c": 2}]
    assert asked(empty, "SELECT count(*) AS c FROM scaled", "--at", "0") == [{"c": 1}]
    added = "SELECT id FROM raw EXCEPT SELECT id FROM raw VERSION AS OF 0"
    assert asked(empty, added) == [{"id": 1}]
    first = json.loads(empty.run("events", "--dataset", "scaled", "--format", "json"))[-1]["time"]
    assert asked(empty, "SELECT count(*) AS c FROM scaled", "--at", first) == [{"c": 1}]
    out = empty.run("query", "SELECT * FROM scaled", "--at", "9", expect=2)
    assert "has no version 9 yet" in out and "give a version from 0 to 1" in out
    assert "wasn't there yet" in empty.run("query", "SELECT * FROM scaled", "--at", "2020-01-01", expect=2)
    assert "give a version such as 12" in empty.run("query", "SELECT * FROM scaled", "--at", "yesterday", expect=2)


def test_changed_sql_is_tried_beside_the_tables_in_use(empty):
    begun(empty)
    empty.write("sql/t.sql", SQL.format(factor=10))
    before = empty.versions()
    empty.run("run", "--full-refresh", "--shadow")
    shown = {path: version for path, version in empty.versions().items() if "_headwater" not in path}
    assert shown == before
    found = {row["dataset"]: row for row in json.loads(empty.run("diff", "--format", "json"))}
    assert set(found) == {"raw", "scaled", "total"}, "a table that may not be reset is left alone"
    assert (found["scaled"]["same"], found["scaled"]["only now"], found["scaled"]["only in the shadow"]) == (0, 2, 2)
    assert (found["raw"]["same"], found["raw"]["only now"]) == (2, 0)
    out = empty.run("promote", expect=2)
    assert "`held` streams from `raw`" in out
    empty.run("run", "--full-refresh=scaled,total", "--shadow")
    empty.run("promote", "scaled", "total")
    assert asked(empty, "SELECT n FROM scaled ORDER BY n") == [{"n": 10}, {"n": 20}]
    assert sorted(row["n"] for row in empty.rows("silver/scaled")) == [10, 20]
    empty.write("in/2.json", json.dumps({"id": 2, "n": 3}))
    empty.run("run")
    assert asked(empty, "SELECT n FROM total") == [{"n": 60}]
    assert "exempt from full refreshes" in empty.run("run", "--full-refresh=held", "--shadow", expect=2)
    assert "has no shadow" in empty.run("promote", "scaled", expect=2)
