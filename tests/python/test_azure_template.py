"""What the Bicep files of the Azure deployment promise, read from the files."""

import json

import pytest
from pycep import BicepParser

from conftest import ROOT
from functions_host import listed

FOLDER = ROOT / "infra/azure"
FUNCTIONS = FOLDER / "functions"
# `headwater package azure` writes the name of a source here, and the template makes a hub of that name.
HUB = "%HEADWATER_EVENT_HUB%"
# https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
FULL = {"owner", "contributor", "user access administrator"}


def parsed(name):
    return BicepParser().parse(file_path=FOLDER / name)


@pytest.fixture(scope="module")
def main():
    return parsed("main.bicep")


@pytest.fixture(scope="module")
def resources(main):
    return main["resources"]


def config(resource):
    """Of a loop's resource, that of each."""
    return resource["config"].get("config") or resource["config"]


def properties(resource):
    return config(resource)["properties"]


def of_type(resources, kind):
    return {name: entry for name, entry in resources.items() if entry["type"] == kind}


def path(expression):
    """`a.b` or `a[b]` of an expression that reads a property."""
    if not isinstance(expression, dict):
        return expression
    operands = expression["operator"]["operands"]
    if expression["operator"]["type"] == "index_accessor":
        return f"{path(operands['operand_1'])}[{path(operands['operand_2'])}]"
    return f"{path(operands['operand_1'])}.{path(operands['operand_2'])}"


def settings(resources):
    return {entry["name"]: entry["value"] for entry in listed(properties(resources["app"])["siteConfig"]["appSettings"])}


def test_storage_is_private_encrypted_on_its_way_and_deletes_softly(resources):
    accounts = of_type(resources, "Microsoft.Storage/storageAccounts")
    assert set(accounts) == {"lake", "host"}
    for account in map(properties, accounts.values()):
        assert account["minimumTlsVersion"] == "TLS1_2"
        assert account["supportsHttpsTrafficOnly"] is True
        assert account["allowBlobPublicAccess"] is False
        assert account["allowSharedKeyAccess"] is False, "nobody has a key"
    assert properties(accounts["lake"])["isHnsEnabled"] is True
    services = of_type(resources, "Microsoft.Storage/storageAccounts/blobServices")
    assert {path(entry["config"]["parent"]) for entry in services.values()} == {"lake", "host"}
    for service in map(properties, services.values()):
        assert service["deleteRetentionPolicy"]["enabled"] is service["containerDeleteRetentionPolicy"]["enabled"] is True
    containers = of_type(resources, "Microsoft.Storage/storageAccounts/blobServices/containers")
    assert {properties(entry)["publicAccess"] for entry in containers.values()} == {"None"}


def test_hubs_and_the_app_take_tls_only_and_no_passwords(resources):
    hubs = properties(resources["eventHubs"])
    assert (hubs["minimumTlsVersion"], hubs["disableLocalAuth"]) == ("1.2", True)
    app = properties(resources["app"])
    assert (app["httpsOnly"], app["siteConfig"]["minTlsVersion"], app["siteConfig"]["ftpsState"]) == (True, "1.2", "Disabled")
    publishing = resources["publishing"]["config"]["config"]
    assert publishing["properties"]["allow"] is False
    assert properties(resources["insights"])["DisableLocalAuth"] is True


def test_each_identity_may_do_what_it_does_and_no_more(main, resources):
    given = {
        (path(properties(entry)["principalId"]), path(config(entry)["scope"]),
         path(properties(entry)["roleDefinitionId"]["function"]["parameters"]["resource_name_1"]).removeprefix("roles."))
        for entry in of_type(resources, "Microsoft.Authorization/roleAssignments").values()
    }
    app, notices = "app.identity.principalId", "notices.identity.principalId"
    assert given == {
        (app, "tables", "blobDataContributor"),
        (app, "landing", "blobDataReader"),
        (app, "host", "blobDataOwner"),
        (app, "host", "queueDataContributor"),
        (app, "hubs[index]", "eventHubsDataReceiver"),
        ("eventHubs.identity.principalId", "landing", "blobDataContributor"),
        (app, "insights", "monitoringMetricsPublisher"),
        (notices, "arrivals", "queueDataMessageSender"),
        (notices, "commits", "queueDataMessageSender"),
        (notices, "undelivered", "blobDataContributor"),
    }
    assert set(main["variables"]["roles"]["value"]) == {role for _, _, role in given}
    assert not FULL & {role.lower() for _, _, role in given}


def test_notices_reach_the_queues_that_functions_read(resources):
    queues = {name: entry["config"]["name"] for name, entry in of_type(
        resources, "Microsoft.Storage/storageAccounts/queueServices/queues").items()}
    read = {
        binding["queueName"]
        for file in FUNCTIONS.glob("*/function.json")
        for binding in json.loads(file.read_text())["bindings"]
        if binding["type"] == "queueTrigger"
    }
    assert set(queues.values()) == read
    for subscription, queue in (("arrivalNotices", "arrivals"), ("commitNotices", "commits")):
        told = properties(resources[subscription])
        assert path(told["deliveryWithResourceIdentity"]["destination"]["properties"]["queueName"]) == f"{queue}.name"
        assert "deadLetterWithResourceIdentity" in told
        assert set(told["filter"]["includedEventTypes"]) == {"Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed"}
    commits = properties(resources["commitNotices"])["filter"]
    assert (commits["subjectEndsWith"], commits["advancedFilters"][0]["values"]) == (".json", ["/_delta_log/"])


def test_each_source_has_a_hub_of_its_name_that_the_app_reads(main, resources):
    loops = {name: resources[name]["config"]["loop_type"]["detail"]["array_name"] for name in ("hubs", "consumers", "readers", "appOnHubs")}
    assert set(loops.values()) == {"sourceNames"}
    assert config(resources["hubs"])["name"] == "source"
    joined = list(properties(resources["app"])["siteConfig"]["appSettings"]["function"]["parameters"].values())
    assert joined[:2] == ["bindings", "ownHubs"]
    binding = main["variables"]["bindings"]["value"]["config"]
    group = config(resources["readers"])["name"]
    assert group != config(resources["consumers"])["name"], "a reader would take the partitions from the host, and the host from it"
    assert binding["name"] == "HEADWATER_SOURCES_${toUpper(replace(source, '-', '_'))}"
    assert binding["value"] == "eventhubs://${eventHubs.name}.servicebus.windows.net/${source}?consumer_group=" + group
    assert main["parameters"]["sourceNames"]["default"] == ["events"]


def test_events_are_captured_to_files_where_that_is_asked_for(main, resources):
    assert main["parameters"]["capture"]["default"] is False
    captured = resources["hubs"]["config"]["config"]["properties"]["captureDescription"]
    assert path(captured["enabled"]) == "capture"
    assert (captured["encoding"], captured["skipEmptyArchives"]) == ("Avro", True)
    files = captured["destination"]["properties"]
    assert (path(files["storageAccountResourceId"]), path(files["blobContainer"])) == ("lake.id", "landing.name")
    folders = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
    assert files["archiveNameFormat"] == folders, "bronze-files takes the partition from it"
    assert config(resources["hubsOnLanding"])["scope"] is not None


def test_what_functions_refer_to_is_a_setting_of_the_app(resources):
    given = settings(resources)
    for file in FUNCTIONS.glob("*/function.json"):
        for binding in json.loads(file.read_text())["bindings"]:
            for value in binding.values():
                if value.startswith("%") and value != HUB:
                    assert value.strip("%") in given, file
            if "connection" in binding:
                connection = binding["connection"]
                assert any(name.startswith(f"{connection}__") for name in given), f"{file}: an identity for {connection}"
    assert {"HEADWATER_STORAGE", "HEADWATER_ROOTS_LANDING"} <= set(given)
    assert not any("key" in str(value).lower() for name, value in given.items() if "INSIGHTS" not in name)
    event = json.loads((FUNCTIONS / "bronze-events/function.json").read_text())
    assert event["bindings"][0]["consumerGroup"] == config(resources["consumers"])["name"]
    assert event["retry"]["maxRetryCount"] == -1, "or the host's checkpoint would pass events that failed"


def test_the_handler_is_given_as_it_expects():
    host = json.loads((FUNCTIONS / "host.json").read_text())
    assert host["customHandler"] == {
        "description": {"defaultExecutablePath": "headwater"}, "enableForwardingHttpRequest": False}
    names = {file.parent.name for file in FUNCTIONS.glob("*/function.json")}
    assert names == {"bronze-events", "bronze-events-sweep", "bronze-files", "bronze-files-sweep", "silver", "silver-sweep", "gold", "compact"}


def test_somebody_is_told_of_what_goes_wrong():
    alarms = parsed("alarms.bicep")
    assert {alarm["name"] for alarm in alarms["variables"]["alarms"]["value"]} == {
        "failures", "poison", "stale-views", "silent-app"}
    assert set(alarms["resources"]) == {"told", "alarm", "throttled"}
