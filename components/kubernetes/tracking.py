"""MLflow on a cluster: experiments, runs, and the registry of model versions, for all teams.

Owns the namespace, the server's account, Deployment and Service, what scales and spares it, and the
Job that brings its databases up to date before. People sign in at the identity provider and pods
with the token of their service account; what belongs to a team bears its name
(`components.mlflow_server.grants`, ADR 0018). Models and reports go through the server to the
bucket. Nothing is kept in the cluster: databases and bucket are, and AWS Backup copies both.

The databases and their role must exist before, as the bucket, the secret named in `TrackingArgs`
and, on AWS, the association of `ACCOUNT` with its identity. The roll-out of a new version goes on
while servers of the old one answer; MLflow has no way back from a newer database but its backup.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes.flows import FLOWS, TEAM, Addresses
from components.kubernetes.quantities import cores, mib
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs
from components.kubernetes.tracking_settings import TrackingSettings
from components.mlflow_server.environment import server_environment
from components.mlflow_server.grants import grants, written

PART = "tracking"
"""Its part in `flows`, its namespace, its service account and the noun of its identity."""
ACCOUNT = PART
SERVICE = "mlflow"
PORT, METRICS_PORT = 5000, 9090
AUDIENCE = "mlflow"
"""For which a pod asks a token of its service account."""
ARTIFACTS = "mlflow"
"""The folder of the bucket that is MLflow's."""

_LABELS = {"app.kubernetes.io/name": "mlflow", "app.kubernetes.io/managed-by": "pulumi"}
_SERVER = {"app.kubernetes.io/component": "server"}
_SECONDS_TO_END = 120
_SECRET_KEYS = {"SECRET_KEY": "session-key", "OIDC_CLIENT_SECRET_PEOPLE": "client-secret"}
_API_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_AUTHORITIES = "/etc/falaj/database"


@dataclass(frozen=True, kw_only=True)
class TrackingArgs:
    """What it leans on, and who uses it."""

    settings: TrackingSettings
    keep: bool
    """Whether the environment keeps data: then one server is never all there is."""
    database_uri: pulumi.Input[str]
    """Of runs and registry, ``postgresql://role@host:port/name?sslmode=verify-full``."""
    users_uri: pulumi.Input[str]
    """Of users and what they may do; another database, since both have a schema version."""
    bucket_uri: pulumi.Input[str]
    """``s3://…``, where `ARTIFACTS` is MLflow's folder."""
    issuer: pulumi.Input[str]
    """Of the tokens of the cluster's service accounts, as the API server names itself."""
    region: str | None
    """Of a database that is signed in to by IAM. `None`: the secret has the password too, under
    ``database-password``."""
    secret: str = "tracking"  # noqa: S105 a name
    """In the namespace, with the keys ``session-key`` and ``client-secret``; brought there by
    External Secrets and never seen by the program."""
    teams: Mapping[str, TeamQuota] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    """Among `services` must be where the identity provider answers."""
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    """Those that bring the namespace into a mesh."""
    monitored: bool = False
    """Whether the cluster knows the kind ServiceMonitor."""
    after: Sequence[pulumi.Resource] = ()
    """Priorities, databases, secret and identity: what its pods would fail without."""


class Tracking(pulumi.ComponentResource):
    """MLflow; `uri` is where pods reach it."""

    def __init__(
        self, name: str, args: TrackingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Tracking", name, None, opts)
        self._name, self._args = name, args
        child = pulumi.ResourceOptions(parent=self)
        space = Namespace(
            f"{name}-space",
            NamespaceArgs(
                namespace=PART,
                part=PART,
                quota=args.settings.quota(keep=args.keep),
                addresses=args.addresses,
                labels=args.namespace_labels,
            ),
            child,
        )
        self._namespace = space.namespace
        account = kubernetes.core.v1.ServiceAccount(
            f"{name}-account",
            metadata=self._metadata(ACCOUNT),
            automount_service_account_token=False,
            opts=child,
        )
        authorities = kubernetes.core.v1.ConfigMap(
            f"{name}-authorities",
            metadata=self._metadata("database-authorities"),
            data={"ca.pem": args.settings.database_authorities},
            opts=child,
        )
        ready = [*space.ready, account, authorities, *args.after]
        prepared = self._prepared(ready)
        self._server([*ready, prepared])
        self._around()
        self.uri = self._namespace.apply(lambda there: f"http://{SERVICE}.{there}.svc:{PORT}")
        self.register_outputs({"uri": self.uri})

    def _metadata(self, name: pulumi.Input[str]) -> Any:
        return {"name": name, "namespace": self._namespace, "labels": dict(_LABELS)}

    # --- pods -------------------------------------------------------------------------------------

    def _prepared(self, ready: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The Job that upgrades the databases and writes grants: another one, by its name, when
        anything that it does changes.

        It stays until then: a Job that Kubernetes removed after a while would be made anew by the
        next update that refreshes. An update waits for it and fails with it, before any server.
        """
        args = self._args
        variables = self._variables() | {"FALAJ_GRANTS": self._grants()}
        pod = self._pod(
            "prepare",
            command=["python", "-m", "components.mlflow_server.prepare"],
            environment=variables,
        )
        name = pulumi.Output.json_dumps(pod).apply(
            lambda text: f"prepare-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        )
        return kubernetes.batch.v1.Job(
            f"{self._name}-prepare",
            metadata=self._metadata(name),
            spec={
                "backoff_limit": 3,
                "active_deadline_seconds": args.settings.upgrade_minutes * 60,
                "template": {
                    "metadata": {"labels": {**_LABELS, "app.kubernetes.io/component": "prepare"}},
                    "spec": {**pod, "restart_policy": "Never"},
                },
            },
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(ready),
                custom_timeouts=pulumi.CustomTimeouts(
                    create=f"{args.settings.upgrade_minutes}m",
                    update=f"{args.settings.upgrade_minutes}m",
                ),
            ),
        )

    def _server(self, ready: Sequence[pulumi.Resource]) -> None:
        pod = self._pod(
            "server",
            command=[
                *("python", "-m", "uvicorn", "components.mlflow_server.cluster:app"),
                *("--host", "0.0.0.0", "--port", str(PORT), "--workers", "1"),  # noqa: S104
                *("--timeout-graceful-shutdown", str(_SECONDS_TO_END // 2)),
                # the plugin's record of who did what goes by the same logger
                *("--log-level", "info", "--no-access-log"),
            ],
            environment=self._variables(),
        )
        pod["containers"][0] |= {
            "ports": [
                {"name": "http", "container_port": PORT},
                {"name": "metrics", "container_port": METRICS_PORT},
            ],
            # imports take 20 s on an idle core and a minute on a busy one
            "startup_probe": _probe(period_seconds=5, failure_threshold=60),
            # a database that is down is no reason to start all servers anew
            "liveness_probe": _probe(period_seconds=10, failure_threshold=6),
            "readiness_probe": _probe(period_seconds=5, failure_threshold=2),
            # until those who send requests know that it ends
            "lifecycle": {"pre_stop": {"sleep": {"seconds": 10}}},
        }
        kubernetes.apps.v1.Deployment(
            f"{self._name}-server",
            metadata=self._metadata(SERVICE),
            spec={
                # no `replicas`: they are the autoscaler's, and stay as they are in an update
                "selector": {"match_labels": self._selected()},
                "strategy": {
                    "type": "RollingUpdate",
                    "rolling_update": {"max_surge": 1, "max_unavailable": 0},
                },
                "revision_history_limit": 3,
                "template": {
                    "metadata": {"labels": {**_LABELS, **_SERVER}},
                    "spec": {
                        **pod,
                        "termination_grace_period_seconds": _SECONDS_TO_END,
                        "topology_spread_constraints": [
                            {
                                "max_skew": 1,
                                "topology_key": key,
                                # where a zone is lost, or none is named, pods still start
                                "when_unsatisfiable": "ScheduleAnyway",
                                "label_selector": {"match_labels": self._selected()},
                            }
                            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
                        ],
                    },
                },
            },
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(ready)),
        )

    def _pod(
        self,
        container: str,
        *,
        command: Sequence[str],
        environment: Mapping[str, pulumi.Input[str]],
    ) -> dict[str, Any]:
        settings = self._args.settings
        disk = f"{2 * settings.largest_artifact_gib}Gi"
        return {
            "service_account_name": ACCOUNT,
            "automount_service_account_token": False,
            "enable_service_links": False,
            "priority_class_name": "falaj-platform",
            "security_context": {
                "run_as_non_root": True,
                "run_as_user": 10001,
                "run_as_group": 10001,
                "fs_group": 10001,
                "seccomp_profile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": container,
                    "image": settings.image,
                    "command": list(command),
                    "env": [
                        *({"name": key, "value": value} for key, value in environment.items()),
                        *self._secrets(),
                    ],
                    "resources": {
                        "requests": {
                            "cpu": cores(settings.cores),
                            "memory": mib(settings.memory_mib),
                            "ephemeral-storage": "1Gi",
                        },
                        "limits": {
                            "memory": mib(settings.memory_mib),
                            "ephemeral-storage": f"{2 * settings.largest_artifact_gib + 1}Gi",
                        },
                    },
                    "security_context": {
                        "allow_privilege_escalation": False,
                        "read_only_root_filesystem": True,
                        "privileged": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volume_mounts": [
                        {"name": "temporary", "mount_path": "/tmp"},  # noqa: S108 its own
                        {"name": "authorities", "mount_path": _AUTHORITIES, "read_only": True},
                        {"name": "api-account", "mount_path": _API_ACCOUNT, "read_only": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "temporary", "empty_dir": {"size_limit": disk}},
                {"name": "authorities", "config_map": {"name": "database-authorities"}},
                # by which it asks the API server for the keys that sign pods' tokens
                {"name": "api-account", "projected": {"sources": _API_SOURCES}},
            ],
        }

    def _secrets(self) -> list[dict[str, Any]]:
        keys = dict(_SECRET_KEYS)
        if self._args.region is None:
            keys["PGPASSWORD"] = "database-password"  # pragma: allowlist secret
        return [
            {
                "name": variable,
                "value_from": {"secret_key_ref": {"name": self._args.secret, "key": key}},
            }
            for variable, key in keys.items()
        ]

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        args = self._args
        inside = [f"{SERVICE}.{PART}{suffix}:{PORT}" for suffix in ("", ".svc", _CLUSTER)]
        artifacts = pulumi.Output.from_input(args.bucket_uri).apply(
            lambda bucket: f"{bucket.rstrip('/')}/{ARTIFACTS}"
        )
        variables: dict[str, pulumi.Input[str]] = {
            **server_environment(
                database=pulumi.Output.from_input(args.database_uri),
                artifacts=artifacts,
                hosts=(*inside, *args.settings.hosts),
            ),
            # what its own pages send from a browser comes with this origin, and others' is refused
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(
                f"https://{host}" for host in args.settings.hosts
            ),
            "OIDC_USERS_DB_URI": args.users_uri,
            "AUTH_PROVIDERS": self._sign_in(),
            "OIDC_GROUP_NAME": ",".join(self._groups()),
            "OIDC_ADMIN_GROUP_NAME": ",".join(args.settings.sign_in.administrators),
            "OIDC_REDIRECT_URI": f"https://{args.settings.hosts[0]}/callback",
            "OIDC_GEN_AI_GATEWAY_ENABLED": "false",
            # who has no grant reaches nothing, and makes nothing under another team's name
            "DEFAULT_MLFLOW_PERMISSION": "NO_PERMISSIONS",
            "RESTRICT_RESOURCE_CREATION": "true",
            "SESSION_COOKIE_SECURE": "true",
            "SESSION_COOKIE_MAX_AGE_SECONDS": str(8 * 3600),
            "PGSSLROOTCERT": f"{_AUTHORITIES}/ca.pem",
            "FALAJ_METRICS_PORT": str(METRICS_PORT),
            "HOME": "/tmp",  # noqa: S108 the pod's own
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if args.region is not None:
            variables |= {"FALAJ_DATABASE_REGION": args.region, "AWS_REGION": args.region}
        return variables

    def _sign_in(self) -> pulumi.Output[str]:
        sign_in = self._args.settings.sign_in
        return pulumi.Output.json_dumps(
            [
                {
                    "id": "people",
                    "type": "oidc",
                    "issuer": sign_in.issuer,
                    "discovery_url": sign_in.discovery_url,
                    "client_id": sign_in.client_id,
                    "audience": sign_in.audience,
                    "admin_source": "claims",
                },
                {
                    "id": "pods",
                    "type": "k8s",
                    "issuer": self._args.issuer,
                    "audience": AUDIENCE,
                    # EKS signs with the first, kubeadm's keys may be of either kind
                    "allowed_algorithms": ["RS256", "ES256"],
                    "in_cluster": True,
                    "namespace_allowlist": sorted({*self._args.teams, *_callers()}),
                },
            ]
        )

    def _groups(self) -> list[str]:
        """Of people who may sign in."""
        return sorted(
            {
                *self._args.settings.sign_in.administrators,
                *(
                    group
                    for quota in self._args.teams.values()
                    for groups in _roles(quota).values()
                    for group in groups
                ),
            }
        )

    def _grants(self) -> str:
        return written(
            grants(
                {team: _roles(quota) for team, quota in self._args.teams.items()},
                readers=[part for part in _callers() if part not in _WRITERS],
                writers=_WRITERS,
            )
        )

    # --- what stands round them -------------------------------------------------------------------

    def _around(self) -> None:
        name, args = self._name, self._args
        child = pulumi.ResourceOptions(parent=self)
        least, most = args.settings.replicas(keep=args.keep)
        kubernetes.core.v1.Service(
            f"{name}-service",
            metadata=self._metadata(SERVICE),
            spec={
                "type": "ClusterIP",
                "selector": self._selected(),
                "ports": [
                    {
                        "name": port,
                        "port": number,
                        "target_port": port,
                        "app_protocol": "http",
                    }
                    for port, number in (("http", PORT), ("metrics", METRICS_PORT))
                ],
            },
            opts=child,
        )
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{name}-budget",
            metadata=self._metadata(SERVICE),
            # of the only replica of an environment that keeps nothing, too: nodes must drain
            spec={"max_unavailable": 1, "selector": {"match_labels": self._selected()}},
            opts=child,
        )
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{name}-scale",
            metadata=self._metadata(SERVICE),
            spec={
                "scale_target_ref": {
                    "api_version": "apps/v1",
                    "kind": "Deployment",
                    "name": SERVICE,
                },
                "min_replicas": least,
                "max_replicas": most,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "average_utilization": 70},
                        },
                    }
                ],
                "behavior": {"scale_down": {"stabilization_window_seconds": 600}},
            },
            opts=child,
        )
        if args.monitored:
            kubernetes.apiextensions.CustomResource(
                f"{name}-monitor",
                api_version="monitoring.coreos.com/v1",
                kind="ServiceMonitor",
                metadata=self._metadata(SERVICE),
                spec={
                    "selector": {"matchLabels": {"app.kubernetes.io/name": "mlflow"}},
                    "endpoints": [{"port": "metrics", "interval": "30s"}],
                },
                opts=child,
            )

    @staticmethod
    def _selected() -> dict[str, str]:
        return {"app.kubernetes.io/name": "mlflow", **_SERVER}


_CLUSTER = ".svc.cluster.local"
_WRITERS = ("orchestration",)
"""Parts of the platform that record runs and release versions for all teams."""

_API_SOURCES: list[dict[str, Any]] = [
    {"service_account_token": {"path": "token", "expiration_seconds": 3600}},
    {"config_map": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
]


def _callers() -> Iterable[str]:
    """The platform's namespaces whose pods call it, as the table of flows says."""
    return sorted(
        flow.source
        for flow in FLOWS
        if flow.destination == PART and PORT in flow.ports and flow.source != TEAM
    )


def _roles(quota: TeamQuota) -> dict[str, tuple[str, ...]]:
    return {str(role): groups for role, groups in quota.groups.model_dump().items()}


def _probe(**timing: int) -> dict[str, Any]:
    return {"http_get": {"path": "/health", "port": "http"}, "timeout_seconds": 3, **timing}
