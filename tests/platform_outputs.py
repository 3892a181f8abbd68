"""The outputs of a platform on a cluster, as a workload reads them."""

from __future__ import annotations

import json
from typing import Any

from components.contract import CONTRACT_VERSION

REGISTRY = "123456789012.dkr.ecr.me-central-1.amazonaws.com/falaj-dev"


SERVER = "https://cluster.dev.falaj.internal"
KUBECONFIG = json.dumps(
    {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "dev",
        "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "dev"}}],
        "clusters": [{"name": "dev", "cluster": {"server": SERVER}}],
        "users": [{"name": "dev", "user": {}}],
    }
)


def on_a_cluster(kubeconfig: str = KUBECONFIG, **changes: Any) -> dict[str, Any]:
    """Those of `dev` with the team `credit`."""
    outputs: dict[str, Any] = {
        "contract_version": CONTRACT_VERSION,
        "environment": "dev",
        "place": "aws",
        "capabilities": ["monitoring", "serving", "tenancy", "tracking"],
        "residency_mode": "in-country",
        "allowed_regions": ["me-central-1"],
        "region": "me-central-1",
        "metrics_url": "http://prometheus-operated.monitoring.svc:9090",
        "tracking_uri": "http://tracking.tracking.svc:5000",
        "serving_gateway_url": "https://serving.dev.falaj.internal",
        "serving_namespace": "serving",
        "teams": {
            "credit": {
                "namespace": "credit",
                "cpu_quota": 16,
                "memory_quota_gib": 64,
                "gpu_quota": 2,
                "shared_ray_address": "http://ray-head-svc.credit.svc:8265",
                "folders": {"data": "s3://falaj-dev-data/teams/credit/"},
                "orchestration": {"locations": ["credit-risk"], "by_password": True},
            }
        },
        "cluster": {
            "registry": REGISTRY,
            "storage_class": "encrypted",
            "mesh": True,
            "serving_engine": "mlserver",
            "ray_images": dict.fromkeys(("cpu", "gpu"), f"{REGISTRY}/ray@sha256:{'1' * 64}"),
            "pools": {
                "general": {
                    "kind": "cpu",
                    "labels": {"falaj/pool": "general", "falaj/kind": "cpu"},
                    "cpus": 7,
                    "memory_gib": 28,
                    "max_nodes": 4,
                }
            },
            "gateway": {
                "namespace": "serving",
                "gateway": "serving/models",
                "hosts": ["serving.dev.falaj.internal"],
                "service": "gateway",
                "service_account": "gateway",
            },
            "metrics_namespace": "monitoring",
        },
        "kubeconfig": kubeconfig,
    }
    return outputs | changes
