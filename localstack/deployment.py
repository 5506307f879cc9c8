"""Puts the template of AWS on LocalStack, and says what is there."""

import argparse
import hashlib
import time
from pathlib import Path

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import ClientError

import package
from cloud import Cloud
from telling import HERE, Failed, say

TEMPLATE = HERE.parent / "infra/aws/template.yaml"
REGION = "us-east-1"
LOOK_EVERY = 0.1
"""Seconds between two looks at the stack. `aws cloudformation deploy` waits for 30."""


def clients(endpoint, *names):
    """Clients of LocalStack, which takes any credentials."""
    how = Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION}
    return [boto3.client(name, endpoint_url=endpoint, config=how, **keys) for name in names]


def deploy():
    given = parse()
    cloud = Cloud.here()
    if cloud.health() is None:
        raise Failed(f"nothing answers at {cloud.endpoint}; run localstack/up first")
    begun = time.monotonic()
    packed = packed_by(given)
    s3, formation = clients(cloud.endpoint, "s3", "cloudformation")
    bucket, key = f"{given.stack}-code", f"{hashlib.sha256(packed).hexdigest()}.zip"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=key, Body=packed)
    say("✓", f"packed {given.package or given.project}: {len(packed) / 1e6:,.1f} MB")
    parameters = {"CodeBucket": bucket, "CodeKey": key} | only_source(given) | dict(given.parameter)
    outputs = Stack(formation, given.stack, given.template).bring_up_to_date(parameters)
    say("✓", f"stack `{given.stack}` is up to date after {time.monotonic() - begun:.1f} s")
    print(described(cloud, given.stack, parameters.get("SourceName", "events"), outputs), end="")


def packed_by(given):
    """The bytes of the zip."""
    if given.package is None:
        return package.linked(given.project, given.program or package.default_program())
    if not given.package.is_file():
        raise Failed(f"{given.package} is no file; make it by `headwater package aws`, or leave --package out")
    return given.package.read_bytes()


def only_source(given):
    """The source that the queue is bound to, where the project has one."""
    if given.package is not None:
        return {}
    try:
        settings = yaml.safe_load((given.project / "pipeline.yml").read_text())
    except yaml.YAMLError as error:
        raise Failed(f"{given.project}/pipeline.yml is no YAML: {error}") from None
    sources = list((settings.get("sources") or {}) if isinstance(settings, dict) else {})
    return {"SourceName": sources[0]} if len(sources) == 1 else {}


def parse():
    arguments = argparse.ArgumentParser(prog="deploy", description=__doc__)
    arguments.add_argument("project", type=Path, nargs="?", default=Path(), help="folder with pipeline.yml (.)")
    arguments.add_argument("--stack", default="headwater", help="what buckets, queues and functions are named after (headwater)")
    built = arguments.add_mutually_exclusive_group()
    built.add_argument("--program", type=Path, help="the program that the functions run (what cargo built last)")
    built.add_argument("--package", type=Path, help="a zip made for AWS, with its own program and project")
    arguments.add_argument("--template", type=Path, default=TEMPLATE, help="a template of your own (infra/aws/template.yaml)")
    arguments.add_argument(
        "--parameter", type=parameter, action="append", default=[], metavar="NAME=VALUE",
        help="a parameter of the template, such as MaximumConcurrency=8; SourceName is the project's source, where it has one",
    )
    return arguments.parse_args()


def parameter(text):
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"`{text}` is no NAME=VALUE")
    return name, value


class Stack:
    """A stack of CloudFormation."""

    def __init__(self, formation, name, template):
        self.formation, self.name, self.template = formation, name, template

    def bring_up_to_date(self, parameters):
        """Makes or changes it, and returns its outputs."""
        changes = f"deploy-{time.time_ns()}"
        self.formation.create_change_set(
            StackName=self.name,
            ChangeSetName=changes,
            ChangeSetType="UPDATE" if self.status() else "CREATE",
            TemplateBody=self.template.read_text(),
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        if self._is_ready(changes):
            self.formation.execute_change_set(StackName=self.name, ChangeSetName=changes)
            self._await()
        stack = self._describe()
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    def status(self):
        """None for a stack that was never made, or is gone."""
        try:
            return self._describe()["StackStatus"]
        except ClientError:
            return None

    def _describe(self):
        return self.formation.describe_stacks(StackName=self.name)["Stacks"][0]

    def _is_ready(self, changes):
        """Whether there is something to change."""
        while True:
            made = self.formation.describe_change_set(StackName=self.name, ChangeSetName=changes)
            if made["Status"] == "FAILED":
                if "didn't contain changes" in made.get("StatusReason", ""):
                    return False
                raise Failed(f"{self.template.name}: {made.get('StatusReason')}")
            if made["Status"] == "CREATE_COMPLETE":
                return True
            time.sleep(LOOK_EVERY)

    def _await(self):
        while (status := self.status()) and status.endswith("IN_PROGRESS"):
            time.sleep(LOOK_EVERY)
        if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
            events = self.formation.describe_stack_events(StackName=self.name)["StackEvents"]
            failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
            reasons = "\n".join(f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed)
            raise Failed(f"stack `{self.name}` is {status}:\n{reasons}\nrun localstack/down, localstack/up, and deploy again")


def described(cloud, stack, source, outputs):
    """What is there, and what to type next."""
    lake, landing, queue = (outputs[name] for name in ("LakeBucketName", "LandingBucketName", "EventsQueueUrl"))
    aws = cloud.python.with_name("aws")
    return f"""
lake     s3://{lake}
landing  s3://{landing}
events   {queue}

Speak to it:
  export AWS_ENDPOINT_URL={cloud.endpoint} AWS_REGION={REGION} AWS_DEFAULT_REGION={REGION} \\
         AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  alias aws={aws}
Then, for example:
  aws s3 cp --recursive data s3://{landing}
  aws lambda invoke --function-name {stack}-gold --payload '{{}}' /dev/stdout
  aws logs filter-log-events --log-group-name /aws/lambda/{stack}-silver --query 'events[].message' --output text
Let headwater speak to it, in the project's folder:
  export HEADWATER_STORAGE=s3://{lake} HEADWATER_SOURCES_{source.upper()}=sqs://{stack}-events
  headwater replay events.ndjson --to {source}
  headwater status
  headwater query 'SELECT ...'
"""
