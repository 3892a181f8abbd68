"""The settings of the cluster: one that is made here, or one that exists."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from components.aws.regions import RegionData
from components.aws.versions import newest, problems_of_add_ons, problems_of_version, versions
from components.section import Name, Section

RoleArn = Annotated[
    str, StringConstraints(pattern=r"^arn:aws:iam::\d{12}:role/[\w+=,.@/-]{1,128}$")
]
SubnetId = Annotated[str, StringConstraints(pattern=r"^subnet-[0-9a-f]+$")]
SecurityGroupId = Annotated[str, StringConstraints(pattern=r"^sg-[0-9a-f]+$")]
AddOnName = Literal[
    "aws-ebs-csi-driver", "coredns", "eks-pod-identity-agent", "kube-proxy", "vpc-cni"
]
RETENTION_DAYS = (365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""The retentions of a year or more that CloudWatch Logs takes."""


class ClusterSettings(Section):
    """An EKS cluster of the environment's own, private, with a key and a log of its own."""

    version: Annotated[str, StringConstraints(pattern=r"^1\.\d{2}$")] | None = None
    """Kubernetes; `None` for the newest that the region and every operator have."""
    suffix: Annotated[str, StringConstraints(pattern=r"^([a-z0-9]{1,8})?$")] = ""
    """Ends the cluster's name: for a second cluster beside the first, or a new one while the old
    one's log group is still there."""
    support: Literal["standard", "extended"] = "standard"
    """When a version's support ends, `standard` upgrades by force; `extended` pays for a year."""
    zonal_shift: bool = True
    """Whether AWS may move traffic off a zone that it finds impaired."""
    log_retention_days: int = 365
    administrators: tuple[RoleArn, ...] = ()
    """Existing roles that administer the cluster, besides the one that deploys."""
    api_cidrs: tuple[IPv4Network, ...] = ()
    """Networks from which people and runners ask the API server, such as that of a VPN."""
    webhook_ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = (
        *(443, 4443, 6443, 8443, 9443, 10250, 15017),
    )
    """Ports of pods that the API server calls: webhooks, aggregated APIs, kubelets."""
    network_policy: Literal["strict", "standard"] = "strict"
    """`strict`: a pod without a policy reaches nobody; `standard`: it starts open."""
    prefix_delegation: bool = True
    """Whether nodes take addresses 16 at a time, so that small ones hold as many pods."""
    add_ons: dict[AddOnName, str] = Field(default_factory=dict)
    """Versions other than those of `components/aws/operators.yaml`."""

    @field_validator("log_retention_days")
    @classmethod
    def _can_be_kept(cls, days: int) -> int:
        if days not in RETENTION_DAYS:
            allowed = ", ".join(map(str, RETENTION_DAYS))
            raise ValueError(f"CloudWatch keeps logs, from a year on, for {allowed} days")
        return days

    @field_validator("api_cidrs")
    @classmethod
    def _are_private(cls, cidrs: tuple[IPv4Network, ...]) -> tuple[IPv4Network, ...]:
        public = [str(cidr) for cidr in cidrs if not cidr.is_private]
        if public:
            raise ValueError(f"{', '.join(public)} is no private network; the endpoint is private")
        return cidrs


class ExistingCluster(Section):
    """A cluster that somebody else made, reached by the secret `falaj:kubeconfig`."""

    name: Name | None = None
    """Of an EKS cluster that node pools join; `None` for any other Kubernetes."""
    subnet_ids: dict[str, SubnetId] = Field(default_factory=dict)
    """Zone → the private subnet of the nodes there; those of the network where none is named."""
    security_group_ids: tuple[SecurityGroupId, ...] = ()
    """Those of its nodes; the cluster's own where none is named."""
    cidrs: tuple[IPv4Network, ...] = ()
    """Of its network, with its endpoints, that of S3 among them, and where its API server answers
    pods, the service `kubernetes` included. Pods reach nothing outside where neither these nor a
    network are named."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.name is None and self.subnet_ids:
            raise ValueError("subnet_ids has no meaning without name: they are of node pools")
        return self


def version_of(settings: ClusterSettings, data: RegionData | None) -> str:
    """The Kubernetes version of the cluster that `settings` ask for in the region of `data`."""
    if settings.version is not None:
        return settings.version
    offered = data.kubernetes_versions if data is not None else versions().add_ons
    return newest(offered, versions().operators) or max(versions().add_ons)


def add_ons_of(settings: ClusterSettings, version: str) -> dict[str, str]:
    """Add-on → its version, for a cluster of Kubernetes `version`."""
    return versions().add_ons.get(version, {}) | {
        str(name): one for name, one in settings.add_ons.items()
    }


def problems_of_cluster(settings: ClusterSettings, data: RegionData | None) -> Iterator[str]:
    """What the region or an operator has against the cluster; each begins with its key."""
    version = version_of(settings, data)
    if data is not None:
        for problem in problems_of_version(version, data, versions().operators):
            yield f"version: {problem}"
    pinned = add_ons_of(settings, version)
    missing = [name for name in AddOnName.__args__ if name not in pinned]  # type: ignore[attr-defined]
    if missing:
        yield (
            f"add_ons: no version of {', '.join(missing)} is known for Kubernetes {version}; name "
            "it (`aws eks describe-addon-versions` lists them)"
        )
    for problem in problems_of_add_ons(version, pinned):
        yield f"add_ons: {problem}"
