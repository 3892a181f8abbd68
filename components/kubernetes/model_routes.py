"""How requests reach the slots of a workload through the mesh. Pure data.

The platform's route says where a workload is found and leaves the choice of the slot to the object
that releases write (`workloads/delivery/mesh.py`). While that is not there, Istio leaves the rule
that names it out, and the next one, to the first slot, holds.

A slot with no pod that is ready answers 503: unlike the local gateway, the mesh does not turn to
the other slot. Paths in the rules of who may speak to a server are judged by a sidecar, or by a
waypoint of the namespace. A ztunnel leaves out rules with paths: in ambient mode those of `mesh`
let the gateway in, and which paths it hands on its routes alone say (docs/adr/0022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pulumi

from components.kubernetes.model_pods import METRICS_PORT, PORT, Engine, Slot

CONTROL = ("/reload", "/version", "/live", "/ready")
"""Paths of a server that its release asks for."""


def host(service: str, namespace: pulumi.Input[str]) -> pulumi.Output[str]:
    """The name of a Service in the cluster."""
    return pulumi.Output.concat(service, ".", namespace, ".svc.cluster.local")


def prefix(namespace: str, workload: str) -> str:
    """Where clients find a workload, the same as at the local gateway."""
    return f"/seldon/{namespace}/{workload}"


def route(
    engine: Engine,
    *,
    hosts: Sequence[str],
    gateway: pulumi.Input[str],
    namespace: str,
    workload: str,
    split: str,
    first: pulumi.Input[str],
) -> dict[str, Any]:
    """The `spec` of the platform's VirtualService; `first` is the host of the first slot."""
    return {
        "hosts": list(hosts),
        "gateways": [gateway],
        "exportTo": ["."],
        "http": list(_rules(engine, namespace, workload, split, first)),
    }


def _rules(
    engine: Engine, namespace: str, workload: str, split: str, first: pulumi.Input[str]
) -> Iterator[dict[str, Any]]:
    for path, whatever_follows in engine.exposed.items():
        kind = "prefix" if whatever_follows else "exact"
        common = {
            "match": [{"uri": {kind: prefix(namespace, workload) + path}}],
            "rewrite": {"uri": path},
            "timeout": "15s",
            "retries": {
                "attempts": 2,
                "perTryTimeout": "5s",
                # what never left may be sent again; a prediction changes nothing, so it may be
                # where its server failed, too
                "retryOn": "connect-failure,refused-stream"
                + ("" if path in engine.sent_once else ",reset,unavailable,503"),
            },
        }
        yield common | {"delegate": {"namespace": namespace, "name": split}}
        yield common | {"route": [{"destination": {"host": first, "port": {"number": PORT}}}]}


def destination(service_host: pulumi.Input[str]) -> dict[str, Any]:
    """The `spec` of a slot's DestinationRule: a pod that fails is left out a while.

    It says nothing of TLS: the mesh is strict, and to pods in ambient mode `ISTIO_MUTUAL` would
    speak the sidecars' mutual TLS instead of the tunnel's (istio/istio issue 53526).
    """
    return {
        "host": service_host,
        "trafficPolicy": {
            "connectionPool": {
                "tcp": {"maxConnections": 2000, "connectTimeout": "1s"},
                "http": {"http1MaxPendingRequests": 1000},
            },
            "outlierDetection": {
                "consecutive5xxErrors": 5,
                "interval": "5s",
                "baseEjectionTime": "15s",
                "maxEjectionPercent": 50,
            },
        },
    }


def strict(workload: str) -> dict[str, Any]:
    """The `spec` of a PeerAuthentication: nobody speaks to the servers but through the mesh."""
    return {
        "selector": {"matchLabels": {"falaj/workload": workload}},
        "mtls": {"mode": "STRICT"},
    }


def allowed(
    engine: Engine,
    workload: str,
    *,
    gateway: pulumi.Input[str],
    release: pulumi.Input[str],
    metrics_namespace: str,
) -> dict[str, Any]:
    """The `spec` of an AuthorizationPolicy; `gateway` and `release` are principals of the mesh."""
    exposed = [f"{path}*" if follows else path for path, follows in engine.exposed.items()]
    return {
        "selector": {"matchLabels": {"falaj/workload": workload}},
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"principals": [gateway]}}],
                "to": [{"operation": {"ports": [str(PORT)], "paths": exposed}}],
            },
            {
                "from": [{"source": {"principals": [release]}}],
                "to": [{"operation": {"ports": [str(PORT)], "paths": [*CONTROL, engine.ready]}}],
            },
            {
                "from": [{"source": {"namespaces": [metrics_namespace]}}],
                "to": [{"operation": {"ports": [str(METRICS_PORT)]}}],
            },
        ],
    }


def slots_of(workload: str) -> tuple[Slot, Slot]:
    """The two slots, the one that begins with all of the traffic first."""
    return Slot(workload=workload, slot="a"), Slot(workload=workload, slot="b")
