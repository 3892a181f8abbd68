"""What a cluster's monitoring is told: routes, secrets, monitors, dashboards, and chart values."""

from __future__ import annotations

import base64
import copy
import dataclasses
import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pulumi
import pytest
import yaml
from pydantic import ValidationError

from components.images import read_catalogue
from components.kubernetes.alert_routes import SECRET, routes, secrets
from components.kubernetes.exporters import EXPORTERS, Exporter, exporters_of
from components.kubernetes.flows import FLOWS
from components.kubernetes.model_pods import METRICS_PORT, Slot
from components.kubernetes.monitoring import (
    Bucket,
    Monitoring,
    MonitoringArgs,
    MonitoringSecrets,
    MonitoringSecretsArgs,
)
from components.kubernetes.monitoring_settings import EmailSettings, MonitoringSettings, untold
from components.kubernetes.monitoring_values import (
    BUCKET_KEY,
    BUCKET_SECRET,
    DASHBOARD_FOLDER,
    GRAFANA_SECRET,
    NAMESPACE,
    ROUTES,
    THANOS,
    ChartPlace,
    monitoring_values,
)
from components.kubernetes.roles import RULES
from components.kubernetes.serving import Door
from components.monitoring.alerts import cluster_rules
from components.monitoring.dashboards import rendered as dashboards
from components.monitoring.rules import alerts

Record = Callable[[Callable[[], object]], Any]

FULL: dict[str, Any] = {
    "email": {
        "to": ["ops@bank.ae", "ml@bank.ae"],
        "sender": "falaj@bank.ae",
        "relay": "mail.bank.ae",
        "user": "falaj",
    },
    "incidents": True,
    "heartbeat": True,
    "long_term": True,
    "storage_gib": 240,
    "gpu_prices_usd": {"NVIDIA A10G": 1.25},
    "grafana": {
        "host": "grafana.bank.ae",
        "authorize_url": "https://id.bank.ae/authorize",
        "token_url": "https://id.bank.ae/token",
        "userinfo_url": "https://id.bank.ae/userinfo",
        "client_id": "grafana",
        "viewers": ["falaj-viewers"],
        "admins": ["falaj-platform"],
    },
}
DIGEST = "a" * 64
PLACE = ChartPlace(
    storage_class="encrypted",
    thanos_image=f"registry.bank.ae/falaj-prod/thanos:v0.41.0@sha256:{DIGEST}",
)


def settings(**changes: Any) -> MonitoringSettings:
    return MonitoringSettings.model_validate({**FULL, **changes})


def args(environment: str = "prod", **changes: Any) -> MonitoringArgs:
    more = {"settings": settings(), "exporters": tuple(EXPORTERS.values())}
    return MonitoringArgs(environment=environment, namespace="monitoring", **{**more, **changes})


def secret_args(**changes: Any) -> MonitoringSecretsArgs:
    more = {
        "store": "falaj-monitoring",
        "bucket": Bucket(
            name=pulumi.Output.from_input("reports"),
            region="me-central-1",
            folder="metrics",
            key="arn:aws:kms:me-central-1:123456789012:key/1",
        ),
        "settings": settings(),
    }
    return MonitoringSecretsArgs(namespace="monitoring", **{**more, **changes})


@pytest.fixture
def made(record: Record) -> Any:
    def build() -> None:
        MonitoringSecrets("secrets", secret_args())
        Monitoring("watch", args())

    return record(build)


def the(made: Any, kind: str, name: str) -> dict[str, Any]:
    (found,) = (one.inputs for one in made.of(kind) if one.inputs["metadata"]["name"] == name)
    return dict(found)


# --- who is told ----------------------------------------------------------------------------------


def receivers(spec: dict[str, Any], **labels: str) -> list[str]:
    """Who gets an alert with `labels`, as Alertmanager chooses: the first that matches, and those
    after it while a route says `continue`."""
    told = []
    for route in spec["route"]["routes"]:
        if all(_matches(one, labels) for one in route["matchers"]):
            told.append(route["receiver"])
            if not route.get("continue"):
                break
    return told or [spec["route"]["receiver"]]


def _matches(matcher: dict[str, str], labels: dict[str, str]) -> bool:
    value = labels.get(matcher["name"], "")
    if matcher["matchType"] == "=~":
        return value in matcher["value"].split("|")
    assert matcher["matchType"] == "="
    return value == matcher["value"]


def test_critical_alerts_open_an_incident_and_are_mailed() -> None:
    spec = routes(settings(), "prod")
    assert receivers(spec, alertname="NoModelServer", severity="critical") == ["incidents", "mail"]
    assert receivers(spec, alertname="GpuIdle", severity="warning") == ["mail"]
    assert receivers(spec, alertname="KubeInfo", severity="info") == ["nobody"]
    assert receivers(spec, alertname="Strange") == ["mail"]


def test_the_sign_of_life_goes_to_who_waits_for_it_and_to_nobody_else() -> None:
    spec = routes(settings(), "prod")
    assert receivers(spec, alertname="DeadMansSwitch", severity="none") == ["heartbeat"]
    (route,) = (one for one in spec["route"]["routes"] if one["receiver"] == "heartbeat")
    assert (route["groupInterval"], route["repeatInterval"]) == ("1m", "1m")
    without = routes(settings(heartbeat=False), "dev")
    assert receivers(without, alertname="DeadMansSwitch", severity="none") == ["nobody"]
    (switch,) = (one for one in alerts(cluster_rules(jobs=[])) if one.name == "DeadMansSwitch")
    assert switch.severity == "none"


@pytest.mark.parametrize("missing", [{"incidents": False}, {"email": None}, {"heartbeat": False}])
def test_every_route_ends_at_a_receiver_that_there_is(missing: dict[str, Any]) -> None:
    spec = routes(settings(**missing), "prod")
    known = {one["name"] for one in spec["receivers"]}
    used = {one["receiver"] for one in (spec["route"], *spec["route"]["routes"])}
    assert used <= known
    assert known - used <= {"nobody"}


def test_mail_is_sent_under_tls_and_says_whose_it_is() -> None:
    (mail,) = (one for one in routes(settings(), "prod")["receivers"] if one["name"] == "mail")
    (sent,) = mail["emailConfigs"]
    assert sent["requireTLS"] is True
    assert sent["smarthost"] == "mail.bank.ae:587"
    assert sent["to"] == "ops@bank.ae, ml@bank.ae"
    assert "prod" in sent["headers"][0]["value"]
    assert sent["authPassword"] == {"name": SECRET, "key": "mail-password"}
    open_relay = settings(email={**FULL["email"], "user": None})
    (mail,) = (one for one in routes(open_relay, "prod")["receivers"] if one["name"] == "mail")
    assert "authPassword" not in mail["emailConfigs"][0]
    assert "mail-password" not in secrets(open_relay)


def test_the_network_lets_alerts_out_to_whom_they_are_for() -> None:
    (flow,) = (
        one for one in FLOWS if (one.source, one.destination) == ("monitoring", "organisation")
    )
    assert flow.ports == (443, *get_args(EmailSettings.model_fields["port"].annotation))


def test_no_secret_is_said_but_by_its_name() -> None:
    spec = routes(settings(), "prod")
    named = [
        one
        for receiver in spec["receivers"]
        for config in receiver.get("emailConfigs", []) + receiver.get("webhookConfigs", [])
        for one in _references(config)
    ]
    assert {one["name"] for one in named} == {SECRET}
    assert {one["key"] for one in named} == set(secrets(settings()))
    assert "url" not in {
        key for one in spec["receivers"] for key in one.get("webhookConfigs", [{}])[0]
    }


def _references(value: Any) -> Iterator[dict[str, str]]:
    if isinstance(value, dict):
        if set(value) == {"name", "key"}:
            yield value
        else:
            for one in value.values():
                yield from _references(one)


def test_an_alert_is_silenced_by_its_own_kind_alone() -> None:
    """A label that both lack counts as equal: of other alerts, `equal` would silence any."""
    for rule in routes(settings(), "prod")["inhibitRules"]:
        names = {one["name"] for side in ("sourceMatch", "targetMatch") for one in rule[side]}
        assert "alertname" in names | set(rule["equal"])
        assert "namespace" in rule["equal"]


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_where_it_matters_somebody_is_told(environment: str) -> None:
    args(environment)
    with pytest.raises(ValueError, match=r"monitoring\.email: is missing.*incidents: true"):
        args(environment, settings=settings(email=None, incidents=False))
    assert untold("dev", MonitoringSettings()) == []


def test_prod_has_a_sign_of_life() -> None:
    with pytest.raises(ValueError, match=r"monitoring\.heartbeat: is false"):
        args(settings=settings(heartbeat=False))
    args("staging", settings=settings(heartbeat=False))


# --- the objects ----------------------------------------------------------------------------------


def test_secrets_come_from_the_store(made: Any) -> None:
    found = {
        one.inputs["spec"]["target"]["name"]: {
            entry["secretKey"]: entry["remoteRef"]["key"] for entry in one.inputs["spec"]["data"]
        }
        for one in made.of("ExternalSecret")
    }
    assert set(found) == {SECRET, GRAFANA_SECRET}
    # the store puts its own folder before each
    assert found[SECRET]["incident-url"] == "incident-url"
    assert set(found[GRAFANA_SECRET].values()) == {"admin-password", "client-secret"}
    written = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]["target"].get("template")
        for one in made.of("ExternalSecret")
    }
    assert written[GRAFANA_SECRET]["data"] == {
        "admin-user": "admin",
        "admin-password": "{{ .admin_password }}",
        "client-secret": "{{ .client_secret }}",
    }


def test_without_a_store_somebody_else_brings_the_secrets(record: Record) -> None:
    made = record(lambda: MonitoringSecrets("secrets", secret_args(store=None)))
    assert made.of("ExternalSecret") == []


def test_where_nothing_is_secret_nothing_is_asked_for(record: Record) -> None:
    quiet = MonitoringSettings.model_validate({"storage_gib": 20})
    made = record(lambda: MonitoringSecrets("secrets", secret_args(settings=quiet)))
    assert made.of("ExternalSecret") == []
    assert made.of("Secret") == []


def test_the_rules_hold_what_is_measured_and_promised(made: Any) -> None:
    groups = the(made, "PrometheusRule", "falaj")["spec"]["groups"]
    names = {rule.get("alert") for group in groups for rule in group["rules"]}
    assert {"PartDown", "DeadMansSwitch", "GpuIdle", "AvailabilityBudgetBurnsFast"} <= names
    (watch,) = (group for group in groups if group["name"] == "watch")
    expected = {f'absent(up{{job="{one.job}"}})' for one in EXPORTERS.values() if one.job != "dcgm"}
    assert {rule["expr"] for rule in watch["rules"] if rule["alert"] == "PartNotRead"} == expected


def test_each_dashboard_is_an_object_that_grafana_finds(made: Any) -> None:
    found = {one.inputs["metadata"]["name"]: one.inputs for one in made.of("ConfigMap")}
    assert {f"{name}.json" for name in found} == set(dashboards())
    for name, one in found.items():
        assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(one["data"][f"{name}.json"])["uid"] == name
        assert len(one["data"][f"{name}.json"]) < 1 << 20


def test_servers_of_models_are_read_wherever_they_are(made: Any) -> None:
    spec = the(made, "PodMonitor", "models")["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    labels = Slot(workload="credit", slot="a").labels
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] == "metrics"
    assert "honorLabels" not in endpoint, "a team's pods could say that they are another's"
    said = {one["targetLabel"]: one for one in endpoint["relabelings"]}
    assert said["job"]["replacement"] == "serving"
    for label in ("workload", "slot"):
        (source,) = said[label]["sourceLabels"]
        known = {key.replace("/", "_").replace("-", "_").replace(".", "_") for key in labels}
        assert source.removeprefix("__meta_kubernetes_pod_label_") in known
    assert METRICS_PORT == 6000


def test_each_exporter_is_read_under_its_job(made: Any) -> None:
    for exporter in EXPORTERS.values():
        spec = the(made, exporter.kind, exporter.job)["spec"]
        assert spec["selector"] == {"matchLabels": dict(exporter.labels)}
        assert spec["namespaceSelector"] == {"matchNames": [exporter.namespace]}
        (endpoint,) = spec["endpoints" if exporter.asks else "podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": exporter.job}]
        assert ("bearerTokenFile" in endpoint) == exporter.asks
    jobs = [exporter.job for exporter in EXPORTERS.values()]
    assert len(set(jobs)) == len(jobs)


def test_what_is_not_deployed_is_neither_read_nor_missed(record: Record) -> None:
    few = exporters_of({"kuberay-operator", "metrics-server"})
    made = record(lambda: Monitoring("watch", args(exporters=few)))
    assert {one.inputs["metadata"]["name"] for one in made.of("PodMonitor")} == {
        *("models", "kuberay")
    }
    (watch,) = (
        group
        for group in the(made, "PrometheusRule", "falaj")["spec"]["groups"]
        if group["name"] == "watch"
    )
    assert [rule["expr"] for rule in watch["rules"]][1:] == ['absent(up{job="kuberay"})']


def test_a_chart_of_the_catalogue_has_each_exporter() -> None:
    # DCGM's and Velero's come with the operators
    assert set(EXPORTERS) - {"dcgm-exporter", "velero"} <= set(read_catalogue().charts)
    more = Exporter(job="x", namespace="y", labels={"a": "b"}, port="z", asks=True)
    assert more.spec()["endpoints"][0]["scheme"] == "https"


def test_long_term_figures_go_to_the_bucket_under_the_key_and_without_a_password(
    made: Any,
) -> None:
    secret = the(made, "Secret", BUCKET_SECRET)
    said = yaml.safe_load(base64.b64decode(_plain(secret["data"])[BUCKET_KEY]))
    assert said["prefix"] == "metrics"
    assert said["config"] == {
        "bucket": "reports",
        "endpoint": "s3.me-central-1.amazonaws.com",
        "region": "me-central-1",
        "aws_sdk_auth": True,
        "sse_config": {
            "type": "SSE-KMS",
            "kms_key_id": "arn:aws:kms:me-central-1:123456789012:key/1",
        },
    }


def _plain(value: Any) -> Any:
    """What a secret of Pulumi's holds."""
    return value["value"] if isinstance(value, dict) and "value" in value else value


def test_long_term_needs_a_bucket() -> None:
    secret_args(bucket=None, settings=settings(long_term=False))
    with pytest.raises(ValueError, match=r"monitoring\.long_term: .*no bucket"):
        secret_args(bucket=None)
    with pytest.raises(ValueError, match=r"long_term: .*no image of Thanos"):
        monitoring_values(settings(), ChartPlace(storage_class="encrypted"))
    monitoring_values(settings(long_term=False), ChartPlace(storage_class="encrypted"))


# --- the chart ------------------------------------------------------------------------------------

KEYS = Path(__file__).with_name("chart_keys.txt")
"""Every key of the values of kube-prometheus-stack and the charts in it, of the version in its
first line; a `*` means that anything may follow."""


def paths(values: Any, before: str = "") -> Iterator[str]:
    """Each key of `values` that holds no other: `a/b/c`."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from paths(value, f"{before}/{key}" if before else key)
    else:
        yield before


def unread(values: dict[str, Any]) -> list[str]:
    """Keys that the chart does not have."""
    known = {line for line in KEYS.read_text().splitlines() if line and not line.startswith("#")}
    free = tuple(line.removesuffix("*") for line in known if line.endswith("/*"))
    return [path for path in paths(values) if path not in known and not path.startswith(free)]


def test_the_chart_reads_every_value() -> None:
    """Helm takes one that it does not know without a word (trap 22)."""
    values = monitoring_values(settings(), PLACE)
    assert unread(values) == []
    wrong = copy.deepcopy(values)
    wrong["prometheus"]["prometheusSpec"]["retention_size"] = "1GB"
    wrong["grafana"]["admin"]["password"] = "x"
    assert unread(wrong) == ["prometheus/prometheusSpec/retention_size", "grafana/admin/password"]


def test_the_keys_are_those_of_the_version_that_is_used() -> None:
    version = read_catalogue().charts["kube-prometheus-stack"].version
    assert f"kube-prometheus-stack {version}" in KEYS.read_text().splitlines()[0]


def test_prometheus_does_not_fill_its_volume() -> None:
    for gib in (10, 33, 100, 240):
        spec = monitoring_values(settings(storage_gib=gib), PLACE)["prometheus"]["prometheusSpec"]
        claim = spec["storageSpec"]["volumeClaimTemplate"]["spec"]
        assert claim["resources"]["requests"]["storage"] == f"{gib}Gi"
        assert claim["storageClassName"] == "encrypted"
        assert 0.7 * gib <= int(spec["retentionSize"].removesuffix("GB")) <= 0.8 * gib
    with pytest.raises(ValueError, match="storage_class: is empty"):
        ChartPlace(storage_class="")


def test_whatever_selects_our_pods_is_selected() -> None:
    """Else there is no target and no error (trap 45)."""
    spec = monitoring_values(settings(), PLACE)["prometheus"]["prometheusSpec"]
    for kind in ("rule", "serviceMonitor", "podMonitor"):
        assert spec[f"{kind}SelectorNilUsesHelmValues"] is False
        assert f"{kind}Selector" not in spec


def test_what_lies_in_a_teams_namespace_speaks_for_that_alone() -> None:
    """Rules there read no other's series, and what a monitor there measures bears its name."""
    spec = monitoring_values(settings(), PLACE)["prometheus"]["prometheusSpec"]
    assert spec["enforcedNamespaceLabel"] == "namespace"
    free = spec["excludedFromEnforcement"]
    assert {one["namespace"] for one in free} == {NAMESPACE}
    # every kind that this namespace speaks for others in, or its figures would bear its own name
    assert {one["resource"] for one in free} >= {
        "prometheusrules",
        "podmonitors",
        "servicemonitors",
    }


def test_what_speaks_of_other_namespaces_lies_where_it_may(record: Record) -> None:
    made = record(lambda: Monitoring("monitoring", args()))
    others = [
        one.inputs["metadata"]["namespace"]
        for kind in ("PodMonitor", "ServiceMonitor", "PrometheusRule")
        for one in made.of(kind)
    ]
    assert others
    assert set(others) == {NAMESPACE}


def test_people_of_a_team_write_no_rules() -> None:
    """What an annotation of a rule asks with `query` is not confined to the team's namespace."""
    may = {
        verb
        for rules in RULES.values()
        for rule in rules
        if "prometheusrules" in rule["resources"]
        for verb in rule["verbs"]
    }
    assert may == {"get", "list", "watch"}
    assert not any("*" in rule["resources"] for rules in RULES.values() for rule in rules)


def test_grafana_keeps_dashboards_in_the_folders_that_they_name() -> None:
    read = monitoring_values(settings(), PLACE)["grafana"]["sidecar"]["dashboards"]
    assert read["folderAnnotation"] == DASHBOARD_FOLDER
    assert read["provider"] == {"foldersFromFilesStructure": True}


def test_alertmanager_takes_our_routes_for_all_namespaces_and_once() -> None:
    spec = monitoring_values(settings(), PLACE)["alertmanager"]["alertmanagerSpec"]
    assert spec["alertmanagerConfiguration"] == {"name": ROUTES}
    assert spec["alertmanagerConfigSelector"]["matchLabels"]


def test_nobody_gets_into_grafana_but_by_the_identity_provider() -> None:
    grafana = monitoring_values(settings(), PLACE)["grafana"]
    said = grafana["grafana.ini"]
    assert said["auth.anonymous"]["enabled"] is False
    assert said["auth.basic"]["enabled"] is False
    assert said["auth"]["disable_login_form"] is True
    assert said["auth.generic_oauth"]["role_attribute_strict"] is True
    assert said["auth.generic_oauth"]["role_attribute_path"] == (
        "(contains(groups[*], 'falaj-platform')) && 'Admin' || "
        "(contains(groups[*], 'falaj-viewers')) && 'Viewer'"
    )
    assert grafana["admin"]["existingSecret"] == GRAFANA_SECRET
    assert "adminPassword" not in grafana
    assert not [path for path in paths(grafana) if path.endswith(("client_secret", "password"))]


def role_of(*groups: str, teams: tuple[str, ...] = (), **changes: Any) -> str | None:
    """What Grafana makes of somebody in `groups`, by the rule that it is given."""
    asked = settings(grafana={**FULL["grafana"], **changes})
    place = dataclasses.replace(PLACE, teams_groups=teams)
    said = monitoring_values(asked, place)["grafana"]["grafana.ini"]["auth.generic_oauth"]
    for part in re.finditer(r"\(([^&]*)\) && '(\w+)'", said["role_attribute_path"]):
        if set(re.findall(r"contains\(groups\[\*\], '([^']+)'\)", part[1])) & set(groups):
            return part[2]
    assert said["role_attribute_strict"] is True
    return None


def test_people_get_the_role_of_their_group_and_others_do_not_come_in() -> None:
    teams = ("credit-developers", "credit-approvers")
    told: dict[str, Any] = {"editors": ["falaj-operators"]}
    assert role_of("falaj-platform", "credit-developers", teams=teams, **told) == "Admin"
    assert role_of("falaj-operators", "falaj-viewers", teams=teams, **told) == "Editor"
    assert role_of("credit-approvers", teams=teams, **told) == "Viewer"
    assert role_of("falaj-viewers", teams=teams, **told) == "Viewer"
    assert role_of("sales", teams=teams, **told) is None
    assert role_of("credit-developers", **told) is None


def test_grafana_that_nobody_could_enter_is_refused() -> None:
    alone = settings(grafana={**FULL["grafana"], "viewers": [], "admins": []})
    with pytest.raises(ValueError, match=r"monitoring\.grafana\.viewers: is empty, and no team"):
        monitoring_values(alone, PLACE)
    monitoring_values(alone, dataclasses.replace(PLACE, teams_groups=("credit",)))


def test_a_group_of_a_team_that_would_end_the_rule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the group \"x'y\": Grafana's rules cannot hold"):
        dataclasses.replace(PLACE, teams_groups=("x'y",))


DOOR = Door(
    namespace="serving",
    gateway="serving/models",
    hosts=["serving.bank.ae", "grafana.bank.ae"],
    service="gateway",
    service_account="gateway",
)


def test_people_come_to_grafana_by_the_gateway(record: Record) -> None:
    made = record(lambda: Monitoring("watch", args(door=DOOR)))
    route = the(made, "VirtualService", "grafana")

    assert route["metadata"]["namespace"] == "serving"
    assert route["spec"]["hosts"] == ["grafana.bank.ae"]
    assert route["spec"]["gateways"] == ["serving/models"]
    (to,) = route["spec"]["http"][0]["route"]
    name = monitoring_values(settings(), PLACE)["grafana"]["fullnameOverride"]
    assert to["destination"] == {
        "host": f"{name}.monitoring.svc.cluster.local",
        "port": {"number": 80},
    }
    open_to_it = [
        flow for flow in FLOWS if (flow.source, flow.destination) == ("serving", "grafana")
    ]
    assert [flow.ports for flow in open_to_it] == [(3000,)]


def test_without_a_door_or_a_provider_of_identities_there_is_no_way_in(record: Record) -> None:
    closed = (args(door=None), args(door=DOOR, settings=settings(grafana=None)))
    for asked in closed:
        made = record(functools.partial(Monitoring, "watch", asked))
        assert made.of("VirtualService") == []


def test_a_host_that_the_gateway_does_not_answer_for_is_named() -> None:
    closed = dataclasses.replace(DOOR, hosts=["serving.bank.ae"])
    with pytest.raises(ValueError, match=r"monitoring\.grafana\.host: grafana\.bank\.ae; the gate"):
        args(door=closed)


def test_a_group_cannot_say_more_than_its_name() -> None:
    with pytest.raises(ValidationError, match="viewers"):
        settings(grafana={**FULL["grafana"], "viewers": ["x') || contains(groups[*], 'y"]})


def test_grafana_reads_what_lies_beside_it_and_needs_no_login_for_that() -> None:
    grafana = monitoring_values(settings(), PLACE)["grafana"]
    assert grafana["rbac"] == {"namespaced": True}
    for kind in ("dashboards", "datasources"):
        sidecar = grafana["sidecar"][kind]
        assert (sidecar["resource"], sidecar["searchNamespace"]) == ("configmap", "monitoring")
        assert sidecar["skipReload"] is True
    assert grafana["sidecar"]["datasources"]["initDatasources"] is True


def test_without_a_way_in_there_is_no_grafana() -> None:
    assert monitoring_values(settings(grafana=None), PLACE)["grafana"] == {"enabled": False}


def test_what_copies_to_the_bucket_is_from_the_country_and_named_by_its_digest() -> None:
    values = monitoring_values(settings(), PLACE)
    assert values["prometheus"]["prometheusSpec"]["thanos"]["image"] == PLACE.thanos_image
    assert THANOS in read_catalogue().images
    without = monitoring_values(settings(long_term=False), PLACE)
    assert "thanos" not in without["prometheus"]["prometheusSpec"]


def test_images_and_sizes_are_left_to_where_those_of_every_chart_are() -> None:
    said = [path for path in paths(monitoring_values(settings(), PLACE)) if "thanos" not in path]
    assert not [path for path in said if "/image/" in path or "/limits/" in path]


def test_the_exporter_of_kubernetes_state_needs_no_right_to_read_secrets() -> None:
    listed = monitoring_values(settings(), PLACE)["kube-state-metrics"]["collectors"]
    assert "pods" in listed
    assert not {"secrets", "configmaps"} & set(listed)


def test_what_the_cloud_hides_is_not_looked_for() -> None:
    hidden = monitoring_values(settings(), PLACE)
    assert hidden["kubeEtcd"] == {"enabled": False}
    assert hidden["defaultRules"]["rules"]["etcd"] is False
    own = monitoring_values(settings(control_plane_is_hidden=False), PLACE)
    assert own["kubeEtcd"] == {"enabled": True}


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"storage_gib": 5}, "storage_gib"),
        ({"storage_gib": 300}, "storage_gib"),
        ({"objectives": {"availability_percent": 90}}, "availability_percent"),
        ({"objectives": {"latency_ms": 300}}, "300: servers count at 10, 15, 25"),
        ({"email": {**FULL["email"], "to": []}}, "to"),
        ({"email": {**FULL["email"], "relay": "https://mail"}}, "relay"),
        ({"gpu_prices_usd": {'A"': 1.0}}, "is no name of a GPU's model"),
        ({"gpu_prices_usd": {"A10G": 0}}, "gpu_prices_usd"),
        ({"retention": "15d"}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    settings()
    with pytest.raises(ValidationError, match=message):
        settings(**wrong)
