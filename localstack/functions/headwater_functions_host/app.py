"""A function app in a folder: `host.json`, a `function.json` for each function, and `local.settings.json`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path


def seconds(text):
    """Of `[days.]hours:minutes:seconds`."""
    days, _, clock = text.rpartition(".")
    hours, minutes, rest = clock.split(":")
    return ((int(days or 0) * 24 + int(hours)) * 60 + int(minutes)) * 60 + int(rest)


def pauses(retry):
    """Seconds to wait before each further try, as a function's `retry` says."""
    if retry is None:
        return
    tries = 0
    while retry["maxRetryCount"] == -1 or tries < retry["maxRetryCount"]:
        if retry["strategy"] == "fixedDelay":
            yield seconds(retry["delayInterval"])
        else:
            yield min(seconds(retry["minimumInterval"]) * 2 ** min(tries, 32), seconds(retry["maximumInterval"]))
        tries += 1


@dataclass
class Function:
    """A function with its one trigger."""

    name: str
    binding: dict
    retry: dict | None

    @property
    def trigger(self):
        return self.binding["type"]


class App:
    """What the files of an app say. `defaults` are settings that `local.settings.json` doesn't name."""

    def __init__(self, folder, defaults=None):
        self.folder = Path(folder).resolve()
        self.host = json.loads((self.folder / "host.json").read_text())
        self.functions = {file.parent.name: self._function(file) for file in sorted(self.folder.glob("*/function.json"))}
        local = self.folder / "local.settings.json"
        given = json.loads(local.read_text())["Values"] if local.exists() else {}
        self.settings = {**(defaults or {}), **given}

    @staticmethod
    def _function(file):
        document = json.loads(file.read_text())
        return Function(file.parent.name, document["bindings"][0], document.get("retry"))

    def of_trigger(self, trigger):
        return [function for function in self.functions.values() if function.trigger == trigger]

    def resolved(self, text):
        """With the settings' values for `%NAME%`."""
        return re.sub(r"%(\w+)%", lambda name: self.settings[name[1]], text)

    def extension(self, name, key, default):
        return self.host.get("extensions", {}).get(name, {}).get(key, default)

    @property
    def timeout(self):
        """Seconds that an invocation may take; None is for ever."""
        text = self.host.get("functionTimeout", "00:30:00")
        return None if text == "-1" else seconds(text)

    @property
    def program(self):
        return self.folder / self.host["customHandler"]["description"]["defaultExecutablePath"]
