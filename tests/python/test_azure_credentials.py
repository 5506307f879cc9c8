"""A lake on Azure's storage by key, signature and identity; and that no secret is ever told."""

import itertools
import json
import os

import pytest

from azurite import Azurite
from entra import ASSERTION, SECRET, TENANT, TOKEN, Account, sas
from local_azure import ACCOUNT, KEY

SQL = """
CREATE STREAMING TABLE prices AS SELECT * FROM STREAM read_files('in', format => 'csv', header => true, schema => 'id BIGINT, price INT');
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM prices;
"""
ALL = "rwdlacu"
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def azurite(tmp_path_factory):
    with Azurite(tmp_path_factory.mktemp("azurite")) as azurite:
        yield azurite


@pytest.fixture
def shop(empty, azurite):
    """A project whose lake is a container of its own."""
    container = f"lake{next(NUMBERS)}"
    azurite.blobs.create_container(container)
    empty.write("pipeline.yml", f"name: t\nstorage: az://{container}/deep/er\nlibraries:\n  - glob: {{include: sql/**}}\n")
    empty.write("sql/shop.sql", SQL)
    empty.write("in/a.csv", "id,price\n1,10\n2,20\n")
    empty.container = container
    return empty


def environment(azurite, **variables):
    """Nothing of this machine's own credentials."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "IDENTITY_"))}
    return kept | {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ENDPOINT": azurite.url("blob")} | variables


def works(shop, variables, secret):
    """The pipeline runs and is looked at; nothing of it tells the secret, however much is logged."""
    variables |= {"HEADWATER_LOG": "debug"}
    said = shop.run("run", env=variables)
    shown = shop.run("query", "SELECT n FROM total", "--format", "json", env=variables | {"HEADWATER_LOG": "warn"})
    assert json.loads(shown) == [{"n": 2}]
    said += shop.run("status", env=variables)
    assert secret not in said


def test_a_key(shop, azurite):
    works(shop, environment(azurite, AZURE_STORAGE_ACCOUNT_KEY=KEY), KEY)


def signature(token):
    """The part of it that nobody may see."""
    return token.split("sig=")[1].split("&")[0]


def test_a_shared_access_signature(shop, azurite):
    token = sas(ALL)
    works(shop, environment(azurite, AZURE_STORAGE_SAS_TOKEN=token), signature(token))


@pytest.mark.parametrize(("kind", "help"), [
    ("ended", "haven't ended"), ("wrong", "AZURE_STORAGE_SAS_TOKEN"), ("read-only", "may not do that there"),
])
def test_a_signature_that_does_not_serve_is_told_without_it(shop, azurite, kind, help):
    token = {"ended": sas(ALL, hours=-1), "wrong": sas(ALL).replace("sp=", "sp=x"), "read-only": sas("rl")}[kind]
    variables = environment(azurite, AZURE_STORAGE_SAS_TOKEN=token)
    said = shop.run("run", env=variables, expect=3)
    assert help in said.split("help: ")[1]
    logged = shop.run("run", env=variables | {"HEADWATER_LOG": "debug"}, expect=3)
    assert signature(token) not in said + logged


def test_a_managed_identity(shop, azurite):
    with Account(azurite) as account:
        variables = environment(azurite, AZURE_STORAGE_ENDPOINT=f"{account.url}/{ACCOUNT}",
                                IDENTITY_ENDPOINT=f"{account.url}/identity", IDENTITY_HEADER=SECRET)
        works(shop, variables, TOKEN)
        assert set(account.asked) == {"managed"}
        said = shop.run("run", env=variables | {"IDENTITY_HEADER": "another"}, expect=3)
        assert "AZURE_USE_AZURE_CLI=true" in said.split("help: ")[1] and "another" not in said


@pytest.mark.parametrize("kind", ["workload", "application"])
def test_an_identity_elsewhere(shop, azurite, kind):
    shop.write("assertion", ASSERTION)
    known = {"workload": {"AZURE_FEDERATED_TOKEN_FILE": str(shop.folder / "assertion")}, "application": {"AZURE_CLIENT_SECRET": SECRET}}
    with Account(azurite) as account:
        variables = environment(
            azurite, AZURE_STORAGE_ENDPOINT=f"{account.url}/{ACCOUNT}", AZURE_AUTHORITY_HOST=account.url, AZURE_TENANT_ID=TENANT,
            AZURE_CLIENT_ID="client", **known[kind])
        works(shop, variables, TOKEN)
        works(shop, variables, SECRET)
        assert set(account.asked) == {kind}


def test_the_login_of_the_azure_command(shop, azurite):
    said = {"accessToken": TOKEN, "expiresOn": "2099-01-01 00:00:00.000000", "tokenType": "Bearer"}
    shop.write("bin/az", f"#!/bin/sh\necho '{json.dumps(said)}'\n")
    (shop.folder / "bin/az").chmod(0o755)
    with Account(azurite) as account:
        variables = environment(azurite, AZURE_STORAGE_ENDPOINT=f"{account.url}/{ACCOUNT}", AZURE_USE_AZURE_CLI="true")
        works(shop, variables | {"PATH": f"{shop.folder / 'bin'}:{os.environ['PATH']}"}, TOKEN)


@pytest.mark.parametrize("command", [("validate",), ("run",), ("status",), ("query", "SELECT 1")])
@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_signature_in_the_url_is_refused_and_not_told(shop, azurite, command, where):
    variables = environment(azurite, AZURE_STORAGE_ACCOUNT_KEY=KEY)
    url = f"az://{shop.container}/?sv=2024-11-04&sig=hunter2"
    if where == "file":
        shop.write("pipeline.yml", f"name: t\nstorage: {url}\nlibraries:\n  - glob: {{include: sql/**}}\n")
    else:
        variables["HEADWATER_STORAGE"] = url
    said = shop.run(*command, env=variables, expect=2)
    assert "AZURE_STORAGE_SAS_TOKEN" in said and "hunter2" not in said


@pytest.mark.parametrize(
    ("storage", "variables", "help"),
    [
        ("az://lake/", {"AZURE_STORAGE_ACCOUNT_KEY": "hunter2"}, "copy AZURE_STORAGE_ACCOUNT_KEY once more"),
        ("az://lake/", {"AZURE_STORAGE_SAS_TOKEN": "hunter2"}, "copy AZURE_STORAGE_SAS_TOKEN once more"),
        ("s3://lake/", {"AWS_ACCESS_KEY_ID": "hunter2", "AWS_SECRET_ACCESS_KEY": ""}, "set both AWS_ACCESS_KEY_ID and"),
    ],
)
def test_credentials_that_are_none_are_told_by_name(shop, azurite, storage, variables, help):
    said = shop.run("run", env=environment(azurite, HEADWATER_STORAGE=storage, **{"AWS_REGION": "eu-west-1"} | variables), expect=2)
    assert help in said and "hunter2" not in said
