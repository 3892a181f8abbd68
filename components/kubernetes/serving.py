"""The servers of a workload's models in a cluster: two slots, and the way to them.

Owns, in the team's namespace, the servers of slots `a` and `b` with their scaling, budgets,
Services and rules of the mesh, and the account of the workload's releases; in the gateway's
namespace, the platform's route to the workload. Leaves to releases what a slot holds (the
registry's alias) and how the traffic is split (a `VirtualService` that only they write), so that an
`up` never touches either.

The team's namespace with its account, the priorities, the mesh and, for the engine `seldon`, its
operator must be there, with the chart's `istio.enabled: false`, since routes are made here. Not
tried on a real operator: that a pod gets the labels of its predictor (`kubectl get pods -l
falaj/slot=a`), and that `metricsv2` and `pdbSpec` come to the HPA and the budget that it makes
(`kubectl get hpa,pdb`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import model_routes, owner
from components.kubernetes.edge import NETWORKING
from components.kubernetes.model_pods import (
    CONTAINER,
    ENGINES,
    METRICS_PORT,
    PORT,
    Kept,
    Slot,
    pod_spec,
    scaling,
)
from components.kubernetes.rights import account_in, group, right
from components.kubernetes.roles import Rule, may_see_gateway, may_split
from components.kubernetes.serving_settings import (
    ModelSettings,
    ServingSettings,
    licence_problems,
)

_SECURITY = "security.istio.io/v1"
# a slot is empty until a release fills it: it is made whole, and not ready
_UNAWAITED = {"pulumi.com/skipAwait": "true"}


@dataclass(frozen=True, kw_only=True)
class Door:
    """The gateway through which requests come."""

    namespace: str
    gateway: pulumi.Input[str]
    """As routes name it: `Edge.gateway`."""
    hosts: Sequence[str]
    service: str
    """In front of its pods."""
    service_account: str
    """Of its pods."""


@dataclass(frozen=True, kw_only=True)
class ServingArgs:
    """Whose models, on what, and the way to them."""

    environment: str
    settings: ServingSettings
    workload: str
    team: str
    """The name of its namespace."""
    image: pulumi.Input[str]
    """Of the workload's server, from the registry in the country."""
    tracking_uri: pulumi.Input[str]
    door: Door
    model: ModelSettings = field(default_factory=ModelSettings)
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """More of the servers' environment; no secret."""
    kept: Kept | None = None
    """Where predictions are kept; `None` where none are."""
    releasers: Sequence[str] = ()
    """Groups of the identity provider whose people may release, besides the account of releases."""
    metrics_namespace: str = "monitoring"
    trust_domain: str = "cluster.local"

    def __post_init__(self) -> None:
        """Raises `ValueError` for Seldon where its licence does not allow it, naming the way out;
        for a single server in prod; for names that do not fit.
        """
        problems = [
            f"serving.{problem}" for problem in licence_problems(self.environment, self.settings)
        ]
        if self.environment == "prod" and self.model.min_replicas < 2:
            problems.append(
                f"model.min_replicas: {self.model.min_replicas}; a slot in prod has two at least"
            )
        if len(self.workload) > 40:
            problems.append(f"workload: {self.workload} is longer than 40 letters")
        if problems:
            raise ValueError("\n".join(problems))


class Serving(pulumi.ComponentResource):
    """`split` is what a `MeshRoute` of the workload's releases is made of; `path` is where clients
    find the workload at the gateway; `release_account` is as whom a release runs.
    """

    def __init__(
        self, name: str, args: ServingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Serving", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        slots = model_routes.slots_of(args.workload)
        split = f"{args.workload}-split"
        self.path = model_routes.prefix(args.team, args.workload)
        self.split: dict[str, Any] = {
            "namespace": args.team,
            "name": split,
            "slots": {slot.slot: slot.name for slot in slots},
            "port": PORT,
            "gateway_namespace": args.door.namespace,
            "gateway_service": args.door.service,
            "route": f"{args.team}.{args.workload}",
            "role": owner.marker(args.workload),
        }
        self.release_account = owner.marker(args.workload)
        # who may speak to a server is said before there is one
        guards = self._guards()
        for slot in slots:
            self._slot(slot, guards)
        self._releases(split)
        self._object(
            "route",
            NETWORKING,
            "VirtualService",
            self.split["route"],
            model_routes.route(
                ENGINES[args.settings.engine],
                hosts=args.door.hosts,
                gateway=args.door.gateway,
                namespace=args.team,
                workload=args.workload,
                split=split,
                first=model_routes.host(slots[0].name, args.team),
            ),
            namespace=args.door.namespace,
        )
        self.register_outputs({"path": self.path, "split": self.split})

    # -- a slot --------------------------------------------------------------------------------

    def _slot(self, slot: Slot, guards: list[pulumi.Resource]) -> None:
        args = self._args
        spec = pod_spec(
            slot,
            ENGINES[args.settings.engine],
            args.model,
            image=args.image,
            variables={"MLFLOW_TRACKING_URI": args.tracking_uri, **args.variables},
            team=args.team,
            kept=args.kept,
        )
        after = pulumi.ResourceOptions.merge(self._child, pulumi.ResourceOptions(depends_on=guards))
        if args.settings.engine == "seldon":
            self._object(
                slot.slot,
                "machinelearning.seldon.io/v1",
                "SeldonDeployment",
                slot.name,
                _seldon(slot, args.model, spec),
                labels=slot.labels,
                opts=after,
            )
        else:
            self._plain(slot, args.model, spec, after)
        service: Any = {
            "type": "ClusterIP",
            "selector": slot.selector,
            "ports": [
                {
                    "name": name,
                    "port": port,
                    "targetPort": port,
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
                for name, port in (("http", PORT), ("http-metrics", METRICS_PORT))
            ],
        }
        kubernetes.core.v1.Service(
            f"{self._name}-{slot.slot}-service",
            metadata=self._metadata(slot.name, slot.labels),
            spec=service,
            opts=self._child,
        )
        self._object(
            f"{slot.slot}-destination",
            NETWORKING,
            "DestinationRule",
            slot.name,
            model_routes.destination(model_routes.host(slot.name, args.team)),
        )

    def _plain(
        self, slot: Slot, model: ModelSettings, spec: Any, opts: pulumi.ResourceOptions
    ) -> None:
        """A Deployment, and what Seldon's operator would make beside it."""
        # how many there are is the scaler's alone
        servers: Any = {
            "selector": {"matchLabels": slot.selector},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": {"metadata": {"labels": slot.labels}, "spec": spec},
        }
        made = kubernetes.apps.v1.Deployment(
            f"{self._name}-{slot.slot}",
            metadata=self._metadata(slot.name, slot.labels),
            spec=servers,
            opts=opts,
        )
        scaler: Any = {
            "scaleTargetRef": {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "name": made.metadata.name.apply(str),
            },
            **scaling(model),
        }
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self._name}-{slot.slot}-scaling",
            metadata=self._metadata(slot.name, slot.labels),
            spec=scaler,
            opts=self._child,
        )
        budget: Any = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": slot.selector},
            # the pods of an empty slot are never ready, and must not hold a node
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{self._name}-{slot.slot}-budget",
            metadata=self._metadata(slot.name, slot.labels),
            spec=budget,
            opts=self._child,
        )

    # -- who may ---------------------------------------------------------------------------------

    def _guards(self) -> list[pulumi.Resource]:
        args = self._args

        def principal(namespace: str, account: str) -> str:
            return f"{args.trust_domain}/ns/{namespace}/sa/{account}"

        return [
            self._object(
                "strict",
                _SECURITY,
                "PeerAuthentication",
                args.workload,
                model_routes.strict(args.workload),
            ),
            self._object(
                "allowed",
                _SECURITY,
                "AuthorizationPolicy",
                args.workload,
                model_routes.allowed(
                    ENGINES[args.settings.engine],
                    args.workload,
                    gateway=principal(args.door.namespace, args.door.service_account),
                    release=principal(args.team, self.release_account),
                    metrics_namespace=args.metrics_namespace,
                ),
            ),
        ]

    def _releases(self, split: str) -> None:
        """The account of releases, what it may do, and the people who may as well."""
        args = self._args
        account = kubernetes.core.v1.ServiceAccount(
            f"{self._name}-release",
            metadata=self._metadata(self.release_account),
            # the pods of a release ask for its token themselves
            automount_service_account_token=False,
            opts=self._child,
        )
        subjects = [account_in(account, args.team), *map(group, args.releasers)]
        rules = may_split(split, self.release_account)
        self._right("split", args.team, self.release_account, rules, subjects)
        name = f"{args.team}.{self.release_account}"
        rules = may_see_gateway(self.split["route"])
        self._right("gateway", args.door.namespace, name, rules, subjects)

    def _right(
        self, noun: str, namespace: str, name: str, rules: tuple[Rule, ...], subjects: list[Any]
    ) -> None:
        right(
            f"{self._name}-{noun}-role",
            self._metadata(name, namespace=namespace),
            rules,
            subjects,
            self._child,
        )

    # -- objects ---------------------------------------------------------------------------------

    def _object(
        self,
        noun: str,
        api_version: str,
        kind: str,
        name: str,
        spec: Any,
        *,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> pulumi.Resource:
        return kubernetes.apiextensions.CustomResource(
            f"{self._name}-{noun}",
            api_version=api_version,
            kind=kind,
            metadata=self._metadata(name, labels, namespace=namespace),
            spec=spec,
            opts=opts or self._child,
        )

    def _metadata(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        namespace: str | None = None,
    ) -> Any:
        return {
            "name": name,
            "namespace": namespace or self._args.team,
            "labels": {**(labels or {}), "app.kubernetes.io/managed-by": "pulumi"},
            "annotations": {**_UNAWAITED, **owner.annotation()},
        }


def _seldon(slot: Slot, model: ModelSettings, spec: Any) -> dict[str, Any]:
    """The `spec` of a SeldonDeployment with one predictor and none of Seldon's own `traffic`.

    Without the engine in between requests go straight to the server, and the image of the executor
    needs no place in the pod.
    """
    scale = scaling(model)
    return {
        "name": slot.name,
        "protocol": "seldon",
        "annotations": {"seldon.io/no-engine": "true"},
        "predictors": [
            {
                "name": "model",
                "labels": slot.labels,
                "graph": {
                    "name": CONTAINER,
                    "type": "MODEL",
                    "endpoint": {"type": "REST", "httpPort": PORT},
                    "serviceAccountName": spec["serviceAccountName"],
                    "children": [],
                },
                "componentSpecs": [
                    {
                        "metadata": {"labels": slot.labels},
                        "spec": spec,
                        "hpaSpec": {
                            "minReplicas": scale["minReplicas"],
                            "maxReplicas": scale["maxReplicas"],
                            "metricsv2": scale["metrics"],
                        },
                        "pdbSpec": {"maxUnavailable": 1},
                    }
                ],
            }
        ],
    }
