"""Rules, routes, monitors and dashboards on a real API server with the real kinds.

Neither operator runs: whether Prometheus and Alertmanager read what is there is not shown here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api, ApiError, Object

from components.kubernetes.monitoring_settings import MonitoringSettings
from components.kubernetes.monitoring_values import ChartPlace, monitoring_values

SETTINGS = """
MonitoringSettings.model_validate(
    {
        "email": {"to": ["ops@bank.ae"], "sender": "falaj@bank.ae", "relay": "mail.bank.ae",
                  "user": "falaj"},
        "incidents": True,
        "heartbeat": True,
        "long_term": True,
        "gpu_prices_usd": {"NVIDIA A10G": 1.25},
        "grafana": {
            "host": "grafana.bank.ae",
            "authorize_url": "https://id.bank.ae/authorize",
            "token_url": "https://id.bank.ae/token",
            "userinfo_url": "https://id.bank.ae/userinfo",
            "client_id": "grafana",
            "viewers": ["falaj-viewers"],
        },
    }
)
"""
PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.flows import Addresses
from components.kubernetes.exporters import EXPORTERS
from components.kubernetes.monitoring import (
    Bucket,
    Monitoring,
    MonitoringArgs,
    MonitoringSecrets,
    MonitoringSecretsArgs,
)
from components.kubernetes.monitoring_settings import MonitoringSettings
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
space = Namespace(
    "space",
    NamespaceArgs(
        namespace="monitoring",
        part="monitoring",
        quota=TeamQuota(),
        addresses=Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"]),
    ),
    opts,
)
settings = {SETTINGS.strip()}
secrets = MonitoringSecrets(
    "secrets",
    MonitoringSecretsArgs(
        namespace=space.namespace,
        settings=settings,
        store="falaj-monitoring",
        bucket=Bucket(name="reports", region="me-central-1", folder="metrics", key="arn:aws:kms:1"),
        wait_for=space.ready,
    ),
    opts,
)
monitoring = Monitoring(
    "watch",
    MonitoringArgs(
        environment="prod",
        namespace=space.namespace,
        settings=settings,
        exporters=tuple(EXPORTERS.values()),
        wait_for=[*space.ready, *secrets.ready],
    ),
    opts,
)
pulumi.export("url", monitoring.url)
"""
GROUP = "monitoring.coreos.com/v1"
ROUTES = "monitoring.coreos.com/v1alpha1"


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
) -> Program:
    """Monitoring as in prod, applied."""
    define("prometheus-operator", "external-secrets")
    program = lasting_program(PROGRAM)
    succeed(program.up())
    return program


def named(kind: str, name: str, api_version: str = GROUP) -> Object:
    metadata = {"name": name, "namespace": "monitoring"}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def live(api: Api, kind: str, name: str, api_version: str = GROUP) -> Object:
    found = api.get(named(kind, name, api_version))
    assert found is not None, f"{kind} {name}"
    return found


def test_all_objects_are_there(api: Api) -> None:
    groups = live(api, "PrometheusRule", "falaj")["spec"]["groups"]
    assert {"platform", "gpu", "drift", "objective-availability"} <= {one["name"] for one in groups}
    for monitor in ("models", "kuberay", "dcgm", "external-secrets", "cert-manager", "velero"):
        live(api, "PodMonitor", monitor)
    live(api, "ServiceMonitor", "kueue")
    for secret in ("falaj-alert-routes", "grafana"):
        live(api, "ExternalSecret", secret, "external-secrets.io/v1")
    live(api, "Secret", "thanos-bucket", "v1")
    for name in ("platform", "gpu", "training", "serving", "drift", "compliance"):
        shown = live(api, "ConfigMap", f"falaj-{name}", "v1")
        assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(shown["data"][f"falaj-{name}.json"])["panels"]


def test_applied_again_nothing_changes(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes", "--refresh"))


def test_the_server_keeps_every_field_of_the_routes(api: Api) -> None:
    """One that the kind does not know would be dropped, and with it who is told."""
    spec = live(api, "AlertmanagerConfig", "falaj", ROUTES)["spec"]
    sent = {one["name"]: one for one in spec["receivers"]}
    assert sent["mail"]["emailConfigs"][0]["tlsConfig"]["minVersion"] == "TLS12"
    (incident,) = sent["incidents"]["webhookConfigs"]
    assert incident["urlSecret"] == {"name": "falaj-alert-routes", "key": "incident-url"}
    assert incident["httpConfig"]["authorization"]["credentials"]["key"] == "incident-token"
    assert [one["receiver"] for one in spec["route"]["routes"]] == [
        *("heartbeat", "nobody", "incidents", "mail")
    ]
    assert len(spec["inhibitRules"]) == 3


def _without_expression(rules: Object) -> None:
    del rules["spec"]["groups"][0]["rules"][0]["expr"]


def _with_a_strange_match(routes: Object) -> None:
    routes["spec"]["inhibitRules"][0]["sourceMatch"][0]["matchType"] = "~"


def _with_an_unknown_field(monitor: Object) -> None:
    monitor["spec"]["podMetricsEndpoints"][0]["every"] = "30s"


@pytest.mark.parametrize(
    ("thing", "spoil", "message"),
    [
        (named("PrometheusRule", "falaj"), _without_expression, "expr: Required"),
        (
            named("AlertmanagerConfig", "falaj", ROUTES),
            _with_a_strange_match,
            "matchType: Unsupported",
        ),
        (named("PodMonitor", "models"), _with_an_unknown_field, "unknown field.*every"),
    ],
)
def test_what_is_wrong_with_an_object_is_found(
    api: Api, thing: Object, spoil: Callable[[Object], None], message: str
) -> None:
    found = api.get(thing)
    assert found is not None
    metadata = {"name": "another", "namespace": "monitoring"}
    good = {**thing, "metadata": metadata, "spec": found["spec"]}
    api.create(good, dry_run=True)
    bad = copy.deepcopy(good)
    spoil(bad)
    with pytest.raises(ApiError, match=message):
        api.create(bad, dry_run=True)


def test_what_the_chart_is_told_of_prometheus_fits_the_kind(api: Api) -> None:
    """The fields that the chart hands on as they are; amounts have to be amounts, say."""
    place = ChartPlace(storage_class="encrypted", thanos_image=f"registry.ae/x:1@sha256:{'0' * 64}")
    found: dict[str, Any] = {"MonitoringSettings": MonitoringSettings}
    values = monitoring_values(eval(SETTINGS.strip(), found), place)  # noqa: S307 our own text
    given = values["prometheus"]["prometheusSpec"]
    same = ("retention", "retentionSize")
    spec = {key: given[key] for key in same} | {"storage": given["storageSpec"]}
    good = {**named("Prometheus", "one"), "spec": spec}
    api.create(good, dry_run=True)
    with pytest.raises(ApiError, match="retentionSize"):
        api.create({**good, "spec": {**spec, "retentionSize": "80 %"}}, dry_run=True)
    given = values["alertmanager"]["alertmanagerSpec"]
    same = ("storage", "alertmanagerConfiguration")
    spec = {key: given[key] for key in (*same, "alertmanagerConfigSelector")}
    api.create({**named("Alertmanager", "one"), "spec": spec}, dry_run=True)


def test_destroyed_nothing_is_left(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    assert api.list(GROUP, "PrometheusRule") == []
    assert api.list(ROUTES, "AlertmanagerConfig") == []
    assert api.list(GROUP, "PodMonitor") == []
