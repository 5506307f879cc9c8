"""What the template of the AWS deployment promises, read from the template."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

TEMPLATE = ROOT / "infra/aws/template.yaml"
LINTER = Path(sys.executable).with_name("cfn-lint")
LAKE = "lake-${AWS::AccountId}"
LANDING = "landing-${AWS::AccountId}"
READ = {"s3:GetObject"}
WRITE = {"s3:AbortMultipartUpload", "s3:PutObject"}
RECEIVE = {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}


class Loader(yaml.SafeLoader):
    """Reads `!Ref X` as {"Ref": "X"}, and all other functions as {"Fn::Name": argument}."""


def construct(loader, suffix, node):
    kinds = {
        yaml.ScalarNode: loader.construct_scalar,
        yaml.SequenceNode: lambda node: loader.construct_sequence(node, deep=True),
        yaml.MappingNode: lambda node: loader.construct_mapping(node, deep=True),
    }
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": kinds[type(node)](node)}


Loader.add_multi_constructor("!", construct)


@pytest.fixture(scope="module")
def resources():
    return yaml.load(TEMPLATE.read_text(), Loader)["Resources"]


def of_type(resources, kind):
    return {name: entry["Properties"] for name, entry in resources.items() if entry["Type"] == kind}


@pytest.fixture(scope="module")
def functions(resources):
    return of_type(resources, "AWS::Serverless::Function")


@pytest.fixture(scope="module")
def queues(resources):
    return of_type(resources, "AWS::SQS::Queue")


def sources(function):
    """The queues that a function is invoked by, and the properties of each mapping."""
    events = function["Events"].values()
    return {resource(event["Properties"]["Queue"]): event["Properties"] for event in events if event["Type"] == "SQS"}


def resource(reference):
    """The resource that `!GetAtt Name.Arn` is of."""
    return reference["Fn::GetAtt"].split(".")[0]


def listed(value):
    return value if isinstance(value, list) else [value]


def statements(resources, function):
    role = resources[resource(function["Role"])]["Properties"]
    assert "ManagedPolicyArns" not in role
    return [entry for policy in role["Policies"] for entry in policy["PolicyDocument"]["Statement"]]


def grants(resources, function):
    """What a function may do, as (action, resource) pairs; what lies in a bucket as `lake/bronze/*`."""
    pairs = set()
    for statement in statements(resources, function):
        assert statement["Effect"] == "Allow"
        for target in listed(statement["Resource"]):
            text = target.get("Fn::Sub") or resource(target)
            text = text.replace("arn:${AWS::Partition}:s3:::${AWS::StackName}-", "").replace("-${AWS::AccountId}", "")
            pairs |= {(action, text) for action in listed(statement["Action"])}
    return pairs


def on(pairs, service):
    return {pair for pair in pairs if pair[0].startswith(service)}


def test_cfn_lint_finds_nothing():
    linter = subprocess.run([LINTER, TEMPLATE], capture_output=True, text=True)
    assert linter.returncode == 0, linter.stdout + linter.stderr


def test_a_message_stays_hidden_for_six_time_outs_of_its_function(functions, queues):
    seen = set()
    for name, function in functions.items():
        for queue, mapping in sources(function).items():
            least = 6 * function["Timeout"] + mapping["MaximumBatchingWindowInSeconds"]
            assert queues[queue]["VisibilityTimeout"] >= least, f"{queue} for {name}"
            seen.add(queue)
    assert seen == {name for name in queues if name.endswith("Queue")}


def test_batches_are_answered_message_by_message_and_bounded(functions):
    for function in functions.values():
        for mapping in sources(function).values():
            assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
            assert mapping["ScalingConfig"]["MaximumConcurrency"]


def test_readers_of_a_queue_are_bounded_by_its_mapping_and_never_throttled(functions):
    """A batch that is throttled comes again after the visibility time-out only, and each time counts as received."""
    bounds = {
        name: mapping["ScalingConfig"]["MaximumConcurrency"]
        for name, function in functions.items()
        for mapping in sources(function).values()
    }
    assert bounds == {"BronzeEventsFunction": {"Ref": "MaximumConcurrency"}, "BronzeFilesFunction": 2, "SilverFunction": 2}
    parameter = yaml.load(TEMPLATE.read_text(), Loader)["Parameters"]["MaximumConcurrency"]
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (4, 2, 16)
    assert not any("ReservedConcurrentExecutions" in function for function in functions.values())
    windows = [mapping["MaximumBatchingWindowInSeconds"] for function in functions.values() for mapping in sources(function).values()]
    assert windows == [1, 1, 1]


def test_each_queue_has_dead_letters_that_are_kept_as_long_and_raise_an_alarm(resources, queues):
    alarms = of_type(resources, "AWS::CloudWatch::Alarm").values()
    watched = {resource({"Fn::GetAtt": alarm["Dimensions"][0]["Value"]["Fn::GetAtt"]})
               for alarm in alarms if alarm.get("Namespace") == "AWS/SQS"}
    assert watched == set(queues)
    work = {name: queue for name, queue in queues.items() if name.endswith("Queue")}
    assert len(work) == 3
    for queue in work.values():
        dead = resource(queue["RedrivePolicy"]["deadLetterTargetArn"])
        assert queue["RedrivePolicy"]["maxReceiveCount"] >= 3
        assert queues[dead]["MessageRetentionPeriod"] >= queue["MessageRetentionPeriod"]
        assert "RedrivePolicy" not in queues[dead]


def test_no_role_may_do_anything_to_everything(resources, functions):
    for function in functions.values():
        for statement in statements(resources, function):
            assert not any("*" in action for action in listed(statement["Action"])), statement
            for target in listed(statement["Resource"]):
                text = target if isinstance(target, str) else json.dumps(target)
                assert "AWS::StackName" in text or "Fn::GetAtt" in text, statement
                assert not re.search(r"\*.+\*", text), statement


@pytest.mark.parametrize(
    ("name", "reads", "writes", "landing"),
    [
        ("BronzeEvents", ["bronze"], ["bronze"], False),
        ("BronzeFiles", ["bronze"], ["bronze"], True),
        ("Silver", ["bronze", "silver", "gold"], ["bronze", "silver"], True),
        ("Gold", ["bronze", "silver", "gold"], ["gold"], False),
        ("Compact", ["bronze", "silver", "gold"], ["bronze", "silver", "gold"], False),
    ],
)
def test_each_function_has_the_tables_that_it_uses_and_no_more(resources, functions, name, reads, writes, landing):
    function = functions[f"{name}Function"]
    expected = {("s3:ListBucket", "lake")}
    expected |= {(action, f"lake/{layer}/*") for layer in reads for action in READ}
    expected |= {(action, f"lake/{layer}/*") for layer in writes for action in WRITE}
    if name == "Compact":
        expected |= {("s3:DeleteObject", f"lake/{layer}/*") for layer in writes}
    if landing:
        expected |= {("s3:ListBucket", "landing"), ("s3:GetObject", "landing/*")}
    pairs = grants(resources, function)
    assert on(pairs, "s3:") == expected
    receive = RECEIVE | {"sqs:GetQueueUrl"} if name == "BronzeEvents" else RECEIVE
    assert on(pairs, "sqs:") == {(action, queue) for queue in sources(function) for action in receive}
    log = "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/aws/lambda/${AWS::StackName}-"
    log += f"{function['Handler']}:*"
    assert on(pairs, "logs:") == {(action, log) for action in ("logs:CreateLogStream", "logs:PutLogEvents")}
    assert pairs == on(pairs, "s3:") | on(pairs, "sqs:") | on(pairs, "logs:")
    listing = next(entry for entry in statements(resources, function) if entry["Sid"] == "ListTables")
    assert listing["Condition"]["StringLike"]["s3:prefix"] == [f"{layer}/*" for layer in reads]


def test_roles_are_shared_by_none(functions):
    roles = [resource(function["Role"]) for function in functions.values()]
    assert len(set(roles)) == len(roles) == 5


def denials(resources, policy):
    statements = resources[policy]["Properties"]["PolicyDocument"]["Statement"]
    return {entry["Sid"]: entry for entry in statements if entry["Effect"] == "Deny"}


def test_a_commit_can_not_replace_another(resources):
    denial = denials(resources, "LakeBucketPolicy")["CommitsOnlyWhereNothingIs"]
    assert (denial["Principal"], denial["Action"]) == ("*", "s3:PutObject")
    assert denial["Resource"]["Fn::Sub"].endswith(f"{LAKE}/*/_delta_log/*.json")
    assert denial["Condition"] == {"Null": {"s3:if-none-match": "true"}}


def test_only_compact_deletes(resources, functions):
    denial = denials(resources, "LakeBucketPolicy")["OnlyCompactDeletes"]
    denied = {resource(role) for role in denial["Principal"]["AWS"]}
    assert denied == {resource(entry["Role"]) for name, entry in functions.items() if name != "CompactFunction"}
    assert set(denial["Action"]) == {"s3:DeleteObject", "s3:DeleteObjectVersion"}


def test_everything_is_encrypted_and_nothing_is_public(resources, queues):
    buckets = of_type(resources, "AWS::S3::Bucket")
    for name, bucket in buckets.items():
        assert bucket["BucketEncryption"]
        assert all(bucket["PublicAccessBlockConfiguration"].values()), name
        assert denials(resources, f"{name}Policy")["TlsOnly"]["Condition"]["Bool"] == {"aws:SecureTransport": "false"}
        assert resources[name]["DeletionPolicy"] == "Retain"
    assert all(queue["SqsManagedSseEnabled"] for queue in queues.values())
    for name in queues:
        if name.endswith("Queue"):
            assert "TlsOnly" in denials(resources, f"{name}Policy")


def test_notices_reach_the_queue_of_the_function_that_wants_them(resources):
    def notified(bucket):
        configurations = resources[bucket]["Properties"]["NotificationConfiguration"]["QueueConfigurations"]
        for configuration in configurations:
            rules = configuration.get("Filter", {}).get("S3Key", {}).get("Rules", [])
            yield resource(configuration["Queue"]), {rule["Name"]: rule["Value"] for rule in rules}

    lake = list(notified("LakeBucket"))
    assert lake == [("CommitsQueue", {"prefix": f"{layer}/", "suffix": ".json"}) for layer in ("bronze", "silver")]
    assert list(notified("LandingBucket")) == [("ArrivalsQueue", {})]
    for queue, bucket in [("Commits", LAKE), ("Arrivals", LANDING)]:
        statements = resources[f"{queue}QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
        [allowed] = [entry for entry in statements if entry["Effect"] == "Allow"]
        assert allowed["Principal"] == {"Service": "s3.amazonaws.com"}
        assert allowed["Condition"]["ArnEquals"]["aws:SourceArn"]["Fn::Sub"].endswith(bucket)
        assert f"{queue}QueuePolicy" in resources["LakeBucket" if queue == "Commits" else "LandingBucket"]["DependsOn"]


def test_timers_look_for_work_whose_notice_never_came(functions):
    timed = {name for name, entry in functions.items() if any(e["Type"] == "Schedule" for e in entry["Events"].values())}
    assert timed == {"BronzeFilesFunction", "SilverFunction", "GoldFunction", "CompactFunction"}
    for name in timed:
        assert functions[name]["Events"]["Timer"]["Properties"]["Input"] == "{}"
        assert functions[name]["EventInvokeConfig"]["MaximumRetryAttempts"] == 0


def test_each_function_is_one_that_the_program_knows_and_keeps_its_log_as_long_as_asked(resources, functions):
    handlers = {function["Handler"] for function in functions.values()}
    assert handlers == {"bronze-events", "bronze-files", "silver", "gold", "compact"}
    logs = of_type(resources, "AWS::Logs::LogGroup")
    for name, function in functions.items():
        log = logs[name.removesuffix("Function") + "Log"]
        assert log["LogGroupName"]["Fn::Sub"] == "/aws/lambda/" + function["FunctionName"]["Fn::Sub"]
        assert log["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    queue = functions["BronzeEventsFunction"]["Environment"]["Variables"]["HEADWATER_QUEUES"]["Fn::Sub"]
    assert queue == "${SourceName}=" + resources["EventsQueue"]["Properties"]["QueueName"]["Fn::Sub"]


def test_each_function_is_watched_and_so_is_the_age_of_gold(resources, functions):
    alarms = of_type(resources, "AWS::CloudWatch::Alarm")
    watched = {
        (alarm["MetricName"], alarm["Dimensions"][0]["Value"]["Ref"])
        for alarm in alarms.values()
        if alarm.get("Namespace") == "AWS/Lambda"
    }
    assert watched == {(metric, name) for metric in ("Errors", "Throttles") for name in functions}
    assert alarms["GoldStaleAlarm"]["TreatMissingData"] == "breaching"
    assert all(alarm["AlarmActions"] == [{"Ref": "AlarmTopic"}] for alarm in alarms.values())


def test_the_dashboard_is_json(resources):
    body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    widgets = json.loads(re.sub(r"\$\{[^}]+\}", "x", body))["widgets"]
    assert len(widgets) == 8


def test_each_function_says_what_it_did_as_the_dashboard_looks_for_it(resources):
    template = yaml.load(TEMPLATE.read_text(), Loader)
    assert template["Globals"]["Function"]["Environment"]["Variables"]["HEADWATER_METRICS"] == {"Ref": "Metrics"}
    searched = set(re.findall(r'\\"(\w+)\\"', resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]))
    written = set(re.findall(r'"([A-Z]\w+)"', (ROOT / "shared/core/src/aws/metrics.rs").read_text()))
    assert searched and searched <= written
