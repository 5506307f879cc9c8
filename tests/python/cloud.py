"""The local AWS for tests: one LocalStack for all of them, and a stack for each."""

import json
import os
import re
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from conftest import ROOT
from deltalake import DeltaTable

ACCOUNT = "000000000000"
FUNCTIONS = ("bronze-events", "bronze-files", "silver", "gold", "compact")
QUEUES = ("events", "arrivals", "commits")
KEYS = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}


def installed():
    """Where LocalStack is, with its processes' logs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("HEADWATER_LOCALSTACK") or cache / "headwater-localstack")


def client(endpoint, name):
    how = Config(retries={"max_attempts": 0}, read_timeout=400, max_pool_connections=16, s3={"addressing_style": "path"})
    return boto3.client(name, endpoint_url=endpoint, config=how, **KEYS)


class LocalCloud:
    """A LocalStack on a port of its own."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.run("up")

    def run(self, command, *arguments):
        """One of localstack/'s commands, and what it printed."""
        done = subprocess.run(
            [str(ROOT / "localstack" / command), *map(str, arguments)],
            env=os.environ | {"LOCALSTACK_PORT": str(self.port)},
            capture_output=True,
            text=True,
            timeout=580,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def client(self, name):
        return client(self.endpoint, name)

    def functions(self):
        """The processes of all functions, as number and environment."""
        parent = (installed() / f"port-{self.port}/pid").read_text().strip()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                is_child = f"PPid:\t{parent}\n" in (process / "status").read_text()
                variables = (process / "environ").read_bytes().decode().split("\0") if is_child else []
            except OSError:
                continue
            variables = dict(variable.split("=", 1) for variable in variables if "=" in variable)
            if "_HANDLER" in variables:
                found[int(process.name)] = variables
        return found


@pytest.fixture(scope="session")
def local_cloud():
    cloud = LocalCloud()
    yield cloud
    cloud.run("down")


class Stack:
    """A project on the local AWS. `folder` is its own."""

    def __init__(self, cloud, name, folder, **parameters):
        self.cloud, self.name, self.folder = cloud, name, folder
        self.sqs, self.s3, self.functions, self.logs = map(cloud.client, ("sqs", "s3", "lambda", "logs"))
        self.lake, self.landing = f"{name}-lake-{ACCOUNT}", f"{name}-landing-{ACCOUNT}"
        self.parameters = parameters
        self.deploy()

    def deploy(self):
        """Deploys it, or what has changed of it. Its timers are asleep, so that only what a test does wakes a function."""
        asleep = {name: "rate(1 day)" for name in ("GoldSchedule", "SweepSchedule", "CompactSchedule")}
        given = [f"--parameter={name}={value}" for name, value in (asleep | self.parameters).items()]
        return self.cloud.run("deploy", self.folder, "--stack", self.name, *given)

    def remove(self):
        self.cloud.client("cloudformation").delete_stack(StackName=self.name)

    def queue(self, name):
        return self.sqs.get_queue_url(QueueName=f"{self.name}-{name}")["QueueUrl"]

    def configure(self, seconds, **variables):
        """Gives the functions other settings; their processes are started anew."""
        for name in FUNCTIONS:
            name = f"{self.name}-{name}"
            known = self.functions.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            self.functions.update_function_configuration(
                FunctionName=name, Timeout=seconds, Environment={"Variables": known | variables}
            )
        for name in FUNCTIONS:
            self.functions.get_waiter("function_updated_v2").wait(
                FunctionName=f"{self.name}-{name}", WaiterConfig={"Delay": 1}
            )

    def come_again_after(self, seconds, receives):
        """How soon, and how often, messages come again."""
        for name in QUEUES:
            policy = json.loads(self._attributes(name)["RedrivePolicy"]) | {"maxReceiveCount": receives}
            attributes = {"VisibilityTimeout": str(seconds), "RedrivePolicy": json.dumps(policy)}
            self.sqs.set_queue_attributes(QueueUrl=self.queue(name), Attributes=attributes)

    def send(self, bodies):
        """Sends messages to the events queue, by four senders, ten messages at a time."""
        url = self.queue("events")

        def send_ten(first):
            entries = [{"Id": str(index), "MessageBody": body} for index, body in enumerate(bodies[first : first + 10])]
            assert "Failed" not in self.sqs.send_message_batch(QueueUrl=url, Entries=entries)

        with ThreadPoolExecutor(4) as senders:
            list(senders.map(send_ten, range(0, len(bodies), 10)))

    def upload(self, key, content):
        self.s3.put_object(Bucket=self.landing, Key=key, Body=content)

    def invoke(self, function, document=None):
        """What a function answers."""
        payload = json.dumps(document or {}).encode()
        answer = self.functions.invoke(FunctionName=f"{self.name}-{function}", Payload=payload)
        body = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, (body, self.logged(function)[-20:])
        return body

    def count(self, queue):
        """Messages that wait or are being worked on."""
        counts = self._attributes(queue)
        return int(counts["ApproximateNumberOfMessages"]) + int(counts["ApproximateNumberOfMessagesNotVisible"])

    def drain(self, *names, seconds=240):
        """Waits until no message is left in these queues; in any, if none is named."""
        end = time.monotonic() + seconds
        while counts := {name: count for name in names or QUEUES if (count := self.count(name))}:
            assert time.monotonic() < end, f"{counts} after {seconds} s"
            time.sleep(0.2)

    def settle(self, seconds=240):
        """Waits until no message is left, and brings all tables up to date as the timers would."""
        self.drain(seconds=seconds)
        self.invoke("bronze-files")
        self.invoke("silver")
        self.drain(seconds=seconds)
        self.invoke("gold")

    def dead(self):
        return sum(self.count(f"{name}-dead") for name in QUEUES)

    def logged(self, function):
        """What a function wrote to its log."""
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{self.name}-{function}")
        return [event["message"].rstrip() for page in pages for event in page["events"]]

    def table(self, path):
        options = {"AWS_ENDPOINT_URL": self.cloud.endpoint, "AWS_ALLOW_HTTP": "true"}
        options |= {name.upper(): value for name, value in KEYS.items() if name != "region_name"}
        return DeltaTable(f"s3://{self.lake}/{path}", storage_options=options | {"AWS_REGION": KEYS["region_name"]})

    def rows(self, path):
        return self.table(path).to_pyarrow_table().to_pylist()

    def _attributes(self, queue):
        return self.sqs.get_queue_attributes(QueueUrl=self.queue(queue), AttributeNames=["All"])["Attributes"]


@pytest.fixture
def stack(local_cloud, tmp_path, request):
    """Deploys a folder under a name of its own; what was deployed is removed when the test is over."""
    name = re.sub("[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:20].strip("-")
    made = []

    def deploy(folder, **parameters):
        made.append(Stack(local_cloud, name, folder, **parameters))
        return made[-1]

    yield deploy
    for each in made:
        each.remove()
