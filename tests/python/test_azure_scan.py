"""What Checkov finds in the Bicep files: nothing but what was decided. It needs no network and has packages of its own, 290 MB."""

import json
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from azurite import LocalAzure

CHECKOV = "checkov==3.3.30"
DECIDED = {
    "CKV_AZURE_35": "accounts are open to the networks of whoever has a role; there are no keys",
    "CKV_AZURE_206": "a lake in one region, in three of its zones; the host's account holds nothing that can't be made again",
    "CKV_AZURE_43": "names are computed, and are right",
    "CKV_AZURE_225": "Flex Consumption has no such setting",
    "CKV_AZURE_222": "as with the accounts",
    "CKV_AZURE_212": "Flex Consumption scales to nothing",
    "CKV_AZURE_213": "Flex Consumption has no such setting",
}
TLS = "CKV_AZURE_44"


@pytest.fixture(scope="module")
def checkov():
    """Installed once; its own version of the parser doesn't go with that of the tests."""
    folder = LocalAzure("127.0.0.1").folder / CHECKOV.replace("==", "-")
    if not (folder / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", CHECKOV], check=True)
        (folder / "installed").touch()
    return folder / "bin/checkov"


def test_the_scan_finds_nothing_but_what_was_decided(checkov, tmp_path):
    ours, worse = tmp_path / "ours", tmp_path / "worse"
    for folder in (ours, worse):
        folder.mkdir()
        for file in (ROOT / "infra/azure").glob("*.bicep"):
            shutil.copy(file, folder)
    template = worse / "main.bicep"
    template.write_text(template.read_text().replace("minimumTlsVersion: 'TLS1_2'", "minimumTlsVersion: 'TLS1_0'"))
    command = [checkov, "-d", tmp_path, "--framework", "bicep", "--skip-download", "--compact", "--quiet", "-o", "json"]
    scanned = json.loads(subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300).stdout)
    assert (scanned["summary"]["parsing_errors"], scanned["summary"]["passed"] > 50) == (0, True)
    found = {}
    for check in scanned["results"]["failed_checks"]:
        found.setdefault(check["file_path"].split("/")[1], {})[check["check_id"]] = check["check_name"]
    assert set(found["ours"]) == set(DECIDED), found["ours"]
    assert set(found["worse"]) == set(DECIDED) | {TLS}, "it sees what is wrong"
