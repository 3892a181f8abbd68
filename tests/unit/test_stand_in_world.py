"""The stand-ins' world outlives a run: names collide, lost things are missed, faults happen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
from aws_types import Aws
from faults import FaultError, Refused
from google.protobuf import json_format, struct_pb2
from kubernetes_types import Kubernetes
from pulumi.runtime.proto import provider_pb2
from standin import StandIn
from world import World

BUCKET = "aws:s3/bucket:Bucket"
POLICY = "aws:s3/bucketPolicy:BucketPolicy"
KEY = "aws:kms/key:Key"
GROUP = "aws:ec2/securityGroup:SecurityGroup"


def struct(properties: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(properties, struct_pb2.Struct())


def urn(token: str, name: str) -> str:
    return f"urn:pulumi:dev::falaj::falaj:Part${token}::{name}"


class Cloud:
    """A stand-in and its world, asked in plain data."""

    def __init__(self, world: World, catalogue: Any = None) -> None:
        self.world = world
        self.provider = StandIn(catalogue or Aws(), world)

    def create(self, token: str, name: str, /, **inputs: Any) -> str:
        request = provider_pb2.CreateRequest(urn=urn(token, name), properties=struct(inputs))
        return str(self.provider.Create(request, None).id)

    def update(self, token: str, name: str, identifier: str, **inputs: Any) -> None:
        request = provider_pb2.UpdateRequest(
            urn=urn(token, name), id=identifier, news=struct(inputs)
        )
        self.provider.Update(request, None)

    def read(self, token: str, name: str, identifier: str) -> tuple[str, dict[str, Any]]:
        request = provider_pb2.ReadRequest(urn=urn(token, name), id=identifier)
        answer = self.provider.Read(request, None)
        return answer.id, json_format.MessageToDict(answer.properties)

    def delete(self, token: str, name: str, identifier: str, **properties: Any) -> None:
        request = provider_pb2.DeleteRequest(
            urn=urn(token, name), id=identifier, properties=struct(properties)
        )
        self.provider.Delete(request, None)

    def refusals(self, token: str, name: str, /, **inputs: Any) -> list[str]:
        request = provider_pb2.CheckRequest(
            urn=urn(token, name), news=struct(inputs), randomSeed=b"seed"
        )
        return [one.reason for one in self.provider.Check(request, None).failures]

    @property
    def ids(self) -> list[str]:
        return [thing.id for thing in self.world.things()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world.db").closing() as world:
        yield world


@pytest.fixture
def cloud(world: World) -> Cloud:
    return Cloud(world)


def test_what_is_made_is_there_until_it_is_deleted(cloud: Cloud) -> None:
    cloud.create(BUCKET, "store", bucket="b-1")
    assert cloud.read(BUCKET, "store", "b-1")[1]["bucket"] == "b-1"

    cloud.update(BUCKET, "store", "b-1", bucket="b-1", forceDestroy=True)
    assert cloud.read(BUCKET, "store", "b-1")[1]["forceDestroy"] is True

    cloud.delete(BUCKET, "store", "b-1")
    assert cloud.ids == []
    assert cloud.read(BUCKET, "store", "b-1") == ("", {})


def test_what_a_killed_process_made_is_there_for_the_next(tmp_path: Path) -> None:
    first = Cloud(World(tmp_path / "world.db"))
    first.create(BUCKET, "store", bucket="b-1")

    assert Cloud(World(tmp_path / "world.db")).read(BUCKET, "store", "b-1")[0] == "b-1"


def test_a_name_in_use_is_refused_as_the_service_does(cloud: Cloud) -> None:
    cloud.create(BUCKET, "store", bucket="b-1")

    with pytest.raises(Refused, match=r"BucketAlreadyOwnedByYou.*b-1"):
        cloud.create(BUCKET, "other", bucket="b-1")


def test_a_name_in_use_is_refused_before_anything_is_made(cloud: Cloud) -> None:
    cloud.create(BUCKET, "store", bucket="b-1")

    (reason,) = cloud.refusals(BUCKET, "other", bucket="b-1")
    assert "BucketAlreadyOwnedByYou" in reason


def test_two_of_a_name_in_one_program_are_refused_without_any_world() -> None:
    provider = StandIn(Aws())

    def refusals(name: str) -> list[str]:
        request = provider_pb2.CheckRequest(
            urn=urn(BUCKET, name), news=struct({"bucket": "b-1"}), randomSeed=b"seed"
        )
        return [one.reason for one in provider.Check(request, None).failures]

    assert refusals("one") == []
    assert refusals("two") == ["bucket: 'one' has the same: b-1"]
    assert refusals("one") == []


def test_names_that_are_unique_inside_something_may_repeat_outside(cloud: Cloud) -> None:
    def group(name: str, vpc: str) -> list[str]:
        return cloud.refusals(GROUP, name, name="nodes", vpcId=vpc)

    assert group("one", "vpc-1") == []
    assert group("two", "vpc-2") == []
    assert group("three", "vpc-1") == ["name: 'one' has the same: nodes"]


def test_a_setting_is_written_over_by_its_own_resource_alone(cloud: Cloud) -> None:
    cloud.create(POLICY, "policy", bucket="b-1", policy="{}")
    cloud.create(POLICY, "policy", bucket="b-1", policy="{}")
    assert cloud.ids == ["b-1"]

    with pytest.raises(Refused, match="exists already"):
        cloud.create(POLICY, "second", bucket="b-1", policy="{}")


def test_what_has_no_name_can_be_made_twice_and_is_seen(cloud: Cloud) -> None:
    made = {cloud.create(KEY, "key"), cloud.create(KEY, "key")}

    assert set(cloud.ids) == made
    assert len(made) == 2


def test_a_change_of_what_is_gone_is_refused(cloud: Cloud) -> None:
    with pytest.raises(Refused, match="NotFound"):
        cloud.update(BUCKET, "store", "b-1", bucket="b-1")


def test_a_protected_database_cannot_be_deleted(cloud: Cloud) -> None:
    database = "aws:rds/instance:Instance"
    identifier = cloud.create(database, "db", identifier="db", engine="postgres")

    with pytest.raises(Refused, match="Cannot delete protected"):
        cloud.delete(database, "db", identifier, deletionProtection=True)
    with pytest.raises(Refused, match="final_snapshot_identifier"):
        cloud.delete(database, "db", identifier, deletionProtection=False)
    cloud.delete(database, "db", identifier, skipFinalSnapshot=True)
    assert cloud.ids == []


def test_objects_of_a_cluster_share_names_across_namespaces_alone(world: World) -> None:
    cluster = Cloud(world, Kubernetes())
    quota = "kubernetes:core/v1:ResourceQuota"

    assert cluster.refusals(quota, "a", metadata={"name": "q", "namespace": "x"}) == []
    assert cluster.refusals(quota, "b", metadata={"name": "q", "namespace": "y"}) == []
    (reason,) = cluster.refusals(quota, "c", metadata={"name": "q", "namespace": "x"})
    assert "'a' has the same" in reason


# --- faults ---------------------------------------------------------------------------------------


@pytest.fixture
def broken(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cloud with the faults given."""

    def make(*described: dict[str, Any]) -> Cloud:
        monkeypatch.setenv(faults.VARIABLE, json.dumps(described))
        return Cloud(world)

    return make


def test_the_third_creation_fails_and_makes_nothing(broken: Any) -> None:
    cloud = broken({"what": "fail", "on": "create", "number": 3})
    cloud.create(KEY, "one")
    cloud.create(KEY, "two")

    with pytest.raises(Refused, match=r"InternalFailure.*'three'"):
        cloud.create(KEY, "three")
    assert len(cloud.ids) == 2
    cloud.create(KEY, "three")


def test_a_throttled_service_answers_after_as_many_tries_as_told_over_all_runs(
    broken: Any,
) -> None:
    fault = {"what": "throttle", "type": "aws:kms/*", "name": "art*", "times": 2}
    for _ in range(2):
        cloud = broken(fault)
        cloud.create(KEY, "other")
        with pytest.raises(Refused, match="ThrottlingException"):
            cloud.create(KEY, "artifacts")

    broken(fault).create(KEY, "artifacts")


def test_a_service_that_does_not_answer_may_have_done_its_work(broken: Any) -> None:
    cloud = broken({"what": "time-out", "on": "create", "when": "after", "seconds": 0})

    with pytest.raises(Refused, match="RequestTimeout"):
        cloud.create(BUCKET, "store", bucket="b-1")
    assert cloud.ids == ["b-1"]


def test_what_is_lost_was_answered_and_is_gone(broken: Any) -> None:
    cloud = broken({"what": "lose", "on": "create"})

    assert cloud.create(BUCKET, "store", bucket="b-1") == "b-1"
    assert cloud.ids == []
    assert cloud.read(BUCKET, "store", "b-1") == ("", {})


def test_a_preview_meets_no_fault(broken: Any) -> None:
    cloud = broken({"what": "fail"})
    request = provider_pb2.CreateRequest(urn=urn(KEY, "key"), properties=struct({}), preview=True)

    cloud.provider.Create(request, None)
    assert cloud.ids == []


def test_faults_can_be_told_by_a_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.json"
    file.write_text('[{"what": "kill-engine", "on": "delete"}]')

    (fault,) = faults.read(str(file))
    assert (fault.what, fault.on) == ("kill-engine", "delete")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"what": "explode"}]', "what is 'explode'"),
        ('[{"what": "fail", "on": "destroy"}]', "on is 'destroy'"),
        ('[{"what": "fail", "where": "here"}]', "where"),
        ("/nowhere/faults.json", "No such file"),
        ('[{"what": ', "Expecting value"),
    ],
)
def test_a_fault_that_would_never_happen_is_refused(text: str, message: str) -> None:
    with pytest.raises(FaultError, match=message):
        faults.read(text)
