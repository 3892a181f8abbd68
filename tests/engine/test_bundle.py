"""A bundle as a runner gets it: made of a clone, unpacked elsewhere, used with no network."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from stacks.bundle.make import Made, Wanted, make
from stacks.bundle.target import Target
from stacks.environment import ROOT
from tools.scratch_clone import ScratchClone


def needed() -> set[str]:
    """What a plan takes of the lock: the project's own dependencies and all that these ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["build"]]
    todo, seen = [Requirement(one) for one in asked], set()
    while todo:
        one = todo.pop()
        key = (canonicalize_name(one.name), frozenset(one.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in importlib.metadata.requires(one.name) or ():
            inner = Requirement(text)
            extras = one.extras or {""}
            if not inner.marker or any(inner.marker.evaluate({"extra": each}) for each in extras):
                todo.append(inner)
    return {name for name, _ in seen}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle of the working tree whose lock holds what a plan takes, which is a third of it."""
    clone = ScratchClone.make_at(tmp_path_factory.mktemp("clone") / "falaj")
    lock = clone.root / "requirements.lock"
    wanted = needed()
    entries = re.split(r"\n(?=\S)", lock.read_text())
    kept = [one for one in entries if canonicalize_name(re.split(r"[=\[ ]", one)[0]) in wanted]
    lock.write_text("\n".join(kept))
    return make(
        Wanted(
            target=Target(machine="aarch64" if os.uname().machine == "aarch64" else "x86_64"),
            # nobody has the plugins of a provider that no test calls
            without_plugins=True,
            allow_dirty=True,
            pulumi=next(
                folder
                for folder in map(Path, os.environ["PATH"].split(os.pathsep))
                if (folder / "pulumi").is_file()
            ),
            root=clone.root,
        ),
        lambda line: sys.stderr.write(f"{line}\n"),
    )


def without_network(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Runs a command where there is nothing but this machine, with no setting of the caller's."""
    python = Path(sys.executable).resolve().parent
    return subprocess.run(
        [
            *("unshare", "--map-root-user", "--net", "sh", "-c"),
            f"ip link set lo up && {command}",
        ],
        cwd=folder,
        env={
            "PATH": os.pathsep.join((str(python), "/usr/sbin", "/usr/bin", "/sbin", "/bin")),
            "HOME": str(folder),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_runner_without_a_way_out_plans_from_a_bundle_alone(bundle: Made, tmp_path: Path) -> None:
    with tarfile.open(bundle.file) as tar:
        tar.extractall(tmp_path, filter="tar")
    asked = without_network(
        tmp_path, "python3.12 -c 'import socket; socket.create_connection((\"192.0.2.1\", 443), 5)'"
    )
    assert "unreachable" in asked.stderr, "the test has a network"

    installed = without_network(tmp_path, "python3.12 -B -m tools.unbundle")
    assert installed.returncode == 0, installed.stderr
    again = without_network(tmp_path, "python3.12 -B -m tools.unbundle")
    assert (again.returncode, again.stdout) == (0, "checking every file\n")

    told = ".venv/bin/python -m stacks.environment -- falaj plan --offline -s dev"
    planned = without_network(tmp_path, told)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert "Nothing was made" in planned.stdout
