"""The network policies without which nothing starts where every pod begins with all denied.

Owns those of `kube-system`: names are answered, controllers reach the API server, the Pod Identity
agent and the endpoints of AWS. Leaves other namespaces to the parts that make them. The cluster
must answer before; the add-ons that run as ordinary pods come after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.flows import POD_IDENTITY_AGENT

_NAMESPACE = "kube-system"
_DNS, _HTTPS, _HTTP = 53, 443, 80


@dataclass(frozen=True, kw_only=True)
class BootstrapPoliciesArgs:
    """What there is to reach."""

    network_cidrs: Sequence[pulumi.Input[str]]
    """The network's own: API server, endpoints of AWS, resolver."""
    service_cidr: str
    """Traffic to a Service is judged by its own address, before it is sent on."""


class BootstrapPolicies(pulumi.ComponentResource):
    """Network policies; `made` holds them."""

    def __init__(
        self, name: str, args: BootstrapPoliciesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:BootstrapPolicies", name, None, opts)
        self.made: list[pulumi.Resource] = [
            kubernetes.networking.v1.NetworkPolicy(
                f"{name}-{policy}",
                metadata={"name": f"falaj-{policy}", "namespace": _NAMESPACE},
                spec=spec,
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy, spec in _policies(args).items()
        ]
        self.register_outputs({})


def _policies(args: BootstrapPoliciesArgs) -> dict[str, Any]:
    blocks: list[dict[str, Any]] = [
        {"ip_block": {"cidr": cidr}} for cidr in (*args.network_cidrs, args.service_cidr)
    ]
    dns = [{"port": _DNS, "protocol": protocol} for protocol in ("UDP", "TCP")]
    return {
        "controllers-reach-out": {
            "pod_selector": {},
            "policy_types": ["Egress"],
            "egress": [
                {"to": blocks, "ports": [*dns, {"port": _HTTPS, "protocol": "TCP"}]},
                {
                    "to": [{"ip_block": {"cidr": POD_IDENTITY_AGENT}}],
                    "ports": [{"port": _HTTP, "protocol": "TCP"}],
                },
            ],
        },
        "names-are-answered": {
            "pod_selector": {"match_labels": {"k8s-app": "kube-dns"}},
            "policy_types": ["Ingress"],
            "ingress": [{"from_": [{"namespace_selector": {}}], "ports": dns}],
        },
    }
