"""A pool of nodes of one kind, CPU or GPU, for a cluster that exists.

Owns the managed node group with its launch template and the role of its nodes. Leaves the cluster,
its subnets and its add-ons (the network plugin, the GPU device plugin) to others; cluster, subnets
and the volumes' key must exist before. The cluster's autoscaler moves the number of nodes between
minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws

from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.node_pool import NodePoolSettings, labels_of, taints_of

METADATA_HOPS = 1
"""How far the instance metadata service answers: to the node, and to no pod behind it."""

_EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}
_IMAGES = {"cpu": "AL2023_x86_64_STANDARD", "gpu": "AL2023_x86_64_NVIDIA"}
_IMAGE_DEVICE = "/dev/xvda"


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """Where the nodes of a pool run, and what encrypts their disks."""

    scope: Scope
    pool: str
    """The pool's name; nodes carry it as the label ``falaj/pool``."""
    shape: NodePoolSettings
    cluster_name: pulumi.Input[str]
    version: str | None = None
    """Of Kubernetes; that of the cluster where nobody here decides it."""
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_ids: Sequence[pulumi.Input[str]] = ()
    """Those of the nodes; EKS gives them the cluster's where none is named."""
    volume_key_arn: pulumi.Input[str]
    network_plugin_has_role: bool
    """Whether the VPC network plugin has an identity of its own; else it takes the nodes'."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """On instances, disks and interfaces, which a launch template alone would leave bare."""
    wait_for: Sequence[pulumi.Resource] = ()
    """What nodes need to become ready: network plugin, endpoints, the key's policy."""


class NodePool(pulumi.ComponentResource):
    """A managed node group; `role_arn` is the identity of its nodes, `group` what waits for them.

    Pods cannot take that identity: the instance metadata service answers one hop away only.
    """

    def __init__(
        self, name: str, args: NodePoolArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:NodePool", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role=f"nodes-{args.pool}",
                trust=[taken_by_service("ec2", "NodesAssume")],
                managed_policies=node_policies(
                    network_plugin_has_role=args.network_plugin_has_role
                ),
            ),
            child,
        )
        template = aws.ec2.LaunchTemplate(
            f"{name}-template",
            block_device_mappings=[
                {
                    "device_name": _IMAGE_DEVICE,
                    "ebs": {
                        "encrypted": "true",
                        "kms_key_id": args.volume_key_arn,
                        "volume_size": args.shape.disk_gib,
                        "volume_type": "gp3",
                        "delete_on_termination": "true",
                    },
                }
            ],
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": METADATA_HOPS,
            },
            vpc_security_group_ids=args.security_group_ids or None,
            tag_specifications=[
                {"resource_type": kind, "tags": args.tags}
                for kind in ("instance", "network-interface", "volume")
            ]
            if args.tags
            else None,
            update_default_version=True,
            opts=child,
        )
        shape = args.shape
        self.group = aws.eks.NodeGroup(
            f"{name}-group",
            cluster_name=args.cluster_name,
            node_role_arn=role.arn,
            subnet_ids=args.subnet_ids,
            version=args.version,
            release_version=shape.image_release,
            ami_type=_IMAGES[shape.kind],
            capacity_type="SPOT" if shape.spot_percent else "ON_DEMAND",
            instance_types=shape.instance_types,
            launch_template={
                "id": template.id,
                "version": template.latest_version.apply(str),
            },
            scaling_config={
                "min_size": shape.min_nodes,
                "max_size": shape.max_nodes,
                "desired_size": shape.min_nodes,
            },
            update_config={"max_unavailable": 1},
            labels=labels_of(args.pool, shape),
            taints=[
                {"key": one.key, "value": one.value, "effect": _EFFECTS[one.effect]}
                for one in taints_of(shape)
            ]
            or None,
            opts=pulumi.ResourceOptions(
                parent=self,
                # a node without its permissions or its network plugin never joins
                depends_on=[*role.policies, *args.wait_for],
                # the cluster's autoscaler owns the number of nodes
                ignore_changes=["scalingConfig.desiredSize"],
            ),
        )
        self.role_arn = role.arn
        self.register_outputs({"role_arn": self.role_arn})


def node_policies(*, network_plugin_has_role: bool) -> dict[str, str]:
    """The managed policies of a node's role: purpose → name."""
    policies = {
        "worker": "AmazonEKSWorkerNodePolicy",
        "images": "AmazonEC2ContainerRegistryPullOnly",
    }
    return policies if network_plugin_has_role else policies | {"network": "AmazonEKS_CNI_Policy"}
