"""What monitoring adds to the values of the chart kube-prometheus-stack. Pure data.

Images, sizes, numbers of pods and webhooks are said where those of every chart are; here is what is
monitoring's alone: what is kept and where, who is told, who gets into Grafana, what is looked at.
Where there is a mesh the namespace is in it, so that Prometheus reads all others over mutual TLS
without a certificate in any pod.

Prometheus takes rules and monitors of every namespace. People of a team may read those of theirs
and write none (`roles`); a workload's rules come with its stack. What a rule's annotation asks
with `query` is not confined, so nobody else should get the right to write rules. On a cluster:
`kubectl -n monitoring exec prometheus-monitoring-prometheus-0 -c prometheus -- cat
/etc/prometheus/rules/*/<team>-*` shows `namespace="<team>"` in each selector.

Every key is one that the chart of the catalogue's version reads, or one of the charts inside it
(`tests/unit/chart_keys.txt`); Helm takes an unknown key without a word. No operator and no Grafana
runs in any test. On a cluster: `kubectl -n monitoring get prometheus,alertmanager` says
`Available`; `curl -s https://<host>/api/org` without a login is refused, and in a browser the way
leads to the identity provider and back; in the mesh, `istioctl
ztunnel-config workloads` names Prometheus' pods with HBONE.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.kubernetes.monitoring_settings import (
    GROUP_IN_TEXT,
    GrafanaSettings,
    MonitoringSettings,
)
from components.monitoring.dashboards import DATA_SOURCE

ROUTES = "falaj"
"""The AlertmanagerConfig that says who is told."""
GRAFANA_SECRET, ADMIN_USER, ADMIN_PASSWORD, CLIENT_SECRET = (
    "grafana",
    "admin-user",
    "admin-password",
    "client-secret",
)
"""The Secret of Grafana's own login and of its client at the identity provider, and its keys."""
BUCKET_SECRET, BUCKET_KEY = "thanos-bucket", "bucket.yaml"
GRAFANA, GRAFANA_PORT = "monitoring-grafana", 80
"""Grafana's Service."""
DASHBOARD_LABEL = "grafana_dashboard"
"""Of ConfigMaps that Grafana's sidecar reads, with the value ``1``."""
DASHBOARD_FOLDER = "grafana_folder"
"""The annotation of such a ConfigMap that names its folder; without it, General."""
NAMESPACE = "monitoring"
"""Of everything here; what lies in it speaks for the whole cluster."""
SERVICE_ACCOUNT = "monitoring"
"""As whom Prometheus runs; the cloud's identity is bound to this name."""
THANOS = "thanos"
"""Name in the catalogue of what copies to the bucket."""

_SEEN = (
    *("cronjobs", "daemonsets", "deployments", "horizontalpodautoscalers", "jobs", "namespaces"),
    *("nodes", "persistentvolumeclaims", "persistentvolumes", "poddisruptionbudgets", "pods"),
    *("replicasets", "resourcequotas", "services", "statefulsets", "storageclasses"),
)
"""What kube-state-metrics lists. No Secrets and no ConfigMaps: it would need the right to read
them all."""
_HIDDEN_PARTS = ("kubeEtcd", "kubeScheduler", "kubeControllerManager", "kubeProxy")
_HIDDEN_RULES = (
    *("etcd", "kubeControllerManager", "kubeProxy"),
    *("kubeSchedulerAlerting", "kubeSchedulerRecording"),
)

_ENFORCED = ("prometheusrules", "servicemonitors", "podmonitors", "probes", "scrapeconfigs")
"""Kinds that the operator writes the namespace into."""


@dataclass(frozen=True, kw_only=True)
class ChartPlace:
    """What the place gives."""

    storage_class: str
    """With a key of the customer's."""
    thanos_image: str | None = None
    """In the country's registry, with its digest."""
    teams_groups: Sequence[str] = ()
    """Groups of the identity provider whose people are in a team."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a class that is none: no volume would ever be bound."""
        if not self.storage_class:
            raise ValueError("storage_class: is empty; name one that there is")
        for group in self.teams_groups:
            if not re.fullmatch(GROUP_IN_TEXT, group):
                raise ValueError(
                    f"the group {group!r}: Grafana's rules cannot hold its name; let the identity "
                    "provider send one without quotes, spaces and %, $, ;, # or backslashes"
                )


def monitoring_values(settings: MonitoringSettings, place: ChartPlace) -> dict[str, Any]:
    """What stands over the chart's own values.

    Raises `ValueError` where `settings` want something kept for long and `place` has no image.
    """
    seen = not settings.control_plane_is_hidden
    return {
        # `monitoring-grafana`, `monitoring-prometheus`, whatever the release is called
        "fullnameOverride": "monitoring",
        "prometheus": _prometheus(settings, place),
        "alertmanager": _alertmanager(place),
        "grafana": _grafana(settings.grafana, place),
        "kube-state-metrics": {"collectors": list(_SEEN)},
        "defaultRules": {
            # of nodes, volumes and deployments: `alerts` says nothing of them
            "create": True,
            # `watch_rules` has one that stops too when nothing is read
            "disabled": {"Watchdog": True, "InfoInhibitor": True},
            "rules": dict.fromkeys(_HIDDEN_RULES, seen),
        },
        **{part: {"enabled": seen} for part in _HIDDEN_PARTS},
    }


def _prometheus(settings: MonitoringSettings, place: ChartPlace) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "retention": f"{settings.retention_days}d",
        "retentionSize": f"{settings.retention_size_gib}GB",
        "storageSpec": _claim(place, settings.storage_gib),
        "podAntiAffinity": "hard",
        # whatever selects a pod of the platform or a team is read, whoever made it
        **{
            f"{kind}SelectorNilUsesHelmValues": False
            for kind in ("rule", "serviceMonitor", "podMonitor", "probe", "scrapeConfig")
        },
        # but whatever lies in a team's namespace reads that namespace's series alone, and what it
        # measures, records and raises bears that name: the operator writes it into each query
        "enforcedNamespaceLabel": "namespace",
        "excludedFromEnforcement": [
            {"group": "monitoring.coreos.com", "resource": kind, "namespace": NAMESPACE}
            for kind in _ENFORCED
        ],
    }
    if settings.long_term:
        if place.thanos_image is None:
            raise ValueError("long_term: is true, and there is no image of Thanos")
        spec["thanos"] = {
            "image": place.thanos_image,
            "objectStorageConfig": {"existingSecret": {"name": BUCKET_SECRET, "key": BUCKET_KEY}},
            "resources": {
                "requests": {"cpu": "50m", "memory": "512Mi"},
                "limits": {"memory": "512Mi"},
            },
        }
    return {
        "prometheusSpec": spec,
        "serviceAccount": {"create": True, "name": SERVICE_ACCOUNT},
    }


def _alertmanager(place: ChartPlace) -> dict[str, Any]:
    return {
        "serviceAccount": {"automountServiceAccountToken": False},
        "alertmanagerSpec": {
            "automountServiceAccountToken": False,
            "podAntiAffinity": "hard",
            # what is silenced and told is kept over a restart
            "storage": _claim(place, 1),
            "alertmanagerConfiguration": {"name": ROUTES},
            # that one holds for all namespaces; another selects none, or it would count twice
            "alertmanagerConfigSelector": {"matchLabels": {"falaj/routes": "more"}},
        },
    }


def _claim(place: ChartPlace, gib: int) -> dict[str, Any]:
    return {
        "volumeClaimTemplate": {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": place.storage_class,
                "resources": {"requests": {"storage": f"{gib}Gi"}},
            }
        }
    }


def _grafana(settings: GrafanaSettings | None, place: ChartPlace) -> dict[str, Any]:
    if settings is None:
        return {"enabled": False}
    return {
        "enabled": True,
        "fullnameOverride": GRAFANA,
        # dashboards are code and people come from the identity provider: nothing is to be kept
        "persistence": {"enabled": False},
        # what the sidecars read lies beside them: no right to the Secrets of others
        "rbac": {"namespaced": True},
        "admin": {
            "existingSecret": GRAFANA_SECRET,
            "userKey": ADMIN_USER,
            "passwordKey": ADMIN_PASSWORD,
        },
        "envValueFrom": {
            "GF_AUTH_GENERIC_OAUTH_CLIENT_SECRET": {
                "secretKeyRef": {"name": GRAFANA_SECRET, "key": CLIENT_SECRET}
            }
        },
        "sidecar": {
            "dashboards": {
                "label": DASHBOARD_LABEL,
                "labelValue": "1",
                # one that anybody may write could show what is not so
                "searchNamespace": NAMESPACE,
                "resource": "configmap",
                "folderAnnotation": DASHBOARD_FOLDER,
                "provider": {"foldersFromFilesStructure": True},
                # Grafana looks at the folder by itself, so the sidecar needs no login
                "skipReload": True,
            },
            "datasources": {
                "uid": DATA_SOURCE,
                "searchNamespace": NAMESPACE,
                "resource": "configmap",
                # before Grafana starts, since it looks for sources then alone
                "initDatasources": True,
                "skipReload": True,
            },
        },
        "grafana.ini": _ini(settings, place.teams_groups),
    }


def _ini(settings: GrafanaSettings, teams_groups: Sequence[str]) -> dict[str, Any]:
    """Grafana's own settings, by section.

    Raises `ValueError` where nobody could come in.
    """

    def anyone(groups: Sequence[str]) -> str:
        return " || ".join(f"contains({settings.groups_claim}[*], '{group}')" for group in groups)

    viewers = sorted({*settings.viewers, *teams_groups})
    roles = [(settings.admins, "Admin"), (settings.editors, "Editor"), (viewers, "Viewer")]
    if not any(groups for groups, _ in roles):
        raise ValueError(
            "monitoring.grafana.viewers: is empty, and no team has a group, so nobody could come "
            "in: name groups here or under teams.<team>.groups"
        )
    path = " || ".join(f"({anyone(groups)}) && '{role}'" for groups, role in roles if groups)
    return {
        "server": {"domain": settings.host, "root_url": f"https://{settings.host}/"},
        "auth": {"disable_login_form": True, "oauth_allow_insecure_email_lookup": False},
        "auth.anonymous": {"enabled": False},
        "auth.basic": {"enabled": False},
        "auth.generic_oauth": {
            "enabled": True,
            "client_id": settings.client_id,
            "auth_url": settings.authorize_url,
            "token_url": settings.token_url,
            "api_url": settings.userinfo_url,
            "scopes": f"openid profile email {settings.groups_claim}",
            "use_pkce": True,
            "allow_sign_up": True,
            "role_attribute_path": path,
            # in no group: no way in
            "role_attribute_strict": True,
        },
        "users": {"allow_sign_up": False},
        "security": {
            "cookie_secure": True,
            "disable_gravatar": True,
            "strict_transport_security": True,
        },
        # nothing leaves the country, and nothing is asked of others
        "analytics": {
            "reporting_enabled": False,
            "check_for_updates": False,
            "check_for_plugin_updates": False,
        },
        "news": {"news_feed_enabled": False},
        "snapshots": {"external_enabled": False},
        "plugins": {"preinstall_disabled": True, "plugin_admin_enabled": False},
    }
