"""The environment `dev` on the real engine, from preview to destroy, with stand-in providers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from components.stateful import unkept
from stacks.environment import ROOT
from stacks.offline import Offline, OfflineError, offline
from stacks.plan import UNKNOWN, planned

if TYPE_CHECKING:
    from conftest import Deployed

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def plan(plan_of: Callable[[str], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return plan_of("dev")


@pytest.fixture
def editable() -> Iterator[Callable[[Callable[[dict[str, Any]], None]], Offline]]:
    """`dev` with its settings changed by the function given."""
    with offline("dev") as stack:

        def edit(change: Callable[[dict[str, Any]], None]) -> Offline:
            content = yaml.safe_load(stack.stack_file.read_text())
            change(content["config"])
            stack.stack_file.write_text(yaml.safe_dump(content))
            return stack

        yield edit


def test_a_plan_marks_what_is_not_known_before_up(plan: list[dict[str, Any]]) -> None:
    encryption = next(one for one in plan if one["name"] == "dev-artifacts-store-encryption")
    (rule,) = encryption["inputs"]["rules"]
    default = rule["applyServerSideEncryptionByDefault"]

    assert default == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": UNKNOWN}


def test_every_planned_resource_has_an_explicit_provider_in_the_region(
    plan: list[dict[str, Any]],
) -> None:
    made = [one for one in plan if not one["type"].startswith("pulumi:providers:")]

    assert len(made) > 20
    assert {one["provider"].rpartition("::")[2] for one in made} == {"dev-provider-aws"}
    assert {one["region"] for one in plan} == {"me-central-1"}


def test_a_plan_of_an_unknown_environment_names_those_that_exist() -> None:
    with pytest.raises(OfflineError, match=r"no environment prodd.*environments: .*dev"):
        planned("prodd")


def test_up_keeps_the_policies(dev: Deployed) -> None:
    assert "falaj@v" in dev.up.stdout
    assert "[mandatory]" not in dev.up.stdout


def test_no_resource_of_dev_uses_a_default_provider(dev: Deployed) -> None:
    resources = json.loads(dev.state)["deployment"]["resources"]
    providers = {one.get("provider") for one in resources if one.get("custom")} - {None}
    names = {provider.split("::")[-2] for provider in providers}

    assert names == {"dev-provider-aws", "dev-kubernetes"}


def test_the_kubeconfig_is_nowhere_in_plain(dev: Deployed) -> None:
    assert dev.shown_outputs["kubeconfig"].strip() == "apiVersion: v1"
    assert "apiVersion: v1" not in dev.state
    assert "apiVersion: v1" not in dev.stack.stack_file.read_text()


def test_a_second_up_and_a_refresh_change_nothing(dev: Deployed, succeed: Succeed) -> None:
    unchanged = ("--yes", "--skip-preview", "--expect-no-changes")
    succeed(dev.stack.pulumi("up", *unchanged))
    succeed(dev.stack.pulumi("refresh", *unchanged))


def test_destroy_leaves_nothing(
    editable: Callable[[Callable[[dict[str, Any]], None]], Offline], succeed: Succeed
) -> None:
    stack = editable(lambda config: None)
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    succeed(stack.pulumi("destroy", "--yes", "--skip-preview"))

    state = json.loads(succeed(stack.pulumi("stack", "export")).stdout)
    assert not state["deployment"].get("resources")


def test_data_outlives_the_stack_where_it_is_kept(
    editable: Callable[[Callable[[dict[str, Any]], None]], Offline], succeed: Succeed
) -> None:
    stack = editable(lambda config: config["falaj:aws"].update(keep_data=True))
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    state = json.loads(succeed(stack.pulumi("stack", "export")).stdout)
    kept = [one for one in state["deployment"]["resources"] if one.get("protect")]

    stateful = {
        *("aws:s3/bucket:Bucket", "aws:ecr/repository:Repository", "aws:kms/key:Key"),
        "aws:secretsmanager/secret:Secret",
    }
    assert stateful <= {one["type"] for one in kept}
    assert not [
        one for one in unkept(state["deployment"]["resources"]) if one.split()[0] in stateful
    ]
    assert all(one["retainOnDelete"] for one in kept)
    refused = stack.pulumi("destroy", "--yes", "--skip-preview")
    assert refused.returncode != 0
    assert "protect" in refused.stdout + refused.stderr


def test_a_renamed_node_pool_replaces_that_pool_alone(dev: Deployed, succeed: Succeed) -> None:
    original = dev.stack.stack_file.read_text()
    content = yaml.safe_load(original)
    pools = content["config"]["falaj:aws"]["node_pools"]
    pools["large"] = pools.pop("general")
    dev.stack.stack_file.write_text(yaml.safe_dump(content))
    try:
        preview = json.loads(succeed(dev.stack.pulumi("preview", "--json")).stdout)
    finally:
        dev.stack.stack_file.write_text(original)
    changed = {
        step["urn"].rpartition("::")[2]
        for step in preview["steps"]
        if step["op"] not in ("same", "read") and "::pulumi:pulumi:Stack::" not in step["urn"]
    }

    assert changed
    assert all(name.startswith(("dev-pool-general", "dev-pool-large")) for name in changed)


def test_a_region_outside_the_declaration_fails_the_preview_naming_the_setting(
    editable: Callable[[Callable[[dict[str, Any]], None]], Offline],
) -> None:
    stack = editable(lambda config: config["falaj:aws"].update(region="eu-west-1"))
    preview = stack.pulumi("preview")

    assert preview.returncode != 0
    message = preview.stdout + preview.stderr
    assert "falaj:aws.region: is 'eu-west-1'" in message
    assert "me-central-1" in message
    assert "Traceback" not in message


def test_teams_wait_for_a_kubeconfig_and_the_preview_says_so(
    editable: Callable[[Callable[[dict[str, Any]], None]], Offline], succeed: Succeed
) -> None:
    preview = succeed(editable(lambda config: None).pulumi("preview"))

    assert "set the secret falaj:kubeconfig" in preview.stdout + preview.stderr
    assert "Namespace" not in preview.stdout


def test_a_plan_of_a_broken_environment_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (ROOT / "stacks" / "config" / "Pulumi.dev.yaml").read_text()
    broken = settings.replace("region: me-central-1", "region: eu-west-1")
    (tmp_path / "Pulumi.dev.yaml").write_text(broken)
    monkeypatch.setattr("stacks.offline.CONFIG_DIRECTORY", tmp_path)

    with pytest.raises(OfflineError, match=r"falaj:aws\.region: is 'eu-west-1'") as caught:
        planned("dev")
    assert "Traceback" not in str(caught.value)
