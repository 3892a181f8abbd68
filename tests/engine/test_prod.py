"""`prod` as it stands in the repository, planned on the real engine: who gets in, by what key."""

from __future__ import annotations

from typing import Any

import pytest

from stacks.plan import Plan, look

ADMINISTRATOR = "AWSReservedSSO_Administrator_0123456789abcdef"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return look("prod")


def of(plan: Plan, kind: str) -> dict[str, dict[str, Any]]:
    """Name → inputs of the resources of a type, such as ``lb/listener:Listener``."""
    return {one["name"]: one["inputs"] for one in plan.resources if one["type"] == f"aws:{kind}"}


def waits(plan: Plan, later: str, earlier: str) -> bool:
    """Whether a resource is made only once another one is there."""
    direct = {one["name"]: one["dependencies"] for one in plan.resources}
    open_, seen = [later], set[str]()
    while open_:
        for urn in direct.get(open_.pop(), ()):
            name = urn.rpartition("::")[2]
            if name not in seen:
                seen.add(name)
                open_.append(name)
    return earlier in seen


def test_clients_come_in_by_an_internal_load_balancer_with_names_in_the_private_zone(
    plan: Plan,
) -> None:
    ((_, balancer),) = of(plan, "lb/loadBalancer:LoadBalancer").items()
    ((_, listener),) = of(plan, "lb/listener:Listener").items()
    ((_, zone),) = of(plan, "route53/zone:Zone").items()
    names = {
        one["name"] for name, one in of(plan, "route53/record:Record").items() if "ingress" in name
    }

    assert (balancer["internal"], len(balancer["subnets"])) == (True, 2)
    assert balancer["enableDeletionProtection"] is True
    assert (listener["port"], listener["protocol"]) == (443, "TCP")
    assert zone["name"] == "prod.falaj.internal"
    assert names == {
        f"{host}.prod.falaj.internal"
        for host in ("serving", "tracking", "monitoring", "orchestration")
    }
    assert waits(plan, "prod-ingress-association", "prod-cluster-cluster")
    assert waits(plan, "prod-ingress-authority", "prod-secrets-key")


def test_pipelines_look_into_the_cluster_and_the_role_that_applies_administers_it(
    plan: Plan,
) -> None:
    entries = of(plan, "eks/accessPolicyAssociation:AccessPolicyAssociation")
    held = {
        name.removeprefix("prod-cluster-access-"): (
            one["policyArn"].rpartition("/")[2],
            one["accessScope"]["type"],
        )
        for name, one in entries.items()
    }
    reads = entries["prod-cluster-access-plan-reads"]

    assert held == {
        "apply-administers": ("AmazonEKSClusterAdminPolicy", "cluster"),
        "plan-reads": ("AmazonEKSViewPolicy", "namespace"),
    }
    assert {"credit", "fraud", "kube-system"} <= set(reads["accessScope"]["namespaces"])
    assert waits(plan, "prod-cluster-access-plan", "prod-delivery-plan-role")


def test_an_administrator_runs_the_bootstrap_and_uses_no_key_of_the_environment(plan: Plan) -> None:
    keys = of(plan, "kms/key:Key")

    assert len(keys) > 5
    for name, key in keys.items():
        assert ADMINISTRATOR not in str(key["policy"]), name


def test_nodes_start_once_the_roles_of_spot_and_scaling_are_there(plan: Plan) -> None:
    linked = [
        name for name in of(plan, "iam/serviceLinkedRole:ServiceLinkedRole") if "roles" in name
    ]

    assert len(linked) == 2
    for role in linked:
        # Karpenter starts with the identity that its association gives it
        for later in ("prod-pool-system-group", "prod-elastic-identity"):
            assert waits(plan, later, role), (later, role)


def test_no_key_is_without_its_policy_for_a_moment(plan: Plan) -> None:
    assert of(plan, "kms/keyPolicy:KeyPolicy") == {}
    assert all("policy" in key for key in of(plan, "kms/key:Key").values())


def test_a_feature_store_comes_once_what_it_stands_on_is_there(plan: Plan) -> None:
    """And, since a destroy goes the other way round, leaves while all of it still is."""
    for earlier in (
        *("prod-operators-external-secrets", "prod-secret-stores-credit", "prod-mesh-strict"),
        *("prod-team-credit-quota", "prod-team-credit-deny-all", "prod-mesh-credit-deny-all"),
        *("prod-database-instance", "prod-cache-replication", "prod-access-credit-data"),
    ):
        assert waits(plan, "prod-features-credit-server", earlier), earlier
    password = "prod-secrets-teams-credit-features-online-password-value"
    assert waits(plan, password, "prod-cache-user-team-credit")
    assert not waits(plan, "prod-secret-stores-credit", "prod-features-credit-server")


def test_no_password_of_a_feature_store_is_in_the_plan(plan: Plan) -> None:
    assert of(plan, "secretsmanager/secretVersion:SecretVersion") == {}
    (user,) = of(plan, "elasticache/user:User").values()
    assert user["authenticationMode"] == {"type": "iam"}
    assert "passwords" not in user
    made = {one["name"] for one in plan.resources if "features" in one["name"]}
    assert "prod-features-credit-secret" in made
    assert not [name for name in made if "fraud" in name], "it asked for none"
    calls = of(plan, "lambda/invocation:Invocation")
    assert all("CREATE_ONLY" in one["lifecycleScope"] for one in calls.values())
