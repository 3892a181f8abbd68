"""Trail, backups, log shipping and the way in on the real engine, with stand-in providers.

A program of its own, so that it shows what these parts ask of others and nothing else.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stacks.offline import Offline

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
Project = Callable[[str], Offline]

PROGRAM = """
import pulumi
import pulumi_aws as aws

from components.aws.ingress import Ingress, IngressArgs
from components.aws.log_shipping import SiemNetwork
from components.aws.oversight import OversightArgs, OversightSettings, make_oversight
from components.aws.scope import Scope
from components.aws.settings.audit import AuditSettings
from components.aws.settings.backup import BackupSettings
from components.aws.settings.ingress import IngressSettings
from components.aws.settings.log_shipping import LogShippingSettings

KEEP = {keep}
ACCOUNT = "123456789012"
here = pulumi.ResourceOptions(
    provider=aws.Provider("here", region="me-central-1", allowed_account_ids=[ACCOUNT])
)
scope = Scope(environment="test", account_id=ACCOUNT, region="me-central-1")
keys = {{
    domain: aws.kms.Key(domain, opts=here).arn
    for domain in ("artifacts", "backups", "cluster", "logs", "secrets")
}}
vpc = aws.ec2.Vpc("vpc", cidr_block="10.64.0.0/16", opts=here)
nodes = aws.ec2.SecurityGroup("nodes", vpc_id=vpc.id, opts=here)
zone = aws.route53.Zone("zone", name="test.falaj.internal", vpcs=[{{"vpc_id": vpc.id}}], opts=here)
make_oversight(
    "test",
    OversightArgs(
        scope=scope,
        settings=OversightSettings(
            audit=AuditSettings.model_validate(
                {{
                    "posture": {{"standards": ["fsbp", "cis", "nist"]}},
                    "threats": {{"runtime": True}},
                    "alarms": {{"webhooks": ["https://duty.bank.ae"]}},
                }}
            ),
            backup=BackupSettings.model_validate(
                {{
                    "lock": {{"mode": "governance" if KEEP else "none"}},
                    "copy_account": {{"account_id": "210987654321", "vault": "copies"}},
                    "second_site": {{
                        "endpoint": "https://s3.site.ae",
                        "bucket": "falaj-test",
                        "location": "Abu Dhabi",
                    }},
                }}
            ),
            logs=LogShippingSettings.model_validate(
                {{
                    "siem": {{
                        "kind": "http",
                        "host": "siem.test.falaj.internal",
                        "service_name": "com.amazonaws.vpce.me-central-1.vpce-svc-0a1b2c3d",
                    }}
                }}
            ),
        ),
        allowed_regions=["me-central-1"],
        key_arns=keys,
        cluster_name="falaj-test",
        cluster_log_group="/aws/eks/falaj-test/cluster",
        keep=KEEP,
        siem_network=SiemNetwork(
            vpc_id=vpc.id,
            subnet_ids=["subnet-1", "subnet-2"],
            node_security_group_id=nodes.id,
            zone_id=zone.zone_id,
        ),
    ),
    here,
)
Ingress(
    "ingress",
    IngressArgs(
        scope=scope,
        settings=IngressSettings(),
        vpc_id=vpc.id,
        subnet_ids=["subnet-1", "subnet-2"],
        zone_id=zone.zone_id,
        domain="test.falaj.internal",
        cluster_name="falaj-test",
        node_security_group_id=nodes.id,
        secrets_key_arn=keys["secrets"],
        keep=KEEP,
    ),
    here,
)
"""


@pytest.fixture
def up(project: Project, succeed: Succeed) -> Iterator[Callable[[bool], Offline]]:
    def make(keep: bool) -> Offline:
        stack = project(PROGRAM.format(keep=keep))
        succeed(stack.pulumi("preview"))
        succeed(stack.pulumi("up", "--yes", "--skip-preview"))
        return stack

    return make


def resources(stack: Offline, succeed: Succeed) -> list[dict[str, Any]]:
    """What the state holds."""
    state = json.loads(succeed(stack.pulumi("stack", "export")).stdout)
    return list(state["deployment"].get("resources", []))


def test_up_settles_and_destroy_leaves_nothing(
    up: Callable[[bool], Offline], succeed: Succeed
) -> None:
    stack = up(False)
    unchanged = ("--yes", "--skip-preview", "--expect-no-changes")
    succeed(stack.pulumi("up", *unchanged))
    succeed(stack.pulumi("refresh", *unchanged))

    made = [one for one in resources(stack, succeed) if one["custom"]]
    assert len(made) > 120
    assert {one["provider"].split("::")[-2] for one in made if one.get("provider")} == {"here"}
    succeed(stack.pulumi("destroy", "--yes", "--skip-preview"))
    assert resources(stack, succeed) == []


def test_where_data_is_kept_the_record_is_protected_and_each_part_waits_for_what_it_tries(
    up: Callable[[bool], Offline], succeed: Succeed
) -> None:
    found = {one["urn"].rpartition("::")[2]: one for one in resources(up(True), succeed)}
    names = {one["urn"]: name for name, one in found.items()}
    kept = {name for name, one in found.items() if one.get("protect") and one.get("retainOnDelete")}

    def needs(name: str) -> set[str]:
        return {names[urn] for urn in found[name].get("dependencies", [])}

    assert kept == {
        *("test-trail-group", "test-trail-trail", "test-backup-vault"),
        *("test-second-site-secret", "ingress-authority"),
    }
    assert "test-trail-write" in needs("test-trail-trail")
    assert "test-recorder-recorder" in needs("test-recorder-channel")
    assert "test-recorder-channel" in needs("test-recorder-running")
    assert "test-recorder-running" in needs("test-recorder-eks-secrets-encrypted")
    assert "test-threats-hub" in needs("test-threats-cis")
    assert {"test-backup-backups", "test-backup-kinds"} <= needs("test-backup-standard-selection")
    assert "test-logs-stream-deliver" in needs("test-logs-firehose")
    assert "test-logs-subscription-send" in needs("test-logs-subscription")
    assert "ingress-register" in needs("ingress-association")
