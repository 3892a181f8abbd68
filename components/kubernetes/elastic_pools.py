"""The objects that tell Karpenter which nodes it may start, applied to the cluster.

Owns NodePools and the node classes that they name, and the order in which they come and go. Leaves
their content to the place (`components.aws.karpenter_objects`), and the controller with its kinds,
which must be there before, to the operators.

On the way down the pools go first: Karpenter ends the nodes of a pool that is deleted, and an
instance whose controller has gone is in nobody's state and goes on costing money. So whatever runs
on these nodes must wait for `ready`, and goes before. Karpenter keeps a pool until its last node
has gone, and Pulumi waits for it; a job that is still on one has as long as `job_hours` says, which
may be longer than Pulumi waits. Then run `pulumi destroy` again. What is left afterwards is found
by `aws ec2 describe-instances --filters Name=tag:eks:eks-cluster-name,Values=<cluster>
Name=instance-state-name,Values=running`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

_NODE_POOL = "NodePool"
_DRAIN = "60m"
"""How long Pulumi waits until the nodes of a pool have gone."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A Kubernetes object without a namespace."""

    api_version: str
    kind: str
    name: str
    spec: Mapping[str, Any]
    """May hold `pulumi.Output` values."""


@dataclass(frozen=True, kw_only=True)
class ElasticPoolsArgs:
    """Which pools, and what must be there before."""

    manifests: Sequence[Manifest]
    wait_for: Sequence[pulumi.Resource] = ()
    """The controller, its identity and queue, and the access of its nodes to the cluster."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where a pool names a node class that is not there."""
        classes = {one.name for one in self.manifests if one.kind != _NODE_POOL}
        if strange := [
            f"{one.name}: names the node class {_class_of(one)}; there are "
            f"{', '.join(sorted(classes)) or 'none'}"
            for one in self.manifests
            if one.kind == _NODE_POOL and _class_of(one) not in classes
        ]:
            raise ValueError("\n".join(strange))


class ElasticPools(pulumi.ComponentResource):
    """Pools of nodes that begin with none; `ready` is what pods for these nodes must wait for."""

    def __init__(
        self, name: str, args: ElasticPoolsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:ElasticPools", name, None, opts)
        classes = {
            one.name: _applied(
                f"{name}-{one.name}-class",
                one,
                pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for]),
            )
            for one in args.manifests
            if one.kind != _NODE_POOL
        }
        self.ready: list[pulumi.Resource] = [
            _applied(
                f"{name}-{one.name}",
                one,
                pulumi.ResourceOptions(
                    parent=self,
                    # without its class a pool starts nothing, and cannot end what it started
                    depends_on=[classes[_class_of(one)]],
                    custom_timeouts=pulumi.CustomTimeouts(delete=_DRAIN),
                ),
            )
            for one in args.manifests
            if one.kind == _NODE_POOL
        ]
        self.register_outputs({})


def _class_of(pool: Manifest) -> str:
    return str(pool.spec["template"]["spec"]["nodeClassRef"]["name"])


def _applied(name: str, manifest: Manifest, opts: pulumi.ResourceOptions) -> CustomResource:
    metadata: Any = {
        "name": manifest.name,
        "labels": {"app.kubernetes.io/managed-by": "pulumi"},
    }
    return CustomResource(
        name,
        api_version=manifest.api_version,
        kind=manifest.kind,
        metadata=metadata,
        spec=dict(manifest.spec),
        opts=opts,
    )
