"""A table whose column widens, to readers that don't know the feature and to one that does what the protocol says."""

import json

import polars
import pytest
from deltalake import DeltaTable

SQL = """
CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'json', schemaHints => 'n INT',
  schemaEvolutionMode => 'addNewColumnsWithTypeWidening');
"""
TYPES = {"long": polars.Int64, "integer": polars.Int32}


def by_the_protocol(table, column):
    """The values of a column: those of each live file in the type that the table has now."""
    live, schema, protocol = {}, None, None
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for action in map(json.loads, entry.read_text().splitlines()):
            protocol = action.get("protocol", protocol)
            if "metaData" in action:
                schema = json.loads(action["metaData"]["schemaString"])
            if "add" in action:
                live[action["add"]["path"]] = action["add"]
            if "remove" in action:
                live.pop(action["remove"]["path"])
    assert set(protocol.get("readerFeatures", [])) <= {"typeWidening"}
    (field,) = [field for field in schema["fields"] if field["name"] == column]
    stored = [polars.read_parquet(table / path, columns=[column])[column] for path in live]
    values = [value for series in stored for value in series.cast(TYPES[field["type"]]).to_list()]
    return sorted(values), {str(series.dtype) for series in stored}, field


def test_all_readers_follow_until_a_column_widens_and_then_those_who_know_how(empty):
    empty.write("sql/t.sql", SQL)
    empty.write("in/a.json", json.dumps({"n": 1}))
    empty.run("run")
    table = empty.folder / "lake/bronze/t"
    assert polars.read_delta(str(table))["n"].to_list() == [1]
    assert DeltaTable(str(table)).protocol().min_reader_version == 1

    empty.write("in/b.json", json.dumps({"n": 3_000_000_000}))
    empty.run("run")
    values, stored, field = by_the_protocol(table, "n")
    assert (values, stored) == ([1, 3_000_000_000], {"Int32", "Int64"})
    assert field["metadata"]["delta.typeChanges"] == [{"fromType": "integer", "toType": "long"}]
    with pytest.raises(Exception, match="(?i)type_?widening"):
        polars.read_delta(str(table))
    with pytest.raises(Exception, match="(?i)type_?widening"):
        DeltaTable(str(table)).to_pyarrow_table()
