"""Cases of `policies/hardening/resilience.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

INSTANCE, CLUSTER = "aws:rds/instance:Instance", "aws:rds/cluster:Cluster"
AURORA = resource(CLUSTER, "db", {"clusterIdentifier": "db-1", "engine": "aurora-postgresql"})


def instance(**properties: Any) -> list[Resource]:
    return [resource(INSTANCE, "one", properties)]


def member(name: str, zone: Any = ABSENT, of: Any = "db-1", references: Any = ()) -> Resource:
    said = {"clusterIdentifier": of, "availabilityZone": zone}
    return resource(
        "aws:rds/clusterInstance:ClusterInstance", name, said, references=dict(references)
    )


IN_A, IN_B = "me-central-1a", "me-central-1b"
SUBNETS = [
    resource("aws:ec2/subnet:Subnet", name, {"id": f"subnet-{name}", "availabilityZone": zone})
    for name, zone in (("a", IN_A), ("a2", IN_A), ("b", IN_B))
]
A, A2, B = (subnet.properties["id"] for subnet in SUBNETS)
BY_ID = resource(
    "aws:ec2/subnet:Subnet",
    "c",
    {"id": "subnet-c", "availabilityZone": UNKNOWN, "availabilityZoneId": "mec1-az3"},
)
ANYWHERE = resource("aws:ec2/subnet:Subnet", "d", {"id": "subnet-d", "availabilityZone": UNKNOWN})
NODES, GROUPS = "aws:eks/nodeGroup:NodeGroup", "aws:autoscaling/group:Group"
SPANNING = (
    ("aws:alb/loadBalancer:LoadBalancer", "subnets"),
    ("aws:applicationloadbalancing/loadBalancer:LoadBalancer", "subnets"),
    (GROUPS, "vpcZoneIdentifiers"),
    ("aws:docdb/subnetGroup:SubnetGroup", "subnetIds"),
    ("aws:eks/cluster:Cluster", "vpcConfig.subnetIds"),
    ("aws:elasticache/subnetGroup:SubnetGroup", "subnetIds"),
    ("aws:elasticloadbalancingv2/loadBalancer:LoadBalancer", "subnets"),
    ("aws:lb/loadBalancer:LoadBalancer", "subnets"),
    ("aws:memorydb/subnetGroup:SubnetGroup", "subnetIds"),
    ("aws:msk/cluster:Cluster", "brokerNodeGroupInfo.clientSubnets"),
    ("aws:neptune/subnetGroup:SubnetGroup", "subnetIds"),
    ("aws:rds/subnetGroup:SubnetGroup", "subnetIds"),
    (NODES, "subnetIds"),
)


def spans(kind: str, path: str, listed: Any, *more: Resource, **options: Any) -> list[Resource]:
    return [*SUBNETS, *more, resource(kind, "one", nested(path, listed), **options)]


def nodes(listed: Any, *more: Resource, tags: Any = ABSENT, **options: Any) -> list[Resource]:
    said = {"subnetIds": listed, **({} if tags is ABSENT else {"tags": tags})}
    return [*SUBNETS, *more, resource(NODES, "one", said, **options)]


def mapped(*ids: Any) -> list[Resource]:
    said = {"subnets": UNKNOWN, "subnetMappings": [{"subnetId": one} for one in ids]}
    return [*SUBNETS, resource("aws:lb/loadBalancer:LoadBalancer", "one", said)]


PLAIN = (
    *("aws:cloudtrail/trail:Trail", "aws:ebs/volume:Volume", "aws:efs/fileSystem:FileSystem"),
    *("aws:fsx/lustreFileSystem:LustreFileSystem", "aws:kms/key:Key", "aws:backup/vault:Vault"),
    *("aws:kms/externalKey:ExternalKey", "aws:kms/replicaKey:ReplicaKey"),
    *("aws:msk/cluster:Cluster", "aws:opensearch/domain:Domain", "aws:s3/bucket:Bucket"),
    *("aws:s3/bucketV2:BucketV2", "aws:s3/directoryBucket:DirectoryBucket"),
    *("aws:secretsmanager/secret:Secret", "aws:ecr/repository:Repository"),
    "aws:backup/logicallyAirGappedVault:LogicallyAirGappedVault",
    "kubernetes:core/v1:PersistentVolumeClaim",
)
SWITCHED = {
    "aws:docdb/cluster:Cluster": "deletionProtection",
    "aws:dynamodb/table:Table": "deletionProtectionEnabled",
    "aws:eks/cluster:Cluster": "deletionProtection",
    "aws:neptune/cluster:Cluster": "deletionProtection",
    CLUSTER: "deletionProtection",
    INSTANCE: "deletionProtection",
}
FORCED = {
    "aws:s3/bucket:Bucket": "forceDestroy",
    "aws:s3/bucketV2:BucketV2": "forceDestroy",
    "aws:s3/directoryBucket:DirectoryBucket": "forceDestroy",
    "aws:backup/vault:Vault": "forceDestroy",
    "aws:ecr/repository:Repository": "forceDelete",
}
SECRET = "aws:secretsmanager/secret:Secret"


def kept(kind: str, *, protect: Any = True, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties, protect=protect)]


CASES = (
    Cases(
        rule="rds-spans-zones",
        baseline=instance(multiAz=True),
        fails={
            "one zone": instance(multiAz=False),
            "nothing said": instance(),
            "what nobody set": instance(multiAz=UNKNOWN),
            "none": [AURORA],
            "one": [AURORA, member("a")],
            "two in one zone": [AURORA, member("a", IN_A), member("b", IN_A)],
            "two of another": [AURORA, member("a", of="db-2"), member("b", of="db-2")],
        },
        passes={
            "a replica": instance(replicateSourceDb="one"),
            "two": [AURORA, member("a"), member("b")],
            "two in two zones": [AURORA, member("a", IN_A), member("b", IN_B)],
            "what nobody set": [AURORA, member("a", UNKNOWN), member("b", UNKNOWN)],
            "three zones by itself": [resource(CLUSTER, "db", {"engine": "postgres"})],
            "no machines": [
                resource(CLUSTER, "db", {"engine": "aurora-mysql", "engineMode": "serverless"})
            ],
        },
        pending={
            "whether": [
                resource(INSTANCE, "one", {"multiAz": UNKNOWN}, references={"multiAz": ("urn:a",)})
            ],
            "engine": [resource(CLUSTER, "db", {"engine": UNKNOWN})],
            "whose": [AURORA, member("a"), member("b", of=UNKNOWN)],
            "where": [
                AURORA,
                member("a", IN_A),
                member("b", UNKNOWN, references={"availabilityZone": ("urn:a",)}),
            ],
        },
    ),
    Cases(
        rule="network-spans-zones",
        baseline=nodes([A, B]),
        fails={
            "one": nodes([A]),
            "one that is not known": nodes([UNKNOWN]),
            "the same twice": nodes([A, A]),
            **{f"{kind} in one zone": spans(kind, path, [A, A2]) for kind, path in SPANNING},
            "mapped": mapped(A, A2),
            "at preview": nodes(
                [UNKNOWN, UNKNOWN],
                references={"subnetIds": (SUBNETS[0].urn, SUBNETS[1].urn)},
            ),
            "another tag": nodes([A], tags={"single-zone": "cpu"}),
        },
        passes={
            **{f"{kind} in two zones": spans(kind, path, [A, B]) for kind, path in SPANNING},
            "mapped": mapped(A, B),
            "by the number of a zone": nodes([A, "subnet-c"], BY_ID),
            "scarce machines": nodes([A], tags={"single-zone": "gpu"}),
            "at preview": nodes(
                [UNKNOWN, UNKNOWN],
                references={"subnetIds": (SUBNETS[0].urn, SUBNETS[2].urn)},
            ),
            "a list that is not known": nodes(
                UNKNOWN, references={"subnetIds": (SUBNETS[0].urn, SUBNETS[2].urn)}
            ),
        },
        pending={
            "which": nodes([A, UNKNOWN]),
            "of another stack": nodes(["subnet-x", "subnet-y"]),
            "in which zone": nodes([A, "subnet-d"], ANYWHERE),
            "how many": nodes(UNKNOWN, references={"subnetIds": (SUBNETS[0].urn,)}),
        },
    ),
    Cases(
        rule="stateful-resource-is-pulumi-protected",
        baseline=kept("aws:kms/key:Key"),
        fails={
            **{f"{kind} not protected": kept(kind, protect=False) for kind in PLAIN},
            **{
                f"{kind} not protected": kept(kind, protect=False, **{name: True})
                for kind, name in SWITCHED.items()
            },
            **{f"{kind} off": kept(kind, **{name: False}) for kind, name in SWITCHED.items()},
            **{f"{kind} not said": kept(kind) for kind in SWITCHED},
            **{f"{kind} forced": kept(kind, **{name: True}) for kind, name in FORCED.items()},
            "a secret that is gone at once": kept(SECRET, recoveryWindowInDays=0),
        },
        passes={
            **{kind: kept(kind) for kind in PLAIN},
            **{f"{kind} on": kept(kind, **{name: True}) for kind, name in SWITCHED.items()},
            **{f"{kind} said": kept(kind, **{name: False}) for kind, name in FORCED.items()},
            "a secret with a week": kept(SECRET, recoveryWindowInDays=7),
        },
        pending={
            **{kind: kept(kind, **{name: UNKNOWN}) for kind, name in SWITCHED.items()},
            **{kind: kept(kind, **{name: UNKNOWN}) for kind, name in FORCED.items()},
            "a secret": kept(SECRET, recoveryWindowInDays=UNKNOWN),
        },
    ),
)
