"""The operators of others, as charts whose every object the engine and the policy packs see.

Owns the namespaces that they run in, their charts by pinned version from the registry in the
country, their budgets where a chart has none, and the order: definitions, operator, webhooks ready,
and only then what others make (`ready_for`). Leaves objects of their kinds to the parts, and
identities in the cloud to the cloud's components. The priorities and admission must be there
before, and the image registry must hold the charts (`falaj images plan`).

A chart is a `helm.v4.Chart`: rendered by the provider and applied object by object on the server's
side, so definitions may be large, follow the chart's version, and stand in the plan. It runs no
hooks, so that the values need none. Definitions outlive a `destroy`: with a definition all objects
of its kind would go, whoever made them. `kubectl delete crd` takes them away by hand.

What the provider makes of a chart is not shown here for charts that no closed machine has; see
`operator_values`. On a cluster: ``pulumi preview --diff`` lists every object under its chart.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.helm.v4 import Chart

from components.images import Mirror
from components.kubernetes.flows import Addresses
from components.kubernetes.operator_table import (
    AFTER,
    CLUSTERS_OWN,
    NEEDED_BY,
    OF_NODES,
    OPERATORS,
    SPACES,
    quota_of,
    spaces_of,
)
from components.kubernetes.operator_values import Cloud, Setting, merged, values_of
from components.kubernetes.operators_settings import (
    GUARDED,
    MESH,
    Needs,
    OperatorName,
    OperatorsSettings,
    made_here,
    problems_of_operators,
)
from components.kubernetes.tenancy import Namespace, NamespaceArgs

DEFINITION = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"
_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}


@dataclass(frozen=True, kw_only=True)
class OperatorsArgs:
    """Which operators an environment needs, and where they run."""

    environment: str
    settings: OperatorsSettings
    needs: Needs
    mirror: Mirror
    addresses: Addresses
    most_nodes: int
    """How many nodes there may be: agents run on each, and the quota must hold them."""
    parts: Collection[str] = ()
    """Those of `operator_table.NEEDED_BY` that are deployed."""
    cloud: Cloud | None = None
    """`None` outside AWS."""
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
    """Of Kueue (`queues.feature_gates`)."""
    values: Mapping[OperatorName, Mapping[str, Any]] = field(default_factory=dict)
    """Operator → values that another part adds, as monitoring does; they stand over ours."""
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)
    """Those that another part has made already."""
    wait_for: Sequence[pulumi.Resource] = ()
    """Priorities and admission; of a cluster made here, its nodes and the deployer's access."""
    nodes: Callable[[Sequence[pulumi.Resource]], Sequence[pulumi.Resource]] | None = None
    """Makes the pools of elastic nodes once their controller is there, which it is given; every
    other chart comes after what it returns. `None` where there are no such pools."""

    def __post_init__(self) -> None:
        """Raises `ValueError` with everything that is wrong, by key."""
        problems = [
            f"operators.{problem}"
            for problem in problems_of_operators(
                self.settings,
                self.environment,
                self.needs,
                after=AFTER,
                needed_by={part: NEEDED_BY[part] for part in self.parts},
            )
        ]
        made = made_here(self.settings, self.environment, self.needs)
        problems += [
            f"operators.also: {name} speaks to AWS, and this environment is elsewhere; take it out"
            for name in ("karpenter", "aws-load-balancer-controller")
            if name in made and self.cloud is None
        ]
        problems += [
            f"values of {name} are given, and it is not made here"
            for name in self.values
            if name not in made
        ]
        if problems:
            raise ValueError("\n".join(problems))


class Operators(pulumi.ComponentResource):
    """`charts`: operator → its chart; `namespaces`: those made here or given, by name."""

    def __init__(
        self, name: str, args: OperatorsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Operators", name, None, opts)
        self._args = args
        made = made_here(args.settings, args.environment, args.needs)
        self.namespaces: dict[str, Namespace] = dict(args.namespaces)
        for space in spaces_of(made):
            if space not in self.namespaces:
                self.namespaces[space] = self._namespace(name, space, made)
        setting = Setting(
            mirror=args.mirror,
            large=args.environment in GUARDED,
            feature_gates=args.feature_gates,
            cloud=args.cloud,
        )
        self.charts: dict[OperatorName, Chart] = {}
        self._budgets: dict[OperatorName, list[pulumi.Resource]] = {}
        self._pools: Sequence[pulumi.Resource] = ()
        for operator in (one for one in made if one in OF_NODES):
            self._make(name, operator, setting)
        if args.nodes is not None:
            # pools go last: other operators' pods are on their nodes, and while those drain nobody
            # would take the finalizers of Kueue's or Velero's objects off
            self._pools = args.nodes(self.ready_for("nodes"))
        for operator in (one for one in made if one not in OF_NODES):
            self._make(name, operator, setting)
        self.register_outputs({})

    def ready_for(self, part: str) -> list[pulumi.Resource]:
        """What objects of `part` (in `operator_table.NEEDED_BY`) wait for.

        A chart is done when its pods are ready, so that its webhooks answer.
        """
        return [
            one
            for operator in NEEDED_BY[part]
            if operator in self.charts
            for one in (self.charts[operator], *self._budgets[operator])
        ]

    def _make(self, name: str, operator: OperatorName, setting: Setting) -> None:
        self.charts[operator] = self._chart(name, operator, setting)
        self._budgets[operator] = self._budgets_of(name, operator, setting)

    def _namespace(self, name: str, space: str, made: Sequence[OperatorName]) -> Namespace:
        shape = SPACES[space]
        return Namespace(
            f"{name}-{space}",
            NamespaceArgs(
                namespace=space,
                part=space,
                quota=quota_of(space, made, most_nodes=self._args.most_nodes),
                addresses=self._args.addresses,
                level=shape.level,
                reason=shape.reason,
                mesh=self._args.needs.mesh,
            ),
            pulumi.ResourceOptions(parent=self),
        )

    def _inside(self, space: str) -> tuple[pulumi.Input[str], list[pulumi.Resource]]:
        """The name of a namespace, and what pods in it wait for."""
        if space == CLUSTERS_OWN:
            return space, []
        return self.namespaces[space].namespace, self.namespaces[space].ready

    def _chart(self, name: str, operator: OperatorName, setting: Setting) -> Chart:
        known = OPERATORS[operator]
        address, version = self._args.mirror.chart(known.chart)
        namespace, ready = self._inside(known.namespace)
        if operator == "kube-prometheus-stack":  # whose agents are there
            ready = [*ready, *self._inside("node-agents")[1]]
        before = [self.charts[one] for one in known.after if one in self.charts]
        return Chart(
            f"{name}-{operator}",
            chart=address,
            version=version,
            # of the release: labels and names of its objects come of it
            name=operator if operator not in MESH else known.chart,
            namespace=namespace,
            skip_crds=known.skips_definitions,
            values=merged(values_of(operator, setting), self._args.values.get(operator, {})),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[*self._args.wait_for, *self._pools, *ready, *before],
                transforms=[keep_definitions],
            ),
        )

    def _budgets_of(
        self, name: str, operator: OperatorName, setting: Setting
    ) -> list[pulumi.Resource]:
        """So that no more than one pod of a controller goes at a time."""
        namespace, _ = self._inside(OPERATORS[operator].namespace)
        made: list[pulumi.Resource] = []
        for noun, pods in OPERATORS[operator].pods.items():
            if not pods.labels or setting.replicas(pods) == 1:
                continue
            metadata: Any = {
                "name": f"{operator}-{noun}",
                "namespace": namespace,
                "labels": dict(_MANAGED_BY),
            }
            spec: Any = {"max_unavailable": 1, "selector": {"match_labels": dict(pods.labels)}}
            made.append(
                kubernetes.policy.v1.PodDisruptionBudget(
                    f"{name}-{operator}-{noun}",
                    metadata=metadata,
                    spec=spec,
                    opts=pulumi.ResourceOptions(parent=self),
                )
            )
        return made


def keep_definitions(
    args: pulumi.ResourceTransformArgs,
) -> pulumi.ResourceTransformResult | None:
    """Lets definitions of kinds outlive their chart, with all objects of theirs."""
    if args.type_ != DEFINITION:
        return None
    return pulumi.ResourceTransformResult(
        props=args.props,
        opts=pulumi.ResourceOptions.merge(args.opts, pulumi.ResourceOptions(retain_on_delete=True)),
    )
