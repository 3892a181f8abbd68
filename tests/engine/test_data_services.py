"""Database, cache and stream on the real engine, in a network that is given to them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

from unwatched import UNWATCHED

from stacks.offline import Offline

PROGRAM = """
from components.aws.place import AwsPlace, AwsPlaceArgs
from components.aws.placement import Placement
from components.aws.settings.aws import AwsSettings
from components.aws.settings.cache import CacheSettings
from components.aws.settings.cluster import ExistingCluster
from components.aws.settings.database import DatabaseSettings
from components.aws.settings.stream import StreamSettings
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.settings import TeamQuota

AwsPlace("test", AwsPlaceArgs(
    environment="test", owner="ml-platform", residency_mode="in-country",
    aws=AwsSettings(
        account_id="123456789012",
        keep_data=False,
        existing_cluster=ExistingCluster(
            name="falaj-test", subnet_ids={"me-central-1a": "subnet-0a"}
        ),
        database=DatabaseSettings(backup_days=BACKUP_DAYS),
        cache=CacheSettings(kind="elasticache"),
        stream=StreamSettings(kind="msk"),
        **OVERSIGHT,
    ),
    layer=LayerSettings(teams={"credit": TeamQuota(), "fraud": TeamQuota()}),
    placement=Placement(
        vpc_id="vpc-1", subnet_ids=["subnet-a", "subnet-b"], client_security_group_id="sg-1",
    ),
))
""".replace("OVERSIGHT", repr(UNWATCHED))
Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]


def test_they_are_made_changed_in_place_and_gone_with_their_stack(
    project: Callable[[str], Offline], succeed: Succeed
) -> None:
    stack = project(PROGRAM.replace("BACKUP_DAYS", "35"))
    succeed(stack.pulumi("preview"))
    succeed(stack.pulumi("up", "--yes", "--skip-preview"))
    unchanged = ("--yes", "--skip-preview", "--expect-no-changes")
    succeed(stack.pulumi("up", *unchanged))
    succeed(stack.pulumi("refresh", *unchanged))

    state = succeed(stack.pulumi("stack", "export")).stdout
    made = {one["type"] for one in json.loads(state)["deployment"]["resources"]}
    assert {
        "aws:rds/instance:Instance",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:msk/cluster:Cluster",
        "aws:s3/accessPoint:AccessPoint",
    } <= made

    (stack.directory / "__main__.py").write_text(PROGRAM.replace("BACKUP_DAYS", "14"))
    preview = json.loads(succeed(stack.pulumi("preview", "--json")).stdout)
    touched = {
        step["urn"].rpartition("::")[2]: step["op"]
        for step in preview["steps"]
        if step["op"] != "same"
    }
    assert touched == {"test-database-instance": "update"}

    succeed(stack.pulumi("destroy", "--yes", "--skip-preview"))
    left = json.loads(succeed(stack.pulumi("stack", "export")).stdout)["deployment"]
    assert not left.get("resources")
