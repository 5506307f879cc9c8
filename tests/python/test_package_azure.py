"""The zip that makes a function app: what is in it, and which sources and programs it refuses."""

import json
import os
import zipfile

import pytest

from conftest import ROOT
from test_package import AARCH64, PIPELINE, SQL, X86_64, program, shop  # noqa: F401

FUNCTIONS = ROOT / "infra/azure/functions"
FILES = {file.relative_to(FUNCTIONS).as_posix() for file in FUNCTIONS.rglob("*.json")}
PROJECT = {"pipeline/pipeline.yml", "pipeline/sql/shop.sql"}


def packed(shop, *arguments, output="dist"):  # noqa: F811
    """The files of the zip, and what was said."""
    said = shop.run("package", "azure", "-o", output, *arguments)
    with zipfile.ZipFile(shop.folder / output / "my_shop-azure.zip") as package:
        return {entry.filename: (entry.external_attr >> 16 & 0o777, package.read(entry)) for entry in package.infolist()}, said


def test_the_zip_is_the_function_app_and_nothing_else(shop):  # noqa: F811
    files, said = packed(shop, "--binary", "x86_64")
    assert set(files) == FILES | PROJECT | {"headwater"}
    assert files.pop("headwater") == (0o755, program(X86_64))
    assert {mode for mode, _ in files.values()} == {0o644}
    for name in FILES - {"bronze-events/function.json"}:
        assert files[name][1] == (FUNCTIONS / name).read_bytes()
    [binding] = json.loads(files["bronze-events/function.json"][1])["bindings"]
    assert binding["eventHubName"] == "orders"
    assert """sourceNames='["orders"]'""" in said and "dist/my_shop-azure.zip" in said
    assert "warning" not in said


def test_the_same_project_gives_the_same_bytes(shop):  # noqa: F811
    def zipped(output):
        [row] = json.loads(shop.run("package", "azure", "--binary", "x86_64", "-o", output, "--format", "json"))
        return row["sha256"], row["size"], (shop.folder / output / "my_shop-azure.zip").read_bytes()

    first = zipped("one")
    for path in ["pipeline.yml", "sql/shop.sql", "x86_64"]:
        os.utime(shop.folder / path, (0, 0))
    assert zipped("two") == first
    assert first[1] == len(first[2])


def test_each_source_has_its_function(shop):  # noqa: F811
    shop.write("pipeline.yml", PIPELINE.replace("sources:\n", "sources:\n  returns: {spool: events/returns}\n  unread: {spool: u}\n"))
    shop.write("sql/more.sql", SQL.split(";")[0].replace("orders", "returns") + ";")
    files, said = packed(shop, "--without-program")
    functions = {name.split("/")[0] for name in files if name.startswith("bronze-events")}
    assert functions == {"bronze-events-orders", "bronze-events-returns", "bronze-events-sweep"}
    hub = json.loads(files["bronze-events-returns/function.json"][1])["bindings"][0]["eventHubName"]
    assert (hub, "headwater" in files) == ("returns", False)
    assert """sourceNames='["orders","returns"]'""" in said


def test_a_project_without_events_has_no_function_for_them(shop):  # noqa: F811
    shop.write("sql/shop.sql", SQL.split(";")[1] + ";")
    files, _ = packed(shop, "--without-program")
    assert set(files) == FILES - {"bronze-events/function.json", "bronze-events-sweep/function.json"} | PROJECT


def test_a_source_that_is_bound_to_a_hub_is_read_from_that_one(shop):  # noqa: F811
    hub = "returns-1: {eventhubs: 'eventhubs://mine/goods?consumer_group=headwater-reads'}"
    shop.write("pipeline.yml", PIPELINE.replace("sources:\n", f"sources:\n  {hub}\n"))
    shop.write("sql/more.sql", SQL.split(";")[0].replace("orders", "returns").replace("'returns'", "'returns-1'") + ";")
    files, said = packed(shop, "--without-program")
    [binding] = json.loads(files["bronze-events-returns-1/function.json"][1])["bindings"]
    assert (binding["eventHubName"], binding["connection"]) == ("goods", "HEADWATER_EVENT_HUBS_RETURNS_1")
    assert """sourceNames='["orders"]' ownNamespaces='{"returns-1":"mine.servicebus.windows.net"}'""" in said


def test_sources_of_one_hub_have_one_function(shop):  # noqa: F811
    hubs = "".join(f"  {name}: {{eventhubs: 'eventhubs://{place}'}}\n" for name, place in (
        ("refunds", "mine/goods"), ("returns", "Mine/Goods?consumer_group=more"), ("swaps", "yours/goods")))
    shop.write("pipeline.yml", PIPELINE.replace("sources:\n", f"sources:\n{hubs}"))
    for name in ("refunds", "returns", "swaps"):
        shop.write(f"sql/{name}.sql", SQL.split(";")[0].replace("orders", name) + ";")
    files, _ = packed(shop, "--without-program")
    functions = {name.split("/")[0] for name in files if name.startswith("bronze-events")}
    assert functions == {"bronze-events-orders", "bronze-events-refunds", "bronze-events-swaps", "bronze-events-sweep"}
    bindings = [json.loads(files[f"bronze-events-{name}/function.json"][1])["bindings"][0] for name in ("refunds", "swaps")]
    assert [binding["connection"] for binding in bindings] == ["HEADWATER_EVENT_HUBS_REFUNDS", "HEADWATER_EVENT_HUBS_SWAPS"]
    assert json.loads(files["bronze-events-refunds/function.json"][1])["sources"] == ["refunds", "returns"]


@pytest.mark.parametrize("name", ["my orders", "-orders", "orders/2", "o" * 51, "sweep"])
def test_a_source_that_no_hub_can_be_named_after_is_refused(shop, name):  # noqa: F811
    shop.write("pipeline.yml", PIPELINE.replace("orders:", f'"{name}":'))
    shop.write("sql/shop.sql", SQL.replace("'orders'", f"'{name}'"))
    assert f"source `{name}`" in shop.run("package", "azure", "--without-program", expect=2)
    assert not (shop.folder / "dist").exists()


def test_a_program_for_another_processor_is_refused(shop):  # noqa: F811
    shop.write("aarch64", program(AARCH64))
    assert "isn't built for x86_64" in shop.run("package", "azure", "--binary", "aarch64", expect=2)


def test_a_folder_that_no_function_sees_is_told(shop):  # noqa: F811
    shop.write("pipeline.yml", PIPELINE.replace("roots: {/landing: data}\n", ""))
    shop.write("sql/shop.sql", SQL.replace("/landing/planes", "data/planes"))
    assert "makes the landing container" in packed(shop, "--without-program")[1]
