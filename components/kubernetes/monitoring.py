"""What Prometheus, Alertmanager and Grafana of a cluster are told: rules, routes, dashboards.

Owns the rules and objectives (a PrometheusRule), who is told of an alert (the AlertmanagerConfig),
the monitors of parts that have none of their own, the dashboards, and the Secrets of all this.
Leaves the servers to the chart kube-prometheus-stack, whose values `monitoring_values` adds to, the
namespace with its flows to `tenancy`, and monitors of Ray, of the tracking server and of Kubernetes
itself to those who make them.

The order: the namespace and External Secrets; `MonitoringSecrets`, without which Grafana would not
start and its release be waited for in vain; the chart, with the kinds; `Monitoring`. Alertmanager
has no routes until then, and its operator looks again when they come.

What the operators make of the objects is not shown by any test here. On a cluster, Prometheus'
page `/targets` names each job of `exporters`, `amtool config routes test severity=critical` against
Alertmanager names `incidents` and `mail`, and an alert sent with `amtool alert add` arrives.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes import alert_routes
from components.kubernetes.exporters import Exporter
from components.kubernetes.monitoring_settings import MonitoringSettings, untold
from components.kubernetes.monitoring_values import (
    ADMIN_PASSWORD,
    ADMIN_USER,
    BUCKET_KEY,
    BUCKET_SECRET,
    CLIENT_SECRET,
    DASHBOARD_LABEL,
    GRAFANA,
    GRAFANA_PORT,
    GRAFANA_SECRET,
    ROUTES,
)
from components.kubernetes.secret_source import (
    PLAIN,
    SecretSource,
    copied_secret,
    external_secret,
)
from components.kubernetes.serving import Door
from components.monitoring.alerts import cluster_rules
from components.monitoring.dashboards import rendered as dashboards
from components.monitoring.objectives import objective_rules
from components.monitoring.rules import Group
from components.monitoring.rules import rendered as rules

API_VERSION = "monitoring.coreos.com/v1"
QUERY_PORT = 9090

_MANAGED_BY = {"app.kubernetes.io/managed-by": "pulumi"}


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Where long-term figures are kept, in the country."""

    name: pulumi.Input[str]
    region: str
    folder: str
    """Below which the identity of monitoring may read, write, list and delete."""
    key: pulumi.Input[str]
    """ARN of the key that they are encrypted under."""


@dataclass(frozen=True, kw_only=True)
class MonitoringSecretsArgs:
    """Where they come from."""

    namespace: pulumi.Input[str]
    settings: MonitoringSettings
    store: str | None = None
    """The ClusterSecretStore of the namespace, where a secret has the name of its key here. `None`
    where somebody else puts the Secrets there (`alert_routes.SECRET`,
    `monitoring_values.GRAFANA_SECRET`)."""
    bucket: Bucket | None = None
    wait_for: Sequence[pulumi.Resource] = ()
    """The namespace's quota and flows, and External Secrets."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where nothing is to keep figures in."""
        if self.settings.long_term and self.bucket is None:
            raise ValueError(
                "monitoring.long_term: is true, and the place has no bucket: say long_term: false"
            )


class MonitoringSecrets(pulumi.ComponentResource):
    """Passwords and addresses, from the environment's own store; `ready` is what the chart's
    release must wait for.
    """

    def __init__(
        self, name: str, args: MonitoringSecretsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:MonitoringSecrets", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self.ready: list[pulumi.Resource] = [*self._from_the_store(), *self._bucket()]
        self.register_outputs({})

    def _from_the_store(self) -> list[pulumi.Resource]:
        args, made = self._args, list[pulumi.Resource]()
        if args.store is None:
            return made
        if wanted := alert_routes.secrets(args.settings):
            made.append(
                copied_secret(
                    f"{self._name}-{alert_routes.SECRET}",
                    SecretSource(store=args.store, keys={key: key for key in wanted}),
                    _metadata(alert_routes.SECRET, args.namespace),
                    wanted,
                    self._child,
                )
            )
        if args.settings.grafana is not None:
            kept = (ADMIN_PASSWORD, CLIENT_SECRET)
            made.append(
                external_secret(
                    f"{self._name}-{GRAFANA_SECRET}",
                    SecretSource(store=args.store, keys={key: key for key in kept}),
                    _metadata(GRAFANA_SECRET, args.namespace),
                    # nobody signs in as the first administrator: the form is off
                    {ADMIN_USER: (ADMIN_PASSWORD, "admin"), **{key: (key, PLAIN) for key in kept}},
                    self._child,
                )
            )
        return made

    def _bucket(self) -> list[pulumi.Resource]:
        """How Thanos finds the bucket: no secret, but the chart takes it from one."""
        bucket = self._args.bucket
        if bucket is None or not self._args.settings.long_term:
            return []
        text = pulumi.Output.all(name=bucket.name, key=bucket.key).apply(
            lambda found: _bucket_file(bucket, found["name"], found["key"])
        )
        # `stringData` is never given back, so each refresh would find it gone
        data = text.apply(lambda said: base64.b64encode(said.encode()).decode())
        return [
            kubernetes.core.v1.Secret(
                f"{self._name}-bucket",
                metadata=_metadata(BUCKET_SECRET, self._args.namespace),
                data={BUCKET_KEY: data},
                opts=self._child,
            )
        ]


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """Which environment, and who is told."""

    environment: str
    namespace: pulumi.Input[str]
    settings: MonitoringSettings
    exporters: Sequence[Exporter]
    """Parts of others that are deployed: `exporters.exporters_of`."""
    door: Door | None = None
    """The gateway that people come to Grafana through; it must answer for the host in `settings`.
    Without it nobody comes in."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The chart's release, with the kinds."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where nobody would be told, or the door is closed."""
        problems = untold(self.environment, self.settings)
        grafana = self.settings.grafana
        if grafana is not None and self.door is not None and grafana.host not in self.door.hosts:
            problems.append(
                f"grafana.host: {grafana.host}; the gateway answers for "
                f"{', '.join(self.door.hosts)} alone"
            )
        if problems:
            raise ValueError("\n".join(f"monitoring.{problem}" for problem in problems))


class Monitoring(pulumi.ComponentResource):
    """`url` is where figures are asked for; `pages_url` is where people find Grafana, `None` where
    they do not."""

    pages_url: str | None = None

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Monitoring", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self._object("rules", "PrometheusRule", "falaj", rules(self._groups()))
        self._object(
            "routes",
            "AlertmanagerConfig",
            ROUTES,
            alert_routes.routes(args.settings, args.environment),
            api_version="monitoring.coreos.com/v1alpha1",
        )
        self._object("models", "PodMonitor", "models", _MODELS)
        for exporter in args.exporters:
            self._object(exporter.job, exporter.kind, exporter.job, exporter.spec())
        self._dashboards()
        if args.door is not None and args.settings.grafana is not None:
            self._way_in(args.door, args.settings.grafana.host)
        self.url = pulumi.Output.concat(
            "http://prometheus-operated.", args.namespace, f".svc:{QUERY_PORT}"
        )
        self.register_outputs({"url": self.url})

    def _groups(self) -> tuple[Group, ...]:
        settings = self._args.settings
        return (
            *cluster_rules(
                jobs=[exporter.job for exporter in self._args.exporters if exporter.always],
                gpu_prices_usd=settings.gpu_prices_usd,
            ),
            *objective_rules(settings.objectives.all()),
        )

    def _dashboards(self) -> None:
        """One object for each: an object may hold a mebibyte."""
        for file, text in dashboards().items():
            noun = file.removesuffix(".json")
            kubernetes.core.v1.ConfigMap(
                f"{self._name}-{noun}",
                metadata=_metadata(noun, self._args.namespace, {DASHBOARD_LABEL: "1"}),
                data={file: text},
                opts=self._child,
            )

    def _way_in(self, door: Door, host: str) -> None:
        """People's: where the gateway takes routes from, which is its own namespace."""
        server = pulumi.Output.concat(GRAFANA, ".", self._args.namespace, ".svc.cluster.local")
        to: Any = {"destination": {"host": server, "port": {"number": GRAFANA_PORT}}}
        CustomResource(
            f"{self._name}-route",
            api_version="networking.istio.io/v1",
            kind="VirtualService",
            metadata=_metadata("grafana", door.namespace),
            spec={"hosts": [host], "gateways": [door.gateway], "http": [{"route": [to]}]},
            opts=self._child,
        )
        self.pages_url = f"https://{host}"

    def _object(
        self, noun: str, kind: str, name: str, spec: Any, *, api_version: str = API_VERSION
    ) -> None:
        CustomResource(
            f"{self._name}-{noun}",
            api_version=api_version,
            kind=kind,
            metadata=_metadata(name, self._args.namespace),
            spec=spec,
            opts=self._child,
        )


def _metadata(
    name: str, namespace: pulumi.Input[str], labels: Mapping[str, str] | None = None
) -> Any:
    return {"name": name, "namespace": namespace, "labels": {**_MANAGED_BY, **(labels or {})}}


def _relabel(source: str, target: str) -> dict[str, Any]:
    return {"sourceLabels": [source], "targetLabel": target}


_MODELS: dict[str, Any] = {
    "selector": {"matchLabels": {"falaj/part": "model"}},
    "namespaceSelector": {"any": True},
    "podMetricsEndpoints": [
        {
            "port": "metrics",
            # judged by releases, which look at a minute
            "interval": "5s",
            "relabelings": [
                {"targetLabel": "job", "replacement": "serving"},
                _relabel("__meta_kubernetes_pod_label_falaj_workload", "workload"),
                _relabel("__meta_kubernetes_pod_label_falaj_slot", "slot"),
            ],
            # a server says both too, and what the cluster says counts
            "metricRelabelings": [
                {"action": "labeldrop", "regex": "exported_(workload|slot)"},
            ],
        }
    ],
}
"""Servers of models, whoever runs them; a team's pods cannot say that they are another's."""


def _bucket_file(bucket: Bucket, name: str, key: str) -> str:
    return yaml.safe_dump(
        {
            "type": "S3",
            "prefix": bucket.folder,
            "config": {
                "bucket": name,
                "endpoint": f"s3.{bucket.region}.amazonaws.com",
                "region": bucket.region,
                # the pod's own identity, and no key
                "aws_sdk_auth": True,
                "sse_config": {"type": "SSE-KMS", "kms_key_id": key},
            },
        },
        sort_keys=False,
    )
