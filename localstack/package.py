"""The zip of the functions, made for the machine at hand.

A debug build is half a gigabyte, so it isn't packed: `bootstrap` is a line that runs it where it was built. What was
packed for AWS is deployed as it is, by `--package`.
"""

import io
import os
import shlex
import zipfile
from pathlib import Path

from telling import Failed

PROJECT_FILES = (".yml", ".yaml", ".sql")
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def default_program():
    """The program that was built last, if it isn't named."""
    if named := os.environ.get("HEADWATER_BIN"):
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or Path.home() / ".cache/headwater-target")
    built = [target / profile / "headwater" for profile in ("release", "debug")]
    built = [program for program in built if program.exists()]
    if not built:
        raise Failed(f"no `headwater` in {target}: build it by `cargo build`, or name it by --program")
    return max(built, key=lambda program: program.stat().st_mtime)


def linked(project, program):
    """The bytes of a zip with the project's files and a `bootstrap` that runs `program`. The same files give the same bytes."""
    if not (project / "pipeline.yml").is_file():
        raise Failed(f"{project} holds no pipeline.yml; name a project's folder")
    if not os.access(program, os.X_OK):
        raise Failed(f"{program} is no program; build it by `cargo build`, or name it by --program")
    script = f'#!/bin/bash\nexec -a bootstrap {shlex.quote(str(program.resolve()))} "$@"\n'
    files = {
        f"pipeline/{file.relative_to(project)}": file.read_bytes()
        for file in sorted(project.rglob("*"))
        if file.suffix in PROJECT_FILES and file.is_file()
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {"bootstrap": script.encode(), **files}.items():
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.external_attr = 0o755 << 16
            archive.writestr(entry, content)
    return packed.getvalue()
