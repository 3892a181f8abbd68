"""A person's workspace: JupyterLab in a pod of the team, with a volume that stays.

Owns the volume's claim, the proxy's Secret and list of people, the Service and route, and a
suspended CronJob from which the workspace is started. Leaves the image to the team, and what the
pod may do to the team's account. The team's namespace, the priorities, the storage class and, for
`door`, the gateway must be there before.

A workspace runs while it is used: its pod is a Job's, and the server ends when nothing has been
done for a while, so that nothing has to watch it and no right to stop pods is given to anything.
It is started by Kubernetes' own rights, which developers of the team have:

    kubectl -n <team> create job workspace-<user> --from=cronjob/workspace-<user>

The name keeps it to one at a time, so that its volume is mounted once. The page answers to its
user's address alone; within a team it is no wall against developers, who may start any Job with the
team's identity and any volume of it.

Volumes go with the program unless `keep`; then they are left when it is destroyed. Not shown by any
test here, for want of pods that run: that the server ends when idle (`kubectl -n <team> get jobs`
lists it no more after `idle_minutes`, with the browser closed).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.kubernetes import pages, tracking_client
from components.kubernetes.edge import NETWORKING
from components.kubernetes.pod_parts import (
    MANAGED_BY,
    container_security,
    pod_security,
    room,
    variables,
)
from components.kubernetes.pools import GPU, Pool, placing
from components.kubernetes.quantities import mib
from components.kubernetes.secret_source import SecretSource, external_secret, lacking
from components.kubernetes.serving import Door
from components.kubernetes.tenancy import SERVICE_ACCOUNT
from components.kubernetes.workspace_settings import (
    PackageMirrors,
    WorkspaceSettings,
    WorkspaceUser,
)

PORT = 8888
WORK = "/home/work"
"""Where the volume is mounted; the home too, since the root is read-only."""
PART = {"falaj/part": "workspace"}
_SCRATCH_MIB = 8 * 1024


@dataclass(frozen=True, kw_only=True)
class WorkspaceArgs:
    """Whose workspace, on what."""

    user: str
    """In `settings.users`."""
    settings: WorkspaceSettings
    keep: bool
    """Whether the environment keeps data."""
    proxy_image: pulumi.Input[str]
    """`oauth2-proxy` in the catalogue."""
    storage_class: str
    """Encrypted."""
    pools: Mapping[str, Pool] = field(default_factory=dict)
    variables: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Told to the notebook; no secret."""
    tracking_uri: pulumi.Input[str] | None = None
    """Where MLflow is, which the notebook signs in to as the team; `None` without it."""
    secret_source: SecretSource | None = None
    """`None` where somebody else puts the proxy's Secret there."""
    door: Door | None = None
    """The gateway that people come through."""
    wait_for: Sequence[pulumi.Resource] = ()
    """The namespace's quota and flows, the priorities."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a user, pool or secret that is not told, and a closed door."""
        if self.user not in self.settings.users:
            raise ValueError(f"workspaces.users: lacks {self.user}")
        pool = self.settings.users[self.user].pool
        if pool is not None and pool not in self.pools:
            raise ValueError(f"workspaces.users.{self.user}.pool: {pool} is not there")
        if missing := lacking(self.secret_source, set(pages.WRITTEN)):
            raise ValueError(f"secret_source.keys: lacks {', '.join(missing)}")
        host = self.settings.pages.host
        if self.door is not None and host not in self.door.hosts:
            raise ValueError(
                f"workspaces.pages.host: {host}; the gateway answers for "
                f"{', '.join(self.door.hosts)} alone"
            )


class Workspace(pulumi.ComponentResource):
    """One workspace; `url` is where its user finds it, `None` without a door."""

    url: str | None = None

    def __init__(
        self, name: str, args: WorkspaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Workspace", name, None, opts)
        self._args = args
        self._called = f"workspace-{args.user}"
        self._labels = {
            "app.kubernetes.io/name": "workspace",
            "app.kubernetes.io/instance": args.user,
            **PART,
        }
        user = args.settings.users[args.user]
        child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        page = pages.Page(
            settings=args.settings.pages,
            path=f"/workspaces/{user.team}/{args.user}",
            port=PORT,
            secret=self._called,
            emails=self._called,
        )
        needed: list[pulumi.Resource] = [
            self._claim(name, user, child),
            kubernetes.core.v1.ConfigMap(
                f"{name}-people",
                metadata=self._metadata(),
                data={"people": f"{user.email}\n"},
                opts=child,
            ),
        ]
        if args.secret_source is not None:
            needed.append(
                external_secret(
                    f"{name}-secret", args.secret_source, self._metadata(), pages.WRITTEN, child
                )
            )
        self._template(name, user, page, needed)
        service: Any = {
            "type": "ClusterIP",
            "selector": self._labels,
            "ports": pages.service_ports()[:1],
        }
        kubernetes.core.v1.Service(
            f"{name}-service",
            # nothing is behind it until the workspace runs
            metadata=self._metadata({"pulumi.com/skipAwait": "true"}),
            spec=service,
            opts=child,
        )
        if args.door is not None:
            kubernetes.apiextensions.CustomResource(
                f"{name}-route",
                api_version=NETWORKING,
                kind="VirtualService",
                metadata=self._metadata()
                | {"name": f"{user.team}.{self._called}", "namespace": args.door.namespace},
                spec=pages.route(
                    page, args.door.gateway, f"{self._called}.{user.team}.svc.cluster.local"
                ),
                opts=child,
            )
            self.url = f"https://{page.settings.host}{page.path}/"
        self.register_outputs({"url": self.url})

    def _metadata(self, annotations: Mapping[str, str] | None = None) -> Any:
        return {
            "name": self._called,
            "namespace": self._args.settings.users[self._args.user].team,
            "labels": {**self._labels, **MANAGED_BY},
            **({"annotations": dict(annotations)} if annotations else {}),
        }

    def _claim(
        self, name: str, user: WorkspaceUser, child: pulumi.ResourceOptions
    ) -> pulumi.Resource:
        spec: Any = {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": self._args.storage_class,
            "resources": {"requests": {"storage": mib(user.disk_gib * 1024)}},
        }
        return kubernetes.core.v1.PersistentVolumeClaim(
            f"{name}-claim",
            # a volume is made for the first pod, which comes when the user starts one
            metadata=self._metadata({"pulumi.com/skipAwait": "true"}),
            spec=spec,
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(retain_on_delete=self._args.keep)
            ),
        )

    def _template(
        self,
        name: str,
        user: WorkspaceUser,
        page: pages.Page,
        needed: Sequence[pulumi.Resource],
    ) -> None:
        args = self._args
        spec: Any = {
            # of no meaning while it is suspended, and asked for
            "schedule": "0 0 1 1 *",
            "suspend": True,
            "concurrencyPolicy": "Forbid",
            "jobTemplate": {
                "metadata": {"labels": self._labels},
                "spec": {
                    # a node that is lost takes the pod along, and it comes back
                    "backoffLimit": 3,
                    "activeDeadlineSeconds": args.settings.most_hours * 3600,
                    # its name is free again at once
                    "ttlSecondsAfterFinished": 0,
                    "template": {
                        "metadata": {"labels": self._labels},
                        "spec": _pod(args, user, page, claim=self._called),
                    },
                },
            },
        }
        kubernetes.batch.v1.CronJob(
            f"{name}-workspace",
            metadata=self._metadata(),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(needed)),
        )


def _pod(
    args: WorkspaceArgs, user: WorkspaceUser, page: pages.Page, *, claim: str
) -> dict[str, Any]:
    resources = room(cpus=user.cpus, memory_mib=user.memory_gib * 1024, disk_mib=_SCRATCH_MIB)
    if user.gpus:
        resources = {kind: {**amounts, GPU: str(user.gpus)} for kind, amounts in resources.items()}
    told: dict[str, Any] = {
        "HOME": WORK,
        "FALAJ_TEAM": user.team,
        **_packages(args.settings.mirrors),
        **args.variables,
    }
    tokens: list[dict[str, Any]] = []
    if args.tracking_uri is not None:
        told |= {"MLFLOW_TRACKING_URI": args.tracking_uri, **tracking_client.VARIABLES}
        tokens = [tracking_client.MOUNT]
    server: dict[str, Any] = {
        "name": "server",
        "image": args.settings.image,
        "command": ["jupyter", "lab", *_server_options(page, args.settings.idle_minutes * 60)],
        "env": variables(told),
        "workingDir": WORK,
        "resources": resources,
        "securityContext": container_security(),
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "scratch", "mountPath": "/tmp"},  # noqa: S108 the pod's own
            *tokens,
        ],
    }
    # beside the server as long as that runs, and no longer
    proxy = pages.proxy(page, args.proxy_image) | {"restartPolicy": "Always"}
    return {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "OnFailure",
        "priorityClassName": "falaj-training",
        "securityContext": pod_security(),
        **(placing(args.pools[user.pool]) if user.pool is not None else {}),
        "initContainers": [proxy],
        "containers": [server],
        "volumes": [
            {"name": "work", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "scratch", "emptyDir": {"sizeLimit": mib(_SCRATCH_MIB)}},
            *pages.volumes(page),
            *([tracking_client.VOLUME] if tokens else []),
        ],
    }


def _server_options(page: pages.Page, idle_seconds: int) -> list[str]:
    """The proxy has asked who it is; the server answers on the loopback alone."""
    return [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={page.port}",
        f"--ServerApp.base_url={page.path}/",
        f"--ServerApp.root_dir={WORK}",
        "--ServerApp.allow_remote_access=True",
        "--IdentityProvider.token=",
        f"--ServerApp.shutdown_no_activity_timeout={idle_seconds}",
        f"--MappingKernelManager.cull_idle_timeout={idle_seconds}",
        "--MappingKernelManager.cull_interval=60",
        # a page that is left open is no work
        "--MappingKernelManager.cull_connected=True",
        f"--TerminalManager.cull_inactive_timeout={idle_seconds}",
        "--TerminalManager.cull_interval=60",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def _packages(mirrors: PackageMirrors) -> dict[str, str]:
    """Where the usual tools fetch from; they are told to fetch nothing without a mirror."""
    told: dict[str, str] = {"HF_HUB_DISABLE_TELEMETRY": "1"}
    if mirrors.python is not None:
        told |= {"PIP_INDEX_URL": mirrors.python, "UV_DEFAULT_INDEX": mirrors.python}
    else:
        told |= {"PIP_NO_INDEX": "1", "UV_OFFLINE": "1"}
    if mirrors.conda is not None:
        told |= {"CONDA_CHANNEL_ALIAS": mirrors.conda, "CONDA_OFFLINE": "false"}
    else:
        told["CONDA_OFFLINE"] = "true"
    if mirrors.models is not None:
        told["HF_ENDPOINT"] = mirrors.models
    else:
        told["HF_HUB_OFFLINE"] = "1"
    return told
