"""Teams, admission and priorities as the program registers them, and the settings behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from components.kubernetes import owner
from components.kubernetes.admission import ACCOUNTS_OF_ALL, Admission, AdmissionArgs, checks
from components.kubernetes.flows import Addresses
from components.kubernetes.priorities import FOR_TEAMS, PRIORITIES, Priorities
from components.kubernetes.roles import ROLES, RULES
from components.kubernetes.settings import AdmissionSettings, TeamGroups, TeamQuota
from components.kubernetes.tenancy import (
    SERVICE_ACCOUNT,
    Namespace,
    NamespaceArgs,
    Team,
    TeamArgs,
)
from policies.guards.admission import Check

Record = Callable[[Callable[[], object]], Any]

ADDRESSES = Addresses(services=["10.64.0.0/16"], api_server=["10.64.0.0/16", "172.20.0.0/16"])


def a_team(**groups: tuple[str, ...]) -> Callable[[], object]:
    """Builds the team credit."""
    args = TeamArgs(
        team="credit",
        quota=TeamQuota(groups=TeamGroups(**groups)),
        addresses=ADDRESSES,
    )
    return lambda: Team("team", args)


def test_all_of_a_team_is_in_its_namespace(record: Record) -> None:
    made = record(a_team(viewer=("everyone",)))
    inside = [one for one in made.resources if "metadata" in one.inputs]
    (space,) = made.of("Namespace")
    assert len(inside) > 10
    for one in inside:
        if one is not space:
            assert one.inputs["metadata"]["namespace"] == "credit", one.name


def test_its_namespace_says_which_stack_made_it_and_keeps_its_reason(record: Record) -> None:
    def made(**change: Any) -> Any:
        args = NamespaceArgs(namespace="a", part="serving", quota=TeamQuota(), **change)
        found = record(lambda: Namespace("a", args)).the("Namespace", "a-namespace")
        return found.inputs["metadata"]["annotations"]

    assert made() == {owner.ANNOTATION: owner.mine()}
    assert made(level="baseline", reason="why") == {
        owner.ANNOTATION: owner.mine(),
        "falaj/pod-security-exception": "why",
    }


def test_a_team_begins_with_all_denied(record: Record) -> None:
    (deny,) = [one for one in record(a_team()).of("NetworkPolicy") if "deny-all" in one.name]
    assert deny.inputs["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_no_account_of_a_team_hands_its_token_to_a_pod(record: Record) -> None:
    accounts = record(a_team()).of("ServiceAccount")
    assert {one.inputs["metadata"]["name"] for one in accounts} == {"default", "workload"}
    assert {one.inputs["automountServiceAccountToken"] for one in accounts} == {False}


def test_a_role_goes_to_the_groups_that_have_it_and_to_nobody_else(record: Record) -> None:
    made = record(a_team(viewer=("everyone", "auditors"), operator=("on-call",)))
    assert {one.inputs["metadata"]["name"] for one in made.of("Role")} == {
        f"falaj-{role}" for role in ROLES
    }
    given = {
        one.inputs["roleRef"]["name"]: [subject["name"] for subject in one.inputs["subjects"]]
        for one in made.of("RoleBinding")
    }
    assert given == {"falaj-viewer": ["everyone", "auditors"], "falaj-operator": ["on-call"]}


def test_limits_leave_out_what_would_become_every_pods_default(record: Record) -> None:
    (limits,) = record(a_team()).of("LimitRange")
    (container,) = limits.inputs["spec"]["limits"]
    assert "max" not in container
    assert "nvidia.com/gpu" not in str(container)


def test_a_namespace_without_restriction_says_why(record: Record) -> None:
    args = NamespaceArgs(
        namespace="logging",
        part="logging",
        quota=TeamQuota(),
        level="privileged",
        reason="reads the log files of the node",
    )
    made = record(lambda: Namespace("logging", args)).the("Namespace", "logging-namespace")
    metadata = made.inputs["metadata"]
    assert metadata["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert metadata["labels"]["falaj/tenancy"] == "platform"
    assert metadata["annotations"]["falaj/pod-security-exception"] == args.reason


@pytest.mark.parametrize("wrong", [{"level": "privileged"}, {"reason": "because it was asked for"}])
def test_an_exception_and_its_reason_come_together(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a reason is given for every level but restricted"):
        NamespaceArgs(namespace="one", part="logging", quota=TeamQuota(), **wrong)


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reads_secrets_or_changes_rights(role: str) -> None:
    for rule in RULES[role]:  # type: ignore[index]
        assert "*" not in {value for values in rule.values() for value in values}
        assert not {"secrets", "pods/exec", "serviceaccounts/token"} & set(rule["resources"])
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]


def test_who_changes_a_service_does_not_approve_its_releases() -> None:
    with pytest.raises(ValidationError, match="approver: risk is also operator"):
        TeamGroups(approver=("risk",), operator=("risk",))


@pytest.mark.parametrize("group", ["system:masters", "two words", ""])
def test_a_group_is_one_of_the_identity_provider(group: str) -> None:
    with pytest.raises(ValidationError):
        TeamGroups(viewer=(group,))


@pytest.mark.parametrize("registry", ["registry.ae.example", "https://registry.ae.example/", "*/"])
def test_a_registry_ends_where_its_name_does(registry: str) -> None:
    with pytest.raises(ValidationError, match="registries"):
        AdmissionSettings(registries=(registry,))


def test_without_any_registry_nothing_could_come_in() -> None:
    with pytest.raises(ValueError, match=r"admission\.registries: is empty"):
        AdmissionArgs(settings=AdmissionSettings())


def test_every_policy_is_in_force_in_every_namespace_but_those_with_a_reason(
    record: Record,
) -> None:
    args = AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.example")
    made = record(lambda: Admission("admission", args))
    policies = made.of("ValidatingAdmissionPolicy")
    bindings = {
        one.inputs["spec"]["policyName"]: one.inputs["spec"]
        for one in made.of("ValidatingAdmissionPolicyBinding")
    }
    assert set(bindings) == {one.inputs["metadata"]["name"] for one in policies}
    for name, spec in bindings.items():
        assert "Deny" in spec["validationActions"]
        chosen = spec["matchResources"]["namespaceSelector"]
        (exempt,) = chosen["matchExpressions"]
        assert exempt["values"] == ["kube-system"]
        of_teams = ("falaj-priority", "falaj-team-nodes", "falaj-accounts")
        assert ("matchLabels" in chosen) == (name in of_teams)
    for one in policies:
        assert one.inputs["spec"]["failurePolicy"] == "Fail"


def asked(**settings: Any) -> dict[str, Check]:
    """What is asked of pods under `settings`."""
    args = AdmissionArgs(settings=AdmissionSettings(**settings), registry="registry.example")
    return checks(args, ["registry.example"])


def test_pods_of_a_team_run_as_its_own_account_unless_somebody_may_more() -> None:
    assert set(ACCOUNTS_OF_ALL) == {"", "default", SERVICE_ACCOUNT}
    (noun,) = (name for name, one in asked().items() if one.also)
    assert noun == "accounts"


def test_digests_are_asked_for_where_the_settings_say_so() -> None:
    assert "digests" not in asked()
    assert "digests" in asked(digests=True)


def test_a_registry_given_without_its_slash_lets_no_lookalike_in() -> None:
    assert '"registry.example/"' in asked()["images"].holds


def test_a_batch_job_pushes_nobody_out_and_no_team_is_before_the_platform(
    record: Record,
) -> None:
    made = {one.inputs["metadata"]["name"]: one for one in record(_priorities).of("PriorityClass")}
    assert made["falaj-batch"].inputs["preemptionPolicy"] == "Never"
    first = max(made, key=lambda name: made[name].inputs["value"])
    assert first == "falaj-platform"
    assert first not in FOR_TEAMS
    assert set(made) == set(PRIORITIES)


def _priorities() -> object:
    return Priorities("priorities")
