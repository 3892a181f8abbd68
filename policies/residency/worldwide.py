"""Rules on what spans regions: global databases, and services that are in none."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from policies.common.places import found, shown
from policies.common.resources import UNKNOWN, Resource
from policies.common.rule import Finding, Parameters, Rule, pending
from policies.guards.worldwide import ALLOWED_TYPES
from policies.residency.global_types import GLOBAL_TYPES
from policies.residency.regions import Regions

_GLOBAL = frozenset(
    {
        "aws:docdb/globalCluster:GlobalCluster",
        "aws:dsql/clusterPeering:ClusterPeering",
        "aws:elasticache/globalReplicationGroup:GlobalReplicationGroup",
        "aws:memorydb/multiRegionCluster:MultiRegionCluster",
        "aws:neptune/globalCluster:GlobalCluster",
        "aws:rds/globalCluster:GlobalCluster",
    }
)
"""Databases of several regions."""
_MEMBERS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "aws:docdb/cluster:Cluster": ("globalClusterIdentifier", ()),
    "aws:dsql/cluster:Cluster": ("multiRegionProperties", ()),
    "aws:elasticache/replicationGroup:ReplicationGroup": ("globalReplicationGroupId", ()),
    "aws:keyspaces/keyspace:Keyspace": (
        "replicationSpecification.replicationStrategy",
        ("SINGLE_REGION",),
    ),
    "aws:memorydb/cluster:Cluster": ("multiRegionClusterName", ()),
    "aws:neptune/cluster:Cluster": ("globalClusterIdentifier", ()),
    "aws:rds/cluster:Cluster": ("globalClusterIdentifier", ()),
}
"""What makes a database a part of one: property → the values that do not."""


def global_database(resource: Resource, parameters: Regions) -> Iterator[Finding]:
    """With one region allowed the second is abroad; with more, other rules judge each."""
    if len(parameters.allowedRegions) > 1:
        return
    if resource.type in _GLOBAL:
        yield Finding(resource=resource, where="it", what="is a database of several regions")
        return
    path, harmless = _MEMBERS[resource.type]
    for place, value in found(resource.properties, path):
        if value is UNKNOWN:
            yield pending(resource, shown(place))
        elif value not in harmless:
            what = "makes it part of a database of several regions"
            yield Finding(resource=resource, where=shown(place), what=what)


class GlobalTypes(Parameters):
    """Which types in no region hold no protected data."""

    allowedGlobalTypes: tuple[str, ...] = ALLOWED_TYPES  # noqa: N815
    """``*`` stands for anything."""


def listed_global_type(resource: Resource, parameters: GlobalTypes) -> Iterator[Finding]:
    """A service that is in no region keeps its data where AWS does, often in us-east-1."""
    if not any(fnmatch.fnmatchcase(resource.type, one) for one in parameters.allowedGlobalTypes):
        what = "is in no region, and not in allowedGlobalTypes"
        yield Finding(resource=resource, where="its type", what=what)


RULES = (
    Rule(
        name="global-database-is-not-used",
        description="No database spans regions while data may be in one alone.",
        mend="use a regional cluster with several availability zones.",
        applies_to=lambda resource: resource.type in _GLOBAL or resource.type in _MEMBERS,
        parameters=Regions,
        each=global_database,
    ),
    Rule(
        name="type-without-region-is-listed",
        description="Services that are in no region are used where they hold no protected data.",
        mend="use a regional service, or add the type to allowedGlobalTypes and say why.",
        applies_to=lambda resource: resource.type in GLOBAL_TYPES,
        parameters=GlobalTypes,
        each=listed_global_type,
    ),
)
