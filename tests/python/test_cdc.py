"""Tables kept by changes of their rows, read by a second reader and computed a second time."""

import json
import random

import pyarrow

SQL = """
CREATE STREAMING TABLE raw
AS SELECT * FROM STREAM read_files('in', format => 'json', schema => 'id BIGINT, name STRING, n INT, op STRING, seq BIGINT');

CREATE STREAMING TABLE latest;
CREATE FLOW latest_changes AS AUTO CDC INTO latest FROM STREAM raw KEYS (id)
  APPLY AS DELETE WHEN op = "DELETE" SEQUENCE BY seq COLUMNS * EXCEPT (op, seq);

CREATE STREAMING TABLE patched;
CREATE FLOW patches AS AUTO CDC INTO patched FROM STREAM raw KEYS (id) IGNORE NULL UPDATES
  APPLY AS DELETE WHEN op = "DELETE" SEQUENCE BY seq COLUMNS * EXCEPT (op, seq);

CREATE STREAMING TABLE history;
APPLY CHANGES INTO LIVE.history FROM STREAM(LIVE.raw) KEYS (id)
  APPLY AS DELETE WHEN op = "DELETE" SEQUENCE BY seq COLUMNS * EXCEPT (op, seq) STORED AS SCD TYPE 2;
"""


def changes_of(dice, count):
    """Changes of few keys, in any order; no two of a key at one place in the sequence."""
    changes = []
    for seq in range(count):
        op = dice.choice(["UPDATE", "UPDATE", "UPDATE", "DELETE"])
        name, n = dice.choice(["a", "b", None]), dice.choice([1, 2, None])
        changes.append({"id": dice.randrange(40), "name": name, "n": n, "op": op, "seq": seq})
    dice.shuffle(changes)
    return changes


def computed(changes):
    latest, patched, history = {}, {}, []
    current = {}
    for change in sorted(changes, key=lambda change: change["seq"]):
        key, row = change["id"], (change["name"], change["n"])
        if change["op"] == "DELETE":
            latest.pop(key, None), patched.pop(key, None)
            if key in current:
                history.append((key, *current.pop(key), change["seq"]))
            continue
        latest[key] = row
        before = patched.get(key, (None, None))
        patched[key] = tuple(new if new is not None else old for new, old in zip(row, before))
        if key in current and current[key][:2] != row:
            history.append((key, *current.pop(key), change["seq"]))
        current.setdefault(key, (*row, change["seq"]))
    history += [(key, *state, None) for key, state in current.items()]
    return latest, patched, history


def check(project, changes):
    latest, patched, history = computed(changes)
    for table, wanted in (("latest", latest), ("patched", patched)):
        rows = project.rows(f"silver/{table}")
        assert all(list(row) == ["id", "name", "n"] for row in rows)
        assert sorted((row["id"], (row["name"], row["n"])) for row in rows) == sorted(wanted.items()), table
    rows = project.rows("silver/history")
    assert all(list(row) == ["id", "name", "n", "__START_AT", "__END_AT"] for row in rows)
    order = lambda state: (state[0], state[3])
    assert sorted((tuple(row.values()) for row in rows), key=order) == sorted(history, key=order)


def test_changes_in_any_order_give_what_they_give_in_order(empty):
    empty.write("sql/t.sql", SQL)
    changes = changes_of(random.Random(5), 400)
    for batch in range(8):
        part = changes[batch * 50 : batch * 50 + 50]
        repeated = part + changes[: batch * 5]
        empty.write(f"in/{batch}.json", "\n".join(json.dumps(change) for change in repeated))
        empty.run("run")
        check(empty, changes[: batch * 50 + 50])
    versions = empty.versions()
    assert "nothing new" in empty.run("run")
    assert empty.versions() == versions
    empty.run("compact")
    check(empty, changes)


def test_what_changes_did_is_counted(empty):
    empty.write("sql/t.sql", SQL)
    rows = [{"id": 1, "name": "a", "seq": 1}, {"id": 2, "name": "b", "seq": 1}, {"id": 2, "op": "DELETE", "seq": 2}, {"id": 1, "seq": 0}]
    empty.write("in/0.json", "\n".join(json.dumps(row) for row in rows[:2]))
    empty.run("run")
    empty.write("in/1.json", "\n".join(json.dumps(row) for row in rows[2:]))
    empty.run("run")
    events = json.loads(empty.run("events", "--dataset", "latest", "--format", "json"))
    assert events[0]["report"]["changes"] == {"upserted": 0, "deleted": 1, "stale": 1, "tombstones": 1}
    status = json.loads(empty.run("status", "--format", "json"))
    latest = next(dataset for dataset in status["datasets"] if dataset["dataset"] == "latest")
    assert latest["changes"] == {"upserted": 2, "deleted": 1, "stale": 1, "tombstones": 1}
    assert "tombstones" in empty.run("status")


def test_a_stream_of_a_table_kept_by_changes_is_refused_with_a_hint(empty):
    empty.write("sql/t.sql", SQL + "CREATE STREAMING TABLE after AS SELECT * FROM STREAM latest;")
    out = empty.run("validate", expect=2)
    assert "kept by AUTO CDC" in out and "without STREAM" in out


FEED = "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')"


def replayed(rows, changes):
    """The rows of a table after a commit of its change data feed; each change must fit the rows before it."""
    rows = list(rows)
    gone = [change for change in changes if change["_change_type"] in ("delete", "update_preimage")]
    came = [change for change in changes if change["_change_type"] in ("insert", "update_postimage")]
    own = lambda change: repr([value for name, value in change.items() if not name.startswith("_c")])
    for change in gone:
        rows.remove(own(change))
    assert sum(c["_change_type"] == "update_preimage" for c in gone) == sum(c["_change_type"] == "update_postimage" for c in came)
    assert not set(map(own, gone)) & set(map(own, came)), "a row that stays the same is no change"
    return rows + [own(change) for change in came]


def test_the_change_data_feed_tells_what_every_commit_changed(empty):
    sql = SQL.replace("TABLE latest;", f"TABLE latest {FEED};").replace("TABLE history;", f"TABLE history {FEED};")
    empty.write("sql/t.sql", sql.replace("TABLE raw\n", f"TABLE raw {FEED}\n"))
    changes = changes_of(random.Random(9), 200)
    for batch in range(4):
        empty.write(f"in/{batch}.json", "\n".join(json.dumps(change) for change in changes[batch * 50 : batch * 50 + 50]))
        empty.run("run")
    empty.run("compact")
    for path in ("bronze/raw", "silver/latest", "silver/history"):
        table = empty.table(path)
        feed = pyarrow.table(table.load_cdf(starting_version=0).read_all()).to_pylist()
        rows = []
        for version in range(table.version() + 1):
            of_version = [change for change in feed if change["_commit_version"] == version]
            rows = replayed(rows, of_version)
        shown = [repr(list(row.values())) for row in empty.rows(path)]
        assert sorted(rows) == sorted(shown), path
    assert table.protocol().min_writer_version == 4


def test_a_change_data_feed_begins_when_it_is_asked_for(empty):
    empty.write("sql/t.sql", SQL)
    empty.write("in/0.json", '{"id": 1, "name": "a", "seq": 1}\n{"id": 2, "name": "b", "seq": 1}\n')
    empty.run("run")
    empty.write("sql/t.sql", SQL.replace("TABLE latest;", f"TABLE latest {FEED};"))
    empty.write("in/1.json", '{"id": 1, "name": "c", "seq": 2}\n{"id": 2, "op": "DELETE", "seq": 2}\n')
    empty.run("run")
    table = empty.table("silver/latest")
    feed = pyarrow.table(table.load_cdf(starting_version=table.version()).read_all()).to_pylist()
    told = sorted((change["id"], change["_change_type"], change["name"]) for change in feed)
    assert told == [(1, "update_postimage", "c"), (1, "update_preimage", "a"), (2, "delete", "b")]
