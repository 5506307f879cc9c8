"""The table of costs in the documentation is the one that the script computes."""

import json
import subprocess
import sys

import pytest

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benches"))
import cost  # noqa: E402

FIGURES = json.loads((ROOT / "benches/functions.json").read_text())


@pytest.mark.parametrize("load", cost.LOADS)
def test_the_documented_costs_are_computed(load):
    sums = [sum(cost.costs(name, FIGURES, load).values()) for name in cost.MEMORY]
    row = " | ".join([f"{load:,}", *(f"{value:.2f}" for value in sums), f"**{sum(sums):.2f}**"])
    assert f"| {row} |" in (ROOT / "infra/aws/README.md").read_text()


def test_memory_is_that_of_the_template():
    template = (ROOT / "infra/aws/template.yaml").read_text()
    for name, megabytes in cost.MEMORY.items():
        function = template[template.index(f"      Handler: {name}\n"):]
        assert function[function.index("MemorySize: "):].startswith(f"MemorySize: {megabytes}\n"), name


def test_the_table_is_printed():
    printed = subprocess.run([sys.executable, ROOT / "benches/cost.py"], capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == 2 + len(cost.LOADS) * (len(cost.MEMORY) + 1)
