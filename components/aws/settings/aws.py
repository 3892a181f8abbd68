"""The settings of an environment on AWS: its account and region, and one section a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, model_validator

from components.aws.regions import region_data
from components.aws.services import problems_of_parts
from components.aws.settings.audit import AuditSettings
from components.aws.settings.backup import BackupSettings, problems_of_backup
from components.aws.settings.cache import CacheSettings
from components.aws.settings.cluster import ClusterSettings, ExistingCluster, problems_of_cluster
from components.aws.settings.controllers import services_called
from components.aws.settings.database import DatabaseSettings
from components.aws.settings.elastic_nodes import ElasticNodesSettings, GpuBudget
from components.aws.settings.identity import IdentitySettings
from components.aws.settings.image_registry import ImageRegistrySettings
from components.aws.settings.ingress import IngressSettings
from components.aws.settings.keys import KeySettings, problems_of_keys
from components.aws.settings.log_shipping import LogShippingSettings
from components.aws.settings.network import (
    ExistingNetwork,
    NetworkSettings,
    existing_network_problems,
    network_problems,
    used_zones,
)
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings, problems_of_pool
from components.aws.settings.runner import RunnerSettings, runner_problems
from components.aws.settings.secrets import SecretsSettings
from components.aws.settings.storage import StorageSettings, undeletable
from components.aws.settings.stream import StreamSettings
from components.aws.system_pods import problems_of_system_group
from components.section import Name, Section

SKIP = "aws"
"""In the context of a validation: that what does not fit among the parts has been said."""


class AwsSettings(Section):
    """The account and region of an environment on AWS."""

    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    region: str = "me-central-1"
    organisation_id: Annotated[str, StringConstraints(pattern=r"^o-[a-z0-9]{10,32}$")] | None = None
    """The AWS organisation whose accounts buckets may let in, and which may pull images; without
    it, this account alone."""
    network: NetworkSettings | None = None
    """The network made for this environment; with `existing_network`, what holds of that one:
    `egress`, `max_pods`, `trusted_accounts`."""
    existing_network: ExistingNetwork | None = None
    """A network that somebody else keeps."""
    runner: RunnerSettings | None = None
    """The machine inside the network from which alone the environment is deployed; `None` where
    whoever deploys reaches the network by other ways."""
    cluster: ClusterSettings = ClusterSettings()
    """The EKS cluster that is made, unless `existing_cluster` is there."""
    existing_cluster: ExistingCluster | None = None
    node_pools: dict[Name, NodePoolSettings] = Field(default_factory=dict)
    """Managed groups; the one called `system`, or else the largest that always has a node, holds
    what runs the cluster."""
    elastic_nodes: ElasticNodesSettings | None = None
    gpu_budget: GpuBudget = GpuBudget(total=0)
    service_linked_roles: tuple[Literal["autoscaling", "spot"], ...] = ("autoscaling", "spot")
    """Those of AWS's own roles that are made here; an account has each once, so name only those
    that it lacks."""
    keep_data: bool = True
    """Whether buckets are protected, and left when the stack is destroyed."""
    storage: StorageSettings = StorageSettings()
    database: DatabaseSettings = DatabaseSettings()
    cache: CacheSettings = CacheSettings()
    stream: StreamSettings = StreamSettings()
    ingress: IngressSettings = IngressSettings()
    """The way in; made with a cluster and a network of this environment."""
    image_registry: ImageRegistrySettings = ImageRegistrySettings()
    keys: KeySettings = KeySettings()
    identity: IdentitySettings = IdentitySettings()
    secrets: SecretsSettings = SecretsSettings()
    audit: AuditSettings = AuditSettings()
    backup: BackupSettings = BackupSettings()
    logs: LogShippingSettings = LogShippingSettings()

    @property
    def pools(self) -> Mapping[str, PoolSettings]:
        """Path of its settings → every pool of nodes."""
        pools: dict[str, PoolSettings] = {
            f"node_pools.{name}": pool for name, pool in self.node_pools.items()
        }
        if self.elastic_nodes is not None:
            for name, pool in self.elastic_nodes.pools.items():
                pools[f"elastic_nodes.pools.{name}"] = pool
        return pools

    @property
    def database_authorities(self) -> str | None:
        """PEM of who signs the database's certificate; `None` where nobody has said it."""
        if self.database.authorities is not None or self.database.existing is not None:
            return self.database.authorities
        data = region_data(self.region)
        roots = data.database_roots if data is not None else {}
        return roots.get(self.database.certificate_authority)

    @model_validator(mode="after")
    def _parts_fit(self, info: ValidationInfo) -> Self:
        if SKIP in (info.context or {}):
            return self
        problems = [
            *_problems_of_network(self),
            *_problems_of_runner(self),
            *_what_the_region_lacks(self),
            *_what_the_cluster_needs(self),
            *_pools_of_one_name(self),
            *_beyond_the_gpu_budget(self),
            *undeletable(self.storage, keep_data=self.keep_data),
            *problems_of_keys(
                self.keys,
                keep_data=self.keep_data,
                networked=self.network is not None or self.existing_network is not None,
            ),
            *problems_of_backup(self.backup, account_id=self.account_id, keep_data=self.keep_data),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _problems_of_network(aws: AwsSettings) -> list[str]:
    if aws.existing_network is not None:
        return list(existing_network_problems(aws.existing_network, aws.region, services_called()))
    if aws.network is not None:
        nodes = {path: pool.max_nodes for path, pool in aws.pools.items()}
        return list(network_problems(aws.network, aws.region, nodes))
    if aws.existing_cluster is not None:
        return []
    return ["network: is missing; or name existing_network or existing_cluster"]


def _problems_of_runner(aws: AwsSettings) -> list[str]:
    if aws.runner is None:
        return []
    if aws.network is None and aws.existing_network is None:
        return ["runner: has no network to be in; declare network or existing_network"]
    return list(runner_problems(aws.runner, aws.network or NetworkSettings(), aws.region))


def system_pool_of(pools: Mapping[str, NodePoolSettings]) -> str | None:
    """The name of the managed group that holds what runs the cluster; `None` where none can.

    `system`, else the largest of those that always have a node.
    """
    able = {name: one.min_nodes for name, one in pools.items() if one.kind == "cpu"}
    able = {name: nodes for name, nodes in able.items() if nodes > 0}
    return max(sorted(able), key=lambda name: (name == "system", able[name]), default=None)


def _what_the_region_lacks(settings: AwsSettings) -> Iterator[str]:
    data = region_data(settings.region)
    if data is not None:
        for path, pool in settings.pools.items():
            for problem in problems_of_pool(pool, data):
                yield f"{path}.{problem}"
        yield from problems_of_parts(settings, data)
    if settings.existing_cluster is None:
        for problem in problems_of_cluster(settings.cluster, data):
            yield f"cluster.{problem}"


def _what_the_cluster_needs(settings: AwsSettings) -> Iterator[str]:
    existing = settings.existing_cluster
    if existing is not None:
        if settings.cluster != ClusterSettings():
            yield "cluster: has no meaning beside existing_cluster"
        if settings.elastic_nodes is not None:
            yield "elastic_nodes: takes a cluster that is made here, not existing_cluster"
        if existing.name is None and settings.node_pools:
            yield "existing_cluster.name: is missing; node pools join an EKS cluster by its name"
        if existing.name is not None and not _zones_of_nodes(settings):
            yield "existing_cluster.subnet_ids: is empty, and no network is declared"
    for path, pool in settings.pools.items():
        strangers = set(pool.zones) - set(_zones_of_nodes(settings))
        if strangers and (existing is None or existing.name is not None):
            yield f"{path}.zones: {', '.join(sorted(strangers))} has no subnet for nodes"
    if existing is not None:
        return
    system = system_pool_of(settings.node_pools)
    if system is None:
        yield "node_pools: what runs the cluster needs a group of kind cpu and min_nodes from 1 on"
        return
    group = settings.node_pools[system]
    elastic = settings.elastic_nodes
    if elastic is not None and group.min_nodes < elastic.replicas:
        yield (
            f"node_pools.{system}.min_nodes: is {group.min_nodes}, but elastic_nodes.replicas is "
            f"{elastic.replicas}: Karpenter's replicas stay apart and off its own nodes"
        )
    for problem in problems_of_system_group(
        group.instance_types,
        nodes=group.min_nodes,
        max_pods=(settings.network or NetworkSettings()).max_pods,
        karpenter_replicas=elastic.replicas if elastic is not None else 0,
    ):
        yield f"node_pools.{system}.{problem}"


def _zones_of_nodes(settings: AwsSettings) -> tuple[str, ...]:
    """The zones that have a private subnet."""
    if settings.existing_cluster is not None and settings.existing_cluster.subnet_ids:
        return tuple(settings.existing_cluster.subnet_ids)
    if settings.existing_network is not None:
        return tuple(settings.existing_network.private_subnet_ids)
    return used_zones(settings.network, settings.region) if settings.network is not None else ()


def _pools_of_one_name(settings: AwsSettings) -> Iterator[str]:
    elastic = settings.elastic_nodes.pools if settings.elastic_nodes is not None else {}
    for name in sorted(settings.node_pools.keys() & elastic.keys()):
        yield f"elastic_nodes.pools.{name}: is a name of node_pools too"


def _beyond_the_gpu_budget(settings: AwsSettings) -> Iterator[str]:
    most = {path: pool.max_gpus for path, pool in settings.pools.items() if pool.max_gpus}
    budget = settings.gpu_budget
    if sum(most.values()) > budget.total:
        pools = ", ".join(f"{path} ({gpus})" for path, gpus in most.items())
        yield (
            f"gpu_budget.total: is {budget.total}, but the pools may hold {sum(most.values())} "
            f"GPUs: {pools}"
        )
    if budget.per_team > budget.total:
        yield f"gpu_budget.per_team: is {budget.per_team}, more than total, {budget.total}"


def beyond_the_team_budget(budget: GpuBudget, quotas: Mapping[str, int]) -> Iterator[str]:
    """Which teams' GPU quotas (team → GPUs) exceed what one team may have."""
    for team, gpus in quotas.items():
        if gpus > budget.per_team:
            yield (
                f"teams.{team}.gpu_quota: is {gpus}; aws.gpu_budget.per_team is {budget.per_team}"
            )


def unverified(aws: AwsSettings, parts: Sequence[str]) -> Iterator[str]:
    """What is missing for `parts`, each the key of its settings, to know the database by."""
    if parts and aws.database_authorities is None:
        yield (
            f"aws.database.authorities: is missing, and {', '.join(parts)} verify the database's "
            "certificate by it: name the bundle of the region, or of whoever keeps the database, "
            "as PEM"
        )
