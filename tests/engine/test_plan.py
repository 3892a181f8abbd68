"""`falaj plan --offline` on the real engine: parents, relations, secrets, profiles, the page."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stacks.offline import OfflineError, offline
from stacks.plan import Plan, app, look, look_at

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
HIDDEN = "apiVersion: v1 # nobody may read this"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """`dev` with its teams, for which a secret is set."""
    with offline("dev") as stack:
        set_ = stack.pulumi(
            *("config", "set", "--secret", "falaj:kubeconfig"), standard_input=HIDDEN
        )
        assert set_.returncode == 0, set_.stderr
        return look_at(stack)


def test_a_secret_is_masked_wherever_it_stands(plan: Plan) -> None:
    from stacks.plan_page import page

    (provider,) = (one for one in plan.resources if one["name"] == "dev-kubernetes")
    assert provider["inputs"]["kubeconfig"] == "[secret]"
    assert "nobody may read this" not in json.dumps(plan.resources)
    assert "nobody may read this" not in page(plan)


def test_every_resource_has_a_parent_that_is_a_component_of_the_plan(plan: Plan) -> None:
    for one in plan.resources:
        assert one["parent"] in plan.components, one["urn"]


def test_dependencies_name_resources_of_the_plan(plan: Plan) -> None:
    known = {one["urn"] for one in plan.resources} | plan.components.keys()
    for one in plan.resources:
        assert set(one["dependencies"]) <= known, one["urn"]
    encryption = next(one for one in plan.resources if "artifacts-store-encryption" in one["name"])
    names = {urn.rpartition("::")[2] for urn in encryption["dependencies"]}
    assert {"dev-artifacts-store-bucket", "dev-artifacts-key"} <= names


def test_another_profile_is_looked_at_without_touching_the_file() -> None:
    with offline("dev", "smb") as stack:
        assert "falaj:profile: smb" in stack.stack_file.read_text()
    with pytest.raises(OfflineError, match=r"falaj:profile: .*'smb' or 'enterprise'"):
        look("dev", "tiny")


def test_the_command_writes_the_page_and_prints_the_plan(tmp_path: Path) -> None:
    file = tmp_path / "plan.html"
    done = CliRunner().invoke(
        app, ["--offline", "-s", "dev", "--profile", "enterprise", "--json", "--html", str(file)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {"urn", "type", "inputs", "provider", "parent", "dependencies"} <= found[0].keys()
    text = file.read_text()
    assert f"<strong>{len(found)}</strong>resources" in text
    assert "Image registry" in text


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "plan.html"
    done = CliRunner().invoke(app, ["--offline", "-s", "dev", "--html", str(nowhere)])
    assert "the page cannot be written" in str(done.exception)


def test_the_command_asks_for_an_environment() -> None:
    done = CliRunner().invoke(app, ["--offline"])
    assert done.exit_code == 2
    assert "--stack" in done.output
