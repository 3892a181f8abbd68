"""`falaj-policies` stands alone: its wheel works with what it declares and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from policies.common.controls import CONTROLS
from stacks.environment import ROOT

PACKS = ("residency", "encryption", "hardening", "all")
PROGRAM = """
import importlib.abc, json, sys

refused, wheel = set(json.loads(sys.argv[1])), sys.argv[2]

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in refused:
            raise ModuleNotFoundError(f"{name} is not declared", name=name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, wheel)
import policies
from policies.common.analyzer import Analyzer
from policies.packs import PACKS, RULES
assert policies.__file__.startswith(wheel), policies.__file__
packs = [Analyzer(pack.NAME, policies.VERSION, pack.RULES) for pack in PACKS]
told = [pack.GetAnalyzerInfo(None, None) for pack in packs]
print(*(one.name for one in told), *(policy.name for one in told for policy in one.policies))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policies")
    source = folder / "source"
    shutil.copytree(
        ROOT / "policies", source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=source,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("falaj_policies-*.whl")
    return built


def modules_of(distributions: list[str]) -> set[str]:
    """The top-level modules of `distributions` and of all that they need."""
    owners = metadata.packages_distributions()
    needed: set[str] = set()
    waiting = [_normal(name) for name in distributions]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # for another platform
        waiting += [_normal(one) for one in requirements if "extra ==" not in one]
    return {
        module for module, names in owners.items() if needed & {_normal(name) for name in names}
    }


def _normal(requirement: str) -> str:
    name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_wheel_holds_the_packs_and_their_description(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    assert {
        "policies/__init__.py",
        "policies/common/rule.py",
        "policies/config/prod.json",
        "policies/config/schema.json",
        "policies/encryption/at_rest.py",
        "policies/packs.py",
        *(f"policies/{pack}/PulumiPolicy.yaml" for pack in PACKS),
        *(f"policies/{pack}/__main__.py" for pack in PACKS),
    } <= names
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"policies"}


def test_the_pack_needs_what_it_declares_and_nothing_else(wheel: Path) -> None:
    declared = tomllib.loads((ROOT / "policies" / "pyproject.toml").read_text())["project"]
    allowed = modules_of(declared["dependencies"])
    installed = {*metadata.packages_distributions(), "components", "stacks", "workloads"}
    refused = sorted(installed - allowed - {"policies"})
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROGRAM, json.dumps(refused), str(wheel)],
        cwd=wheel.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert {"typer", "pulumi_aws"} <= set(refused)
    assert done.returncode == 0, done.stderr
    packs, rules = done.stdout.split()[:3], done.stdout.split()[3:]
    assert packs == ["falaj-residency", "falaj-encryption", "falaj-hardening"]
    assert set(rules) == set(CONTROLS)
