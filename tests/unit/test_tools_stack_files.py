"""The stack files of one machine, and the template that says what can be set."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path

import pytest
import yaml

from components.local.settings import LocalSettings, Ports
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


def defaults(shown: dict[str, object]) -> bool:
    """Whether the settings `shown` are those of an empty stack file."""
    config = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in shown.items()
    }
    return settings.parse("local", config) == settings.parse("local", {"falaj:owner": "platform"})


def test_the_template_as_it_is_changes_no_default() -> None:
    """It is not empty all the same: Pulumi keeps no comments in a file without a setting."""
    shown = yaml.safe_load((ROOT / stack_files.TEMPLATE).read_text())["config"]
    assert set(shown) == {"falaj:owner"}
    assert defaults(shown)


def test_the_template_shows_every_local_setting_with_its_default() -> None:
    text = re.sub(r"^  # ", "  ", (ROOT / stack_files.TEMPLATE).read_text(), flags=re.MULTILINE)
    shown = yaml.safe_load(text)["config"]
    assert defaults(shown)
    local = shown["falaj:local"]
    assert set(local) == set(LocalSettings.model_fields)
    assert set(local["ports"]) == set(Ports.model_fields)
