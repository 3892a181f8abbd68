"""The mesh: nobody speaks in plain, and who may speak to whom is said by name, not by address.

Owns mutual TLS for all of it, what it tells Prometheus and nobody else, and
in each namespace the rules of who may connect, from the same table as the network policies
(`flows`). Leaves Istio itself to its charts (base, istiod, cni, ztunnel; `values` says how), labels
of namespaces to `tenancy`, and what is narrower than the table to `training` and `serving`. The
definitions of Istio's and Prometheus' kinds must be there before.

Ambient mode (docs/adr/0022): a ztunnel on each node encrypts and judges connections by the account
of the pod that opens them. The rules here are all that a ztunnel can judge: accounts, namespaces
and ports, no paths. A network policy sees nothing behind a tunnel but `HBONE`, so that the ports of
the table are held here. Prometheus and Ray are in the mesh, and no port of theirs is excepted.

What the API server calls cannot be in the mesh, since it speaks no mutual TLS of it: pods of
operators with webhooks bear the label of `OUTSIDE`, or their namespace is in `flows.OUT_OF_MESH`.

Not shown by any test here: that a ztunnel does as it is told. On a cluster
`istioctl ztunnel-config policies` lists the rules, `istioctl ztunnel-config workloads` says HBONE
of every pod in the mesh, and from a pod outside of it `curl http://<pod>:5000` is reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.flows import (
    FLOWS,
    IN_MESH,
    MESH,
    PARTS,
    TEAM,
    Flow,
    Part,
    is_tunnelled,
)
from components.kubernetes.operator_table import SPACES
from components.kubernetes.tenancy import Namespace

SECURITY = "security.istio.io/v1"
OUTSIDE: Mapping[str, str] = {"istio.io/dataplane-mode": "none"}
"""The label of a pod in a namespace of the mesh that is not in it: its webhook is called by the API
server."""
REASON = SPACES[MESH].reason
_MODEL = {"falaj/part": "model"}
_RELEASE = "-release"
_MONITORS: Mapping[str, tuple[Mapping[str, str], int]] = {
    "istiod": ({"app": "istiod"}, 15014),
    "ztunnel": ({"app": "ztunnel"}, 15020),
    "istio-cni": ({"k8s-app": "istio-cni-node"}, 15014),
}
"""Name → labels of its pods, and the port that tells its metrics."""


@dataclass(frozen=True, kw_only=True)
class MeshArgs:
    """Where the mesh's own pods are."""

    space: Namespace
    """`flows.MESH`, made for the charts; pods there may what Pod Security denies others."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The definitions of Istio's and Prometheus' kinds."""


class Mesh(pulumi.ComponentResource):
    """What holds for all of the mesh; `ready` is what pods in it wait for."""

    def __init__(
        self, name: str, args: MeshArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Mesh", name, None, opts)
        space = args.space
        later = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        strict: Any = {"mtls": {"mode": "STRICT"}}
        telemetry: Any = {
            "metrics": [{"providers": [{"name": "prometheus"}]}],
            # requests are not followed: their headers may hold what belongs to a customer
            "tracing": [{"disableSpanReporting": True}],
            "accessLogging": [{"disabled": True}],
        }
        self.ready: list[pulumi.Resource] = [
            *space.ready,
            CustomResource(
                f"{name}-strict",
                api_version=SECURITY,
                kind="PeerAuthentication",
                # so named and without a selector, in the mesh's namespace: it holds for all
                metadata=_metadata("default", space.namespace),
                spec=strict,
                opts=later,
            ),
            CustomResource(
                f"{name}-telemetry",
                api_version="telemetry.istio.io/v1",
                kind="Telemetry",
                metadata=_metadata("default", space.namespace),
                spec=telemetry,
                opts=later,
            ),
            *(
                CustomResource(
                    f"{name}-{part}-monitor",
                    api_version="monitoring.coreos.com/v1",
                    kind="PodMonitor",
                    metadata=_metadata(part, space.namespace),
                    spec=_monitor(labels, port),
                    opts=later,
                )
                for part, (labels, port) in _MONITORS.items()
            ),
        ]
        self.register_outputs({})


@dataclass(frozen=True, kw_only=True)
class MeshRulesArgs:
    """Whose pods, and who there is."""

    namespace: pulumi.Input[str]
    part: str
    """Of `flows.IN_MESH`."""
    name: str = ""
    """Of the namespace, where `part` is a team."""
    teams: Sequence[str] = ()
    """All of the cluster, by the names of their namespaces."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The definitions of Istio's kinds."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a part that is not in the mesh, or a team without its name."""
        if self.part not in IN_MESH:
            raise ValueError(f"{self.part} is not in the mesh, which has {', '.join(IN_MESH)}")
        if (self.part == TEAM) != bool(self.name):
            raise ValueError(f"name: {self.name!r}; it is given for a team, and for that alone")


class MeshRules(pulumi.ComponentResource):
    """Who may connect to the pods of one namespace; `ready` is what they wait for."""

    def __init__(
        self, name: str, args: MeshRulesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:MeshRules", name, None, opts)
        later = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self.ready: list[pulumi.Resource] = [
            CustomResource(
                f"{name}-{noun}",
                api_version=SECURITY,
                kind="AuthorizationPolicy",
                metadata=_metadata(f"falaj-{noun}", args.namespace),
                spec=spec,
                opts=later,
            )
            for noun, spec in rules(args.part, name=args.name, teams=args.teams).items()
        ]
        self.register_outputs({})


def rules(part: str, *, name: str = "", teams: Sequence[str] = ()) -> dict[str, Any]:
    """The rules of a namespace that is `part`: name → `spec` of an AuthorizationPolicy.

    `name` is that of the namespace where it is a team's. The first refuses everybody; the others
    let in whom `FLOWS` names, at its ports.
    """
    found: dict[str, Any] = {"deny-all": {}}
    for flow in FLOWS:
        destination = PARTS[flow.destination]
        if not isinstance(destination, Part) or not is_tunnelled(flow):
            continue
        if destination.namespace != _namespace_of(part):
            continue
        sources = [name] if flow.source == flow.destination == TEAM else _sources(flow, teams)
        if not sources:
            continue
        rule: dict[str, Any] = {"from": [{"source": {"namespaces": sources}}]}
        if flow.ports:
            rule["to"] = [{"operation": {"ports": [str(port) for port in flow.ports]}}]
        noun = f"{'' if flow.destination == part else f'{flow.destination}-'}from-{flow.source}"
        found[noun] = {
            **({"selector": {"matchLabels": dict(destination.pods)}} if destination.pods else {}),
            "action": "ALLOW",
            "rules": [rule],
        }
    if part == TEAM:
        found["models-apart"] = _apart(name)
    return found


def values() -> dict[str, dict[str, Any]]:
    """Chart → what of its values makes the mesh as it is meant here; images are its caller's.

    Source: istio.io, "Install ambient components".
    """
    return {
        "istiod": {"profile": "ambient", "autoscaleMin": 2},
        "cni": {"profile": "ambient"},
        "ztunnel": {},
    }


def _namespace_of(part: str) -> Mapping[str, str] | None:
    one = PARTS[part]
    return one.namespace if isinstance(one, Part) else None


def _sources(flow: Flow, teams: Sequence[str]) -> list[str]:
    """The namespaces that `flow` comes from."""
    namespace = _namespace_of(flow.source)
    return list(teams) if namespace == _namespace_of(TEAM) else [flow.source]


def _apart(team: str) -> dict[str, Any]:
    """A team's own pods may speak to each other, but to its models only a release may."""
    return {
        "selector": {"matchLabels": dict(_MODEL)},
        "action": "DENY",
        "rules": [
            {"from": [{"source": {"namespaces": [team], "notPrincipals": [f"*{_RELEASE}"]}}]}
        ],
    }


def _monitor(labels: Mapping[str, str], port: int) -> dict[str, Any]:
    return {
        "selector": {"matchLabels": dict(labels)},
        "podMetricsEndpoints": [{"portNumber": port, "path": "/metrics", "interval": "30s"}],
    }


def _metadata(name: str, namespace: pulumi.Input[str]) -> Any:
    labels = {"app.kubernetes.io/managed-by": "pulumi"}
    return {"name": name, "namespace": namespace, "labels": labels}
