"""A copy of the airlines example to run the real command on, and a second reader of its tables."""

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from deltalake import DeltaTable

ROOT = Path(__file__).resolve().parents[2]
EVENTS = ROOT / "examples/airlines/data/flights-2013-01.ndjson.gz"


class Project:
    """A project in a folder of its own, driven by the command."""

    def __init__(self, folder):
        self.folder = folder

    def start(self, *arguments, before=(), **options):
        return subprocess.Popen(
            [*before, os.environ["HEADWATER_BIN"], *arguments],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments, expect=0, **how):
        process = self.start(*arguments, **how)
        out, err = process.communicate(timeout=300)
        assert "panicked" not in err, err
        assert process.returncode == expect, f"{arguments}: exit {process.returncode}\n{out}\n{err}"
        return out + err

    def table(self, path):
        return DeltaTable(str(self.folder / "lake" / path))

    def rows(self, path):
        return self.table(path).to_pyarrow_table().to_pylist()

    def versions(self):
        logs = sorted((self.folder / "lake").glob("*/*/_delta_log"))
        return {str(log.parent.relative_to(self.folder)): DeltaTable(str(log.parent)).version() for log in logs}

    def write(self, path, text):
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(text, bytes):
            target.write_bytes(text)
        else:
            target.write_text(text)


@pytest.fixture
def airlines(tmp_path):
    folder = tmp_path / "airlines"
    shutil.copytree(ROOT / "examples/airlines", folder, ignore=shutil.ignore_patterns("lake", "events"))
    return Project(folder)


@pytest.fixture
def empty(tmp_path):
    project = Project(tmp_path)
    project.write("pipeline.yml", "name: t\nstorage: lake\nlibraries:\n  - glob: {include: sql/**}\n")
    return project


@pytest.fixture(scope="session")
def events():
    with gzip.open(EVENTS, "rt") as lines:
        return [json.loads(line) for line in lines]
