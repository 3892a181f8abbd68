"""The objects that tell Karpenter which nodes it may start, as plain data.

Owns their content; `components.kubernetes.elastic_pools` applies them once the controller and its
CRDs are there.
Names and addresses may be outputs. Fields as in Karpenter 1.14's CRDs.

With no way out of the network Karpenter reaches neither IAM nor prices, so a node class names an
instance profile that is made before, and a pool names its instance types in the order of
preference: among equals Karpenter would otherwise compare prices of another region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from components.aws.instance_types import most_gpus, most_vcpus
from components.aws.node_pool import METADATA_HOPS
from components.aws.regions import region_data, zones_for
from components.aws.settings.elastic_nodes import ElasticPoolSettings
from components.aws.settings.node_pool import labels_of, taints_of
from components.kubernetes.elastic_pools import Manifest

GPU = "nvidia.com/gpu"
_BOTTLEROCKET_SYSTEM_GIB = 4
"""As Karpenter gives it by itself. Source: Karpenter 1.14, NodeClasses, "blockDeviceMappings"."""


@dataclass(frozen=True, kw_only=True)
class NodePlace:
    """Where elastic nodes run and what they are."""

    region: str
    cluster_name: pulumi.Input[str]
    instance_profile: pulumi.Input[str]
    subnet_ids: Mapping[str, pulumi.Input[str]]
    """Zone → subnet."""
    security_group_ids: Sequence[pulumi.Input[str]]
    volume_key_arn: pulumi.Input[str]
    image: str
    """An AMI alias with its release."""
    max_pods: int
    tags: Mapping[str, str] = field(default_factory=dict)


def node_class(pool: str, shape: ElasticPoolSettings, place: NodePlace) -> Manifest:
    """The EC2NodeClass of `pool`, in the zones that are asked for, else those that have its types.

    A zone that is not healthy by the region's record is left out, where any other has them.
    """
    data = region_data(place.region)
    having = zones_for(data, shape.instance_types) if data is not None else ()
    found = [zone for zone in shape.zones or having if zone in place.subnet_ids]
    zones = found or list(place.subnet_ids)
    return Manifest(
        api_version="karpenter.k8s.aws/v1",
        kind="EC2NodeClass",
        name=pool,
        spec={
            "amiSelectorTerms": [{"alias": place.image}],
            "instanceProfile": place.instance_profile,
            "subnetSelectorTerms": [
                {"id": subnet} for zone, subnet in place.subnet_ids.items() if zone in zones
            ],
            "securityGroupSelectorTerms": [{"id": group} for group in place.security_group_ids],
            "associatePublicIPAddress": False,
            "metadataOptions": {
                "httpEndpoint": "enabled",
                "httpTokens": "required",
                "httpPutResponseHopLimit": METADATA_HOPS,
            },
            "blockDeviceMappings": [
                {
                    "deviceName": device,
                    "ebs": {
                        "encrypted": True,
                        "kmsKeyID": place.volume_key_arn,
                        "volumeSize": f"{gib}Gi",
                        "volumeType": "gp3",
                        "deleteOnTermination": True,
                    },
                }
                for device, gib in _disks(place.image, shape.disk_gib)
            ],
            "kubelet": {"maxPods": place.max_pods},
            "tags": dict(place.tags),
        },
    )


def _disks(image: str, gib: int) -> list[tuple[str, int]]:
    """Each disk of a node, with its size: one that is not named is made as the image says."""
    if image.startswith("bottlerocket@"):  # the system has a disk of its own
        return [("/dev/xvda", _BOTTLEROCKET_SYSTEM_GIB), ("/dev/xvdb", gib)]
    return [("/dev/xvda", gib)]


def node_pools(pool: str, shape: ElasticPoolSettings) -> list[Manifest]:
    """The NodePools of `pool`: one, or two where only a share of the nodes may be spot.

    The share is held by the limits: the spot pool is tried first and may hold at most its share.
    """
    spot_nodes = shape.max_nodes * shape.spot_percent // 100
    parts = [(pool, "on-demand", shape.max_nodes - spot_nodes, 10)]
    if spot_nodes:
        parts.insert(0, (f"{pool}-spot", "spot", spot_nodes, 20))
    return [
        _node_pool(name, pool, shape, capacity=capacity, nodes=nodes, weight=weight)
        for name, capacity, nodes, weight in parts
        if nodes
    ]


def _node_pool(
    name: str, pool: str, shape: ElasticPoolSettings, *, capacity: str, nodes: int, weight: int
) -> Manifest:
    requirements = [
        ("node.kubernetes.io/instance-type", shape.instance_types),
        ("karpenter.sh/capacity-type", (capacity,)),
        ("kubernetes.io/arch", ("amd64",)),
        ("kubernetes.io/os", ("linux",)),
    ]
    if shape.zones:
        requirements.append(("topology.kubernetes.io/zone", shape.zones))
    limits: dict[str, str] = {"cpu": str(nodes * most_vcpus(shape.instance_types))}
    if shape.kind == "gpu":
        limits[GPU] = str(nodes * most_gpus(shape.instance_types))
    template: dict[str, Any] = {
        "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": pool},
        "requirements": [
            {"key": key, "operator": "In", "values": list(values)} for key, values in requirements
        ],
        **_lifetime(shape),
    }
    if taints := taints_of(shape):
        template["taints"] = [one.model_dump() for one in taints]
    return Manifest(
        api_version="karpenter.sh/v1",
        kind="NodePool",
        name=name,
        spec={
            "weight": weight,
            "limits": limits,
            "disruption": _disruption(shape),
            "template": {
                "metadata": {"labels": {**labels_of(pool, shape), "falaj/purpose": shape.purpose}},
                "spec": template,
            },
        },
    )


def _lifetime(shape: ElasticPoolSettings) -> dict[str, str]:
    if shape.purpose == "training":
        # expiry is forceful: it would end a job, however long it has run
        return {"expireAfter": "Never", "terminationGracePeriod": f"{shape.job_hours}h"}
    if shape.purpose == "workspaces":
        # a day to save one's work in, from when the node is due for a new image: for pods that
        # bear karpenter.sh/do-not-disrupt, others are moved at once
        return {"expireAfter": "720h", "terminationGracePeriod": "24h"}
    return {"expireAfter": "720h", "terminationGracePeriod": "1h"}


def _disruption(shape: ElasticPoolSettings) -> dict[str, Any]:
    if shape.purpose == "training":
        return {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "5m"}
    if shape.purpose == "workspaces":
        # whoever sits at a notebook is not moved; it stops by itself when it is idle
        return {"consolidationPolicy": "WhenEmpty", "consolidateAfter": "10m"}
    return {
        "consolidationPolicy": "WhenEmptyOrUnderutilized",
        "consolidateAfter": "10m" if shape.purpose == "serving" else "2m",
        "budgets": [{"nodes": "1" if shape.purpose == "serving" else "10%"}],
    }
