"""Which services of AWS the cluster's controllers call, and how each is reached with no way out.

Data, so that the network can make an endpoint for each and a test can hold the two together. A
service that has no endpoint in the region is in `unreachable`, with what is done instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Controller:
    """Something on the cluster, or beside it, that calls AWS."""

    name: str
    services: tuple[str, ...]
    """What it calls, by the last part of the endpoint's service name."""
    unreachable: dict[str, str] = field(default_factory=dict)
    """What it would call besides, and how that call is switched off or made needless."""


CONTROLLERS: tuple[Controller, ...] = (
    Controller(
        # joins the cluster, pulls its images, asks for its own name
        name="node",
        services=("ec2", "ecr.api", "ecr.dkr", "s3", "sts", "eks"),
    ),
    Controller(name="vpc-cni", services=("ec2", "eks-auth")),
    Controller(name="eks-pod-identity-agent", services=("eks-auth",)),
    Controller(name="aws-ebs-csi-driver", services=("ec2", "eks-auth")),
    Controller(
        name="karpenter",
        services=("ec2", "eks", "eks-auth", "sqs", "ssm", "sts"),
        unreachable={
            "iam": "EC2NodeClass names an instanceProfile that is made here, not a role",
            "pricing": "settings.isolatedVPC: true; pools name their instance types in order",
        },
    ),
    Controller(name="cluster-autoscaler", services=("autoscaling", "ec2", "eks", "eks-auth")),
    Controller(
        name="aws-load-balancer-controller",
        services=("ec2", "elasticloadbalancing", "eks-auth"),
        unreachable={
            "acm": "certificates are named by ARN or come from the organisation's own authority",
            "cognito-idp": "no Ingress authenticates by Cognito",
            "shield": "enableShield: false",
            "wafv2": "enableWafv2: false",
            "waf-regional": "enableWaf: false",
        },
    ),
    Controller(
        name="external-secrets",
        services=("secretsmanager", "kms", "eks-auth"),
    ),
    Controller(name="log-shipper", services=("logs", "eks-auth")),
    Controller(name="metrics-shipper", services=("monitoring", "ec2", "eks-auth")),
    Controller(name="guardduty-agent", services=("guardduty-data",)),
    Controller(
        name="cert-manager",
        services=(),
        unreachable={"route53": "issuers are the organisation's own authority, never ACME by DNS"},
    ),
    Controller(
        name="external-dns",
        services=(),
        unreachable={"route53": "not deployed: names in the private zone are made by the program"},
    ),
    Controller(
        # MLflow, Ray, the model servers, Dagster, Feast
        name="workloads",
        services=("s3", "sqs", "kms", "secretsmanager", "sts", "eks-auth"),
    ),
    Controller(
        # a session on a machine without an address that can be reached
        name="session-manager",
        services=("ssm", "ssmmessages", "ec2messages", "kms", "logs"),
    ),
)

BY_ROUTE = ("s3",)
"""Reached by a route as well: what asks a public name of S3, as packages and old clients do, takes
a gateway endpoint, which costs nothing. Pods take the interface, since the policies of the cluster
name addresses, and those of S3 outside the network are the cloud's to change (ADR 0027)."""


def services_called(controllers: Iterable[Controller] = CONTROLLERS) -> tuple[str, ...]:
    """All services that `controllers` call, each once, in the order of the alphabet."""
    return tuple(sorted({service for one in controllers for service in one.services}))
