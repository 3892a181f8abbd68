"""Dagster of one team on a cluster: pages, daemon, database migration, and the way to start runs.

Owns, in the platform's namespace, the team's webserver, daemon and migration with their accounts,
files and secret; in the team's namespace, what its runs and code locations share (`FILES`), the
right to start pods of runs, and a suspended CronJob for each code location, from which a run is
started. Leaves code locations to whoever deploys workloads (`code_location`), and how the work runs
to Ray. Before it must be there: both namespaces, the priorities, a database of the team's own with
a role, the store of secrets, and, for `door`, the gateway.

Whoever can write into an instance's database can have its launcher start anything that the
launcher may, and every run writes there. So no two teams share one (ADR 0023): the launcher's
account may start Jobs in its team's namespace alone.

Dagster's server knows neither users nor roles. It is read-only: no page and no GraphQL query starts
or stops anything. A run is started by a schedule or sensor in code, or by Kubernetes' own rights:

    kubectl -n <team> create job sowing-1 --from=cronjob/launch-<location>

which developers of the team may. It has no metrics of its own; those of the proxy are read, and
the daemon's heartbeats are its probe.

Tried by hand, with `dagster-k8s` and `dagster-postgres` 0.29.27 and these files on PostgreSQL 15:
the migration makes the tables over TLS, the command of the CronJob queues a run, and the launcher
makes of a run the Job that the tests send. Not shown, for want of pods that run; on a cluster:
`kubectl -n orchestration get pods` shows all running, and a run started as above is on the page.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import yaml

from components.kubernetes import orchestration_pods as pods
from components.kubernetes import pages
from components.kubernetes.edge import NETWORKING
from components.kubernetes.orchestration_files import (
    AUTHORITIES,
    FILES,
    INSTANCE,
    PASSWORD_KEY,
    WORKSPACE,
    InstanceDatabase,
    instance,
    workspace,
)
from components.kubernetes.orchestration_settings import OrchestrationSettings
from components.kubernetes.pod_parts import MANAGED_BY
from components.kubernetes.rights import account_in, right
from components.kubernetes.secret_source import PLAIN, SecretSource, external_secret, lacking
from components.kubernetes.serving import Door

PART = "orchestration"
"""Its part in `flows`, and its namespace."""
JOB = "deliver"
"""What a code location calls the whole chain."""
DATABASE_PASSWORD = "database-password"  # noqa: S105  # pragma: allowlist secret
"""What for, in a `SecretSource`."""
CONTENT = "falaj/content"
"""The annotation by which pods are made anew when their files change."""

LAUNCHER: tuple[Mapping[str, tuple[str, ...]], ...] = (
    {
        "api_groups": ("batch",),
        "resources": ("jobs",),
        "verbs": ("create", "get", "list", "delete"),
    },
    {"api_groups": ("batch",), "resources": ("jobs/status",), "verbs": ("get",)},
    {"api_groups": ("",), "resources": ("pods",), "verbs": ("get", "list", "delete")},
    {"api_groups": ("",), "resources": ("events",), "verbs": ("list",)},
    {"api_groups": ("",), "resources": ("pods/log",), "verbs": ("get",)},
)
"""What the daemon may do in its team's namespace: start the Job of a run, look after it, end it."""


@dataclass(frozen=True, kw_only=True)
class OrchestrationArgs:
    """Whose Dagster, what it keeps its state in, and who may see it."""

    team: str
    """In `settings.teams`; also the name of its namespace."""
    settings: OrchestrationSettings
    keep: bool
    """Whether the environment keeps data: then the pages have two pods."""
    groups: Sequence[str]
    """Of the identity provider; whoever is in one may see the pages."""
    namespace: pulumi.Input[str]
    """The platform's, of the part `PART`."""
    image: pulumi.Input[str]
    """Of Dagster with its launcher for Kubernetes (`dagster-k8s` in the catalogue)."""
    proxy_image: pulumi.Input[str]
    """`oauth2-proxy` in the catalogue."""
    database: InstanceDatabase
    secret_source: SecretSource | None = None
    """`None` where somebody else puts the Secrets there; else with `secret_nouns`."""
    team_secret_source: SecretSource | None = None
    """The same for the team's namespace, which another store answers: with `team_secret_nouns`."""
    account_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Those that bind the accounts to an identity, where an annotation does."""
    door: Door | None = None
    """The gateway that people come through; it must answer for the host in `settings`."""
    monitored: bool = False
    """Whether the cluster knows the kind ServiceMonitor."""
    wait_for: Sequence[pulumi.Resource] = ()
    """Namespaces with quota and flows, priorities, database, identity."""

    def __post_init__(self) -> None:
        """Raises `ValueError` for a team or secret that is not told, and a closed door."""
        if self.team not in self.settings.teams:
            raise ValueError(f"orchestration.teams: lacks {self.team}")
        if not self.groups:
            raise ValueError(
                f"teams.{self.team}.groups: names nobody, so nobody could open its pages"
            )
        if (self.secret_source is None) != (self.team_secret_source is None):
            raise ValueError(
                "secret_source and team_secret_source: one store without the other; pods of both "
                "namespaces need their Secrets"
            )
        for named, source, nouns in (
            ("secret_source", self.secret_source, self.secret_nouns),
            ("team_secret_source", self.team_secret_source, self.team_secret_nouns),
        ):
            if missing := lacking(source, nouns):
                raise ValueError(
                    f"{named}.keys: lacks {', '.join(missing)}; say under which name the store "
                    "has each"
                )
        host = self.settings.pages.host
        if self.door is not None and host not in self.door.hosts:
            raise ValueError(
                f"orchestration.pages.host: {host}; the gateway answers for "
                f"{', '.join(self.door.hosts)} alone"
            )

    @property
    def secret_nouns(self) -> set[str]:
        """What must be kept for the platform's pods."""
        return {pages.CLIENT_SECRET, pages.COOKIE_SECRET} | self.team_secret_nouns

    @property
    def team_secret_nouns(self) -> set[str]:
        """What must be kept for the team's pods."""
        return {DATABASE_PASSWORD} if self.database.by_password else set()


class Orchestration(pulumi.ComponentResource):
    """A team's Dagster. `url` is where people find it, `None` without a door; `ready` is what code
    locations wait for.
    """

    url: str | None = None

    def __init__(
        self, name: str, args: OrchestrationArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Orchestration", name, None, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for])
        self._files = f"{args.team}-files"
        self._secret = f"{args.team}-dagster"
        self._page = pages.Page(
            settings=args.settings.pages,
            path=f"/dagster/{args.team}",
            port=pods.PAGES_PORT,
            secret=self._secret,
            groups=args.groups,
        )
        self._content = self._written()
        accounts = {noun: self._account(noun) for noun in ("pages", "daemon")}
        around = [
            *accounts.values(),
            self._config_map("files", self._files, args.namespace),
            *self._secrets(),
        ]
        self.ready: list[pulumi.Resource] = [
            self._config_map("team-files", FILES, args.team),
            *self._team_secret(),
        ]
        migrated = self._migrate(around)
        launching = self._may_launch(accounts["daemon"])
        self._run("daemon", [*around, migrated, *launching, *self.ready])
        self._run("pages", [*around, migrated])
        self._before_pages()
        for location in args.settings.teams[args.team].locations:
            self._launch(location)
        self.register_outputs({"url": self.url})

    # --- files and secrets ------------------------------------------------------------------------

    def _written(self) -> pulumi.Output[dict[str, str]]:
        """File → text."""
        args = self._args
        own = args.settings.teams[args.team]
        files: Any = {
            INSTANCE: instance(args.team, own, args.database),
            WORKSPACE: workspace(args.team, own.locations),
        }
        return pulumi.Output.from_input(files).apply(
            lambda known: {
                AUTHORITIES: args.database.authorities,
                **{name: yaml.safe_dump(text, sort_keys=False) for name, text in known.items()},
            }
        )

    def _config_map(self, noun: str, called: str, namespace: pulumi.Input[str]) -> pulumi.Resource:
        return kubernetes.core.v1.ConfigMap(
            f"{self._name}-{noun}",
            metadata=self._metadata(called, namespace=namespace),
            data=self._content,
            opts=self._child,
        )

    def _secrets(self) -> list[pulumi.Resource]:
        """The Secret of the platform's pods."""
        args = self._args
        if args.secret_source is None:
            return []
        password = {PASSWORD_KEY: (DATABASE_PASSWORD, PLAIN)} if args.database.by_password else {}
        return [
            external_secret(
                f"{self._name}-secret",
                args.secret_source,
                self._metadata(self._secret),
                {**pages.WRITTEN, **password},
                self._child,
            )
        ]

    def _team_secret(self) -> list[pulumi.Resource]:
        """The one of the team's pods: how they reach the instance, and nothing of the pages."""
        args = self._args
        if args.team_secret_source is None or not args.database.by_password:
            return []
        return [
            external_secret(
                f"{self._name}-team-secret",
                args.team_secret_source,
                self._metadata(FILES, namespace=args.team),
                {PASSWORD_KEY: (DATABASE_PASSWORD, PLAIN)},
                self._child,
            )
        ]

    # --- who may ----------------------------------------------------------------------------------

    def _account(self, noun: str) -> kubernetes.core.v1.ServiceAccount:
        return kubernetes.core.v1.ServiceAccount(
            f"{self._name}-{noun}-account",
            metadata=self._metadata(
                f"{self._args.team}-{noun}", annotations=self._args.account_annotations
            ),
            automount_service_account_token=False,
            opts=self._child,
        )

    def _may_launch(self, account: kubernetes.core.v1.ServiceAccount) -> list[pulumi.Resource]:
        team = self._args.team
        return right(
            f"{self._name}-launcher",
            self._metadata("dagster-launcher", namespace=team),
            LAUNCHER,
            [account_in(account, self._args.namespace)],
            self._child,
        )

    # --- pods -------------------------------------------------------------------------------------

    def _migrate(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """The Job that brings the database up to date: another one, by its name, when its image or
        files change. It stays until then; an update waits for it and fails with it, before any
        server.
        """
        args = self._args
        pod = pods.migration(
            args.database,
            image=args.image,
            account=f"{args.team}-pages",
            files=self._files,
            secret=self._secret,
        )
        name = pulumi.Output.all(pod, self._content).apply(
            lambda known: f"{args.team}-migrate-{_digest(known)}"
        )
        minutes = args.settings.migration_minutes
        spec: Any = {
            "backoffLimit": 3,
            "activeDeadlineSeconds": minutes * 60,
            "template": {"metadata": {"labels": self._labels("migration")}, "spec": pod},
        }
        return kubernetes.batch.v1.Job(
            f"{self._name}-migration",
            metadata=self._metadata(name),
            spec=spec,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=list(after),
                custom_timeouts=pulumi.CustomTimeouts(create=f"{minutes}m", update=f"{minutes}m"),
            ),
        )

    def _run(self, noun: str, after: Sequence[pulumi.Resource]) -> None:
        """The Deployment of `pages` or of the `daemon`."""
        args, daemon = self._args, noun == "daemon"
        labels = self._labels(noun)
        if daemon:
            pod = pods.daemon(
                args.database,
                image=args.image,
                account=f"{args.team}-daemon",
                files=self._files,
                secret=self._secret,
            )
        else:
            pod = pods.webserver(
                self._page,
                args.database,
                image=args.image,
                proxy_image=args.proxy_image,
                account=f"{args.team}-pages",
                files=self._files,
                selected=labels,
            )
        spec: Any = {
            "replicas": 1 if daemon else args.settings.replicas(keep=args.keep),
            "selector": {"matchLabels": labels},
            # two daemons would start each run twice
            "strategy": {"type": "Recreate"}
            if daemon
            else {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 3,
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {CONTENT: self._content.apply(_digest)},
                },
                "spec": pod,
            },
        }
        kubernetes.apps.v1.Deployment(
            f"{self._name}-{noun}",
            metadata=self._metadata(f"{args.team}-{noun}"),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(after)),
        )

    def _launch(self, location: str) -> None:
        """From which people start a run; by itself it never does."""
        args = self._args
        labels = {**pods.NAME, "falaj/part": "launch"}
        spec: Any = {
            # of no meaning while it is suspended, and asked for
            "schedule": "0 0 1 1 *",
            "suspend": True,
            "concurrencyPolicy": "Allow",
            "jobTemplate": {
                "metadata": {"labels": labels},
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": 600,
                    "ttlSecondsAfterFinished": 24 * 3600,
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": pods.launch(location, JOB, args.database, image=args.image),
                    },
                },
            },
        }
        kubernetes.batch.v1.CronJob(
            f"{self._name}-launch-{location}",
            metadata=self._metadata(f"launch-{location}", namespace=args.team),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(self.ready)),
        )

    # --- before the pages -------------------------------------------------------------------------

    def _before_pages(self) -> None:
        args, called = self._args, f"{self._args.team}-pages"
        labels = self._labels("pages")
        service: Any = {"type": "ClusterIP", "selector": labels, "ports": pages.service_ports()}
        kubernetes.core.v1.Service(
            f"{self._name}-service",
            metadata=self._metadata(called, labels=labels),
            spec=service,
            opts=self._child,
        )
        if args.settings.replicas(keep=args.keep) > 1:
            budget: Any = {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
            kubernetes.policy.v1.PodDisruptionBudget(
                f"{self._name}-budget",
                metadata=self._metadata(called),
                spec=budget,
                opts=self._child,
            )
        if args.monitored:
            self._object(
                "monitor",
                "monitoring.coreos.com/v1",
                "ServiceMonitor",
                self._metadata(called),
                {
                    "selector": {"matchLabels": labels},
                    "endpoints": [{"port": "http-metrics", "interval": "30s"}],
                },
            )
        if args.door is not None:
            server = pulumi.Output.concat(called, ".", args.namespace, ".svc.cluster.local")
            self._object(
                "route",
                NETWORKING,
                "VirtualService",
                self._metadata(f"dagster-{args.team}", namespace=args.door.namespace),
                pages.route(self._page, args.door.gateway, server),
            )
            self.url = f"https://{self._page.settings.host}{self._page.path}"

    def _object(self, noun: str, api_version: str, kind: str, metadata: Any, spec: Any) -> None:
        kubernetes.apiextensions.CustomResource(
            f"{self._name}-{noun}",
            api_version=api_version,
            kind=kind,
            metadata=metadata,
            spec=spec,
            opts=self._child,
        )

    def _labels(self, noun: str) -> dict[str, str]:
        return {
            **pods.NAME,
            "app.kubernetes.io/component": noun,
            "app.kubernetes.io/instance": self._args.team,
        }

    def _metadata(
        self,
        called: pulumi.Input[str],
        *,
        namespace: pulumi.Input[str] | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, pulumi.Input[str]] | None = None,
    ) -> Any:
        return {
            "name": called,
            "namespace": self._args.namespace if namespace is None else namespace,
            "labels": {**(labels or {}), **MANAGED_BY},
            **({"annotations": dict(annotations)} if annotations else {}),
        }


def _digest(known: Any) -> str:
    text = json.dumps(known, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
