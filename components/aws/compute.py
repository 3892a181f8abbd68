"""The cluster and its nodes, in the order in which they come to life.

Owns how these meet: control plane, what nodes need, the managed groups, what runs as ordinary pods,
and Karpenter's half in AWS. With an existing cluster it makes the managed groups alone. The network
with its endpoints, the keys and the administrators' roles must exist before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as kubernetes

from components.aws.add_ons import AFTER_NODES, AddOns, AddOnsArgs
from components.aws.cluster import Cluster, ClusterArgs
from components.aws.elastic_nodes import ElasticNodes, ElasticNodesArgs
from components.aws.node_pool import NodePool, NodePoolArgs
from components.aws.regions import region_data, zones_for
from components.aws.scope import Scope
from components.aws.service_linked_roles import ServiceLinkedRoles, ServiceLinkedRolesArgs
from components.aws.settings.aws import system_pool_of
from components.aws.settings.cluster import (
    ClusterSettings,
    ExistingCluster,
    add_ons_of,
    version_of,
)
from components.aws.settings.elastic_nodes import ElasticNodesSettings
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings
from components.kubernetes.bootstrap import BootstrapPolicies, BootstrapPoliciesArgs


@dataclass(frozen=True, kw_only=True)
class ComputeNetwork:
    """What the cluster needs to know of its network."""

    vpc_id: pulumi.Input[str]
    cidrs: Sequence[pulumi.Input[str]]
    private_subnet_ids: Mapping[str, pulumi.Input[str]]
    """Zone → subnet."""
    service_cidr: str = "172.20.0.0/16"
    max_pods: int = 110
    """On one node."""
    api_security_group_ids: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → security group of who asks the API server, such as the runner."""
    ready: Sequence[pulumi.Resource] = ()
    """Endpoints and routes, without which no node joins."""


@dataclass(frozen=True, kw_only=True)
class ComputeArgs:
    """The sections of the settings, and what they stand on."""

    scope: Scope
    cluster: ClusterSettings
    existing_cluster: ExistingCluster | None
    node_pools: Mapping[str, NodePoolSettings]
    elastic_nodes: ElasticNodesSettings | None
    service_linked_roles: Sequence[str]
    network: ComputeNetwork | None
    """May be `None` where the cluster exists."""
    key_arn: pulumi.Input[str]
    """Of the domain `cluster`."""
    logs_key_arn: pulumi.Input[str] | None
    """`None` where the cluster exists."""
    administrators: Mapping[str, pulumi.Input[str]]
    """Noun → ARN of a role that administers the cluster, the deploying one among them."""
    keep: bool
    readers: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → ARN of a role that looks at the cluster and changes nothing."""
    read_namespaces: Sequence[str] = ()
    """Where it looks: what the platform or a team has there, but no secret."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """On nodes and their disks."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The keys' policies."""


class Compute(pulumi.ComponentResource):
    """A cluster with nodes.

    `provider` and `kubeconfig` reach a cluster that is made here, and are `None` for one that
    exists. `ready` is what anything deployed to the cluster waits for. `manifests` are Karpenter's
    objects, which the Kubernetes layer applies.
    """

    cluster: Cluster | None = None
    elastic: ElasticNodes | None = None
    provider: kubernetes.Provider | None = None
    kubeconfig: pulumi.Output[str] | None = None

    def __init__(
        self, name: str, args: ComputeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Compute", name, None, opts)
        self.ready: list[pulumi.Resource] = []
        if args.existing_cluster is not None:
            self._joined(name, args, args.existing_cluster)
        else:
            self._made(name, args)
        self.register_outputs({})

    def _joined(self, name: str, args: ComputeArgs, existing: ExistingCluster) -> None:
        network = args.network
        subnet_ids: Mapping[str, pulumi.Input[str]] = existing.subnet_ids
        if not subnet_ids and network is not None:
            subnet_ids = network.private_subnet_ids
        for pool, shape in args.node_pools.items():
            NodePool(
                f"{name}-pool-{pool}",
                NodePoolArgs(
                    scope=args.scope,
                    pool=pool,
                    shape=shape,
                    cluster_name=existing.name or "",
                    subnet_ids=_subnets(args.scope.region, shape, subnet_ids),
                    security_group_ids=existing.security_group_ids,
                    volume_key_arn=args.key_arn,
                    network_plugin_has_role=False,
                    tags=args.tags,
                    wait_for=[*(network.ready if network is not None else ()), *args.wait_for],
                ),
                pulumi.ResourceOptions(parent=self),
            )

    def _made(self, name: str, args: ComputeArgs) -> None:
        child = pulumi.ResourceOptions(parent=self)
        network, logs_key_arn = args.network, args.logs_key_arn
        people = {arn.rpartition("/")[2]: arn for arn in args.cluster.administrators}
        administrators = {**people, **args.administrators}
        if network is None or logs_key_arn is None or not administrators:
            raise ValueError("a cluster needs a network, a key for its log and administrators")
        roles = ServiceLinkedRoles(
            f"{name}-service-roles",
            ServiceLinkedRolesArgs(services=args.service_linked_roles),
            child,
        )
        version = version_of(args.cluster, region_data(args.scope.region))
        pinned = add_ons_of(args.cluster, version)
        cluster = self.cluster = Cluster(
            f"{name}-cluster",
            ClusterArgs(
                scope=args.scope,
                settings=args.cluster,
                version=version,
                add_ons=pinned,
                vpc_id=network.vpc_id,
                subnet_ids=network.private_subnet_ids,
                service_cidr=network.service_cidr,
                key_arn=args.key_arn,
                logs_key_arn=logs_key_arn,
                administrators=administrators,
                readers=args.readers,
                read_namespaces=args.read_namespaces,
                api_security_group_ids=network.api_security_group_ids,
                keep=args.keep,
                wait_for=[*network.ready, *args.wait_for],
            ),
            child,
        )
        before = [*cluster.before_nodes, *roles.made, *network.ready, *args.wait_for]
        pools = {
            pool: NodePool(
                f"{name}-pool-{pool}",
                NodePoolArgs(
                    scope=args.scope,
                    pool=pool,
                    shape=shape,
                    cluster_name=cluster.cluster_name,
                    version=version,
                    subnet_ids=_subnets(args.scope.region, shape, network.private_subnet_ids),
                    security_group_ids=[cluster.node_security_group_id],
                    volume_key_arn=args.key_arn,
                    network_plugin_has_role=True,
                    tags=args.tags,
                    wait_for=before,
                ),
                child,
            )
            for pool, shape in args.node_pools.items()
        }
        system = pools[system_pool_of(args.node_pools) or ""].group
        self.kubeconfig = cluster.kubeconfig
        self.provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=cluster.kubeconfig,
            # nobody is let in before the access entries, or after them on the way down
            opts=pulumi.ResourceOptions(parent=self, depends_on=cluster.ready),
        )
        policies = BootstrapPolicies(
            f"{name}-bootstrap",
            BootstrapPoliciesArgs(network_cidrs=network.cidrs, service_cidr=network.service_cidr),
            # made here, so no child could inherit it
            pulumi.ResourceOptions(parent=self, provider=self.provider),
        )
        late = AddOns(
            f"{name}-late-add-ons",
            AddOnsArgs(
                scope=args.scope,
                cluster_name=cluster.cluster_name,
                versions={one: pinned[one] for one in AFTER_NODES},
                volume_key_arn=args.key_arn,
                wait_for=[system, *policies.made],
            ),
            child,
        )
        self.ready = [*cluster.ready, *policies.made, system, *late.ready]
        if args.elastic_nodes is not None:
            self.elastic = ElasticNodes(
                f"{name}-elastic",
                ElasticNodesArgs(
                    scope=args.scope,
                    settings=args.elastic_nodes,
                    cluster_name=args.scope.cluster(args.cluster.suffix),
                    cluster=cluster.cluster_name,
                    subnet_ids=network.private_subnet_ids,
                    node_security_group_ids=[cluster.node_security_group_id],
                    key_arn=args.key_arn,
                    max_pods=network.max_pods,
                    tags=args.tags,
                    wait_for=before,
                ),
                child,
            )
            self.ready += self.elastic.ready


def _subnets(
    region: str, shape: PoolSettings, subnet_ids: Mapping[str, pulumi.Input[str]]
) -> list[pulumi.Input[str]]:
    """The subnets of a pool: of its zones, else of every zone that has one of its types."""
    data = region_data(region)
    zones = shape.zones or (zones_for(data, shape.instance_types) if data is not None else ())
    chosen = [subnet for zone, subnet in sorted(subnet_ids.items()) if zone in zones]
    return chosen or [subnet for _, subnet in sorted(subnet_ids.items())]
