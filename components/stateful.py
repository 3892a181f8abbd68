"""The types of resources that hold what cannot be made again: one table for plan and tests.

`falaj plan check` stops a plan that deletes or replaces one of them, and tests assert with `unkept`
that they outlive their stack where data is kept. Imports no Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Stateful:
    """What hangs on the resources of one type."""

    loses: str
    """What is gone with the resource; ends the sentence "with it goes …"."""
    instead: str
    """How to get what is wanted without that."""
    kept: bool = True
    """Whether it is protected and retained where an environment keeps its data. What everything
    else stands in, such as a network, only has its plan stopped."""


_NEW_BESIDE = "make a second one beside it, move what it holds, and remove this one last"
_BACKED_UP = (
    "restore its latest backup beside it under the new settings, move the consumers over, and "
    "remove this one last"
)
_MOVE_KEY = (
    "make a second key beside it, encrypt everything anew with that, and keep this one until the "
    "last copy and backup under it has expired"
)

_DATABASE = Stateful(loses="its data, and its automatic backups", instead=_BACKED_UP)
_FILES = Stateful(loses="every file in it", instead=_BACKED_UP)
_CACHE = Stateful(loses="what is in memory", instead=_NEW_BESIDE)
_KEY = Stateful(loses="everything that was ever encrypted with it", instead=_MOVE_KEY)
_VAULT = Stateful(
    loses="every recovery point in it",
    instead="make a second vault, copy the recovery points there, and let the plan write to it",
)
_BUCKET = Stateful(
    loses="every object and version in it",
    instead="make a second bucket, copy the objects with their versions, and remove this one last",
)

STATEFUL: Mapping[str, Stateful] = {
    "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault": _VAULT,
    "aws:backup/vault:Vault": _VAULT,
    "aws:cloudtrail/trail:Trail": Stateful(
        loses="the unbroken record of who did what",
        instead="make the new trail first, and remove this one once the new one delivers",
    ),
    "aws:cloudwatch/logGroup:LogGroup": Stateful(
        loses="every log line that has to be kept",
        instead="export it to the bucket of logs first, or change it in place (retention, key)",
    ),
    "aws:dynamodb/table:Table": _DATABASE,
    "aws:ebs/volume:Volume": _FILES,
    "aws:ec2/subnet:Subnet": Stateful(
        loses="the network of the nodes, databases and endpoints in it",
        instead="add the new subnet under another name, move what runs there, remove this one last",
        kept=False,
    ),
    "aws:ec2/vpc:Vpc": Stateful(
        loses="the network, and with it cluster, databases and endpoints",
        instead="add a secondary address range; for another network, build a second environment "
        "and move to it",
        kept=False,
    ),
    "aws:ecr/repository:Repository": Stateful(
        loses="images that may be gone upstream and may be running",
        instead="make the new repository, copy the images by digest, and remove this one last",
    ),
    "aws:efs/fileSystem:FileSystem": _FILES,
    "aws:eks/cluster:Cluster": Stateful(
        loses="everything that runs on it, and every object in its API",
        instead="change what can be changed in place (version, logs, access entries; "
        "authenticationMode only forwards, without touching "
        "bootstrapClusterCreatorAdminPermissions); for the rest build a second cluster beside it",
    ),
    "aws:elasticache/replicationGroup:ReplicationGroup": _CACHE,
    "aws:elasticache/serverlessCache:ServerlessCache": _CACHE,
    "aws:fsx/lustreFileSystem:LustreFileSystem": _FILES,
    "aws:kinesis/stream:Stream": _CACHE,
    "aws:kms/key:Key": _KEY,
    "aws:kms/replicaKey:ReplicaKey": _KEY,
    "aws:memorydb/cluster:Cluster": _CACHE,
    "aws:msk/cluster:Cluster": Stateful(
        loses="every message that has not been read", instead=_NEW_BESIDE
    ),
    "aws:opensearch/domain:Domain": _DATABASE,
    "aws:rds/cluster:Cluster": _DATABASE,
    "aws:rds/instance:Instance": _DATABASE,
    "aws:s3/bucket:Bucket": _BUCKET,
    "aws:s3/bucketV2:BucketV2": _BUCKET,
    "aws:secretsmanager/secret:Secret": Stateful(
        loses="the secret's value, and access for whoever uses it",
        instead="make the new secret first, let its readers take that, and remove this one last",
    ),
    "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition": Stateful(
        loses="every object of that kind in the cluster",
        instead="apply the new version in place, on the server's side",
    ),
    "kubernetes:core/v1:Namespace": Stateful(
        loses="everything in the namespace",
        instead="change it in place; for another name make the new one and move the team first",
        kept=False,
    ),
    "kubernetes:core/v1:PersistentVolumeClaim": _FILES,
}
"""Type token → what hangs on it."""


def unkept(resources: Iterable[Mapping[str, Any]]) -> list[str]:
    """Those of `resources`, as an exported state has them, that a destroy would take along.

    Each as ``type name: what is missing``.
    """
    found = []
    for resource in resources:
        known = STATEFUL.get(resource["type"])
        if known is None or not known.kept:
            continue
        missing = [flag for flag in ("protect", "retainOnDelete") if not resource.get(flag)]
        if missing:
            name = str(resource["urn"]).rpartition("::")[2]
            found.append(f"{resource['type']} {name}: {' and '.join(missing)}")
    return found
