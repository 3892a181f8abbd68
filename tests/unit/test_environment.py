"""The environment that everything of a clone runs in."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from stacks import environment


def clone(tmp_path: Path) -> Path:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".tools" / "bin").mkdir(parents=True)
    return tmp_path


def test_state_and_passphrase_are_private_and_of_this_clone(tmp_path: Path) -> None:
    variables = environment.variables(clone(tmp_path), base={"PATH": "/usr/bin"})
    assert variables["PULUMI_BACKEND_URL"] == f"file://{tmp_path}/.state/pulumi"
    passphrase = Path(variables["PULUMI_CONFIG_PASSPHRASE_FILE"])
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / ".state").stat().st_mode) == 0o700
    assert len(passphrase.read_text()) >= 32


def test_the_passphrase_is_made_once(tmp_path: Path) -> None:
    first = environment.passphrase_file(tmp_path).read_text()
    assert environment.passphrase_file(tmp_path).read_text() == first


def test_the_clones_own_tools_come_first_on_path(tmp_path: Path) -> None:
    path = environment.variables(clone(tmp_path), base={"PATH": "/usr/bin"})["PATH"]
    assert path.split(os.pathsep)[:3] == [
        str(tmp_path / ".venv" / "bin"),
        str(tmp_path / ".tools" / "bin"),
        "/usr/bin",
    ]


def test_a_passphrase_of_the_users_shell_does_not_leak_in(tmp_path: Path) -> None:
    base = {"PULUMI_CONFIG_PASSPHRASE": "other", "PYTHONDONTWRITEBYTECODE": "1", "PATH": ""}
    variables = environment.variables(clone(tmp_path), base=base)
    assert not {"PULUMI_CONFIG_PASSPHRASE", "PYTHONDONTWRITEBYTECODE"} & set(variables)


def test_a_proxy_is_not_asked_for_this_machine(tmp_path: Path) -> None:
    variables = environment.variables(clone(tmp_path), base={"NO_PROXY": "intra.bank", "PATH": ""})
    assert variables["NO_PROXY"] == "intra.bank,127.0.0.1,localhost"
    again = environment.variables(tmp_path, base=variables)
    assert again["NO_PROXY"] == variables["NO_PROXY"]


def test_no_part_reports_on_its_use(tmp_path: Path) -> None:
    variables = environment.variables(clone(tmp_path), base={"PATH": ""})
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert variables["DAGSTER_DISABLE_TELEMETRY"] == "true"


def test_the_runtime_directory_is_short_enough_for_sockets(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60)
    directory = environment.runtime_directory(deep)
    try:
        assert len(os.fsencode(directory / "supervisor.sock")) < 90
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    finally:
        directory.rmdir()


def test_a_runtime_directory_that_others_can_enter_is_refused(tmp_path: Path) -> None:
    directory = environment.runtime_directory(tmp_path)
    try:
        directory.chmod(0o755)
        with pytest.raises(environment.WrongEnvironmentError, match="not a private directory"):
            environment.runtime_directory(tmp_path)
    finally:
        directory.rmdir()


def test_a_link_in_place_of_the_runtime_directory_is_refused(tmp_path: Path) -> None:
    directory = environment.runtime_directory(tmp_path)
    directory.rmdir()
    with tempfile.TemporaryDirectory() as elsewhere:
        directory.symlink_to(elsewhere)
        try:
            with pytest.raises(environment.WrongEnvironmentError):
                environment.runtime_directory(tmp_path)
        finally:
            directory.unlink()


def test_without_the_environment_a_program_stops_with_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(environment.MARK, raising=False)
    with pytest.raises(environment.WrongEnvironmentError, match="make shell") as caught:
        environment.require()
    assert "\n" not in str(caught.value)


def test_a_command_runs_in_the_environment() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "stacks.environment", "--", "printenv", environment.MARK],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(run.stdout.strip()) == environment.ROOT
