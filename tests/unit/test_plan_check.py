"""Which plans are stopped, what is said about them, and which approvals count."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from components.stateful import STATEFUL, unkept
from stacks.plan import app
from stacks.plan_check import (
    UNKNOWN,
    Approval,
    PlanError,
    draft,
    judge,
    losses,
    read_approvals,
    read_plan,
)

TODAY = datetime.date(2026, 5, 4)
DATABASE = "aws:rds/instance:Instance"


def urn(kind: str = DATABASE, name: str = "tracking") -> str:
    return f"urn:pulumi:prod::falaj::falaj:Platform$falaj:aws:Database${kind}::{name}"


def step(op: str, kind: str = DATABASE, name: str = "tracking", **more: Any) -> dict[str, Any]:
    return {"op": op, "urn": urn(kind, name), **more}


def report(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"steps": list(steps), "changeSummary": {}, **more}


def replaced(name: str, old: Any, new: Any, **more: Any) -> dict[str, Any]:
    return step(
        "replace",
        replaceReasons=[name],
        oldState={"inputs": {name: old}},
        newState={"inputs": {name: new}, **more},
    )


def approval(**changes: Any) -> Approval:
    content = {
        "urn": urn(),
        "action": "replace",
        "reason": "moves to the encrypted instance",
        "approver": "Aisha",
        "expires": TODAY,
    }
    return Approval.model_validate(content | changes)


BASELINE = report(step("same"), step("create", name="second"), step("update"), step("refresh"))
REPLACEMENT = report(replaced("kmsKeyId", "key-1", "key-2"))


def test_a_plan_that_loses_nothing_passes() -> None:
    assert not judge(BASELINE, (), TODAY).stopped


@pytest.mark.parametrize("kind", sorted(STATEFUL))
@pytest.mark.parametrize("op", ["delete", "replace", "create-replacement", "delete-replaced"])
def test_each_stateful_type_stops_a_plan_that_loses_it(kind: str, op: str) -> None:
    (loss,) = losses(report(step(op, kind)))
    assert loss.type == kind
    assert loss.action == ("replace" if "replace" in op else "delete")
    assert judge(report(step(op, kind)), (), TODAY).stopped


def test_the_types_named_by_every_risk_officer_are_in_the_table() -> None:
    assert {
        *("aws:ec2/vpc:Vpc", "aws:ec2/subnet:Subnet", "aws:eks/cluster:Cluster"),
        *("aws:rds/instance:Instance", "aws:s3/bucket:Bucket", "aws:kms/key:Key"),
        *("aws:backup/vault:Vault", "aws:ecr/repository:Repository"),
        *("aws:secretsmanager/secret:Secret", "aws:cloudtrail/trail:Trail"),
    } <= STATEFUL.keys()


def test_every_type_of_the_table_is_one_that_the_sdks_know() -> None:
    from aws_types import Aws
    from kubernetes_types import Kubernetes

    catalogues = {"aws": Aws(), "kubernetes": Kubernetes()}
    unknown = [kind for kind in STATEFUL if not catalogues[kind.partition(":")[0]].classes(kind)]
    assert unknown == []


def test_an_operation_that_nobody_knows_yet_stops_the_plan() -> None:
    assert judge(report(step("melt")), (), TODAY).stopped


def test_what_holds_nothing_may_be_replaced() -> None:
    assert not judge(report(step("replace", "aws:iam/role:Role")), (), TODAY).stopped


def test_a_replacement_told_in_several_steps_is_one_loss_with_its_reasons() -> None:
    first = replaced("kmsKeyId", "key-1", "key-2")
    found = losses(report(first, step("create-replacement"), step("delete-replaced")))
    assert [one.because for one in found] == [
        ('kmsKeyId changes from "key-1" to "key-2", which cannot be done in place.',)
    ]


def test_the_property_that_forces_it_is_named_down_to_the_element() -> None:
    one = step(
        "replace",
        replaceReasons=["vpcConfig"],
        detailedDiff={
            "vpcConfig.subnetIds[1]": {"kind": "update-replace"},
            "tags": {"kind": "update"},
        },
        oldState={"inputs": {"vpcConfig": {"subnetIds": ["a", "b"]}}},
        newState={"inputs": {"vpcConfig": {"subnetIds": ["a", "c"]}}},
    )
    (loss,) = losses(report(one))
    assert loss.because == (
        'vpcConfig.subnetIds[1] changes from "b" to "c", which cannot be done in place.',
    )


def test_a_value_that_is_not_known_yet_is_said_to_be_so() -> None:
    (loss,) = losses(report(replaced("kmsKeyId", "key-1", UNKNOWN)))
    assert 'from "key-1" to what is known after up' in loss.because[0]


def test_what_is_replaced_since_something_else_is_says_which() -> None:
    network = urn("aws:ec2/vpc:Vpc", "network")
    subnet = replaced("vpcId", "vpc-1", UNKNOWN, propertyDependencies={"vpcId": [network]})
    (_, loss) = losses(report(step("replace", "aws:ec2/vpc:Vpc", "network"), subnet))
    assert loss.because == ("vpcId comes from network, which is replaced itself.",)


def test_a_long_value_is_cut() -> None:
    (loss,) = losses(report(replaced("policy", "x" * 500, "y" * 500)))
    assert len(loss.because[0]) < 250


def test_what_looks_renamed_is_offered_an_alias() -> None:
    (loss,) = losses(report(step("delete"), step("create", name="tracking-database")))
    assert loss.because[0] == "It is no longer in the program."
    assert "tracking-database of the same type is new: if it is the same thing" in loss.because[1]
    assert loss.because[1].endswith(f"give that the alias {urn()}")


def test_what_stays_in_the_cloud_without_a_stack_is_told() -> None:
    (loss,) = losses(report(step("delete", oldState={"retainOnDelete": True})))
    assert loss.retained


def test_a_preview_that_failed_stops_and_says_why() -> None:
    errors = [
        {"severity": "warning", "message": "warning: slow"},
        {"severity": "error", "message": "error: unable to replace resource\n"},
        {"severity": "error", "message": "error: preview failed\n"},
    ]
    verdict = judge(report(step("same"), diagnostics=errors), (), TODAY)
    assert verdict.problems == ("the preview failed: unable to replace resource",)
    assert judge(report(diagnostics=errors[2:]), (), TODAY).stopped


# --- approvals ------------------------------------------------------------------------------------


def test_an_approved_loss_is_let_through() -> None:
    verdict = judge(REPLACEMENT, [approval()], TODAY)
    assert not verdict.stopped
    assert [given.approver for _, given in verdict.approved] == ["Aisha"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"expires": TODAY - datetime.timedelta(days=1)}, "expired on 2026-05-03"),
        ({"expires": TODAY + datetime.timedelta(days=32)}, "more than 31 days from now"),
        ({"urn": urn(name="other")}, "this plan does not replace it; remove it"),
        ({"action": "delete"}, "this plan does not delete it; remove it"),
    ],
)
def test_an_approval_of_something_else_or_another_time_is_an_error(
    changes: dict[str, Any], problem: str
) -> None:
    verdict = judge(REPLACEMENT, [approval(**changes)], TODAY)
    assert [one.action for one in verdict.stops] == ["replace"]
    assert problem in verdict.problems[0]


def test_an_approval_that_stands_twice_is_an_error() -> None:
    assert "stands twice" in judge(REPLACEMENT, [approval()] * 2, TODAY).problems[0]


def test_one_approval_lets_nothing_else_through() -> None:
    both = report(*REPLACEMENT["steps"], step("delete", name="features"))
    assert [one.name for one in judge(both, [approval()], TODAY).stops] == ["features"]


def test_a_draft_cannot_be_used_before_somebody_fills_it_in(tmp_path: Path) -> None:
    path = tmp_path / "approvals.yaml"
    content = yaml.safe_load(draft(losses(REPLACEMENT), TODAY))
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(PlanError, match=r"approvals\.0\.reason") as caught:
        read_approvals(path)
    assert "approvals.0.approver" in str(caught.value)

    content["approvals"][0] |= {"reason": "moves to another key", "approver": "Aisha"}
    path.write_text(yaml.safe_dump(content))
    assert not judge(REPLACEMENT, read_approvals(path), TODAY).stopped


@pytest.mark.parametrize("word", ["TODO", "tbd", "...", "why?"])
def test_a_placeholder_is_no_reason(word: str) -> None:
    with pytest.raises(ValueError, match="reason"):
        approval(reason=word)


@pytest.mark.parametrize("text", ["", "approvals: []", "- urn: x", "approvals: {", "\udcff"])
def test_a_file_that_holds_no_approvals_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "approvals.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(PlanError, match=r"approvals\.yaml"):
        read_approvals(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"steps": 1}', '{"steps": [{"op": 1}]}', "no"])
def test_what_is_no_plan_never_passes(text: str) -> None:
    with pytest.raises(PlanError, match="this is no plan"):
        judge(read_plan(text), (), TODAY)


# --- the command ----------------------------------------------------------------------------------


def test_the_command_reads_standard_input_and_exits_with_1_on_a_stop() -> None:
    stopped = CliRunner().invoke(app, ["check", "-"], input=json.dumps(REPLACEMENT))
    assert stopped.exit_code == 1
    for text in (
        "STOP  replace tracking",
        "kmsKeyId changes",
        "its automatic backups",
        "approver:",
    ):
        assert text in stopped.output
    passed = CliRunner().invoke(app, ["check", "-"], input=json.dumps(BASELINE))
    assert passed.exit_code == 0
    assert "nothing that cannot be made again" in passed.output


def test_the_command_tells_all_of_it_as_json(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(REPLACEMENT))
    given = tmp_path / "approvals.yaml"
    today = datetime.datetime.now(datetime.UTC).date()
    content = approval(expires=today + datetime.timedelta(days=1)).model_dump(mode="json")
    given.write_text(yaml.safe_dump({"approvals": [content]}))
    done = CliRunner().invoke(app, ["check", str(plan), "--approve", str(given), "--json"])

    assert done.exit_code == 0
    found = json.loads(done.stdout)
    assert (found["stopped"], found["stops"], found["problems"]) == (False, [], [])
    assert found["approved"][0]["approval"]["approver"] == "Aisha"


# --- what outlives its stack ----------------------------------------------------------------------


def test_what_is_not_protected_or_retained_is_named() -> None:
    kept = {"type": DATABASE, "urn": urn(), "protect": True, "retainOnDelete": True}
    assert unkept([kept, {"type": "aws:iam/role:Role", "urn": urn("aws:iam/role:Role")}]) == []
    assert unkept([kept | {"protect": False}]) == [f"{DATABASE} tracking: protect"]
    assert unkept([{"type": DATABASE, "urn": urn()}]) == [
        f"{DATABASE} tracking: protect and retainOnDelete"
    ]


def test_trap_61_a_harmless_edit_that_replaces_the_cluster_is_stopped_and_explained() -> None:
    """Naming the authentication mode flips the field of the creator, which forces a new cluster."""
    old = {"bootstrapClusterCreatorAdminPermissions": True}
    new = {"authenticationMode": "API"}
    edit = step(
        "replace",
        "aws:eks/cluster:Cluster",
        replaceReasons=["accessConfig"],
        detailedDiff={
            "accessConfig.bootstrapClusterCreatorAdminPermissions": {"kind": "delete-replace"},
            "accessConfig.authenticationMode": {"kind": "add"},
        },
        oldState={"inputs": {"accessConfig": old}},
        newState={"inputs": {"accessConfig": new}},
    )
    (loss,) = judge(report(edit), (), TODAY).stops
    (reason,) = loss.because
    assert reason.startswith(
        "accessConfig.bootstrapClusterCreatorAdminPermissions changes from true to nothing"
    )
    assert "bootstrapClusterCreatorAdminPermissions" in loss.instead
