"""Which services of AWS each part of an environment is made of, for regions that lack some.

Owns the table; what a region lacks is said by `regions`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from components.aws.regions import RegionData, problems_of_services
from components.aws.settings.controllers import services_called

if TYPE_CHECKING:
    from components.aws.settings.aws import AwsSettings


def services_of(aws: AwsSettings) -> dict[str, tuple[str, ...]]:
    """Path of its settings → the services that a part asks for; parts that are off ask for none.

    By the last part of the endpoint's name in the region, such as ``kafka``.
    """
    own_network = aws.network is not None and aws.existing_network is None
    made = {
        "cluster": (aws.existing_cluster is None, ("eks", "eks-auth", "ec2", "autoscaling")),
        "node_pools": (bool(aws.node_pools), ("ec2", "autoscaling")),
        "elastic_nodes": (aws.elastic_nodes is not None, ("ec2", "sqs", "events")),
        # each has an endpoint there, or in the network of somebody else
        "network": (own_network, services_called()),
        "network.egress": (
            own_network and aws.network is not None and aws.network.egress == "allow-list",
            ("network-firewall",),
        ),
        "runner": (aws.runner is not None, ("ec2", "ssm", "ssmmessages", "ec2messages")),
        "storage": (True, ("s3", "sqs") if aws.storage.arrivals is not None else ("s3",)),
        "keys": (True, ("kms",)),
        "secrets": (True, ("secretsmanager", "lambda")),
        "database": (aws.database.existing is None, ("rds", "pi")),
        "cache": (aws.cache.kind == "elasticache", ("elasticache",)),
        "stream": (aws.stream.kind == "msk", ("kafka",)),
        "image_registry": (True, ("ecr.api", "ecr.dkr")),
        "image_registry.scanning": (aws.image_registry.scanning == "enhanced", ("inspector2",)),
        "audit.trail": (aws.audit.trail.own, ("cloudtrail", "logs", "monitoring", "sns")),
        "audit.recorder": (aws.audit.recorder.own, ("config",)),
        "audit.threats": (aws.audit.threats.own, ("guardduty",)),
        "audit.posture": (aws.audit.posture.own, ("securityhub",)),
        "audit.access_analyzer": (aws.audit.access_analyzer.own, ("access-analyzer",)),
        "backup": (aws.backup.own, ("backup", "sns")),
        "logs": (aws.logs.own and aws.logs.control_plane, ("firehose", "logs")),
    }
    return {path: services for path, (asked, services) in made.items() if asked}


def problems_of_parts(aws: AwsSettings, data: RegionData) -> Iterator[str]:
    """Each part that asks for a service that the region lacks, and what to use instead."""
    for path, services in services_of(aws).items():
        for problem in problems_of_services(data, services):
            yield f"{path}: {problem}"
