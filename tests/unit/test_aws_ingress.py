"""The way in, on mocks: who reaches the load balancer, where it sends them, and by which name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, decide, statements
from pydantic import ValidationError

from components.aws.ingress import NAMESPACE, SERVICE_ACCOUNT, Ingress, IngressArgs
from components.aws.scope import Scope
from components.aws.settings.ingress import IngressSettings
from components.aws.settings.secrets import secret_folders

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")


def ingress_of(
    record: Record, *, keep: bool = True, zone_id: str | None = "Z1", **settings: Any
) -> Recording:
    args = IngressArgs(
        scope=SCOPE,
        settings=IngressSettings.model_validate(settings),
        vpc_id="vpc-1",
        subnet_ids=["subnet-1", "subnet-2"],
        zone_id=zone_id,
        domain="prod.falaj.internal",
        cluster_name="falaj-prod",
        node_security_group_id="sg-nodes",
        secrets_key_arn=SCOPE.arn("kms", "key/secrets"),
        keep=keep,
    )
    return record(lambda: Ingress("ingress", args))


@pytest.fixture
def ingress(record: Record) -> Recording:
    return ingress_of(record)


def test_the_load_balancer_is_internal_in_the_private_subnets(ingress: Recording) -> None:
    balancer = ingress.the("LoadBalancer").inputs

    assert balancer["internal"] is True
    assert balancer["subnets"] == ["subnet-1", "subnet-2"]
    assert balancer["securityGroups"] == ["id:ingress-group"]
    assert len(balancer["name"]) <= 32


def test_tls_passes_through_to_the_gateways_pods(ingress: Recording) -> None:
    listener, target = ingress.the("Listener").inputs, ingress.the("TargetGroup").inputs

    assert (listener["port"], listener["protocol"]) == (443, "TCP")
    assert listener["defaultActions"] == [
        {"type": "forward", "targetGroupArn": "arn:ingress-gateway"}
    ]
    assert (target["targetType"], target["port"]) == ("ip", 8443)


def test_clients_reach_it_from_their_networks_and_it_reaches_the_gateways_port_alone(
    record: Record,
) -> None:
    made = ingress_of(record, client_cidrs=["10.20.0.0/16", "10.30.0.0/16"])
    rules = {one.name: one.inputs for one in made.of("SecurityGroupIngressRule")}
    clients = [rule for rule in rules.values() if rule["securityGroupId"] == "id:ingress-group"]
    (nodes,) = [rule for rule in rules.values() if rule["securityGroupId"] == "sg-nodes"]
    out = made.the("SecurityGroupEgressRule").inputs

    assert {rule["cidrIpv4"] for rule in clients} == {"10.20.0.0/16", "10.30.0.0/16"}
    assert {(rule["fromPort"], rule["toPort"]) for rule in clients} == {(443, 443)}
    assert nodes["referencedSecurityGroupId"] == "id:ingress-group"
    assert (nodes["fromPort"], nodes["toPort"]) == (out["fromPort"], out["toPort"]) == (8443, 8443)
    assert out["referencedSecurityGroupId"] == "sg-nodes"


def test_each_host_is_a_name_of_the_load_balancer_in_the_private_zone(record: Record) -> None:
    made = ingress_of(record, hosts=["serving", "tracking"])

    assert {one.inputs["name"] for one in made.of("Record")} == {
        "serving.prod.falaj.internal",
        "tracking.prod.falaj.internal",
    }
    assert {one.inputs["zoneId"] for one in made.of("Record")} == {"Z1"}


def test_the_authoritys_secret_is_where_cert_manager_reads_and_nobody_else_does(
    ingress: Recording,
) -> None:
    secret, policy = ingress.the("Secret").inputs, ingress.the("SecretPolicy").inputs
    folder = SCOPE.secret(secret_folders([])["certificates"])

    assert secret["name"] == f"{folder}authority"
    document = policy["policy"]
    for role, said in (("external-secrets", "no refusal"), ("apply", "refused"), ("x", "refused")):
        asked = Request(
            action="secretsmanager:GetSecretValue",
            resource="arn:secret",
            principal=SCOPE.role_arn(role),
        )
        denied = decide(asked, identity=[EVERYTHING], resource=[document]) != "allowed"
        assert denied == (said == "refused"), role
    # whoever keeps the authority fills it
    (refusal,) = statements(document)
    assert refusal["Action"] == ["secretsmanager:GetSecretValue"]


EVERYTHING = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Sid": "All", "Effect": "Allow", "Action": ["*"], "Resource": ["*"]}],
    }
)


def test_the_controller_looks_around_and_registers_in_one_target_group(ingress: Recording) -> None:
    allowed = statements(ingress.the("RolePolicy").inputs["policy"])
    look, register = allowed

    assert {action.partition(":")[2][:8] for action in look["Action"]} == {"Describe"}
    assert register["Resource"] == ["arn:ingress-gateway"]
    association = ingress.the("PodIdentityAssociation").inputs
    assert association["roleArn"] == "arn:ingress-role"
    assert (association["namespace"], association["serviceAccount"]) == (
        NAMESPACE,
        SERVICE_ACCOUNT,
    )


def test_where_somebody_else_writes_names_none_is_written(record: Record) -> None:
    made = ingress_of(record, zone_id=None)

    assert made.of("Record") == []
    assert len(made.of("LoadBalancer")) == 1


EXISTING = {
    "target_group_arn": SCOPE.arn("elasticloadbalancing", "targetgroup/gate/0a1b"),
    "security_group_id": "sg-0a1b2c3d",
    "domain": "ml.bank.ae",
}


def test_a_load_balancer_of_somebody_else_gets_the_gateways_pods_and_nothing_is_made_twice(
    record: Record,
) -> None:
    made = ingress_of(record, mode="existing", reason="the network team's", existing=EXISTING)
    register = statements(made.the("RolePolicy").inputs["policy"])[1]
    rule = made.the("SecurityGroupIngressRule").inputs

    assert made.of("LoadBalancer") + made.of("TargetGroup") + made.of("Record") == []
    assert register["Resource"] == [EXISTING["target_group_arn"]]
    assert rule["securityGroupId"] == "sg-nodes"
    assert rule["referencedSecurityGroupId"] == EXISTING["security_group_id"]
    assert (rule["fromPort"], rule["toPort"]) == (8443, 8443)
    assert len(made.of("PodIdentityAssociation")) == len(made.of("Secret")) == 1


@pytest.mark.parametrize("keep", [True, False])
def test_what_stands_in_the_way_of_destroying_is_there_only_where_data_is_kept(
    record: Record, *, keep: bool
) -> None:
    made = ingress_of(record, keep=keep)

    assert made.the("LoadBalancer").inputs["enableDeletionProtection"] is keep
    assert made.the("Secret").inputs["recoveryWindowInDays"] == (30 if keep else 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"client_cidrs": ["0.0.0.0/0"]}, "0.0.0.0/0 is no private network"),
        ({"client_cidrs": ["10.0.0.0/8", "10.1.0.0/16"]}, "10.0.0.0/8 and 10.1.0.0/16 overlap"),
        ({"client_cidrs": []}, "nobody could reach"),
        ({"client_cidrs": ["10.1.2.3/8"]}, "not a valid IPv4 network"),
        ({"hosts": ["serving", "serving"]}, "names one twice"),
        ({"hosts": ["a.b"]}, "pattern"),
        ({"gateway_port": 443}, "greater than or equal to 1024"),
        ({"mode": "existing"}, "without a reason"),
        (
            {"mode": "existing", "reason": "the network team's"},
            "existing: goes with mode existing .* the load balancer is missing",
        ),
        ({"existing": EXISTING}, "mode is own and the load balancer is named"),
        (
            {
                "mode": "existing",
                "reason": "the network team's",
                "existing": EXISTING | {"target_group_arn": "arn:aws:s3:::x"},
            },
            "target_group_arn",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IngressSettings.model_validate(settings)
