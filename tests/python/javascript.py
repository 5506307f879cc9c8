"""Programs in JavaScript for tests, by the Node that the local Azure brings with it."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/javascript"
sys.path.append(str(ROOT / "localstack"))
from local_azure import LocalAzure, install


def node(script, *arguments):
    """What a program of `tests/javascript` prints."""
    azure = LocalAzure("127.0.0.1")
    install(azure)
    folder = _installed(azure)
    shutil.copy(HERE / script, folder)
    command = [azure.azurite_command[0], folder / script, *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _installed(azure):
    """The folder with its packages; they are installed once for each change of what is pinned."""
    pinned = [HERE / "package.json", HERE / "package-lock.json"]
    folder = azure.folder / "javascript" / hashlib.sha256(b"\0".join(file.read_bytes() for file in pinned)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "installed").exists():
            for file in pinned:
                shutil.copy(file, folder)
            path = os.pathsep.join([str(azure.python.parent), os.environ["PATH"]])
            subprocess.run(
                ["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, env=os.environ | {"PATH": path}, check=True)
            (folder / "installed").touch()
    return folder
