"""Disks that are full, limited or read-only, made on the machine at hand."""

import os
import resource
import shutil
import signal
import subprocess

import pytest


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


def may_mount(folder):
    """Whether this user may mount; the probe is taken away again."""
    if os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", folder).returncode:
        return False
    subprocess.run(["umount", folder], check=True)
    return True


class FullDisk:
    """A small file system of its own at a folder of the project."""

    says = ["os error 28"]

    def __init__(self, folder, room):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if not may_mount(folder):
            pytest.skip("this user may not mount a small file system")
        done = mount("-t", "tmpfs", "-o", f"size={room}", "tmpfs", folder)
        assert done.returncode == 0, done.stderr

    def options(self):
        return {}

    def relieve(self):
        done = mount("-o", "remount,size=64m", self.folder)
        assert done.returncode == 0, done.stderr

    def end(self):
        subprocess.run(["umount", "-l", self.folder], check=True)


class Limit:
    """A limit on the size of each file, which holds for any user on any machine."""

    says = ["os error 27"]

    def __init__(self, folder, room):
        self.room = room

    def options(self):
        room = self.room

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

        return {"preexec_fn": limit} if room else {}

    def relieve(self):
        self.room = None

    def end(self):
        pass


class ReadOnly:
    """A folder on a file system that can't be written."""

    says = ["os error 30", "read-only"]

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        if not may_mount(folder):
            pytest.skip("this user may not mount a folder read-only")
        mount("--bind", folder, folder)
        done = mount("-o", "remount,ro,bind", folder)
        assert done.returncode == 0, done.stderr

    def before(self):
        return []

    def end(self):
        if self.folder:
            subprocess.run(["umount", self.folder], check=True)
            self.folder = None


class Forbidden:
    """A folder whose permissions don't let this user write. Root gives up what makes it exempt."""

    says = ["os error 13", "permissions"]

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        if os.geteuid() == 0 and not shutil.which("setpriv"):
            pytest.skip("permissions don't hold for root, and setpriv isn't there to give that up")
        for path in self.folders:
            path.chmod(0o555)

    def before(self):
        exempt = "-dac_override,-dac_read_search"
        return ["setpriv", f"--inh-caps={exempt}", f"--bounding-set={exempt}"] if os.geteuid() == 0 else []

    def end(self):
        for path in self.folders:
            path.chmod(0o755)
        self.folders = []
