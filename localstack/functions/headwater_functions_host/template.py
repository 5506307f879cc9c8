"""What the Bicep file of a deployment says of containers, queues, notices and settings."""

from pathlib import Path

from pycep import BicepParser

STORAGE = "Microsoft.Storage/storageAccounts/"


def listed(settings):
    """The entries of a list that stands in the file, alone or as the last that `concat` joins."""
    return settings if isinstance(settings, list) else list(settings["function"]["parameters"].values())[-1]


class Template:
    """A parsed file."""

    def __init__(self, file):
        parsed = BicepParser().parse(file_path=Path(file))
        self.resources, self.parameters = parsed["resources"], parsed["parameters"]

    def names(self, kind):
        """Of containers (`blobServices/containers`) or queues (`queueServices/queues`), by what the file calls them."""
        return {name: entry["config"]["name"] for name, entry in self.resources.items() if entry["type"] == STORAGE + kind}

    def subscriptions(self):
        """Pairs of a queue and the filter of what it is told."""
        queues = self.names("queueServices/queues")
        for entry in self.resources.values():
            if entry["type"] != "Microsoft.EventGrid/systemTopics/eventSubscriptions":
                continue
            properties = entry["config"]["properties"]
            queue = properties["deliveryWithResourceIdentity"]["destination"]["properties"]["queueName"]
            yield queues[queue["operator"]["operands"]["operand_1"]], properties["filter"]

    def settings(self):
        """The app's settings whose values are parameters with a default."""
        [app] = [entry for entry in self.resources.values() if entry["type"] == "Microsoft.Web/sites"]
        fixed = app["config"]["properties"]["siteConfig"]["appSettings"]
        given = {entry["name"]: entry["value"] for entry in listed(fixed)}
        names = {name: value for name, value in given.items() if isinstance(value, str) and value in self.parameters}
        return {name: str(self.parameters[value]["default"]) for name, value in names.items()}
