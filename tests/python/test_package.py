"""The zip that AWS deploys: what is in it, and which programs it refuses."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import zipfile

import pytest

X86_64, AARCH64 = 62, 183
SQL = """
CREATE STREAMING TABLE orders AS SELECT * FROM STREAM read_events('orders', format => 'json', schema => 'id BIGINT');
CREATE STREAMING TABLE planes AS SELECT * FROM STREAM read_files('/landing/planes', format => 'csv', schema => 'n INT');
"""


def program(machine):
    """The smallest ELF program: nothing but its header, so that it needs no library."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    return header + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, 0, 0, 64, 0, 0, 64, 0, 0)


PIPELINE = """name: my_shop
storage: lake
libraries:
  - glob: {include: sql/**}
sources:
  orders: {spool: events/orders}
roots: {/landing: data}
"""


@pytest.fixture
def shop(empty):
    empty.write("pipeline.yml", PIPELINE)
    empty.write("sql/shop.sql", SQL)
    empty.write("data/planes/a.csv", "n\n1\n")
    empty.write("notes.txt", "not part of the project")
    empty.write("x86_64", program(X86_64))
    return empty


def test_the_zip_holds_the_program_and_the_project_and_nothing_else(shop):
    said = shop.run("package", "aws", "--binary", "x86_64", "--arch", "x86_64")
    with zipfile.ZipFile(shop.folder / "dist/my_shop-x86_64.zip") as package:
        entries = package.infolist()
        assert [entry.filename for entry in entries] == ["bootstrap", "pipeline/pipeline.yml", "pipeline/sql/shop.sql"]
        assert [entry.external_attr >> 16 & 0o777 for entry in entries] == [0o755, 0o644, 0o644]
        assert package.read("bootstrap") == program(X86_64)
        assert package.read("pipeline/sql/shop.sql").decode() == SQL
    digest = hashlib.sha256((shop.folder / "dist/my_shop-x86_64.zip").read_bytes()).hexdigest()
    assert f"CodeKey=my_shop-x86_64-{digest[:12]}.zip" in said
    assert "SourceName=orders" in said and "--stack-name my-shop" in said
    assert "warning" not in said


def test_the_same_project_gives_the_same_bytes(shop):
    def packed(output):
        [row] = json.loads(shop.run("package", "aws", "--binary", "x86_64", "-o", output, "--format", "json"))
        return row["sha256"], row["size"], row["unzipped"], (shop.folder / output / "my_shop-x86_64.zip").read_bytes()

    first = packed("one")
    for path in ["pipeline.yml", "sql/shop.sql", "x86_64"]:
        os.utime(shop.folder / path, (0, 0))
    assert packed("two") == first
    assert first[1] == len(first[3]) and first[2] > 64
    shop.write("sql/shop.sql", SQL + "\n")
    assert packed("one")[0] != first[0]
    assert not list(shop.folder.glob("*/*.part"))


def test_a_program_for_another_processor_is_refused(shop):
    shop.write("aarch64", program(AARCH64))
    assert "isn't built for x86_64" in shop.run("package", "aws", "--binary", "aarch64", expect=2)
    shop.run("package", "aws", "--binary", "aarch64", "--arch", "arm64")
    assert (shop.folder / "dist/my_shop-arm64.zip").exists()
    assert "is no program for Linux" in shop.run("package", "aws", "--binary", "notes.txt", expect=2)
    assert "missing" in shop.run("package", "aws", "--binary", "missing", expect=2)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the C compiler builds for another processor")
@pytest.mark.parametrize(("version", "fits"), [("2.4", True), ("2.34", True), ("2.35", False), ("2.100", False)])
def test_a_program_that_needs_a_newer_library_is_refused(shop, version, fits):
    def compile_c(code, *arguments):
        command = [os.environ.get("CC", "cc"), "-x", "c", "-", "-nostdlib", *arguments]
        subprocess.run(command, input=code, text=True, cwd=shop.folder, check=True)

    # A library that has one function in a version of its own, and a program that calls it.
    shop.write("versions", "GLIBC_2.2.5 { global: old; local: *; };\nGLIBC_%s { global: answer; };\n" % version)
    code = "int old(void) { return 1; } int answer(void) { return 42; }"
    compile_c(code, "-shared", "-Wl,--version-script=versions", "-Wl,-soname,libc.so.6", "-o", "libold.so")
    call = "int old(void); int answer(void); void _start(void) { old(); answer(); }"
    compile_c(call, "-x", "none", "libold.so", "-o", "needy")
    said = shop.run("package", "aws", "--binary", "needy", "--format", "json", expect=0 if fits else 2)
    if fits:
        assert json.loads(said)[0]["glibc"] == version
    else:
        assert f"needs glibc {version}; there it finds 2.34" in said and "cargo zigbuild" in said
        assert not (shop.folder / "dist").exists()


def test_a_folder_that_no_function_sees_is_told(shop):
    shop.write("pipeline.yml", "name: shop\nstorage: lake\nlibraries:\n  - glob: {include: sql/**}\n"
               "sources:\n  orders: {spool: events/orders}\n")
    shop.write("sql/shop.sql", SQL.replace("/landing/planes", "data/planes"))
    said = shop.run("package", "aws", "--binary", "x86_64")
    assert "`data/planes` is a local folder" in said and "/landing: data" in said


def test_a_wrong_project_makes_no_zip(shop):
    shop.write("sql/shop.sql", "CREATE MATERIALIZED VIEW v AS SELECT nothing FROM nowhere;")
    assert "nowhere" in shop.run("package", "aws", "--binary", "x86_64", expect=2)
    assert not (shop.folder / "dist").exists()


def test_the_program_is_built_from_a_checkout(shop):
    """Cargo is played by a script, which answers as `cargo zigbuild --message-format json` does."""
    for file in ["Cargo.lock", "cli/Cargo.toml", "shared/core/Cargo.toml"]:
        shop.write(f"checkout/{file}", "")
    built = {"reason": "compiler-artifact", "target": {"name": "headwater"}, "executable": str(shop.folder / "x86_64")}
    lines = ["no JSON", json.dumps({"reason": "compiler-artifact", "target": {"name": "zip"}}), json.dumps(built)]
    shop.write("messages", "\n".join(lines))
    shop.write("bin/cargo", '#!/bin/sh\necho "$PWD $* lto=$CARGO_PROFILE_DEPLOY_LTO" > ../asked\ncat ../messages\nexit ${EXIT:-0}\n')
    (shop.folder / "bin/cargo").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "CARGO_PROFILE_DEPLOY_LTO"}
    environment["CARGO"] = str(shop.folder / "bin/cargo")
    shop.run("package", "aws", "--source", "checkout", env=environment)
    asked = (shop.folder / "asked").read_text()
    assert asked.startswith(f"{shop.folder / 'checkout'} zigbuild --locked --profile deploy --package headwater")
    assert "--target x86_64-unknown-linux-gnu.2.34" in asked and asked.endswith("lto=\n")
    for asks, lto in [({}, "thin"), ({"CARGO_PROFILE_DEPLOY_LTO": "fat"}, "fat")]:
        said = shop.run("package", "aws", "--arch", "arm64", "--source", "checkout", env=environment | asks, expect=2)
        asked = (shop.folder / "asked").read_text()
        assert "isn't built for arm64" in said
        assert "--target aarch64-unknown-linux-gnu.2.34" in asked and asked.endswith(f"lto={lto}\n")

    shutil.rmtree(shop.folder / "dist")
    said = shop.run("package", "aws", "--source", "checkout", env=environment | {"EXIT": "101"}, expect=1)
    assert "could not be built" in said and "cargo-zigbuild" in said
    assert "is no checkout" in shop.run("package", "aws", "--source", "sql", expect=2)
