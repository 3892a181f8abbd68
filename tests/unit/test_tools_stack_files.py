"""The stack files of one machine, and the template that says what can be set."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import yaml

from stacks import settings
from tools import stack_files
from tools.install import ROOT

SALT = "encryptionsalt: v1:abc=:v1:def\n"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with nothing but the template."""
    template = tmp_path / stack_files.TEMPLATE
    template.parent.mkdir(parents=True)
    template.write_text((ROOT / stack_files.TEMPLATE).read_text())
    (tmp_path / "workloads" / "config").mkdir(parents=True)
    return tmp_path


def test_a_new_clone_gets_a_private_passphrase_and_a_stack_file(clone: Path) -> None:
    stack_files.prepare(clone)
    passphrase = clone / ".state" / "passphrase"
    assert stat.S_IMODE(passphrase.stat().st_mode) == 0o600
    assert (clone / stack_files.LOCAL).read_text() == (clone / stack_files.TEMPLATE).read_text()


def test_a_second_time_changes_nothing(clone: Path) -> None:
    stack_files.prepare(clone)
    local = clone / stack_files.LOCAL
    local.write_text(SALT + "config:\n  falaj:owner: me\n")
    passphrase = (clone / ".state" / "passphrase").read_text()
    assert stack_files.prepare(clone) == []
    assert local.read_text() == SALT + "config:\n  falaj:owner: me\n"
    assert (clone / ".state" / "passphrase").read_text() == passphrase


def test_the_salt_of_a_lost_passphrase_is_removed_and_nothing_else(clone: Path) -> None:
    workload = clone / "workloads" / "config" / "Pulumi.credit-risk.local.yaml"
    shared = clone / "stacks" / "config" / "Pulumi.dev.yaml"
    for path in (clone / stack_files.LOCAL, workload, shared):
        path.write_text(SALT + "config:\n  falaj:owner: me\n")
    stack_files.prepare(clone)
    assert (clone / stack_files.LOCAL).read_text() == "config:\n  falaj:owner: me\n"
    assert workload.read_text() == "config:\n  falaj:owner: me\n"
    assert shared.read_text().startswith(SALT)


def test_the_template_as_it_is_sets_nothing() -> None:
    assert yaml.safe_load((ROOT / stack_files.TEMPLATE).read_text()) is None


def test_the_template_shows_every_local_setting_with_its_default() -> None:
    lines = (ROOT / stack_files.TEMPLATE).read_text().splitlines()
    shown = yaml.safe_load("\n".join(line[2:] for line in lines[lines.index("#") + 1 :]))["config"]
    config = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in shown.items()
    }
    assert settings.parse("local", config).model_dump() == settings.parse("local", {}).model_dump()
    local = shown["falaj:local"]
    assert set(local) == set(settings.LocalSettings.model_fields)
    assert set(local["ports"]) == set(settings.Ports.model_fields)
