"""Feast of one team on a cluster: the server of online features, and what fills it.

Owns, in the team's namespace, the server with what scales and spares it, its file and Secret, and
the CronJob that copies new values online. Leaves definitions to the team, which applies them to the
registry (`feast apply`, with the same file), and data to the lake: the offline store reads where
the definitions say, with the team's identity, and stages in the team's folder.

The server speaks as the team and lets in whoever reaches it, which are the team's own pods
(`flows`); no two teams share a server, a registry, or a user of the online store. Before it must be
there: the namespace, the priorities, a database of the team's own on PostgreSQL with a role, a user
of Valkey or Redis, and the store of secrets.

Values stay in the online store until they are overwritten, or `online_days` are over: the team's
user can list no keys (`online_rights`). So `feast teardown` is refused there, and `feast apply`
does not look for values of views that are gone.

Both are signed in to by passwords, which Feast reads once at its start: it knows nothing of AWS
IAM, whose tokens are good for 15 minutes (ADR 0023). The file holds none: the registry's comes by
libpq's own `PGPASSWORD`, that of the online store by a variable that Feast puts in. A new password
needs new pods: `kubectl -n <team> rollout restart deployment/features`.

Feast 0.67 serves metrics on a port of its own that the network's flows do not know; they are not
read. Feast 0.67.0 itself read the file, by hand. Not shown, for want of databases:
`kubectl -n <team> get pods` shows the server ready, whose probe asks the registry. Nor that what
Feast stages in the bucket names the team's key, which `deltalake` is told by the environment: after
a retrieval to remote storage `aws s3api head-object` on a file under ``staging/`` must show it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml

from components.kubernetes.feature_store_settings import (
    BUCKET_KEYS,
    ONLINE_PASSWORD,
    REGISTRY_PASSWORD,
    TeamFeatures,
    project_of,
)
from components.kubernetes.pod_parts import (
    MANAGED_BY,
    container_security,
    pod_security,
    room,
    variables,
)
from components.kubernetes.quantities import mib
from components.kubernetes.secret_source import PLAIN, SecretSource, external_secret, lacking
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.tracking import S3Endpoint

CALLED = "features"
"""Its Deployment, Service, files and Secret in the team's namespace."""
PORT = 6566
NAME = {"app.kubernetes.io/name": "feast"}
SERVER = {**NAME, "app.kubernetes.io/component": "server"}
MATERIALISE = {**NAME, "app.kubernetes.io/component": "materialise"}
FILE, DATABASE_CA, ONLINE_CA = "feature_store.yaml", "database.pem", "online.pem"
_FILES = "/etc/falaj/features"
_SCRATCH_MIB = 4096
_VARIABLE = "FALAJ_ONLINE_PASSWORD"


@dataclass(frozen=True, kw_only=True)
class RegistryDatabase:
    """A team's own database on PostgreSQL, and the role that owns all in it."""

    host: pulumi.Input[str]
    name: str
    role: str
    authorities: str
    """PEM of who signs the server's certificate."""
    port: int = 5432


@dataclass(frozen=True, kw_only=True)
class OnlineStore:
    """A Valkey or Redis, over TLS, and the team's user of it."""

    host: pulumi.Input[str]
    username: pulumi.Input[str]
    """With `online_rights`: it reaches the team's keys alone."""
    port: int = 6379
    authorities: str | None = None
    """PEM of who signs the server's certificate; `None` where one of the usual does."""


@dataclass(frozen=True, kw_only=True)
class FeatureBackends:
    """What a team's feature store keeps things in, as the place gives it."""

    registry: RegistryDatabase
    online: OnlineStore
    features_uri: pulumi.Input[str]
    """``s3://…``: the team's folder of features, where Feast stages what it computes."""
    bucket: S3Endpoint
    """Where the bucket answers."""
    bucket_by_keys: bool = False
    """Whether it is opened by keys in the Secret; else the team's identity has the rights."""
    encryption_key: pulumi.Input[str] | None = None
    """ARN of the team's own key, which whoever writes names; `None` where there is none."""


@dataclass(frozen=True, kw_only=True)
class FeatureStoreArgs:
    """Whose feature store, and what it keeps things in."""

    team: str
    """The name of its namespace."""
    settings: TeamFeatures
    image: pulumi.Input[str]
    """`feature-server` in the catalogue."""
    backends: FeatureBackends
    secret_source: SecretSource | None = None
    """`None` where somebody else puts the Secret there; else with both passwords, of letters,
    digits and hyphens, a letter first: commas end a part of the online store's address."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The namespace's quota and flows, the priorities, the databases."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a secret that nobody would fill in."""
        if missing := lacking(self.secret_source, set(self.secret_keys())):
            raise ValueError(f"secret_source.keys: lacks {', '.join(missing)}")

    def secret_keys(self) -> tuple[str, ...]:
        """Of the Secret `features` in the team's namespace."""
        keys = BUCKET_KEYS if self.backends.bucket_by_keys else ()
        return (REGISTRY_PASSWORD, ONLINE_PASSWORD, *keys)


class FeatureStore(pulumi.ComponentResource):
    """A team's feature store; `url` is where the team's pods read features."""

    def __init__(
        self, name: str, args: FeatureStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:FeatureStore", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        content = pulumi.Output.from_input(feature_store(args)).apply(_files(args))
        needed: list[pulumi.Resource] = [
            kubernetes.core.v1.ConfigMap(
                f"{name}-files", metadata=self._metadata(), data=content, opts=self._child
            )
        ]
        if args.secret_source is not None:
            written = {noun: (noun, PLAIN) for noun in args.secret_keys()}
            needed.append(
                external_secret(
                    f"{name}-secret", args.secret_source, self._metadata(), written, self._child
                )
            )
        after = pulumi.ResourceOptions(parent=self, depends_on=needed)
        self._server(content.apply(_digest), after)
        self._around()
        if args.settings.materialise is not None:
            self._materialise(args.settings.materialise, after)
        self.url = f"http://{CALLED}.{args.team}.svc:{PORT}"
        self.register_outputs({"url": self.url})

    def _metadata(self) -> Any:
        return {
            "name": CALLED,
            "namespace": self._args.team,
            "labels": {**SERVER, **MANAGED_BY},
        }

    def _unawaited(self) -> Any:
        # its pods are ready once the database has the role, which is made inside it, later; and a
        # team's registry that is away holds up nobody else's update
        return self._metadata() | {"annotations": {"pulumi.com/skipAwait": "true"}}

    def _server(self, digest: pulumi.Output[str], after: pulumi.ResourceOptions) -> None:
        settings = self._args.settings
        tcp = {"tcpSocket": {"port": "http"}}
        container = _container(self._args, "server") | {
            "command": ["feast", "--feature-store-yaml", f"{_FILES}/{FILE}", "serve"],
            "args": ["--host", "0.0.0.0", "--port", str(PORT), "--no-access-log"],  # noqa: S104
            "ports": [{"name": "http", "containerPort": PORT}],
            "resources": room(
                cpus=settings.cpus, memory_mib=settings.memory_mib, disk_mib=_SCRATCH_MIB
            ),
            "startupProbe": {**tcp, "periodSeconds": 5, "failureThreshold": 60},
            # a registry that is down is no reason to start all servers anew
            "livenessProbe": {**tcp, "periodSeconds": 20, "failureThreshold": 3},
            "readinessProbe": {
                "httpGet": {"path": "/health", "port": "http"},
                "periodSeconds": 10,
                "timeoutSeconds": 5,
                "failureThreshold": 2,
            },
        }
        spread = {
            "maxSkew": 1,
            "topologyKey": "topology.kubernetes.io/zone",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": SERVER},
        }
        spec: Any = {
            # no `replicas`: they are the autoscaler's
            "selector": {"matchLabels": SERVER},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {"labels": SERVER, "annotations": {"falaj/content": digest}},
                "spec": _pod(container) | {"topologySpreadConstraints": [spread]},
            },
        }
        kubernetes.apps.v1.Deployment(
            f"{self._name}-server", metadata=self._unawaited(), spec=spec, opts=after
        )

    def _around(self) -> None:
        """The way in, and what scales and spares the server."""
        settings = self._args.settings
        service: Any = {
            "type": "ClusterIP",
            "selector": SERVER,
            "ports": [
                {
                    "name": "http",
                    "port": PORT,
                    "targetPort": PORT,
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        }
        kubernetes.core.v1.Service(
            f"{self._name}-service", metadata=self._unawaited(), spec=service, opts=self._child
        )
        busy = {"type": "Utilization", "averageUtilization": settings.busy_percent}
        scale: Any = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": CALLED},
            "minReplicas": settings.min_replicas,
            "maxReplicas": settings.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
        }
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self._name}-scale", metadata=self._metadata(), spec=scale, opts=self._child
        )
        if settings.min_replicas > 1:
            budget: Any = {"maxUnavailable": 1, "selector": {"matchLabels": SERVER}}
            kubernetes.policy.v1.PodDisruptionBudget(
                f"{self._name}-budget", metadata=self._metadata(), spec=budget, opts=self._child
            )

    def _materialise(self, schedule: str, after: pulumi.ResourceOptions) -> None:
        settings = self._args.settings
        until_now = (
            f"exec feast --feature-store-yaml {_FILES}/{FILE} "
            'materialize-incremental "$(date -u +%Y-%m-%dT%H:%M:%S)"'
        )
        container = _container(self._args, "materialise") | {
            "command": ["sh", "-c", until_now],
            "resources": room(
                cpus=0.5, memory_mib=settings.materialise_memory_mib, disk_mib=_SCRATCH_MIB
            ),
        }
        spec: Any = {
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            # two at once would write the same values twice
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 300,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": 1,
                    "activeDeadlineSeconds": settings.materialise_minutes * 60,
                    "template": {
                        "metadata": {"labels": MATERIALISE},
                        "spec": _pod(container)
                        | {"restartPolicy": "Never", "priorityClassName": "falaj-batch"},
                    },
                }
            },
        }
        metadata = self._metadata() | {
            "name": f"{CALLED}-materialise",
            "labels": {**MATERIALISE, **MANAGED_BY},
        }
        kubernetes.batch.v1.CronJob(
            f"{self._name}-materialise", metadata=metadata, spec=spec, opts=after
        )


def feature_store(args: FeatureStoreArgs) -> dict[str, Any]:
    """`feature_store.yaml`, as Feast 0.67 reads it. It holds no secret."""
    backends, days = args.backends, args.settings.online_days
    registry, online = backends.registry, backends.online
    # without it those that the image knows are trusted
    trusted = f"ssl_ca_certs={_FILES}/{ONLINE_CA}," if online.authorities is not None else ""
    return {
        "project": project_of(args.team),
        "provider": "local",
        "registry": {
            "registry_type": "sql",
            "path": pulumi.Output.concat(
                f"postgresql+psycopg://{registry.role}@",
                registry.host,
                f":{registry.port}/{registry.name}?sslmode=verify-full",
                f"&sslrootcert={_FILES}/{DATABASE_CA}",
            ),
            "cache_ttl_seconds": 60,
            # a server that was idle finds its connection gone
            "sqlalchemy_config_kwargs": {"echo": False, "pool_pre_ping": True},
        },
        "offline_store": {
            "type": "duckdb",
            "staging_location": pulumi.Output.concat(backends.features_uri, "/staging"),
            # Feast hands it on as it is, and a store of tables takes no `None`
            "staging_location_endpoint_override": backends.bucket.address,
        },
        "online_store": {
            "type": "redis",
            "redis_type": "redis",
            "connection_string": pulumi.Output.concat(
                online.host,
                f":{online.port},ssl=true,ssl_cert_reqs=required,{trusted}username=",
                online.username,
                f",password=${{{_VARIABLE}}}",
            ),
            # its user cannot list keys
            "full_scan_for_deletion": False,
            **({"key_ttl_seconds": days * 86400} if days is not None else {}),
        },
        "entity_key_serialization_version": 3,
    }


def _files(args: FeatureStoreArgs) -> Any:
    authorities = {
        DATABASE_CA: args.backends.registry.authorities,
        ONLINE_CA: args.backends.online.authorities,
    }
    return lambda known: {
        FILE: yaml.safe_dump(known, sort_keys=False),
        **{name: text for name, text in authorities.items() if text is not None},
    }


def _container(args: FeatureStoreArgs, name: str) -> dict[str, Any]:
    backends = args.backends
    own_key: dict[str, pulumi.Input[str]] = {}
    if backends.encryption_key is not None:
        own_key = {
            "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
            "AWS_SSE_KMS_KEY_ID": backends.encryption_key,
        }
    opened = dict(
        zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), BUCKET_KEYS, strict=True)
        if backends.bucket_by_keys
        else ()
    )
    return {
        "name": name,
        "image": args.image,
        "env": variables(
            {
                "HOME": "/tmp",  # noqa: S108 the pod's own
                "PYTHONDONTWRITEBYTECODE": "1",
                "FEAST_USAGE": "False",
                "FALAJ_FEATURES_URI": backends.features_uri,
                "AWS_ENDPOINT_URL_S3": backends.bucket.address,
                "AWS_REGION": backends.bucket.region,
                **own_key,
            },
            {
                "PGPASSWORD": (CALLED, REGISTRY_PASSWORD),
                _VARIABLE: (CALLED, ONLINE_PASSWORD),
                **{variable: (CALLED, key) for variable, key in opened.items()},
            },
        ),
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 the pod's own
            {"name": "files", "mountPath": _FILES, "readOnly": True},
        ],
    }


def _pod(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "priorityClassName": "falaj-serving",
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": [
            {"name": "scratch", "emptyDir": {"sizeLimit": mib(_SCRATCH_MIB)}},
            {"name": "files", "configMap": {"name": CALLED}},
        ],
    }


def _digest(known: Mapping[str, str]) -> str:
    text = yaml.safe_dump(dict(known), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
