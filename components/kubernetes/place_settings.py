"""What must be said of a cluster that somebody else keeps: parsed and checked, without Pulumi.

On premises, in another cloud of the country, or in kind on one machine.
"""

from __future__ import annotations

import ipaddress
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from components.kubernetes.flows import OPEN_PORTS
from components.kubernetes.pools import GPU, KIND, POOL, TEAM, Pool
from components.kubernetes.tracking_settings import Certificates
from components.section import Name, Section


def _is_a_block(text: str) -> str:
    network = ipaddress.ip_network(text)
    if network.prefixlen == 0:
        raise ValueError(f"{text} is every address there is; name those that pods must reach")
    return str(network)


Block = Annotated[str, AfterValidator(_is_a_block)]
"""Addresses, such as ``10.20.0.0/16``."""


class GivenPool(Section):
    """Nodes that are there and bear the labels `falaj/pool` and `falaj/kind`."""

    kind: Literal["cpu", "gpu"]
    cpus: float = Field(gt=0)
    """Of the smallest node, for pods."""
    memory_gib: float = Field(gt=0)
    """Of the smallest node, for pods."""
    max_nodes: int = Field(ge=1)
    gpus: int = Field(0, ge=0)
    """Of the smallest node."""
    gpu_models: tuple[str, ...] = ()
    """Such as ``A100``: decides whether a GPU can divide itself."""
    team: Name | None = None
    """Whose nodes they are alone; they bear its label and taint `falaj/team`."""

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        if (self.kind == "gpu") != bool(self.gpus):
            raise ValueError(f"gpus: is {self.gpus}, and kind is {self.kind}")
        return self

    def pool(self, name: str) -> Pool:
        """What pods must know of it."""
        taints = []
        if self.kind == "gpu":
            taints.append({"key": GPU, "value": "true", "effect": "NoSchedule"})
        if self.team is not None:
            taints.append({"key": TEAM, "value": self.team, "effect": "NoSchedule"})
        team = {TEAM: self.team} if self.team is not None else {}
        return Pool(
            kind=self.kind,
            labels={POOL: name, KIND: self.kind, **team},
            taints=tuple(taints),
            cpus=self.cpus,
            memory_gib=self.memory_gib,
            gpus=self.gpus,
            gpu_models=self.gpu_models,
            max_nodes=self.max_nodes,
        )


class GivenStores(Section):
    """A database and a bucket of the site; passwords and keys are in the Secret of MLflow."""

    database_uri: Annotated[str, StringConstraints(pattern=r"^postgresql://[^:@/]+@[^@]+$")]
    """``postgresql://role@host:port/name?sslmode=verify-full``, without a password."""
    users_uri: Annotated[str, StringConstraints(pattern=r"^postgresql://[^:@/]+@[^@]+$")]
    """The same of the database of users."""
    bucket_uri: Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9.-]+$")]
    endpoint: Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+$")]
    """Of the object store."""
    region: Name = "site"
    """As the store calls itself: signatures hold it."""
    issuer: Annotated[str, StringConstraints(pattern=r"^https://\S+$")]
    """Of the cluster's service accounts: ``kubectl get --raw /.well-known/openid-configuration``
    says it."""


def _is_on_an_open_port(uri: str) -> str:
    port = urllib.parse.urlsplit(uri).port
    if port is not None and port not in OPEN_PORTS:
        raise ValueError(
            f"port {port}; pods reach services outside on {', '.join(map(str, OPEN_PORTS))} alone: "
            "let it answer on one of these"
        )
    return uri


DatabaseUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^postgresql://[a-z][a-z0-9_]{0,62}@[a-z0-9.-]+(:\d{1,5})?/[a-z][a-z0-9_]{0,62}$"
    ),
    AfterValidator(_is_on_an_open_port),
]
"""``postgresql://role@host:port/name``, without a password; it is reached over verified TLS."""


class GivenFeatures(Section):
    """What a team's feature store keeps its own in; passwords and keys are in the Secret `features`
    of the team's namespace."""

    registry_uri: Annotated[
        str,
        StringConstraints(pattern=r"^postgresql://[a-z_][a-z0-9_]*@[a-z0-9.-]+(:\d{1,5})?/\w+$"),
    ]
    """``postgresql://role@host:port/name``: a database of the team alone."""
    online_host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]+$")]
    """Of a Valkey or Redis, over TLS."""
    online_port: int = Field(6379, ge=1, le=65535)
    online_user: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$")]
    """With the rights that `docs/existing-cluster.md` lists: the team's keys and no others."""
    authorities: Certificates
    """PEM of who signs the certificates of both."""
    features_uri: Annotated[str, StringConstraints(pattern=r"^s3://[a-z0-9.-]+(/[\w.-]+)*$")]
    """The team's folder of features."""
    endpoint: Annotated[str, StringConstraints(pattern=r"^https://[^\s/]+$")]
    """Of the object store."""
    region: Name = "site"
    """As the store calls itself: signatures hold it."""


class KubernetesSettings(Section):
    """The cluster, and what stands around it."""

    registry: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]*(:\d{1,5})?$")]
    """Host of the image registry in the country; it holds the copies that `falaj images plan`
    lists."""
    repositories: Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]+(/[a-z0-9._-]+)*$")] = (
        "falaj"
    )
    """Project or path there, before the names of images."""
    pools: dict[Name, GivenPool] = Field(min_length=1)
    domain: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")] | None = None
    """The gateway answers for names below it; without it there is none."""
    issuer: Name | None = None
    """A ClusterIssuer of cert-manager that signs for the gateway; without it somebody keeps its
    certificate."""
    clients: tuple[Block, ...] = ()
    """From where requests come to the gateway."""
    tracking: GivenStores | None = None
    """What MLflow keeps its own in, where it is asked for."""
    orchestration: dict[Name, DatabaseUri] = Field(default_factory=dict)
    """Team → the database of its Dagster and the role that owns it, where the team has one. No two
    teams share either; passwords are in Secrets."""
    database_authorities: Certificates | None = None
    """PEM of who signs the certificates of MLflow's databases and of Dagster's."""
    features: dict[Name, GivenFeatures] = Field(default_factory=dict)
    """Team → what its feature store keeps its own in, where it is asked for."""
    keep_data: bool = True
    """Whether somebody's data is here: then no part is on one pod alone."""
    services: tuple[Block, ...] = ()
    """What pods may reach outside the cluster: object store, database, cache, brokers."""
    nodes: tuple[Block, ...] = ()
    """Where kubelets answer, whose figures are read."""
    api_server: tuple[Block, ...] = ()
    """Where the API server answers pods: its own address and that of the Service `kubernetes`."""
    api_server_port: int = Field(6443, ge=1, le=65535)
    """Its own, behind the 443 of that Service: ``kubectl get endpointslices -l
    kubernetes.io/service-name=kubernetes`` says it. That of kubeadm where nothing is said."""

    @model_validator(mode="after")
    def _teams_share_no_store(self) -> Self:
        for noun, called in (("registry_uri", "database"), ("online_user", "user")):
            seen: dict[str, str] = {}
            for team, one in self.features.items():
                other = seen.setdefault(getattr(one, noun), team)
                if other != team:
                    raise ValueError(
                        f"features.{team}.{noun}: {getattr(one, noun)} is the {called} of {other} "
                        f"too; give each team a {called} of its own"
                    )
        return self

    def repository(self, path: str) -> str:
        """Where the image or chart `path` lies in the registry."""
        return f"{self.repositories}/{path}"

    def pools_for_pods(self) -> dict[str, Pool]:
        """Name → pool."""
        return {name: one.pool(name) for name, one in self.pools.items()}


def problems_of_stores(
    kubernetes: KubernetesSettings,
    orchestrated: Iterable[str],
    page_hosts: Iterable[str],
    with_databases: Sequence[str],
) -> Iterator[str]:
    """What the site does not say for parts that are asked for; each begins with its key.

    `orchestrated` are the teams with a Dagster, `page_hosts` the names of pages for people, and
    `with_databases` the keys of the parts that sign in to databases by `database_authorities`.
    """
    if with_databases and kubernetes.database_authorities is None:
        yield (
            f"kubernetes.database_authorities: is missing, and {', '.join(with_databases)} verify "
            "the certificates of databases by it: name whoever signs them, as PEM"
        )
    of: dict[str, str] = {}
    for team, uri in kubernetes.orchestration.items():
        parts = urllib.parse.urlsplit(uri)
        server = f"{parts.hostname}:{parts.port or 5432}"
        for what in (f"the database {server}{parts.path}", f"the role {parts.username}@{server}"):
            if (other := of.setdefault(what, team)) != team:
                yield (
                    f"kubernetes.orchestration.{team}: has {what} of {other}; who writes into it "
                    "starts runs as the other: give each team its own"
                )
    for team in orchestrated:
        if team not in kubernetes.orchestration:
            yield (
                f"kubernetes.orchestration: names no database for {team}, which "
                f"orchestration.teams has: add {team}: postgresql://<role>@<host>:5432/<name>"
            )
    for host in page_hosts:
        if kubernetes.domain is None:
            yield (
                f"kubernetes.domain: is missing, and nobody would reach the pages at {host}: say "
                "under which domain the gateway answers"
            )
        elif not host.endswith(f".{kubernetes.domain}"):
            yield (
                f"kubernetes.domain: is {kubernetes.domain}, and pages are at {host}: let "
                "pages.host be a name under it"
            )
