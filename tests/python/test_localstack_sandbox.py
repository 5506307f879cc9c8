"""The sandbox of the local cloud's functions, on its own: what a program does in it, and what is told of it."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "localstack/executor"))
from headwater_executor.batches import batches
from headwater_executor.interface import LARGEST_ANSWER, Request
from headwater_executor.sandbox import Limits, Sandbox, StartFailed

PROGRAM = """#!%s
import json, os, subprocess, sys, time, urllib.request

api = "http://%%s/2018-06-01/runtime/" %% os.environ["AWS_LAMBDA_RUNTIME_API"]
count = 0


def post(path, document):
    urllib.request.urlopen(urllib.request.Request(api + path, json.dumps(document).encode()))


if mode := os.environ.get("MODE"):
    print("no start", flush=True)
    if mode == "error":
        post("init/error", {"errorType": "Wrong", "errorMessage": "setting"})
    sys.exit(3)
while True:
    with urllib.request.urlopen(api + "invocation/next") as answer:
        invocation, headers = json.load(answer), answer.headers
    count += 1
    request = "invocation/" + headers["Lambda-Runtime-Aws-Request-Id"]
    match invocation["do"]:
        case "exit":
            sys.exit(9)
        case "sleep":
            child = subprocess.Popen(["sleep", "60"])
            print("child", child.pid, flush=True)
            time.sleep(60)
        case "eat":
            eaten = b"x" * (200 << 20)
            time.sleep(60)
        case "fail":
            post(request + "/error", {"errorType": "Bad", "errorMessage": "no"})
        case "boast":
            try:
                post(request + "/response", "x" * %d)
            except OSError:
                pass
        case _:
            print("line", count, flush=True)
            left = int(headers["Lambda-Runtime-Deadline-Ms"]) / 1000 - time.time()
            arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
            post(request + "/response", {"count": count, "left": left, "arn": arn, "environment": dict(os.environ)})
"""


class Function:
    def __init__(self, folder, seconds=5, mib=128, **variables):
        program = folder / "bootstrap"
        program.write_text(PROGRAM % (sys.executable, LARGEST_ANSWER))
        program.chmod(0o755)
        self.sandbox = Sandbox(folder, {"AWS_REGION": "here"} | variables, Limits(seconds, mib))
        self.count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sandbox.stop()

    def invoke(self, what, **more):
        """The answer's document, whether it is an error, and the log."""
        self.count += 1
        payload = json.dumps({"do": what} | more).encode()
        answer, log = self.sandbox.invoke(Request(f"r{self.count}", "arn:f", "trace", payload))
        return json.loads(answer.document), answer.is_error, log.splitlines()


def is_running(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_a_process_stays_warm_and_its_log_is_framed(tmp_path):
    with Function(tmp_path) as function:
        function.sandbox.start()
        for count in (1, 2, 3):
            document, is_error, log = function.invoke("answer")
            assert (document["count"], document["arn"], is_error) == (count, "arn:f", False)
            assert 4 < document["left"] <= 5
            assert log[:3] == [f"START RequestId: r{count} Version: $LATEST", f"line {count}", f"END RequestId: r{count}"]
            assert log[3].startswith(f"REPORT RequestId: r{count}\tDuration: ") and len(log) == 4
            assert ("\tInit Duration: " in log[3]) == (count == 1)


def test_the_environment_is_lambdas_and_not_the_parents(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_PARENT", "hunter2")
    with Function(tmp_path) as function:
        environment = function.invoke("answer")[0]["environment"]
    environment.pop("LC_CTYPE", None)
    assert environment.keys() == {
        "AWS_LAMBDA_RUNTIME_API", "AWS_REGION", "LAMBDA_TASK_ROOT", "LANG", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ"
    }
    assert environment["LAMBDA_TASK_ROOT"] == str(tmp_path)
    assert not Path(environment["TMPDIR"]).exists()


def test_what_a_function_reports_is_an_error_and_it_goes_on(tmp_path):
    with Function(tmp_path) as function:
        assert function.invoke("fail")[:2] == ({"errorType": "Bad", "errorMessage": "no"}, True)
        assert function.invoke("answer")[0]["count"] == 2


@pytest.mark.parametrize("what, kind, told", [("exit", "Runtime.ExitError", "exit status 9"), ("boast", "Function.ResponseSizeTooLarge", "6291556")])
def test_what_a_function_fails_to_answer_is_told(tmp_path, what, kind, told):
    with Function(tmp_path) as function:
        document, is_error, _ = function.invoke(what)
        assert (document["errorType"], is_error) == (kind, True)
        assert told in document["errorMessage"]
        assert not function.invoke("answer")[1]


def test_a_killed_process_is_followed_by_another(tmp_path):
    with Function(tmp_path) as function:
        first = function.invoke("answer")[0]
        pid = function.sandbox.pid
        os.kill(pid, 9)
        while is_running(pid):
            time.sleep(0.01)
        assert (first["count"], function.invoke("answer")[0]["count"]) == (1, 1)


def test_time_is_up_for_the_process_and_all_that_it_started(tmp_path):
    with Function(tmp_path, seconds=1) as function:
        begun = time.monotonic()
        document, is_error, log = function.invoke("sleep")
        assert 1 <= time.monotonic() - begun < 3
        assert (document["errorType"], is_error) == ("Sandbox.Timedout", True)
        assert any("Task timed out after 1.00 seconds" in line for line in log)
        child = int(next(line for line in log if line.startswith("child")).split()[1])
        assert not is_running(child)
        assert function.invoke("answer")[0]["count"] == 1


def test_too_much_memory_ends_the_process(tmp_path):
    with Function(tmp_path, seconds=30) as function:
        document, is_error, log = function.invoke("eat")
        assert (document["errorType"], is_error) == ("Runtime.OutOfMemory", True)
        assert int(log[-1].partition("Max Memory Used: ")[2].split()[0]) > 128
        assert function.invoke("answer")[0]["count"] == 1


@pytest.mark.parametrize("mode, told", [("error", "setting"), ("exit", "exit status 3")])
def test_a_start_that_fails_is_told_with_its_log(tmp_path, mode, told):
    with Function(tmp_path, MODE=mode) as function:
        with pytest.raises(StartFailed, match=told) as failure:
            function.sandbox.start()
        assert failure.value.log == "no start\n"
        document, is_error, log = function.invoke("answer")
        assert (told in document["errorMessage"], is_error) == (True, True)
        assert "no start" in log


def test_stopping_ends_what_it_is_at(tmp_path):
    function = Function(tmp_path, seconds=60)
    function.invoke("answer")
    pid = function.sandbox.pid
    function.sandbox.stop()
    assert not is_running(pid)


def test_batches_stay_within_a_payload_and_hold_each_message():
    messages = [{"Body": '"' * 1000} for _ in range(10)] + [{"Body": "x" * 20_000}, {"Body": ""}]
    cut = list(batches(messages, largest=10_000))
    assert [len(batch) for batch in cut] == [3, 3, 3, 1, 1, 1]
    assert [message for batch in cut for message in batch] == messages
