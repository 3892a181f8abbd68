"""The documents that are made from plans: none is stale, and the code in them runs."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from components.contract import CAPABILITY_FIELDS
from stacks.environment import ROOT
from tools.documents.generated import ARCHITECTURE, OUTPUTS, REMEDY, Look, looks, written
from tools.documents.outputs import EXAMPLE

if TYPE_CHECKING:
    from conftest import Deployed

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def found() -> dict[str, Look]:
    return looks()


@pytest.mark.parametrize("name", [ARCHITECTURE, OUTPUTS])
def test_the_document_says_what_the_plans_say(found: dict[str, Look], name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == written(found)[name], REMEDY


def test_a_plan_names_the_outputs_that_up_gives(found: dict[str, Look], dev: Deployed) -> None:
    assert found["dev"].outputs == dev.outputs.keys()
    assert "tracking_uri" in found["local"].outputs
    assert set(CAPABILITY_FIELDS["tenancy"]) <= found["prod"].outputs


def test_the_example_reads_the_outputs_of_dev(
    dev: Deployed, tmp_path: Path, succeed: Succeed
) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: team\nruntime: python\n")
    (tmp_path / "__main__.py").write_text(EXAMPLE)
    team = dataclasses.replace(dev.stack, directory=tmp_path, environment="team")
    succeed(team.pulumi("stack", "init"))
    try:
        succeed(team.pulumi("up", "--yes", "--skip-preview"))
        shown = succeed(team.pulumi("stack", "output", "--json", "--show-secrets")).stdout
    finally:
        team.pulumi("stack", "rm", "--yes", "--force")
    assert json.loads(shown) == {"store": dev.shown_outputs["artifact_uri"]}
