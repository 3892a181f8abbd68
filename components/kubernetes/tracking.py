"""MLflow on a cluster: experiments, runs, and the registry of model versions, for all teams.

Owns the namespace, the server's account, secrets, Deployment and Service, what scales and spares
it, the way in for people, and the Job that brings its databases up to date before. People sign in
at the identity provider and pods with the token of their service account; what belongs to a team
bears its name (`components.mlflow_server.grants`, ADR 0018). Models and reports go through the
server to the bucket. Nothing is kept in the cluster: databases and bucket are.

The databases and their role must exist before, the bucket, and whatever gives `ACCOUNT` its rights
to both. The roll-out of a new version goes on while servers of the old one answer; before the
Job changes a schema it puts a copy of it into `COPIES`, since MLflow has no way back
(`components.mlflow_server.copies`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import tracking_pods as pods
from components.kubernetes.edge import NETWORKING
from components.kubernetes.flows import FLOWS, OPEN_PORTS, TEAM, Addresses
from components.kubernetes.mesh import MeshRules, MeshRulesArgs
from components.kubernetes.secret_source import SecretSource, copied_secret, lacking
from components.kubernetes.serving import Door
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs
from components.kubernetes.tracking_client import AUDIENCE
from components.kubernetes.tracking_pods import ACCOUNT, METRICS_PORT, PORT
from components.kubernetes.tracking_settings import TrackingSettings
from components.mlflow_server import environment as told
from components.mlflow_server.grants import grants, written

PART = "tracking"
"""Its part in `flows`, its namespace and the noun of its identity."""
SERVICE = "mlflow"
ARTIFACTS, COPIES = "mlflow/artifacts", "mlflow/copies"
"""Folders of the bucket: what the server hands out, and what it does not."""

_ALWAYS = {
    "SECRET_KEY": "session-key",  # pragma: allowlist secret
    "OIDC_CLIENT_SECRET_PEOPLE": "client-secret",  # pragma: allowlist secret
}
_WITH_PASSWORD = {"PGPASSWORD": "database-password"}  # pragma: allowlist secret
_WITH_KEYS = {
    "AWS_ACCESS_KEY_ID": "access-key-id",
    "AWS_SECRET_ACCESS_KEY": "secret-access-key",  # pragma: allowlist secret
}


@dataclass(frozen=True, kw_only=True)
class S3Endpoint:
    """A store that speaks S3 and is not AWS's; keys to it are in the Secret."""

    address: pulumi.Input[str]
    """``https://…``"""
    region: str
    """As the store calls itself: signatures hold it."""


@dataclass(frozen=True, kw_only=True)
class TrackingArgs:
    """What it leans on, and who uses it. AWS and any other cluster fill in the same."""

    settings: TrackingSettings
    keep: bool
    """Whether the environment keeps data: then one server is never all there is."""
    database_uri: pulumi.Input[str]
    """Of runs and registry, ``postgresql://role@host:port/name?sslmode=verify-full``."""
    users_uri: pulumi.Input[str]
    """Of users and what they may do; another database, since both have a schema version."""
    database_authorities: str
    """PEM of who signs the certificate of both."""
    bucket_uri: pulumi.Input[str]
    """``s3://…``, where `ARTIFACTS` and `COPIES` are MLflow's."""
    issuer: pulumi.Input[str]
    """Of the tokens of the cluster's service accounts, as the API server names itself."""
    database_region: str | None = None
    """Of a database that is signed in to by AWS IAM. `None`: by the password in the Secret."""
    endpoint: S3Endpoint | None = None
    """`None` for AWS, where the account's identity has the rights to the bucket."""
    account_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Those that bind the account to an identity, where an annotation does (EKS Pod Identity needs
    none)."""
    secret: str = "tracking"  # noqa: S105 a name
    """In the namespace, with the keys that `secret_keys` lists."""
    secret_source: SecretSource | None = None
    """`None` where somebody else puts the Secret there."""
    teams: Mapping[str, TeamQuota] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    """Among `services` must be where the identity provider answers."""
    door: Door | None = None
    """The gateway that people come through; it must answer for the hosts in `settings`."""
    mesh: bool = False
    """Whether the cluster has the mesh (`mesh`)."""
    monitored: bool = False
    """Whether the cluster knows the kind ServiceMonitor."""
    after: Sequence[pulumi.Resource] = ()
    """Priorities, databases, identity, operators and the mesh: what its pods would fail without."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a secret that nobody would fill in, a closed door, a service on
        a port that the flows keep shut, and a group that the plugin would take for two."""
        missing = lacking(self.secret_source, set(self.secret_keys.values()))
        if self.secret_source is not None and missing:
            raise ValueError(
                f"secret_source.keys: lacks {', '.join(missing)}; say under which name "
                f"{self.secret_source.store} has each"
            )
        if self.door is not None:
            closed = [host for host in self.settings.hosts if host not in self.door.hosts]
            if closed:
                raise ValueError(
                    f"tracking.hosts: {', '.join(closed)}; the gateway answers for "
                    f"{', '.join(self.door.hosts)} alone"
                )

        addresses = {"database_uri": self.database_uri, "users_uri": self.users_uri}
        if self.endpoint is not None:
            addresses["endpoint.address"] = self.endpoint.address
        for group in _groups_of(self):
            if "," in group:
                raise ValueError(
                    f"the group {group!r}: MLflow's plugin would take it for two, parted at the "
                    "comma; let the identity provider send a name without one"
                )
        for name, uri in addresses.items():
            # what a cloud tells later is on the port of its kind
            port = urlsplit(uri).port if isinstance(uri, str) else None
            if port is not None and port not in OPEN_PORTS:
                raise ValueError(
                    f"{name}: port {port}; pods reach services outside on "
                    f"{', '.join(map(str, OPEN_PORTS))} alone: let it answer on one of these"
                )

    @property
    def secret_keys(self) -> dict[str, str]:
        """Variable of the servers → key of the Secret."""
        return {
            **_ALWAYS,
            **(_WITH_PASSWORD if self.database_region is None else {}),
            **(_WITH_KEYS if self.endpoint is not None else {}),
        }


class Tracking(pulumi.ComponentResource):
    """MLflow; `uri` is where pods reach it."""

    def __init__(
        self, name: str, args: TrackingArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Tracking", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        space = Namespace(
            f"{name}-space",
            NamespaceArgs(
                namespace=PART,
                part=PART,
                quota=args.settings.quota(keep=args.keep),
                addresses=args.addresses,
                mesh=args.mesh,
            ),
            self._child,
        )
        self._namespace = space.namespace
        ready = [*space.ready, *self._leans_on(), *args.after]
        if args.mesh:
            connects = MeshRulesArgs(
                namespace=space.namespace,
                part=PART,
                teams=sorted(args.teams),
                wait_for=args.after,
            )
            ready += MeshRules(f"{name}-rules", connects, self._child).ready
        prepared = self._prepared(ready)
        self._server([*ready, prepared])
        self._around()
        if args.monitored:
            self._monitor()
        if args.door is not None:
            self._way_in(args.door)
        self.uri = self._namespace.apply(lambda there: f"http://{SERVICE}.{there}.svc:{PORT}")
        self.register_outputs({"uri": self.uri})

    def _metadata(
        self, name: pulumi.Input[str], annotations: Mapping[str, pulumi.Input[str]] | None = None
    ) -> Any:
        return {
            "name": name,
            "namespace": self._namespace,
            "labels": dict(pods.LABELS),
            **({"annotations": dict(annotations)} if annotations else {}),
        }

    @property
    def _known(self) -> pulumi.ResourceOptions:
        """Of objects whose kind nobody knows without its operator."""
        return pulumi.ResourceOptions(parent=self, depends_on=[*self._args.after])

    # --- pods -------------------------------------------------------------------------------------

    def _leans_on(self) -> list[pulumi.Resource]:
        """What no pod of it starts without."""
        name, args = self._name, self._args
        authorities = {
            pods.DATABASE_CERTIFICATES: args.database_authorities,
            pods.OTHER_CERTIFICATES: args.settings.other_authorities,
        }
        made: list[pulumi.Resource] = [
            kubernetes.core.v1.ServiceAccount(
                f"{name}-account",
                metadata=self._metadata(ACCOUNT, args.account_annotations),
                automount_service_account_token=False,
                opts=self._child,
            ),
            kubernetes.core.v1.ConfigMap(
                f"{name}-authorities",
                metadata=self._metadata(pods.CERTIFICATES),
                data={key: text for key, text in authorities.items() if text is not None},
                opts=self._child,
            ),
        ]
        if (source := args.secret_source) is not None:
            made.append(
                copied_secret(
                    f"{name}-secret",
                    source,
                    self._metadata(args.secret),
                    args.secret_keys.values(),
                    self._known,
                )
            )
        return made

    def _prepared(self, ready: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The Job that upgrades the databases and writes grants: another one, by its name, when
        anything that it does changes, since its pods' template cannot.

        It stays until then: a Job that Kubernetes removed after a while would be made anew by the
        next update that refreshes. An update waits for it and fails with it, before any server.
        """
        settings = self._args.settings
        variables = {**self._variables(), told.GRANTS: self._grants()}
        if settings.copy_before_upgrade:
            variables[told.COPIES] = self._folder(COPIES)
        pod = pods.prepare_pod(settings, variables, self._secrets())
        name = pulumi.Output.json_dumps(pod).apply(
            lambda text: f"prepare-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
        )
        spec: Any = {
            "backoffLimit": 3,
            "activeDeadlineSeconds": settings.upgrade_minutes * 60,
            "template": {"metadata": {"labels": {**pods.LABELS, **pods.PREPARE}}, "spec": pod},
        }
        waited = f"{settings.upgrade_minutes}m"
        return kubernetes.batch.v1.Job(
            f"{self._name}-prepare",
            metadata=self._metadata(name),
            spec=spec,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(ready),
                custom_timeouts=pulumi.CustomTimeouts(create=waited, update=waited),
            ),
        )

    def _server(self, ready: Sequence[pulumi.Resource]) -> None:
        spec: Any = {
            # no `replicas`: they are the autoscaler's, and stay as they are in an update
            "selector": {"matchLabels": pods.SELECTED},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {"labels": {**pods.LABELS, **pods.SERVER}},
                "spec": pods.server_pod(self._args.settings, self._variables(), self._secrets()),
            },
        }
        kubernetes.apps.v1.Deployment(
            f"{self._name}-server",
            metadata=self._metadata(SERVICE),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(ready)),
        )

    def _secrets(self) -> dict[str, Any]:
        return {
            variable: {"name": self._args.secret, "key": key}
            for variable, key in self._args.secret_keys.items()
        }

    def _folder(self, path: str) -> pulumi.Output[str]:
        return pulumi.Output.from_input(self._args.bucket_uri).apply(
            lambda bucket: f"{bucket.rstrip('/')}/{path}"
        )

    def _variables(self) -> dict[str, pulumi.Input[str]]:
        args = self._args
        inside = [f"{SERVICE}.{PART}{suffix}:{PORT}" for suffix in ("", ".svc", _CLUSTER)]
        variables: dict[str, pulumi.Input[str]] = {
            **told.server_environment(
                database=pulumi.Output.from_input(args.database_uri),
                artifacts=self._folder(ARTIFACTS),
                hosts=(*inside, *args.settings.hosts),
            ),
            # what its own pages send from a browser comes with this origin, and others' is refused
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(
                f"https://{host}" for host in args.settings.hosts
            ),
            told.USERS: args.users_uri,
            "AUTH_PROVIDERS": self._sign_in(),
            "OIDC_GROUP_NAME": ",".join(_groups_of(args)),
            "OIDC_ADMIN_GROUP_NAME": ",".join(args.settings.sign_in.administrators),
            "OIDC_REDIRECT_URI": f"https://{args.settings.hosts[0]}/callback",
            "OIDC_GEN_AI_GATEWAY_ENABLED": "false",
            # who has no grant reaches nothing, and makes nothing under another team's name
            "DEFAULT_MLFLOW_PERMISSION": "NO_PERMISSIONS",
            "RESTRICT_RESOURCE_CREATION": "true",
            "SESSION_COOKIE_SECURE": "true",
            "SESSION_COOKIE_MAX_AGE_SECONDS": str(8 * 3600),
            "PGSSLROOTCERT": pods.certificates(pods.DATABASE_CERTIFICATES),
            told.METRICS_PORT: str(METRICS_PORT),
            "HOME": "/tmp",  # noqa: S108 the pod's own
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if args.settings.other_authorities is not None:
            trusted = pods.certificates(pods.OTHER_CERTIFICATES)
            # of Python itself, of requests and of boto3
            variables |= dict.fromkeys(
                ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"), trusted
            )
        if args.database_region is not None:
            variables |= {told.SIGN_IN: args.database_region, "AWS_REGION": args.database_region}
        if args.endpoint is not None:
            variables |= {
                "MLFLOW_S3_ENDPOINT_URL": args.endpoint.address,
                "AWS_REGION": args.endpoint.region,
            }
        return variables

    # --- who may ----------------------------------------------------------------------------------

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

    def _grants(self) -> str:
        return written(
            grants(
                {team: _roles(quota) for team, quota in self._args.teams.items()},
                readers=_callers(),
            )
        )

    # --- what stands round them -------------------------------------------------------------------

    def _around(self) -> None:
        service: Any = {
            "type": "ClusterIP",
            "selector": pods.SELECTED,
            "ports": [
                {"name": port, "port": number, "targetPort": port, "appProtocol": "http"}
                for port, number in (("http", PORT), ("metrics", METRICS_PORT))
            ],
        }
        kubernetes.core.v1.Service(
            f"{self._name}-service",
            metadata=self._metadata(SERVICE),
            spec=service,
            opts=self._child,
        )
        # of the only replica of an environment that keeps nothing, too: nodes must drain
        budget: Any = {
            "maxUnavailable": 1,
            "selector": {"matchLabels": pods.SELECTED},
            # one that never gets ready must not hold a node
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
        kubernetes.policy.v1.PodDisruptionBudget(
            f"{self._name}-budget",
            metadata=self._metadata(SERVICE),
            spec=budget,
            opts=self._child,
        )
        least, most = self._args.settings.replicas(keep=self._args.keep)
        busy = {"type": "Utilization", "averageUtilization": 70}
        scale: Any = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SERVICE},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        }
        kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
            f"{self._name}-scale",
            metadata=self._metadata(SERVICE),
            spec=scale,
            opts=self._child,
        )

    def _monitor(self) -> None:
        self._object(
            "monitor",
            "monitoring.coreos.com/v1",
            "ServiceMonitor",
            SERVICE,
            {
                "selector": {"matchLabels": {"app.kubernetes.io/name": "mlflow"}},
                "endpoints": [{"port": "metrics", "interval": "30s"}],
            },
        )

    def _way_in(self, door: Door) -> None:
        """People's: where the gateway takes routes from, which is its own namespace."""
        server = {"host": f"{SERVICE}.{PART}{_CLUSTER}", "port": {"number": PORT}}
        self._object(
            "route",
            NETWORKING,
            "VirtualService",
            SERVICE,
            {
                "hosts": list(self._args.settings.hosts),
                "gateways": [door.gateway],
                "http": [{"route": [{"destination": server}]}],
            },
            namespace=door.namespace,
        )

    def _object(
        self,
        noun: str,
        api_version: str,
        kind: str,
        name: str,
        spec: Any,
        *,
        namespace: str | None = None,
    ) -> pulumi.Resource:
        metadata = self._metadata(name)
        if namespace is not None:
            metadata["namespace"] = namespace
        return kubernetes.apiextensions.CustomResource(
            f"{self._name}-{noun}",
            api_version=api_version,
            kind=kind,
            metadata=metadata,
            spec=spec,
            opts=self._known,
        )


_CLUSTER = ".svc.cluster.local"


def _callers() -> Iterable[str]:
    """The platform's namespaces whose pods call it, as the table of flows says."""
    return sorted(
        flow.source
        for flow in FLOWS
        if flow.destination == PART and PORT in flow.ports and flow.source != TEAM
    )


def _groups_of(args: TrackingArgs) -> list[str]:
    """Of people who may sign in."""
    of_teams = (
        group
        for quota in args.teams.values()
        for groups in _roles(quota).values()
        for group in groups
    )
    return sorted({*args.settings.sign_in.administrators, *of_teams})


def _roles(quota: TeamQuota) -> dict[str, tuple[str, ...]]:
    return {str(role): groups for role, groups in quota.groups.model_dump().items()}
