"""Databases and caches."""

from __future__ import annotations

from typing import Any

from aws_forms import always, arn, filled, named, region
from standin import Kind, Resource

_PORTS = {"postgres": 5432, "mysql": 3306}

_SERVERLESS = filled("{name}-abc123.serverless.{region}.cache.amazonaws.com")


def _address(resource: Resource) -> str:
    return f"{resource.inputs['identifier']}.{_of_account(resource)}.rds.amazonaws.com"


def _of_account(resource: Resource) -> str:
    return f"c{resource.unique[:11]}.{region(resource)}"


def _port(resource: Resource) -> int:
    engine = str(resource.inputs.get("engine"))
    return int(resource.inputs.get("port") or _PORTS.get(engine, 5432))


def _resource_id(resource: Resource) -> str:
    return f"db-{resource.unique[:26].upper()}"


def _master_secret(resource: Resource) -> list[dict[str, Any]]:
    if not resource.inputs.get("manageMasterUserPassword"):
        return []
    return [
        {
            "kmsKeyId": resource.inputs.get("masterUserSecretKmsKeyId"),
            "secretArn": arn("secretsmanager", "secret:rds!db-{uuid}-AbCdEf")(resource),
            "secretStatus": "active",  # pragma: allowlist secret
        }
    ]


def _cache(role: str) -> str:
    return f"{role}.{{replicationGroupId}}.abc123.{{region}}.cache.amazonaws.com"


def _kept(resource: Resource) -> str | None:
    if resource.previous.get("deletionProtection"):
        return "InvalidParameterCombination: Cannot delete protected DB Instance"
    final = resource.previous.get("finalSnapshotIdentifier")
    if not resource.previous.get("skipFinalSnapshot") and not final:
        return "final_snapshot_identifier is required when skip_final_snapshot is false"
    return None


KINDS: dict[str, Kind] = {
    "aws:elasticache/replicationGroup:ReplicationGroup": named(
        "replicationGroupId",
        "elasticache",
        "replicationgroup:{replicationGroupId}",
        configurationEndpointAddress=filled(_cache("clustercfg")),
        primaryEndpointAddress=filled(_cache("master")),
        readerEndpointAddress=filled(_cache("replica")),
        replaced_by=frozenset({"atRestEncryptionEnabled", "kmsKeyId", "port", "subnetGroupName"}),
    ),
    "aws:elasticache/serverlessCache:ServerlessCache": named(
        "name",
        "elasticache",
        "serverlesscache:{name}",
        endpoints=lambda resource: [{"address": _SERVERLESS(resource), "port": 6379}],
        status=always("available"),
        replaced_by=frozenset({"kmsKeyId", "subnetIds"}),
    ),
    "aws:elasticache/subnetGroup:SubnetGroup": named("name", "elasticache", "subnetgroup:{name}"),
    "aws:rds/instance:Instance": Kind(
        identifier=_resource_id,
        outputs={
            "address": _address,
            "arn": arn("rds", "db:{identifier}"),
            "endpoint": lambda resource: f"{_address(resource)}:{_port(resource)}",
            "hostedZoneId": always("Z0STANDIN"),
            "masterUserSecrets": _master_secret,
            "port": _port,
            "resourceId": _resource_id,
            "status": always("available"),
        },
        name="identifier",
        replaced_by=frozenset(
            {"availabilityZone", "dbName", "engine", "kmsKeyId", "region", "storageEncrypted"}
            | {"username"}
        ),
        keeps=_kept,
    ),
    "aws:rds/parameterGroup:ParameterGroup": named(
        "name", "rds", "pg:{name}", replaced_by=frozenset({"family"})
    ),
    "aws:rds/subnetGroup:SubnetGroup": named("name", "rds", "subgrp:{name}"),
}
