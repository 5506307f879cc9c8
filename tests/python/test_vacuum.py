"""Old files that `compact` deletes, and what other engines then read."""

import json
import os

import polars
from deltalake import DeltaTable

WEEKS = 20 * 86_400
TIMES = {"createdTime", "deletionTimestamp", "modificationTime", "timestamp", "lastUpdated"}
SQL = """
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT');
CREATE MATERIALIZED VIEW total AS SELECT sum(id) AS total FROM t;
"""


def age(folder):
    """Lets all that is in a lake be some weeks older."""
    for entry in folder.glob("*/*/_delta_log/*.json"):
        if entry.name == "_last_checkpoint":
            continue
        actions = [json.loads(line) for line in entry.read_text().splitlines()]
        for action in actions:
            for body in action.values():
                body.update({key: body[key] - WEEKS * 1000 for key in TIMES & body.keys() if isinstance(body[key], int)})
        entry.write_text("\n".join(map(json.dumps, actions)))
    for path in folder.rglob("*"):
        if path.is_file():
            written = path.stat().st_mtime
            os.utime(path, (written - WEEKS, written - WEEKS))


def parquets(table):
    return {str(path) for path in table.rglob("*.parquet") if "_delta_log" not in path.parts}


def test_old_versions_of_a_view_go_and_the_latest_is_the_same_to_other_readers(empty):
    empty.write("sql/t.sql", SQL)
    for n in range(3):
        empty.write(f"in/{n}.json", json.dumps({"id": n}))
        empty.run("run")
    lake = empty.folder / "lake"
    view = lake / "gold/total"
    orphan = view / "part-of-a-run-that-died.parquet"
    orphan.write_bytes(b"PAR1")
    assert len(parquets(view)) == 4
    assert "nothing to do" in empty.run("compact")
    age(lake)

    def planned():
        plan = json.loads(empty.run("compact", "--explain", "--format", "json"))
        return {row["table"]: row["to delete"] for row in plan}

    assert planned() == {"t": 0, "total": 3}
    assert "vacuum" in empty.run("compact", "total")
    assert planned() == {"t": 0, "total": 0}
    assert parquets(view) == {uri.removeprefix("file://") for uri in DeltaTable(str(view)).file_uris()}
    assert polars.read_delta(str(view))["total"].to_list() == [3]
    planned_by_another = DeltaTable(str(view)).vacuum(retention_hours=168, dry_run=True)
    assert not [path for path in planned_by_another if (view / path).exists()]
    assert DeltaTable(str(view)).history(1)[0]["operation"] == "VACUUM END"
    assert sorted(row["id"] for row in empty.rows("bronze/t")) == [0, 1, 2]
    assert "nothing to do" in empty.run("compact", "total")
    assert "vacuum" in empty.run("compact"), "the other table's time has come too"
    assert "nothing new" in empty.run("run")
