"""Parts of others whose figures alerts and dashboards rest on, and how Prometheus reads each.

Their charts are told to make no monitor of their own: one place says what each is called, and that
it is missed when it is not there. Names of ports and labels are those of the charts of the
catalogue's versions. Pure data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """Pods of one part."""

    job: str
    """As Prometheus names it."""
    namespace: str
    labels: Mapping[str, str]
    """Of its pods; of its Service where it `asks`."""
    port: str
    """The port's name."""
    asks: bool = False
    """Whether it answers over TLS, and only those whom the API server lets read `/metrics`."""
    always: bool = True
    """Whether it must be there; agents of GPUs are not while there is no such node."""

    @property
    def kind(self) -> str:
        """Of its monitor: only one of a Service sends Prometheus' own token along."""
        return "ServiceMonitor" if self.asks else "PodMonitor"

    def spec(self) -> dict[str, Any]:
        """Of its monitor."""
        endpoint: dict[str, Any] = {
            "port": self.port,
            "interval": "30s",
            # it speaks of objects elsewhere, whose namespace is meant
            "honorLabels": True,
            "relabelings": [{"targetLabel": "job", "replacement": self.job}],
        }
        if self.asks:
            endpoint |= {
                "scheme": "https",
                "bearerTokenFile": "/var/run/secrets/kubernetes.io/serviceaccount/token",
                # its certificate is made by itself; who it is says the network's policy
                "tlsConfig": {"insecureSkipVerify": True},
            }
        endpoints = "endpoints" if self.asks else "podMetricsEndpoints"
        return {
            "selector": {"matchLabels": dict(self.labels)},
            "namespaceSelector": {"matchNames": [self.namespace]},
            endpoints: [endpoint],
        }


def _name(name: str, **more: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": name,
        **{f"app.kubernetes.io/{key}": value for key, value in more.items()},
    }


EXPORTERS: Mapping[str, Exporter] = {
    "kuberay-operator": Exporter(
        job="kuberay", namespace="training", labels=_name("kuberay-operator"), port="http"
    ),
    "kueue": Exporter(
        job="kueue",
        namespace="training",
        labels=_name("kueue", component="metrics-service"),
        port="https",
        asks=True,
    ),
    "external-secrets": Exporter(
        job="external-secrets",
        namespace="external-secrets",
        labels=_name("external-secrets"),
        port="metrics",
    ),
    "cert-manager": Exporter(
        job="cert-manager",
        namespace="certificates",
        labels=_name("cert-manager", component="controller"),
        port="http-metrics",
    ),
    "velero": Exporter(
        job="velero", namespace="backup", labels=_name("velero"), port="http-monitoring"
    ),
    "dcgm-exporter": Exporter(
        job="dcgm",
        namespace="node-agents",
        labels=_name("dcgm-exporter"),
        port="metrics",
        always=False,
    ),
}
"""Name of a chart in the catalogue → who exports."""


def exporters_of(charts: Collection[str]) -> tuple[Exporter, ...]:
    """Those of the `charts` that are deployed."""
    return tuple(exporter for chart, exporter in EXPORTERS.items() if chart in charts)
