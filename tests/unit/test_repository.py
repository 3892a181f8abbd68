"""What holds for the repository as a whole: style, types, boundaries, secrets, the lock."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from functools import cache
from pathlib import Path

import pytest

from stacks.environment import ROOT

BIN = Path(sysconfig.get_path("scripts"))
PACKAGES = ("stacks", "components", "policies", "workloads")
LARGEST_BYTES = 1 << 20

REGISTRY = re.compile(
    r"pypi\.org/simple|files\.pythonhosted\.org|--(extra-)?index-url[ =]|\bGOPROXY=\S"
    r'|"resolved": *"http|registry\.npmjs\.org'
)
MACHINE_PATH = re.compile(r"(?<![\w.$}])/(home|Users|work|root)/(?!\.)[\w.-]+/")
NOT_A_SECRET = re.compile(r"sha256:[0-9a-f]{64}|h1:[A-Za-z0-9+/]{43}=|\bfalaj-[a-z-]+")
"""Digests and names: forms, so that no list of findings is kept. A line may also say
`pragma: allowlist secret`."""


@cache
def tracked() -> tuple[Path, ...]:
    """Every file of the working tree that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    paths = (ROOT / name for name in listed.decode().split("\0") if name)
    return tuple(path for path in paths if path.is_file() and not path.is_symlink())


@cache
def texts() -> dict[str, str]:
    """The text of every tracked file that is text, by its path in the repository."""
    found = {}
    for path in tracked():
        try:
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a tool of the environment in the root of the clone."""
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False
    )


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    """`path:line: text` of every match, but not in this file, which names the patterns."""
    own = str(Path(__file__).relative_to(ROOT))
    return [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts().items()
        if name != own
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_the_code_follows_the_rules_of_the_linter() -> None:
    checked = run(BIN / "ruff", "check", ".")
    assert checked.returncode == 0, checked.stdout


def test_the_code_is_formatted() -> None:
    checked = run(BIN / "ruff", "format", "--check", ".")
    assert checked.returncode == 0, checked.stdout


def types_of(*arguments: str, cwd: Path = ROOT) -> str:
    """What mypy says about the modules named, empty when all is well."""
    command = [str(BIN / "mypy"), "--config-file", str(ROOT / "pyproject.toml"), *arguments]
    checked = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    return "" if checked.returncode == 0 else checked.stdout + checked.stderr


def test_the_types_are_right() -> None:
    assert types_of(*(argument for name in PACKAGES for argument in ("-p", name))) == ""


def test_the_types_of_the_tools_are_right() -> None:
    """They are programs in folders of their own, not one package."""
    tools = ROOT / "tools"
    folders = (tools, *(tools / name for name in ("documents", "images", "pulumi/launchers")))
    programs = [program for folder in folders for program in folder.glob("*.py")]
    assert types_of(*map(str, programs)) == ""
    providers = tools / "providers"
    modules = (part for path in providers.glob("*.py") for part in ("-m", path.stem))
    assert types_of(*modules, cwd=providers) == ""


def test_each_part_imports_only_what_it_may() -> None:
    checked = run(BIN / "lint-imports", "--no-cache")
    assert checked.returncode == 0, checked.stdout


def test_no_tracked_file_holds_a_secret() -> None:
    findings = []
    names = [name for name in texts() if not name.endswith("go.sum")]
    scanned = run(BIN / "detect-secrets", "scan", "--no-verify", *names)
    assert scanned.returncode == 0, scanned.stderr
    for name, found in json.loads(scanned.stdout)["results"].items():
        lines = texts()[name].splitlines()
        for finding in found:
            line = lines[finding["line_number"] - 1]
            allowed = name.startswith("tests/") or NOT_A_SECRET.search(line)
            if finding["type"] in ("Private Key", "AWS Access Key") or not allowed:
                findings.append(f"{name}:{finding['line_number']}: {finding['type']}")
    assert findings == []


def test_the_secret_scanner_finds_a_secret(tmp_path: Path) -> None:
    leak = tmp_path / "leak.py"
    leak.write_text('key = "' + "AKIA" + "Q3EGRZ5HZ5XKT2VN" + '"\n')
    scanned = subprocess.run(
        [str(BIN / "detect-secrets"), "scan", "--no-verify", "--all-files", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = json.loads(scanned.stdout)["results"].values()
    assert "AWS Access Key" in {finding["type"] for finding in found}


def test_no_tracked_file_names_a_package_registry() -> None:
    assert lines_with(REGISTRY) == []


def test_no_tracked_file_names_a_path_of_somebodys_machine() -> None:
    assert lines_with(MACHINE_PATH) == []


def test_no_tracked_file_is_large() -> None:
    large = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in tracked()
        if path.stat().st_size > LARGEST_BYTES
    }
    assert large == {}


def test_what_is_made_on_a_machine_is_not_tracked() -> None:
    made = (".venv/", ".tools/", ".state/", "stacks/config/Pulumi.local.yaml")
    assert [name for name in texts() if name.startswith(made) or "__pycache__" in name] == []


@pytest.mark.parametrize(
    "path", ["requirements.lock", "tools/pip/requirements.txt", "tools/uv/requirements.txt"]
)
def test_every_locked_package_is_pinned_and_has_a_hash(path: str) -> None:
    joined = (ROOT / path).read_text().replace("\\\n", " ")
    entries = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[A-Za-z0-9][\w.\[\],-]*==\S+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry[:80]


def test_the_lock_holds_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *(entry for group in project["dependency-groups"].values() for entry in group),
    ]
    locked = {
        re.split(r"[=\[]", line)[0].lower().replace("_", "-")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if "==" in line
    }
    names = {re.split(r"[^\w.-]", entry)[0].lower().replace("_", "-") for entry in wanted}
    assert names - locked == set()


def test_the_environment_holds_exactly_what_the_lock_says() -> None:
    locked = dict(
        re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    )
    canonical = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in locked.items()}
    installed = {
        # some say `v1.2` of themselves
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version.removeprefix("v")
        for found in importlib.metadata.distributions()
    }
    for ours in ("falaj", "pip"):
        installed.pop(ours, None)
    assert {
        name: (version, canonical.get(name))
        for name, version in installed.items()
        if canonical.get(name) != version
    } == {}


def test_installed_packages_are_compiled_to_bytecode() -> None:
    """Every start would compile them again: it halves the time until the parts are healthy."""
    site = Path(sysconfig.get_path("purelib"))
    tag = sys.implementation.cache_tag
    missing = [
        path
        for path in site.rglob("*.py")
        if not (path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc").exists()
    ]
    assert [path for path in missing if _compiles(path)] == []


def _compiles(path: Path) -> bool:
    """Whether it is Python of this version; packages carry templates and older syntax too."""
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return True


def test_the_licence_is_the_one_that_the_project_declares() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "Apache-2.0"
    assert (
        "Apache License\n                           Version 2.0" in (ROOT / "LICENSE").read_text()
    )


def test_the_program_reads_like_a_table_of_contents() -> None:
    program = (ROOT / "stacks" / "__main__.py").read_text().splitlines()
    assert len(program) < 80
