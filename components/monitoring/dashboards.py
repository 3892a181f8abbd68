"""Dashboards of Grafana, one function each; `rendered` gives what Grafana reads of the platform,
`of_workload` of one workload.

Every query is run against a Prometheus with our metrics (`tests/unit/test_dashboards.py`). How a
dashboard looks is not shown by any test, since that takes Grafana itself; on a cluster:
`kubectl -n monitoring port-forward svc/monitoring-grafana 3000:80`, folder General, tag `falaj`.

On one machine Prometheus draws its own page (`components/local/consoles`); a Grafana that is there
takes these files as they are, with a Prometheus data source of the id `DATA_SOURCE`. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders.common import ReduceDataOptions
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import VariableRefresh

from components.monitoring.alerts import POSITIVE_SHARE, PRICE
from components.monitoring.objectives import TARGET, errors_in

DATA_SOURCE = "prometheus"
"""The id of the data source, as kube-prometheus-stack names it."""

Unit = Literal["short", "s", "ms", "bytes", "percent", "percentunit", "reqps", "celsius", "watt",
               "currencyUSD", "dateTimeFromNow"]  # fmt: skip
"""Grafana's own names: `percent` is of 100, `percentunit` of 1."""

_Panel = timeseries.Panel | stat.Panel
_SOURCE = DataSourceRef(type_val="prometheus", uid=DATA_SOURCE)
_MINE = 'namespace=~"$namespace",workload=~"$workload"'
_TEAM = 'namespace=~"$namespace"'
_RATE = "[$__rate_interval]"
_BY_VERSION = "by (workload, slot, version)"


def rendered() -> dict[str, str]:
    """Name of a file → JSON of the dashboard."""
    return {f"falaj-{name}.json": _written(make()) for name, make in DASHBOARDS.items()}


def _written(made: build.Dashboard) -> str:
    return JSONEncoder(sort_keys=True, separators=(",", ":")).encode(made.build())


# --- parts of a dashboard -------------------------------------------------------------------------


def _dashboard(name: str, title: str, about: str, variables: Sequence[str] = ()) -> build.Dashboard:
    made = (
        build.Dashboard(title)
        .uid(f"falaj-{name}")
        .description(about)
        .tags(["falaj"])
        .timezone("browser")
        .refresh("30s")
        .time("now-6h", "now")
        .readonly()
    )
    for variable in variables:
        made = made.with_variable(
            build.QueryVariable(variable)
            .query(f"label_values({_VARIABLES[variable]}, {variable})")
            .datasource(_SOURCE)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(multi=True)
            .include_all(include_all=True)
            # a label that is missing, as on one machine, is no reason to show nothing
            .all_value(".*")
        )
    return made


def _with(made: build.Dashboard, panels: Iterable[_Panel]) -> build.Dashboard:
    for panel in panels:
        made = made.with_panel(panel)
    return made


_VARIABLES = {"namespace": "up", "workload": "falaj_requests_total"}
"""Variable → the series whose label it is."""


def _lines(title: str, unit: Unit, queries: Mapping[str, str]) -> timeseries.Panel:
    """Over time; `queries` is legend → PromQL."""
    panel = timeseries.Panel().title(title).unit(unit).datasource(_SOURCE).span(12).height(8)
    for legend, expression in queries.items():
        panel = panel.with_target(
            prometheus.Dataquery().expr(expression).legend_format(legend).datasource(_SOURCE)
        )
    return panel


def _number(title: str, unit: Unit, expression: str, legend: str = "") -> stat.Panel:
    """As it is now."""
    query = prometheus.Dataquery().expr(expression).datasource(_SOURCE).instant()
    return (
        stat.Panel()
        .title(title)
        .unit(unit)
        .datasource(_SOURCE)
        .span(6)
        .height(4)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(query.legend_format(legend) if legend else query)
    )


# --- the dashboards -------------------------------------------------------------------------------


def platform_health() -> build.Dashboard:
    """Whether the parts answer, and how full nodes and volumes are."""
    return (
        _dashboard("platform", "Platform health", "Parts, nodes and volumes.")
        .with_panel(_number("parts that answer", "percentunit", 'avg(up{job!="serving"})'))
        .with_panel(
            _number(
                "nodes that are ready",
                "short",
                'sum(kube_node_status_condition{condition="Ready",status="true"})',
            )
        )
        .with_panel(
            _number("pods that wait", "short", 'sum(kube_pod_status_phase{phase="Pending"})')
        )
        .with_panel(
            _number(
                "alerts",
                "short",
                'count(ALERTS{alertstate="firing",severity!="none"}) or vector(0)',
            )
        )
        .with_panel(_lines("parts", "percentunit", {"{{job}}": "avg by (job) (up)"}))
        .with_panel(
            _lines(
                "restarts in an hour",
                "short",
                {
                    "{{namespace}}": (
                        "sum by (namespace) "
                        "(increase(kube_pod_container_status_restarts_total[1h]))"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "processors asked for, of those there are",
                "percentunit",
                {
                    "{{node}}": (
                        'sum by (node) (kube_pod_container_resource_requests{resource="cpu"}) '
                        '/ sum by (node) (kube_node_status_allocatable{resource="cpu"})'
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "volumes",
                "percentunit",
                {
                    "{{namespace}} {{persistentvolumeclaim}}": (
                        "1 - kubelet_volume_stats_available_bytes "
                        "/ kubelet_volume_stats_capacity_bytes"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "budget of errors: how fast it is spent (1 is as planned)",
                "short",
                {
                    "{{slo}} {{job}}{{workload}}": f"{errors_in('1h')} / on(slo) group_left() "
                    f"(1 - {TARGET})"
                },
            )
        )
    )


_HELD = f'DCGM_FI_DEV_GPU_UTIL{{{_TEAM},pod!=""}}'


def gpu() -> build.Dashboard:
    """Who holds GPUs, how busy they are, and what that costs."""
    held = f"count by (namespace, modelName) ({_HELD})"
    price = f"on(modelName) group_left sum by (modelName) ({PRICE})"
    return (
        _dashboard("gpu", "GPU use and cost", "Held, busy, paid.", ["namespace"])
        .with_panel(_number("GPUs", "short", "count(DCGM_FI_DEV_GPU_UTIL)"))
        .with_panel(_number("of them held", "short", f"count({_HELD})"))
        .with_panel(_number("busy while held", "percent", f"avg({_HELD})"))
        .with_panel(_number("cost in an hour, as listed", "currencyUSD", f"sum({held} * {price})"))
        .with_panel(
            _lines(
                "busy", "percent", {"{{namespace}} {{pod}}": f"avg by (namespace, pod) ({_HELD})"}
            )
        )
        .with_panel(
            _lines(
                "memory",
                "percentunit",
                {
                    "{{Hostname}} {{gpu}}": (
                        "DCGM_FI_DEV_FB_USED / (DCGM_FI_DEV_FB_USED + DCGM_FI_DEV_FB_FREE)"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "cost in an hour by team, as listed",
                "currencyUSD",
                {"{{namespace}}": f"sum by (namespace) ({held} * {price})"},
            )
        )
        .with_panel(
            _lines(
                "paid for and idle, in an hour",
                "currencyUSD",
                {
                    "{{namespace}}": (
                        f"sum by (namespace) (sum by (namespace, modelName) (1 - {_HELD} / 100) "
                        f"* {price})"
                    )
                },
            )
        )
        .with_panel(
            _lines("temperature", "celsius", {"{{Hostname}} {{gpu}}": "DCGM_FI_DEV_GPU_TEMP"})
        )
        .with_panel(
            _lines("power", "watt", {"{{Hostname}}": "sum by (Hostname) (DCGM_FI_DEV_POWER_USAGE)"})
        )
    )


def training() -> build.Dashboard:
    """Jobs, queues and Ray's own figures."""
    return (
        _dashboard("training", "Training", "Jobs, queues, Ray clusters.", ["namespace"])
        .with_panel(
            _lines(
                "jobs",
                "short",
                {
                    "{{deployment_status}}": (
                        f"sum by (deployment_status) (kuberay_job_deployment_status{{{_TEAM}}})"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "how long jobs took",
                "s",
                {
                    "{{namespace}} {{name}}": (
                        "max by (namespace, name) "
                        f"(kuberay_job_execution_duration_seconds{{{_TEAM}}})"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "jobs that wait",
                "short",
                {
                    "{{cluster_queue}} {{status}}": (
                        "sum by (cluster_queue, status) (kueue_pending_workloads)"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "share of the quota in use",
                "percentunit",
                {
                    "{{cluster_queue}} {{resource}}": (
                        "sum by (cluster_queue, resource) (kueue_cluster_queue_resource_usage) "
                        "/ sum by (cluster_queue, resource) (kueue_cluster_queue_nominal_quota)"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "tasks of Ray",
                "short",
                {
                    "{{ray_io_cluster}} {{State}}": (
                        f"sum by (ray_io_cluster, State) (ray_tasks{{{_TEAM}}})"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "nodes of Ray",
                "short",
                {
                    "{{ray_io_cluster}} {{node_type}}": (
                        f"sum by (ray_io_cluster, node_type) (ray_cluster_active_nodes{{{_TEAM}}})"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "memory of Ray's nodes",
                "percentunit",
                {
                    "{{ray_io_cluster}}": (
                        f"sum by (ray_io_cluster) (ray_node_mem_used{{{_TEAM}}}) "
                        f"/ sum by (ray_io_cluster) (ray_node_mem_total{{{_TEAM}}})"
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "objects on disk for want of memory",
                "bytes",
                {
                    "{{ray_io_cluster}}": (
                        "sum by (ray_io_cluster) "
                        f'(ray_object_store_memory{{{_TEAM},Location="SPILLED"}})'
                    )
                },
            )
        )
    )


def _of_models() -> list[_Panel]:
    """Each model and version: how much it answers, how well and how fast."""
    asked = f"sum {_BY_VERSION} (rate(falaj_requests_total{{{_MINE}}}{_RATE}))"
    failed = f'sum {_BY_VERSION} (rate(falaj_requests_total{{{_MINE},code=~"5.."}}{_RATE}))'
    legend = "{{workload}} {{slot}} version {{version}}"

    def slower(share: float) -> str:
        counted = (
            f"sum by (le, workload, slot, version) "
            f"(rate(falaj_request_seconds_bucket{{{_MINE}}}{_RATE}))"
        )
        return f"1000 * histogram_quantile({share}, {counted})"

    return [
        _number(
            "in service",
            "short",
            f"max {_BY_VERSION} (falaj_model_info{{{_MINE}}}) == 1",
            legend,
        ),
        _number(
            "availability in an hour",
            "percentunit",
            f'1 - {errors_in("1h")}{{slo="availability",{_MINE}}}',
            "{{workload}}",
        ),
        _number(
            "fast enough in an hour",
            "percentunit",
            f'1 - {errors_in("1h")}{{slo="latency",{_MINE}}}',
            "{{workload}}",
        ),
        _number(
            "spent of the month's budget in three days",
            "percentunit",
            f'0.1 * {errors_in("3d")}{{slo="availability",{_MINE}}} '
            f"/ on(slo) group_left() (1 - {TARGET})",
            "{{workload}}",
        ),
        _lines("requests", "reqps", {legend: asked}),
        _lines("failures", "percentunit", {legend: f"({failed} or 0 * {asked}) / ({asked} > 0)"}),
        _lines(
            "latency",
            "ms",
            {f"p50 {legend}": slower(0.5), f"p95 {legend}": slower(0.95)},
        ),
        _lines(
            "share of traffic",
            "percentunit",
            {
                legend: f"{asked} / on(workload) group_left() "
                f"(sum by (workload) (rate(falaj_requests_total{{{_MINE}}}{_RATE})) > 0)"
            },
        ),
        _lines(
            "replayed by releases",
            "reqps",
            {legend: f"sum {_BY_VERSION} (rate(falaj_synthetic_requests_total{{{_MINE}}}{_RATE}))"},
        ),
        _lines(
            "servers",
            "short",
            {"{{workload}} {{slot}}": f'sum by (workload, slot) (up{{job="serving",{_MINE}}})'},
        ),
    ]


def _of_decisions() -> list[_Panel]:
    """Whether what is decided, and how good it turns out, is what it was."""
    decided = f"sum {_BY_VERSION} (increase(falaj_predictions_total{{{_MINE}}}[1h]))"
    positive = (
        f'sum {_BY_VERSION} (increase(falaj_predictions_total{{{_MINE},decision="positive"}}[1h]))'
    )
    rewards = f"sum {_BY_VERSION} (rate(falaj_feedback_reward_sum{{{_MINE}}}[1h]))"
    answers = f"sum {_BY_VERSION} (rate(falaj_feedback_reward_count{{{_MINE}}}[1h]))"
    share = f"{POSITIVE_SHARE}{{{_MINE}}}"
    legend = "{{workload}} {{slot}} version {{version}}"
    return [
        _lines(
            "positive decisions of the last hour",
            "percentunit",
            {legend: f"{positive} / ({decided} > 0)"},
        ),
        _lines(
            "positive decisions, and in the week before",
            "percentunit",
            {
                "{{workload}}": share,
                "{{workload}} week before": f"avg_over_time({share}[7d])",
            },
        ),
        _lines("decisions in an hour", "short", {legend: decided}),
        _lines("mean reward", "short", {legend: f"{rewards} / ({answers} > 0)"}),
    ]


def serving() -> build.Dashboard:
    """Every workload's models."""
    made = _dashboard("serving", "Serving", "Per model and version.", ["namespace", "workload"])
    return _with(made, _of_models())


def drift() -> build.Dashboard:
    """Every workload's decisions."""
    about = "Decisions and rewards over time."
    return _with(_dashboard("drift", "Drift", about, ["namespace", "workload"]), _of_decisions())


def of_workload(team: str, workload: str) -> str:
    """JSON of the dashboard of one workload: the panels of `serving` and `drift`, of it alone."""
    # an id has 40 letters at most, and no two of `a-b` and `c`, `a` and `b-c` the same
    which = hashlib.sha256(f"{team}/{workload}".encode()).hexdigest()[:16]
    made = _dashboard(
        which, workload, f"The models of {workload}, of the team {team}, and what they decide."
    )
    for variable, value in {"namespace": team, "workload": workload}.items():
        made = made.with_variable(build.ConstantVariable(variable).value(value))
    return _written(_with(made, [*_of_models(), *_of_decisions()]))


def compliance() -> build.Dashboard:
    """What the platform's rules refused, and whether what they rest on is in order."""
    return (
        _dashboard("compliance", "Compliance", "Admission, encryption, secrets, backups.")
        .with_panel(
            _number(
                "refused by admission today",
                "short",
                "sum(increase(apiserver_validating_admission_policy_check_total"
                '{enforcement_action="deny"}[24h]))',
            )
        )
        .with_panel(
            _number(
                "connections under mutual TLS",
                "percentunit",
                'sum(rate(istio_tcp_connections_opened_total{connection_security_policy="mutual_tls"}'
                "[1h])) / sum(rate(istio_tcp_connections_opened_total[1h]))",
            )
        )
        .with_panel(
            _number(
                "secrets that are brought in",
                "percentunit",
                'sum(externalsecret_status_condition{condition="Ready",status="True"}) '
                '/ sum(externalsecret_status_condition{condition="Ready"})',
            )
        )
        .with_panel(
            _number(
                "first certificate to end",
                "s",
                "min(certmanager_certificate_expiration_timestamp_seconds) - time()",
            )
        )
        .with_panel(
            _lines(
                "refused by admission in an hour",
                "short",
                {
                    "{{policy}}": (
                        "sum by (policy) (increase("
                        "apiserver_validating_admission_policy_check_total"
                        '{enforcement_action="deny"}[1h]))'
                    )
                },
            )
        )
        .with_panel(
            _lines(
                "age of the last good backup",
                "s",
                {
                    "{{schedule}}": (
                        "time() - max by (schedule) (velero_backup_last_successful_timestamp)"
                    )
                },
            )
        )
    )


DASHBOARDS: Mapping[str, Callable[[], build.Dashboard]] = {
    "platform": platform_health,
    "gpu": gpu,
    "training": training,
    "serving": serving,
    "drift": drift,
    "compliance": compliance,
}
"""Name → what makes it."""
