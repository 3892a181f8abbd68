"""What is looked at of a workload on a cluster: its rules, and its page in Grafana.

Owns the PrometheusRule in the team's namespace, with the same rules as on one machine, and the
dashboard beside the platform's own, in the folder of the team. Leaves to `monitoring` what holds
for every workload: how its servers are read, its objectives, its drift. Monitoring must be there,
with its kinds.

Prometheus writes the team's namespace into each query of the rules (`monitoring_values`), so that
they see no other team's series. Whoever may sign in to Grafana sees every folder. That rules and
page are taken up is not shown by any test; on a cluster:
`kubectl -n <team> get prometheusrule <workload>` has no event that refuses it, Prometheus' page
`/rules` names the group `workload-<workload>`, and Grafana has the folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import owner
from components.kubernetes.monitoring import API_VERSION
from components.kubernetes.monitoring_values import DASHBOARD_FOLDER, DASHBOARD_LABEL
from components.kubernetes.pod_parts import MANAGED_BY
from components.monitoring.alerts import workload_rules
from components.monitoring.dashboards import of_workload
from components.monitoring.rules import rendered


@dataclass(frozen=True, kw_only=True)
class WorkloadWatchArgs:
    """Whose workload, and who looks."""

    workload: str
    """Its name, with hyphens."""
    team: str
    """The name of its namespace."""
    metrics_namespace: str
    """Where Grafana looks for dashboards: teams write nothing there."""


class WorkloadWatch(pulumi.ComponentResource):
    """The rules and the page of one workload."""

    def __init__(
        self, name: str, args: WorkloadWatchArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:WorkloadWatch", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        workload, team = args.workload, args.team
        labels = {"app.kubernetes.io/name": workload, **MANAGED_BY}
        rules: Any = rendered([workload_rules(workload, team)])
        beside: Any = {
            "name": workload,
            "namespace": team,
            "labels": labels,
            "annotations": owner.annotation(),
        }
        kubernetes.apiextensions.CustomResource(
            f"{name}-rules",
            api_version=API_VERSION,
            kind="PrometheusRule",
            metadata=beside,
            spec=rules,
            opts=child,
        )
        # a dot, which neither name holds: `a` and `b-c` are not `a-b` and `c`
        called = f"{team}.{workload}"
        in_the_folder: Any = {
            "name": called,
            "namespace": args.metrics_namespace,
            "labels": {**labels, DASHBOARD_LABEL: "1"},
            "annotations": {DASHBOARD_FOLDER: team, **owner.annotation()},
        }
        kubernetes.core.v1.ConfigMap(
            f"{name}-dashboard",
            metadata=in_the_folder,
            data={f"{called}.json": of_workload(team, workload)},
            opts=child,
        )
        self.register_outputs({})
