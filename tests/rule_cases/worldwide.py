"""Cases of `policies/residency/worldwide.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource
from rule_cases.values import nested

CLUSTER, KEYSPACE = "aws:rds/cluster:Cluster", "aws:keyspaces/keyspace:Keyspace"
STRATEGY = "replicationSpecification.replicationStrategy"
GLOBAL = (
    "aws:docdb/globalCluster:GlobalCluster",
    "aws:dsql/clusterPeering:ClusterPeering",
    "aws:elasticache/globalReplicationGroup:GlobalReplicationGroup",
    "aws:memorydb/multiRegionCluster:MultiRegionCluster",
    "aws:neptune/globalCluster:GlobalCluster",
    "aws:rds/globalCluster:GlobalCluster",
)
MEMBERS = {
    "aws:docdb/cluster:Cluster": "globalClusterIdentifier",
    "aws:dsql/cluster:Cluster": "multiRegionProperties.witnessRegion",
    "aws:elasticache/replicationGroup:ReplicationGroup": "globalReplicationGroupId",
    "aws:memorydb/cluster:Cluster": "multiRegionClusterName",
    "aws:neptune/cluster:Cluster": "globalClusterIdentifier",
    CLUSTER: "globalClusterIdentifier",
}
LISTED = (
    *("aws:account/region:Region", "aws:backup/globalSettings:GlobalSettings"),
    *("aws:budgets/budget:Budget", "aws:organizations/policy:Policy"),
    *("aws:ram/sharingWithOrganization:SharingWithOrganization", "aws:route53/zone:Zone"),
    *("aws:route53/record:Record", "aws:route53/zoneAssociation:ZoneAssociation"),
    "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
)


def one(kind: str, **properties: Any) -> list[Resource]:
    return [resource(kind, "one", properties)]


CASES = (
    Cases(
        rule="global-database-is-not-used",
        baseline=one(CLUSTER),
        fails={
            **{kind: one(kind) for kind in GLOBAL},
            **{kind: one(kind, **nested(path, "one")) for kind, path in MEMBERS.items()},
            "a keyspace": one(KEYSPACE, **nested(STRATEGY, "MULTI_REGION")),
            "blocks in a list": one("aws:dsql/cluster:Cluster", multiRegionProperties=[{"a": "b"}]),
        },
        passes={
            **{f"{kind} alone": one(kind) for kind in MEMBERS},
            "an empty name": one(CLUSTER, globalClusterIdentifier=""),
            "a keyspace in one region": one(KEYSPACE, **nested(STRATEGY, "SINGLE_REGION")),
            "a keyspace that says nothing": one(KEYSPACE),
        },
        pending={
            "whether": one(CLUSTER, globalClusterIdentifier=UNKNOWN),
            "how a keyspace is kept": one(KEYSPACE, replicationSpecification=UNKNOWN),
        },
    ),
    Cases(
        rule="type-without-region-is-listed",
        baseline=one("aws:iam/role:Role"),
        fails={
            kind: one(kind)
            for kind in (
                *("aws:cloudfront/distribution:Distribution", "aws:waf/webAcl:WebAcl"),
                *(
                    "aws:route53/healthCheck:HealthCheck",
                    "aws:cur/reportDefinition:ReportDefinition",
                ),
                *("aws:networkmanager/coreNetwork:CoreNetwork", "aws:route53/queryLog:QueryLog"),
                "aws:notifications/notificationHub:NotificationHub",
            )
        },
        passes={
            **{kind: one(kind) for kind in LISTED},
            "beside one that has a region": [
                *one("aws:iam/role:Role"),
                *one("aws:wafv2/webAcl:WebAcl"),
            ],
        },
        pending={},
        always_decided="a type is known",
    ),
)
