"""Writes which packages each image holds: the groups `image-…` of `pyproject.toml`, with all that
they need, in the versions of `requirements.lock`.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tools.images import lay

ROOT = Path(__file__).resolve().parents[2]
_HEAD = (
    "# Made by `make lock` from the group image-{} of pyproject.toml; versions and hashes stand\n"
    "# in requirements.lock.\n"
)


class LockError(Exception):
    """The packages of an image cannot be told; the message is uv's."""


def names(kind: str) -> list[str]:
    """The packages of `kind` on Linux, sorted. Raises `LockError`."""
    command = ["uv", "pip", "compile", "--group", f"pyproject.toml:image-{kind}"]
    command += ["--constraint", "requirements.lock", "--python-platform", "linux"]
    command += ["--python-version", "3.12", "--no-header", "--no-annotate", "--quiet"]
    path = f"{ROOT / '.tools' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise LockError(f"image-{kind}: {done.stderr.strip()}")
    lines = (line for line in done.stdout.splitlines() if "==" in line)
    return sorted({lay.canonical(re.split(r"[=\[ ;]", line)[0]) for line in lines})


def write() -> None:
    """Writes `packages.txt` beside each Dockerfile. Raises `LockError`."""
    for kind, of in lay.KINDS.items():
        listed = "".join(f"{name}\n" for name in names(kind))
        (ROOT / of.folder / "packages.txt").write_text(_HEAD.format(kind) + listed)
