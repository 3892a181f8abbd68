"""Who may speak to whom in the cluster: one table, and the network policies that come of it.

Pure data. Whatever is not in `FLOWS` is denied, in both directions, by a policy that every
namespace begins with. A flow between two parts becomes two policies, one on each side, since the
default of either end denies it.

In the mesh (Istio ambient) a connection goes through a tunnel to `HBONE` of the other pod, and that
port is all that a network policy sees of it. So it is open between every two parts that have a
flow; which ports lie behind it the mesh holds them to (`mesh`), from the same table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TENANCY = "falaj/tenancy"
"""The label of a namespace that says whose it is: `team` or `platform`."""
NAMESPACE = "kubernetes.io/metadata.name"
"""The label that Kubernetes gives each namespace: its name."""
POD_IDENTITY_AGENT = "169.254.170.23/32"
"""Where pods ask for credentials. Source: EKS user guide, "How EKS Pod Identity works"."""

KUBELET = "169.254.7.127/32"
"""As whom the mesh shows a pod its node, which asks whether the pod is well. Source: istio.io,
"Ambient and Kubernetes NetworkPolicy"."""
HBONE = 15008
"""Of the mesh's tunnels."""
AMBIENT: Mapping[str, str] = {"istio.io/dataplane-mode": "ambient"}
"""The label of what is in the mesh."""

TEAM = "team"
MESH = "istio-system"
"""The namespace of the mesh's own pods."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """Pods that have something in common."""

    namespace: Mapping[str, str]
    """Labels of their namespaces; that of the one namespace where it names one."""
    pods: Mapping[str, str] = field(default_factory=dict)
    """Labels of the pods; all of the namespace without any."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Addresses that belong to no pod."""

    name: str
    """Of the argument that holds them, in `Addresses`."""


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """What lies outside the cluster's pods, as blocks (CIDR)."""

    services: Sequence[Any] = ()
    """The cloud's own and the data services: endpoints, database, cache, brokers."""
    organisation: Sequence[Any] = ()
    """The organisation's own: mail server, incident desk, identity provider."""
    clients: Sequence[Any] = ()
    """From where requests come to the gateway: the load balancer's subnets, or clients' own."""
    api_server: Sequence[Any] = ()
    """Where the API server answers, the service address `kubernetes` among them."""
    api_server_ports: Sequence[int] = ()
    """Its own, beside that of the Service `kubernetes`: most networks judge a connection to a
    Service by where it is sent on to."""
    credentials: Sequence[Any] = (POD_IDENTITY_AGENT,)
    probes: Sequence[Any] = (KUBELET,)
    nodes: Sequence[Any] = ()
    """Where kubelets answer, and agents that use the network of their node."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Pods of `source` open connections to `destination`."""

    source: str
    destination: str
    ports: tuple[int, ...]
    """Of the pods of the destination, not of a Service before them. None means any."""
    why: str
    udp: bool = False
    """Whether the ports are open for UDP too."""


def _platform(namespace: str, **pods: str) -> Part:
    return Part(namespace={NAMESPACE: namespace}, pods=pods)


_RAY_HEAD = {"ray.io/node-type": "head"}

PARTS: Mapping[str, Part | Outside] = {
    TEAM: Part(namespace={TENANCY: "team"}),
    "team-ray-head": Part(namespace={TENANCY: "team"}, pods=_RAY_HEAD),
    "team-caller": Part(namespace={TENANCY: "team"}, pods={"falaj/asks": "api-server"}),
    "team-model": Part(namespace={TENANCY: "team"}, pods={"falaj/part": "model"}),
    "team-code": Part(namespace={TENANCY: "team"}, pods={"falaj/part": "code-location"}),
    "team-workspace": Part(namespace={TENANCY: "team"}, pods={"falaj/part": "workspace"}),
    "dns": Part(namespace={NAMESPACE: "kube-system"}, pods={"k8s-app": "kube-dns"}),
    "tracking": _platform("tracking"),
    "training": _platform("training"),
    "serving": _platform("serving"),
    "monitoring": _platform("monitoring"),
    "grafana": _platform("monitoring", **{"app.kubernetes.io/name": "grafana"}),
    "orchestration": _platform("orchestration"),
    "external-secrets": _platform("external-secrets"),
    "logging": _platform("logging"),
    "kyverno": _platform("kyverno"),
    "queues": _platform("queues"),
    "certificates": _platform("certificates"),
    "ingress": _platform("ingress"),
    "backup": _platform("backup"),
    "node-agents": _platform("node-agents"),
    MESH: _platform(MESH),
    "istiod": _platform(MESH, app="istiod"),
    "ztunnel": _platform(MESH, app="ztunnel"),
    "mesh-agent": _platform(MESH, **{"k8s-app": "istio-cni-node"}),
    "clients": Outside(name="clients"),
    "organisation": Outside(name="organisation"),
    "services": Outside(name="services"),
    "api-server": Outside(name="api_server"),
    "credentials": Outside(name="credentials"),
    "probes": Outside(name="probes"),
    "nodes": Outside(name="nodes"),
}
"""What can stand at either end of a flow."""

PLATFORM = tuple(
    name
    for name, part in PARTS.items()
    if isinstance(part, Part) and not part.pods and name not in (TEAM, MESH)
)
"""The parts of the platform that have a namespace of their name."""

_ASKED = "the API server asks its webhook, and speaks no mTLS of the mesh"
OUT_OF_MESH: Mapping[str, str] = {
    **dict.fromkeys(("external-secrets", "kyverno", "queues", "certificates", "ingress"), _ASKED),
    "node-agents": "they use the network of their node, or read its devices and speak to nobody",
    "logging": "reads the nodes' files and sends them to the cloud alone",
    "serving": "its gateway is a proxy of the mesh by itself, which opens tunnels and takes none",
}
"""Part → why its namespace is not in the mesh."""
IN_MESH = (TEAM, *(part for part in PLATFORM if part not in OUT_OF_MESH))
"""The parts whose namespaces are in the mesh, where there is one."""
GATEWAYS = ("serving",)
"""The parts out of the mesh that open tunnels to those in it."""

RESERVED = frozenset({*PLATFORM, MESH, "default", "kube-system", "kube-public", "kube-node-lease"})
"""Namespaces of the platform and of Kubernetes; a team's namespace bears the team's name."""

_HTTPS = 443
GATEWAY_PORT = 8443
"""Of the gateway's pods; below 1024 they would need a capability."""
_METRICS = (6000, 8080, 9090)
_DNS_METRICS = (9153,)
_DATA = (5432, 6379, 9098)
OPEN_PORTS = (_HTTPS, *_DATA)
"""On which pods reach services outside the cluster."""
_EVERYONE = (TEAM, *PLATFORM)
_ASK_THE_API = (
    *("tracking", "training", "serving", "monitoring", "orchestration", "external-secrets"),
    "logging",
    *("kyverno", "queues", "certificates", "ingress", "backup"),
)
_WEBHOOKS: Mapping[str, tuple[int, ...]] = {
    "serving": (4443, 8443),
    "monitoring": (10250,),
    "external-secrets": (10250,),
    "kyverno": (9443,),
    "queues": (9443,),
    "certificates": (10250,),
    "ingress": (9443,),
}
"""Ports of pods that the API server calls, webhooks and metrics of use (`metrics-server`). On AWS
`cluster.webhook_ports` must hold them too."""
_OWN_METRICS: Mapping[str, tuple[int, ...]] = {
    "kyverno": (8000,),
    "queues": (8443,),
    "certificates": (9402,),
    "backup": (8085,),
    "node-agents": (9400,),
}
"""Ports that a part shows its metrics on besides `_METRICS`."""

FLOWS: tuple[Flow, ...] = (
    *(
        Flow(
            source=part,
            destination="dns",
            ports=(53, *_DNS_METRICS) if part == "monitoring" else (53,),
            udp=True,
            why="names are resolved",
        )
        for part in _EVERYONE
    ),
    *(
        Flow(source=part, destination="credentials", ports=(80,), why="a pod asks who it is")
        for part in _EVERYONE
    ),
    *(
        Flow(
            source=part,
            destination="services",
            ports=OPEN_PORTS,
            why="objects, secrets, tables: each bound to the pod's identity",
        )
        for part in _EVERYONE
    ),
    *(
        Flow(source=part, destination="api-server", ports=(_HTTPS,), why="a controller or launcher")
        for part in _ASK_THE_API
    ),
    Flow(
        source="team-ray-head",
        destination="api-server",
        ports=(_HTTPS,),
        why="the autoscaler asks for workers",
    ),
    Flow(
        source="team-caller",
        destination="api-server",
        ports=(_HTTPS,),
        why="a release writes its split, a schedule hands in a job",
    ),
    Flow(source=TEAM, destination=TEAM, ports=(), why="Ray's nodes speak on many ports; own pods"),
    Flow(source=TEAM, destination="tracking", ports=(5000,), why="runs and models are recorded"),
    Flow(
        source="training",
        destination="team-ray-head",
        ports=(8265,),
        why="the operator asks for the state of jobs",
    ),
    Flow(
        source="monitoring",
        destination="organisation",
        ports=(_HTTPS, 465, 587),
        why="people are told of alerts, and sign in to Grafana",
    ),
    *(
        Flow(
            source=part,
            destination="organisation",
            ports=(_HTTPS,),
            why="the identity provider says who signs in",
        )
        for part in ("tracking", "orchestration", "team-workspace")
    ),
    Flow(
        source="orchestration",
        destination="team-code",
        ports=(4000,),
        why="the pages and the daemon ask for definitions",
    ),
    Flow(
        source="serving",
        destination="orchestration",
        ports=(4180,),
        why="people come by the gateway, to the proxy that signs them in",
    ),
    Flow(
        source="serving",
        destination="grafana",
        ports=(3000,),
        why="people come by the gateway; Grafana signs them in itself",
    ),
    Flow(
        source="serving",
        destination="team-workspace",
        ports=(4180,),
        why="people come by the gateway, to the proxy that signs them in",
    ),
    Flow(
        source="serving",
        destination="team-model",
        ports=(9000, 9500),
        why="the gateway hands requests on, REST and gRPC",
    ),
    Flow(
        source="clients",
        destination="serving",
        ports=(GATEWAY_PORT,),
        why="requests come in, over TLS",
    ),
    Flow(
        source="serving",
        destination="tracking",
        ports=(5000,),
        why="people come by the gateway; a slot's alias is looked up",
    ),
    *(
        Flow(
            source="monitoring",
            destination=part,
            ports=(*_METRICS, *_OWN_METRICS.get(part, ())),
            why="metrics are read",
        )
        for part in (TEAM, *PLATFORM)
        if part != "monitoring"
    ),
    *(
        Flow(source="api-server", destination=part, ports=ports, why="webhooks are asked")
        for part, ports in _WEBHOOKS.items()
    ),
    Flow(
        source="monitoring",
        destination="nodes",
        ports=(9100, 10250),
        why="use and counters of each node",
    ),
    Flow(
        source="monitoring",
        destination="monitoring",
        ports=(),
        why="Prometheus, its alerts and Grafana are one part",
    ),
    *(
        Flow(source=part, destination="dns", ports=(53,), udp=True, why="names are resolved")
        for part in ("istiod", "ztunnel", "mesh-agent")
    ),
    *(
        Flow(
            source=part, destination="api-server", ports=(_HTTPS,), why="what there is in the mesh"
        )
        for part in ("istiod", "mesh-agent")
    ),
    Flow(source="api-server", destination="istiod", ports=(15017,), why="objects are checked"),
    *(
        Flow(source=part, destination="istiod", ports=(15012,), why="certificates and routes")
        for part in ("ztunnel", "serving")
    ),
    Flow(source="monitoring", destination=MESH, ports=(15014, 15020), why="metrics are read"),
    *(
        Flow(source="probes", destination=part, ports=(), why="the node asks whether pods are well")
        for part in (*IN_MESH, MESH)
    ),
)
"""Every connection that is allowed. `TEAM` to `TEAM` means pods of one and the same team."""


def policies(part: str, addresses: Addresses, *, mesh: bool = False) -> dict[str, Any]:
    """The policies of a namespace that is `part`: name → `spec` of a NetworkPolicy.

    A flow to or from addresses of which there are none is left out: an empty list would mean all.
    """
    found: dict[str, Any] = {"deny-all": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}}
    for flow in FLOWS:
        if flow.source == "probes" and not mesh:
            continue
        own = addresses.api_server_ports if flow.destination == "api-server" else ()
        ports = list(_ports(flow, own, tunnelled=mesh and is_tunnelled(flow)))
        if _is_in(flow.source, part) and (to := _peers(flow, flow.destination, addresses)):
            found[f"{_whose(flow.source, part)}to-{flow.destination}"] = {
                "podSelector": _selector(flow.source),
                "policyTypes": ["Egress"],
                "egress": [{"to": to, **({"ports": ports} if ports else {})}],
            }
        if _is_in(flow.destination, part) and (by := _peers(flow, flow.source, addresses)):
            found[f"{_whose(flow.destination, part)}from-{flow.source}"] = {
                "podSelector": _selector(flow.destination),
                "policyTypes": ["Ingress"],
                "ingress": [{"from": by, **({"ports": ports} if ports else {})}],
            }
    return found


def is_tunnelled(flow: Flow) -> bool:
    """Whether the mesh, where there is one, takes `flow` through a tunnel."""
    return any(_is_in(flow.source, part) for part in (*IN_MESH, *GATEWAYS)) and any(
        _is_in(flow.destination, part) for part in IN_MESH
    )


def _is_in(name: str, part: str) -> bool:
    """Whether the pods of `name` are in a namespace that is `part`."""
    one, other = PARTS[name], PARTS[part]
    return isinstance(one, Part) and isinstance(other, Part) and one.namespace == other.namespace


def _whose(name: str, part: str) -> str:
    return "" if name == part else f"{name.removeprefix(f'{part}-')}-"


def _ports(flow: Flow, own: Sequence[int], *, tunnelled: bool) -> Iterator[dict[str, Any]]:
    for port in dict.fromkeys((*flow.ports, *own)):
        for protocol in ("TCP", "UDP") if flow.udp else ("TCP",):
            yield {"port": port, "protocol": protocol}
    if flow.ports and tunnelled:
        yield {"port": HBONE, "protocol": "TCP"}


def _selector(name: str) -> dict[str, Any]:
    part = PARTS[name]
    return {"matchLabels": dict(part.pods)} if isinstance(part, Part) and part.pods else {}


def _peers(flow: Flow, end: str, addresses: Addresses) -> list[dict[str, Any]]:
    """The other end of a flow as a policy names it."""
    part = PARTS[end]
    if isinstance(part, Outside):
        return [{"ipBlock": {"cidr": cidr}} for cidr in getattr(addresses, part.name)]
    if flow.source == flow.destination:  # pods of the same namespace
        return [{"podSelector": {}}]
    peer: dict[str, Any] = {"namespaceSelector": {"matchLabels": dict(part.namespace)}}
    return [peer | ({"podSelector": _selector(end)} if part.pods else {})]
