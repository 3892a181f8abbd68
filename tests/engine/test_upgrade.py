"""The present code over the state of each release: nothing that holds data is made anew.

A fixture is written by `tools/state_fixture.py` when a release is made, and stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.offline import Offline, offline
from tools.state_fixture import STATES

STATEFUL = frozenset(
    {
        "aws:backup/vault:Vault",
        "aws:ec2/subnet:Subnet",
        "aws:ec2/vpc:Vpc",
        "aws:ecr/repository:Repository",
        "aws:eks/cluster:Cluster",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:kms/key:Key",
        "aws:msk/cluster:Cluster",
        "aws:rds/instance:Instance",
        "aws:s3/bucket:Bucket",
        "aws:secretsmanager/secret:Secret",
    }
)
HARMLESS = frozenset({"create", "read", "refresh", "same", "update"})
RELEASES = sorted(STATES.glob("*.json"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.stem)
def released(request: pytest.FixtureRequest) -> Iterator[Offline]:
    """An environment in the state of a release."""
    path: Path = request.param
    environment = path.stem.rpartition(".")[2]
    secret = ("config", "set", "--secret", "falaj:kubeconfig")
    with offline(environment) as stack:
        done = stack.pulumi(*secret, standard_input="apiVersion: v1\n")
        assert done.returncode == 0, done.stderr
        salt = yaml.safe_load(stack.stack_file.read_text())["encryptionsalt"]
        state = json.loads(path.read_text())
        # the secrets, in plain text in the file, are encrypted as those of this stack
        state["deployment"]["secrets_providers"] = {"type": "passphrase", "state": {"salt": salt}}
        done = stack.pulumi("stack", "import", standard_input=json.dumps(state))
        assert done.returncode == 0, done.stderr
        yield stack


def operations(stack: Offline) -> list[tuple[str, str, str]]:
    """Operation, type and name of every step of a preview."""
    preview = stack.pulumi("preview", "--json")
    assert preview.returncode == 0, preview.stdout + preview.stderr
    return [
        (step["op"], state["type"], state["urn"].rpartition("::")[2])
        for step in json.loads(preview.stdout)["steps"]
        if (state := step.get("newState") or step["oldState"])
    ]


def lost(steps: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """The steps after which data are gone."""
    return [step for step in steps if step[0] not in HARMLESS and step[1] in STATEFUL]


def test_there_is_a_state_to_come_from() -> None:
    assert RELEASES


def test_nothing_that_holds_data_is_made_anew(released: Offline) -> None:
    assert lost(operations(released)) == []

    up = released.pulumi("up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout + up.stderr
    again = released.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")
    assert again.returncode == 0, again.stdout


def test_a_renamed_bucket_would_be_noticed(released: Offline) -> None:
    state: dict[str, Any] = json.loads(released.pulumi("stack", "export").stdout)
    bucket = next(
        one for one in state["deployment"]["resources"] if one["type"] == "aws:s3/bucket:Bucket"
    )
    bucket["inputs"]["bucket"] = bucket["outputs"]["bucket"] = "another-name"
    done = released.pulumi("stack", "import", standard_input=json.dumps(state))
    assert done.returncode == 0, done.stderr

    assert {kind for _, kind, _ in lost(operations(released))} == {"aws:s3/bucket:Bucket"}
