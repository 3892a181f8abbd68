"""Where requests for models enter the mesh: the gateway's listener, and the bucket of a request.

Owns the `Gateway` object with its TLS, and the filter that gives each request its bucket, which
routes match so that an entity keeps its version (`workloads/delivery/mesh.py`). Leaves the pods of
the gateway and their Service to the mesh, and the routes to `serving`. Istio must be there.

The filter is Lua inside the object itself: nothing is fetched when a gateway starts. It comes first
of all filters, and Envoy chooses the route anew after a filter changed headers (Envoy, "Lua
filter"). On a real mesh, `istioctl proxy-config listener <gateway pod> -o json` shows it as the
first HTTP filter, and an answer's `x-falaj-slot` says which slot gave it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

ENTITY_HEADER = "x-falaj-entity"
"""Requests that carry the same value meet the same slot at a given split."""
BUCKET_HEADER = "x-falaj-bucket"
NETWORKING = "networking.istio.io/v1"

# A multiplicative hash whose products stay below 2^48, so that LuaJIT's numbers hold them exactly.
# 2^24 - 3 is prime; 10368889 is its golden section, which spreads numbers that follow each other.
BUCKET_LUA = f"""\
local function bucket(text)
  local hash = 0
  for place = 1, #text do
    hash = ((hash + string.byte(text, place) + 1) * 10368889) % 16777213
  end
  return string.format("%02d", math.floor(hash * 100 / 16777213))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local entity = headers:get("{ENTITY_HEADER}") or headers:get("x-request-id") or ""
  headers:replace("{BUCKET_HEADER}", bucket(entity))
end
"""
"""Sets the bucket, `00` to `99`, over what a client said; a request of nobody is put by its own id.
"""


@dataclass(frozen=True, kw_only=True)
class EdgeArgs:
    """Which gateway, and what it answers for."""

    namespace: pulumi.Input[str]
    """Of the gateway's pods; routes bind to it from there alone."""
    pod_labels: dict[str, str]
    """Of the gateway's pods."""
    hosts: Sequence[str]
    """Names in requests, such as ``models.example.ae``."""
    certificate: str
    """Name of the TLS Secret in `namespace`."""
    port: int = 8443
    """Of the pods; below 1024 they would need a capability."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a gateway that would answer for any name, or is any pod."""
        if not self.hosts or "*" in self.hosts:
            raise ValueError(f"hosts {list(self.hosts)}: name those that the gateway answers for")
        if not self.pod_labels:
            raise ValueError("pod_labels: without any, the filter would be put into every gateway")


class Edge(pulumi.ComponentResource):
    """`gateway` is how a route names it; `ready` is what routes must wait for."""

    def __init__(
        self, name: str, args: EdgeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Edge", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        listener = kubernetes.apiextensions.CustomResource(
            f"{name}-gateway",
            api_version=NETWORKING,
            kind="Gateway",
            metadata={"name": "models", "namespace": args.namespace},
            spec={
                "selector": args.pod_labels,
                "servers": [
                    {
                        "port": {"number": args.port, "name": "https", "protocol": "HTTPS"},
                        # `./`: a route in a team's namespace cannot take a name of the gateway
                        "hosts": [f"./{host}" for host in args.hosts],
                        "tls": {
                            "mode": "SIMPLE",
                            "credentialName": args.certificate,
                            "minProtocolVersion": "TLSV1_2",
                        },
                    }
                ],
            },
            opts=child,
        )
        bucket = kubernetes.apiextensions.CustomResource(
            f"{name}-bucket",
            api_version="networking.istio.io/v1alpha3",
            kind="EnvoyFilter",
            metadata={"name": "falaj-bucket", "namespace": args.namespace},
            spec=_bucket_filter(args.pod_labels),
            opts=child,
        )
        self.gateway = pulumi.Output.concat(args.namespace, "/models")
        self.ready: list[pulumi.Resource] = [listener, bucket]
        self.register_outputs({"gateway": self.gateway})


def _bucket_filter(pod_labels: dict[str, str]) -> Any:
    return {
        "workloadSelector": {"labels": pod_labels},
        "configPatches": [
            {
                "applyTo": "HTTP_FILTER",
                "match": {
                    "context": "GATEWAY",
                    "listener": {
                        "filterChain": {
                            "filter": {"name": "envoy.filters.network.http_connection_manager"}
                        }
                    },
                },
                "patch": {
                    "operation": "INSERT_FIRST",
                    "value": {
                        "name": "falaj.bucket",
                        "typed_config": {
                            "@type": (
                                "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
                            ),
                            "default_source_code": {"inline_string": BUCKET_LUA},
                        },
                    },
                },
            }
        ],
    }
