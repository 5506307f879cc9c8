"""What the command prints where no person looks: one golden file a command and format, and the exit codes of --help.

HEADWATER_UPDATE_GOLDEN=1 writes the golden files anew.
"""

import json
import os
import re
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"

PIPELINE = """\
name: shop
storage: lake
libraries:
  - glob: {include: sql/**}
sources:
  orders: {spool: orders, visibility_timeout: 1s, max_receive_count: 5}
"""

SQL = """\
CREATE STREAMING TABLE raw AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id INT, price DOUBLE');
CREATE STREAMING TABLE countries AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true, schema => 'id INT, country STRING');
CREATE STREAMING TABLE sales (
  CONSTRAINT paid EXPECT (price > 0) ON VIOLATION DROP ROW,
  CONSTRAINT cheap EXPECT (price < 10)
) TBLPROPERTIES ('headwater.dedup.keys' = 'id')
AS SELECT id, price FROM STREAM raw;
CREATE MATERIALIZED VIEW by_country AS
SELECT c.country, sum(s.price) AS total FROM sales s JOIN countries c ON s.id = c.id GROUP BY c.country;
"""

ORDERS = """\
{"id": 1, "price": 5.5}
{"id": 1, "price": 6}
{"id": 2, "price": 20}
{"id": 3, "price": -1}
not json
"""

# What differs from run to run, and what stands for it.
REDACTED = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
    (r'"(millis|bytes|bytes_added)": \d+', r'"\1": <number>'),
    (r"\b[\d.]+ k?B\b", "<size>"),
    (r"\b(now|\d+ ?s( ago)?)\b", "<age>"),
]


def redacted(text, columns):
    """The text without what differs; `columns` are those of CSV and of tables to blank, by name."""
    for pattern, stands in REDACTED:
        text = re.sub(pattern, stands, text)
    lines = []
    header = []
    for line in text.splitlines():
        if "," in line and not line.startswith((" ", "{", "[", "}", "]")):
            cells = line.split(",")
            header = header or cells
            line = ",".join("<any>" if name in columns and cells is not header else cell for name, cell in zip(header, cells))
        lines.append(re.sub(r"[ ─]{2,}", "  ", line).rstrip())
    return "\n".join(lines) + "\n"


def output(project, *arguments, expect=0):
    process = project.start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == expect, f"{arguments}: exit {process.returncode}\n{out}\n{err}"
    assert "\x1b" not in out + err
    return out


def same_as_golden(name, text):
    path = GOLDEN / name
    if os.environ.get("HEADWATER_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs; HEADWATER_UPDATE_GOLDEN=1 writes it anew"


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", PIPELINE)
    empty.write("sql/shop.sql", SQL)
    empty.write("in/countries.csv", "id,country\n1,DE\n2,FR\n")
    empty.write("orders.ndjson", ORDERS)
    empty.run("replay", "orders.ndjson", "--to", "orders")
    return empty


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_each_command_prints_what_it_printed(shop, form):
    steps = [
        ("validate", ["validate"]),
        ("status-before", ["status"]),
        ("run", ["run"]),
        ("run-again", ["run"]),
        ("status", ["status"]),
        ("lineage", ["lineage"]),
        ("lineage-sales", ["lineage", "sales"]),
    ]
    for name, arguments in steps:
        text = output(shop, "--format", form, *arguments)
        if form == "json":
            json.loads(text)
        same_as_golden(f"{name}.{form}", redacted(text, {"bytes", "changed"}))
    for table in ["raw", "countries", "sales", "sales__quarantine", "by_country"]:
        text = output(shop, "--format", form, "events", "--dataset", table)
        assert table in text
        if form == "json":
            (event,) = json.loads(text)
            assert event["version"] == 0 and event["report"]["rows"]["read"] > 0
        if form == "csv":
            header, line = text.splitlines()
            same_as_golden("events-header.csv", header + "\n")
            assert line.split(",")[1] == table


def test_a_report_tells_what_was_committed(shop):
    report = json.loads(output(shop, "--format", "json", "run"))
    committed = [flow for flow in report["flows"] if flow["outcome"]["state"] == "committed"]
    assert {flow["target"] for flow in committed} == {"raw", "countries", "sales", "by_country"}
    for flow in committed:
        assert flow["files_added"] == 1 and flow["bytes_added"] > 0 and flow["attempts"] == 1, flow


def test_a_fault_elsewhere_keeps_no_selected_table_from_its_rows(shop):
    shop.write("sql/more.sql", "CREATE STREAMING TABLE wrong AS SELECT no_such_column FROM STREAM sales;")
    assert "no_such_column" in shop.run("run", expect=2)
    assert "no_such_column" in shop.run("run", "--select", "wrong", expect=2)
    shop.run("run", "--select", "raw,sales")
    assert output(shop, "--format", "csv", "query", "SELECT count(*) FROM raw") == "count(*)\n4\n"
    shop.write("sql/more.sql", "CREATE STREAMING TABLE right AS SELECT id FROM STREAM faulty; CREATE VIEW faulty AS SELECT no_such_column AS id FROM raw;")
    assert "no_such_column" in shop.run("run", "--select", "right", expect=2)


def test_a_full_refresh_of_named_tables_updates_no_others(shop):
    shop.run("run")
    shop.write("sql/more.sql", "CREATE STREAMING TABLE wrong AS SELECT no_such_column FROM STREAM raw;")
    report = json.loads(output(shop, "--format", "json", "run", "--full-refresh=sales"))
    assert {flow["target"] for flow in report["flows"]} == {"sales"}
    report = json.loads(output(shop, "--format", "json", "run", "--full-refresh=sales", "--select", "by_country"))
    assert {flow["target"] for flow in report["flows"]} == {"sales", "by_country"}
    assert "no_such_column" in shop.run("run", "--full-refresh", expect=2)


def test_the_past_is_applied_once_as_changes_and_a_view_of_files_ends(shop):
    shop.write("sql/more.sql", """
        CREATE STREAMING TABLE latest;
        CREATE FLOW past AS AUTO CDC ONCE INTO latest FROM raw KEYS (id) SEQUENCE BY id;
        CREATE STREAMING TABLE history;
        CREATE FLOW files AS AUTO CDC ONCE INTO history FROM read_files('in', format => 'csv', header => true, schema => 'id INT, country STRING')
          KEYS (id) SEQUENCE BY id STORED AS SCD TYPE 2;
        CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM read_files('in', format => 'csv', header => true);""")
    shop.run("validate")
    for names in ["2", "2"]:
        shop.run("run")
        assert output(shop, "--format", "csv", "query", "SELECT n FROM seen") == f"n\n{names}\n"
    shop.write("in/more.csv", "id,country\n3,IT\n")
    shop.run("run")
    assert output(shop, "--format", "csv", "query", "SELECT n FROM seen") == "n\n3\n"
    assert output(shop, "--format", "csv", "query", "SELECT count(*) AS n FROM history") == "n\n2\n", "applied once"
    ids = output(shop, "--format", "csv", "query", "SELECT DISTINCT id FROM raw WHERE id IS NOT NULL ORDER BY id")
    assert output(shop, "--format", "csv", "query", "SELECT id FROM latest ORDER BY id") == ids


def test_exit_codes_are_those_of_the_help(shop):
    help_text = output(shop, "--help")
    for code, meaning in [(0, "done"), (1, "a flow failed"), (2, "is wrong"), (3, "run the command again")]:
        assert re.search(rf"^  {code}  .*{meaning}", help_text, re.MULTILINE)
    shop.run("run", expect=0)
    shop.run("no-such-command", expect=2)
    shop.run("run", "--select", "no_such_table", expect=2)
    shop.run("lineage", "no_such_table", expect=2)
    shop.run("query", "SELECT nothing FROM sales", expect=2)
    shop.write("sql/more.sql", "CREATE STREAMING TABLE strict (CONSTRAINT one EXPECT (id < 2) ON VIOLATION FAIL UPDATE) AS SELECT id FROM STREAM sales;")
    assert "one" in shop.run("run", expect=1)
    shop.write("sql/more.sql", "CREATE STREAMIN TABLE t")
    shop.run("validate", expect=2)
    (shop.folder / "sql/more.sql").unlink()
    (shop.folder / "no-lake").write_text("a file")
    os.environ["HEADWATER_STORAGE"] = str(shop.folder / "no-lake")
    try:
        shop.run("run", expect=3)
    finally:
        del os.environ["HEADWATER_STORAGE"]
