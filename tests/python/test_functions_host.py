"""The local Functions host's own reading of an app and of the template, and what it hands over."""

import json
from datetime import datetime, timezone
from itertools import islice

import pytest
from functions_host import BICEP
from headwater_functions_host import documents
from headwater_functions_host.app import App, Function, pauses, seconds
from headwater_functions_host.notices import is_wanted
from headwater_functions_host.template import Template

BLOBS = "/blobServices/default/containers/"


@pytest.mark.parametrize(("text", "expected"), [("00:00:30", 30), ("01:02:03", 3723), ("1.00:00:01", 86401)])
def test_times_are_read_as_net_writes_them(text, expected):
    assert seconds(text) == expected


def test_pauses_between_tries_are_as_the_function_says():
    growing = {"strategy": "exponentialBackoff", "maxRetryCount": -1, "minimumInterval": "00:00:01", "maximumInterval": "00:01:00"}
    assert list(islice(pauses(growing), 9)) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert list(pauses({"strategy": "fixedDelay", "maxRetryCount": 2, "delayInterval": "00:00:05"})) == [5, 5]
    assert list(pauses(None)) == []


def test_an_app_is_its_files_and_its_settings(tmp_path):
    (tmp_path / "gold").mkdir()
    (tmp_path / "gold/function.json").write_text('{"bindings": [{"type": "timerTrigger", "name": "t", "schedule": "%WHEN%"}]}')
    (tmp_path / "host.json").write_text('{"version": "2.0", "functionTimeout": "-1"}')
    app = App(tmp_path, {"WHEN": "0 * * * * *", "OTHER": "1"})
    assert (app.resolved("%WHEN%"), app.timeout) == ("0 * * * * *", None)
    assert app.extension("queues", "batchSize", 16) == 16
    (tmp_path / "local.settings.json").write_text(json.dumps({"Values": {"WHEN": "*/5 * * * * *"}}))
    assert App(tmp_path, app.settings).settings == {"WHEN": "*/5 * * * * *", "OTHER": "1"}
    assert [function.name for function in app.of_trigger("timerTrigger")] == ["gold"]


def test_the_template_says_what_storage_has_and_who_is_told_of_which_blobs():
    template = Template(BICEP)
    assert set(template.names("queueServices/queues").values()) == {"headwater-arrivals", "headwater-commits"}
    assert {"lake", "landing"} <= set(template.names("blobServices/containers").values())
    assert template.settings()["HEADWATER_GOLD_SCHEDULE"] == "0 * * * * *"
    told = dict(template.subscriptions())
    for subject, queues in [
        ("landing/blobs/a b.csv", ["headwater-arrivals"]),
        ("lake/blobs/bronze/t/_delta_log/00000000000000000001.json", ["headwater-commits"]),
        ("lake/blobs/bronze/t/_delta_log/00000000000000000001.checkpoint.parquet", []),
        ("lake/blobs/bronze/t/part-0.parquet", []),
        ("lakes/blobs/bronze/t/_delta_log/00000000000000000001.json", []),
    ]:
        assert [queue for queue, wanted in told.items() if is_wanted(BLOBS + subject, wanted)] == queues, subject


@pytest.mark.parametrize(("kind", "body"), [("binary", "aHUA/w=="), (None, None)])
def test_events_are_handed_over_as_their_binding_says(kind, body):
    function = Function("f", {"type": "eventHubTrigger", "name": "e", "cardinality": "many", "dataType": kind, "consumerGroup": "c"}, None)
    batch = [{"body": b"hu\x00\xff" if kind else "hü".encode(), "sequence_number": 7, "offset": 70,
              "enqueued_time": datetime(2026, 1, 2, tzinfo=timezone.utc), "properties": {"k": "v"}}]
    document = documents.events(function, "hub", "3", batch)
    assert json.loads(document["Data"]["e"]) == [body or "hü"]
    metadata = document["Metadata"]
    assert metadata["PartitionContext"]["PartitionId"] == "3"
    assert (metadata["SequenceNumberArray"], metadata["OffsetArray"]) == ("[7]", '["70"]')
    assert json.loads(metadata["PropertiesArray"]) == [{"k": "v"}]
    assert json.loads(metadata["EnqueuedTimeUtcArray"]) == ["2026-01-02T00:00:00+00:00"]
