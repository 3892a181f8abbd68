"""A pool of nodes of one kind, CPU or GPU, for a cluster that exists.

Owns the managed node group with its launch template and the role of its nodes. Leaves the cluster,
its subnets and its add-ons (the network plugin, the GPU device plugin) to others; cluster, subnets
and the volumes' key must exist before. The cluster's autoscaler moves the number of nodes between
minimum and maximum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.node_pool import NodePoolSettings

GPU_TAINT = "nvidia.com/gpu"
"""Keeps every pod off GPU nodes that does not tolerate, and so ask for, a GPU."""

_IMAGES = {"cpu": "AL2023_x86_64_STANDARD", "gpu": "AL2023_x86_64_NVIDIA"}
_NODE_POLICIES = {
    "worker": "AmazonEKSWorkerNodePolicy",
    "images": "AmazonEC2ContainerRegistryPullOnly",
    "network": "AmazonEKS_CNI_Policy",
}


@dataclass(frozen=True, kw_only=True)
class NodePoolArgs:
    """Where the nodes of a pool run, and what encrypts their disks."""

    scope: Scope
    pool: str
    """The pool's name; nodes carry it as the label ``falaj/pool``."""
    shape: NodePoolSettings
    cluster_name: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]]
    volume_key_arn: pulumi.Input[str]


class NodePool(pulumi.ComponentResource):
    """A managed node group; `role_arn` is the identity of its nodes.

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
                managed_policies=_NODE_POLICIES,
            ),
            child,
        )
        template = aws.ec2.LaunchTemplate(
            f"{name}-template",
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
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
                "http_put_response_hop_limit": 1,
            },
            update_default_version=True,
            opts=child,
        )
        gpu = args.shape.kind == "gpu"
        aws.eks.NodeGroup(
            f"{name}-group",
            cluster_name=args.cluster_name,
            node_role_arn=role.arn,
            subnet_ids=args.subnet_ids,
            ami_type=_IMAGES[args.shape.kind],
            instance_types=args.shape.instance_types,
            launch_template={
                "id": template.id,
                "version": template.latest_version.apply(str),
            },
            scaling_config={
                "min_size": args.shape.min_nodes,
                "max_size": args.shape.max_nodes,
                "desired_size": args.shape.min_nodes,
            },
            labels={"falaj/pool": args.pool, "falaj/kind": args.shape.kind},
            taints=[{"key": GPU_TAINT, "value": "true", "effect": "NO_SCHEDULE"}] if gpu else None,
            opts=pulumi.ResourceOptions(
                parent=self,
                # a node without its permissions never joins
                depends_on=role.policies,
                # the cluster's autoscaler owns the number of nodes
                ignore_changes=["scalingConfig.desiredSize"],
            ),
        )
        self.role_arn = role.arn
        self.register_outputs({"role_arn": self.role_arn})
