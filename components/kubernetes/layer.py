"""The parts on a cluster, joined: the same on a cluster of the cloud and on one of the premises.

Owns which parts there are and in which order they come. Leaves to the place whatever differs: the
cluster and the way to it, where images come from, nodes, volumes, secrets, who a team is to the
cloud. Not a component: its parts are those of the place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from components.images import Mirror
from components.kubernetes import authority, gateway
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.authority import Authority, AuthorityArgs
from components.kubernetes.backup import Bucket, ClusterBackup, ClusterBackupArgs
from components.kubernetes.elastic_pools import ElasticPools, ElasticPoolsArgs, Manifest
from components.kubernetes.exporters import exporters_of
from components.kubernetes.feature_store import FeatureBackends
from components.kubernetes.feature_stores import FeatureStoresArgs, feature_stores
from components.kubernetes.flows import IN_MESH, MESH, TEAM, Addresses
from components.kubernetes.gateway import Gateway, GatewayArgs
from components.kubernetes.gpu import GpuPlugin, GpuPluginArgs
from components.kubernetes.layer_settings import (
    ON_OPERATORS,
    WHAT_NEXT,
    LayerError,
    LayerSettings,
    needs_of,
)
from components.kubernetes.layer_teams import TeamParts, TeamPartsArgs
from components.kubernetes.mesh import Mesh, MeshArgs, MeshRules, MeshRulesArgs
from components.kubernetes.monitoring import Bucket as FiguresBucket
from components.kubernetes.monitoring import (
    Monitoring,
    MonitoringArgs,
    MonitoringSecrets,
    MonitoringSecretsArgs,
)
from components.kubernetes.monitoring_values import ChartPlace, monitoring_values
from components.kubernetes.operator_table import PRIVILEGED
from components.kubernetes.operator_values import Cloud
from components.kubernetes.operators import Operators, OperatorsArgs
from components.kubernetes.operators_settings import OperatorName, OperatorsSettings
from components.kubernetes.orchestration_files import InstanceDatabase
from components.kubernetes.pools import Pool
from components.kubernetes.priorities import Priorities
from components.kubernetes.queues import QueuedTeam, Queues, QueuesArgs, feature_gates
from components.kubernetes.ray_pods import RayPlace
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.secret_stores import (
    SecretsManager,
    SecretStores,
    SecretStoresArgs,
    Vault,
)
from components.kubernetes.serving import Door
from components.kubernetes.settings import TeamQuota
from components.kubernetes.signatures import Signatures, SignaturesArgs
from components.kubernetes.storage_classes import Disks, StorageClasses, StorageClassesArgs
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs
from components.kubernetes.tracking import S3Endpoint, Tracking, TrackingArgs
from components.kubernetes.training import TokenSource, Training, TrainingArgs

METRICS_NAMESPACE = "monitoring"
_TRACKING_KEYS = (
    *("session-key", "client-secret", "database-password", "access-key-id"),
    "secret-access-key",
)
"""Secrets of MLflow below its folder; which of them it asks for depends on its stores."""
_SERVING_QUOTA = TeamQuota(cpu_quota=16, memory_quota_gib=32, storage_quota_gib=0)
"""Of the gateway's pods at their most, and of Seldon's operator."""


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Where pods' secrets are kept."""

    source: SecretsManager | Vault
    folders: Mapping[str, str]
    """Namespace → the beginning of the names of its secrets."""


@dataclass(frozen=True, kw_only=True)
class ElasticNodes:
    """Nodes that Karpenter starts."""

    manifests: Sequence[Manifest]
    ready: Sequence[pulumi.Resource] = ()


@dataclass(frozen=True, kw_only=True)
class WayIn:
    """How requests come to the gateway."""

    hosts: Sequence[str]
    """What the gateway answers for."""
    issuer: str | None = None
    """The ClusterIssuer that signs for `hosts`; without it somebody keeps the certificate, unless
    there is `authority`."""
    authority: bool = False
    """Whether the store has the organisation's authority, of which an issuer is made here."""
    target_group_arn: pulumi.Input[str] | None = None


@dataclass(frozen=True, kw_only=True)
class TrackingStores:
    """What MLflow keeps its own in; without a region or an endpoint of their own, by the passwords
    and keys in its Secret."""

    database_uri: pulumi.Input[str]
    users_uri: pulumi.Input[str]
    authorities: str
    """PEM of who signs the certificate of both."""
    bucket_uri: pulumi.Input[str]
    issuer: pulumi.Input[str]
    """Of the tokens of the cluster's service accounts."""
    database_region: str | None = None
    endpoint: S3Endpoint | None = None


@dataclass(frozen=True, kw_only=True)
class LayerArgs:
    """What is asked for, and what the place gives."""

    environment: str
    settings: LayerSettings
    mirror: Mirror
    addresses: Addresses
    pools: Mapping[str, Pool]
    with_gpu_plugin: Sequence[str] = ()
    """Pools whose nodes bring NVIDIA's plugin themselves."""
    cloud: Cloud | None = None
    """`None` outside AWS."""
    disks: Disks | None = None
    """`None` where the cluster has an encrypted class of volumes already."""
    secrets: Secrets | None = None
    """`None` where somebody else puts Secrets into namespaces."""
    elastic: ElasticNodes | None = None
    backup_bucket: Bucket | None = None
    figures_bucket: FiguresBucket | None = None
    """Where monitoring keeps figures for long."""
    way_in: WayIn | None = None
    tracking: TrackingStores | None = None
    orchestration: Mapping[str, InstanceDatabase] = field(default_factory=dict)
    """Team → the database of its Dagster, a role and a name of its own in it."""
    identified: Sequence[pulumi.Resource] = ()
    """What makes service accounts somebody to the cloud: pods that start sooner may do nothing."""
    features: Mapping[str, FeatureBackends] = field(default_factory=dict)
    """Team → what its feature store keeps things in."""
    keep: bool = True
    """Whether the environment keeps data."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What was made."""

    teams: dict[str, dict[str, Any]]
    """Team → the fields of `TeamOutputs` that are the cluster's."""
    fields: dict[str, pulumi.Input[Any]] = field(default_factory=dict)
    """Those of `PlatformOutputs`, without `teams`."""


def make_layer(name: str, args: LayerArgs, opts: pulumi.ResourceOptions) -> Layer:
    """The parts under the parent in `opts`, by its provider. Raises `LayerError`."""
    stage = args.settings.stage
    if stage in WHAT_NEXT:
        pulumi.log.warn(
            f"falaj:stage: is {stage}, so that parts are left out; once this is up: "
            f"{WHAT_NEXT[stage]}",
            opts.parent,
        )
    try:
        return _made(name, replace(args, settings=args.settings.staged), opts)
    except ValueError as error:
        raise LayerError(str(error)) from error


def _made(name: str, args: LayerArgs, opts: pulumi.ResourceOptions) -> Layer:
    settings = args.settings
    args = replace(
        args, addresses=replace(args.addresses, organisation=tuple(settings.organisation))
    )
    if settings.tracking is not None and args.tracking is None:
        raise ValueError(
            "falaj:tracking: this place names no database and bucket for MLflow: say them under "
            "falaj:kubernetes.tracking; on AWS MLflow needs a cluster and a database made here"
        )
    for team in settings.orchestrated:
        if team not in args.orchestration:
            raise ValueError(
                f"falaj:orchestration.teams.{team}: this place names no database for it: say it "
                f"under falaj:kubernetes.orchestration.{team}; on AWS it needs a database made or "
                "named there"
            )
    mesh = settings.operators is not None and settings.mesh
    priorities = Priorities(f"{name}-priorities", opts)
    admission = Admission(
        f"{name}-admission",
        AdmissionArgs(
            settings=settings.admission,
            registry=args.mirror.registry.registry,
            privileged=PRIVILEGED if settings.operators is not None else (),
        ),
        opts,
    )
    teams = {
        team: Team(
            f"{name}-team-{team}",
            TeamArgs(team=team, quota=quota, addresses=args.addresses, mesh=mesh),
            opts,
        )
        for team, quota in settings.teams.items()
    }
    outputs: dict[str, dict[str, Any]] = {
        team: {
            "namespace": teams[team].namespace,
            "cpu_quota": quota.cpu_quota,
            "memory_quota_gib": quota.memory_quota_gib,
            "gpu_quota": quota.gpu_quota,
        }
        for team, quota in settings.teams.items()
    }
    if settings.operators is None:
        return Layer(teams=outputs)
    parts = _Parts(name, args, teams, [priorities, admission], opts)
    for team, address in parts.ray_addresses.items():
        outputs[team]["shared_ray_address"] = address
    for team, url in parts.orchestrator_urls.items():
        outputs[team]["own_orchestrator_url"] = url
    for team, asked in (settings.orchestration.teams if settings.orchestration else {}).items():
        outputs[team]["orchestration"] = {
            "locations": list(asked.locations),
            "by_password": args.orchestration[team].by_password,
        }
    for team, url in parts.feature_servers.items():
        outputs[team]["feature_server_url"] = url
    return Layer(teams=outputs, fields=parts.fields)


class _Parts:
    """What stands on the operators."""

    def __init__(
        self,
        name: str,
        args: LayerArgs,
        teams: Mapping[str, Team],
        first: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions,
    ) -> None:
        self._name, self._args, self._opts, self._teams = name, args, opts, teams
        self._classes = StorageClasses(
            f"{name}-volumes",
            StorageClassesArgs(settings=args.settings.storage_classes, disks=args.disks),
            opts,
        )
        self._serving = Namespace(
            f"{name}-serving",
            NamespaceArgs(
                namespace=gateway.NAMESPACE,
                part="serving",
                quota=_SERVING_QUOTA,
                addresses=args.addresses,
                mesh=self._mesh,
            ),
            opts,
        )
        self._operators = self._make_operators([*first, *self._classes.ready])
        self._stores = self._secret_stores()
        self._meshed = self._make_mesh()
        self._signatures()
        self._gpus()
        self._backup()
        self._queues()
        self.ray_addresses = self._training()
        self.feature_servers = self._features()
        made = self._gateway()
        self.fields: dict[str, pulumi.Input[Any]] = {}
        if (url := self._monitoring(made)) is not None:
            self.fields["metrics_url"] = url
        if (uri := self._tracking(made)) is not None:
            self.fields["tracking_uri"] = uri
        self.orchestrator_urls = self._team_parts(made, self.fields.get("tracking_uri"))
        if made is not None:
            self.fields |= {
                "serving_gateway_url": f"https://{made.door.hosts[0]}",
                "serving_namespace": made.door.namespace,
                "cluster": self._target(made.door),
            }

    @property
    def _mesh(self) -> bool:
        return self._args.settings.mesh

    def _make_operators(self, after: Sequence[pulumi.Resource]) -> Operators:
        args = self._args
        return Operators(
            f"{self._name}-operators",
            OperatorsArgs(
                environment=args.environment,
                settings=args.settings.operators or OperatorsSettings(),
                needs=needs_of(
                    args.settings,
                    args.pools,
                    elastic_nodes=args.elastic is not None,
                    load_balancer=args.way_in is not None
                    and args.way_in.target_group_arn is not None,
                ),
                mirror=args.mirror,
                addresses=args.addresses,
                most_nodes=sum(pool.max_nodes for pool in args.pools.values()),
                parts=(
                    *("certificates", "secrets", "queues", "training", "serving"),
                    *(part for part in ON_OPERATORS if getattr(args.settings, part) is not None),
                ),
                cloud=args.cloud,
                feature_gates=feature_gates(args.settings.training),
                namespaces={gateway.NAMESPACE: self._serving},
                values=self._chart_values(),
                wait_for=after,
                nodes=self._elastic_pools,
            ),
            self._opts,
        )

    def _chart_values(self) -> dict[OperatorName, dict[str, Any]]:
        settings, mirror = self._args.settings.monitoring, self._args.mirror
        if settings is None:
            return {}
        place = ChartPlace(
            storage_class=self._classes.kept,
            thanos_image=mirror.image("thanos") if settings.long_term else None,
            teams_groups=sorted(
                {
                    group
                    for quota in self._args.settings.teams.values()
                    for groups in quota.groups.model_dump().values()
                    for group in groups
                }
            ),
        )
        return {"kube-prometheus-stack": monitoring_values(settings, place)}

    def _make_mesh(self) -> list[pulumi.Resource]:
        """What pods in the mesh wait for."""
        if not self._mesh:
            return []
        ready = self._operators.ready_for("mesh")
        made = Mesh(
            f"{self._name}-mesh",
            MeshArgs(space=self._operators.namespaces[MESH], wait_for=ready),
            self._opts,
        )
        held: list[pulumi.Resource] = [*made.ready]
        meshed = {
            **{part: "" for part in self._operators.namespaces if part in IN_MESH},
            **{team: team for team in self._teams},
        }
        for namespace, team in meshed.items():
            held += MeshRules(
                f"{self._name}-mesh-{namespace}",
                MeshRulesArgs(
                    namespace=(
                        self._teams[team].namespace
                        if team
                        else self._operators.namespaces[namespace].namespace
                    ),
                    part=TEAM if team else namespace,
                    name=team,
                    teams=tuple(self._teams),
                    wait_for=ready,
                ),
                self._opts,
            ).ready
        return held

    def _signatures(self) -> None:
        args = self._args
        if "kyverno" not in self._operators.charts:
            return
        Signatures(
            f"{self._name}-signatures",
            SignaturesArgs(
                environment=args.environment,
                settings=args.settings.signatures,
                admission=args.settings.admission,
                registry=args.mirror.registry.registry,
                registry_login="amazon" if args.cloud is not None else None,
                wait_for=self._operators.ready_for("signatures"),
            ),
            self._opts,
        )

    def _monitoring(self, made: Gateway | None) -> pulumi.Input[str] | None:
        """Where figures are asked for; `None` without monitoring."""
        args, settings = self._args, self._args.settings.monitoring
        if settings is None:
            return None
        namespace = self._operators.namespaces[METRICS_NAMESPACE].namespace
        if self._stores is not None:
            MonitoringSecrets(
                f"{self._name}-monitoring-secrets",
                MonitoringSecretsArgs(
                    namespace=namespace,
                    settings=settings,
                    store=self._stores.names[METRICS_NAMESPACE],
                    bucket=args.figures_bucket,
                    wait_for=self._stores.ready,
                ),
                self._opts,
            )
        return Monitoring(
            f"{self._name}-monitoring",
            MonitoringArgs(
                environment=args.environment,
                namespace=namespace,
                settings=settings,
                exporters=exporters_of(self._operators.charts),
                door=made.door if made is not None else None,
                wait_for=[
                    *self._operators.ready_for("monitoring"),
                    *(made.ready if made is not None else ()),
                ],
            ),
            self._opts,
        ).url

    def _secret_stores(self) -> SecretStores | None:
        secrets = self._args.secrets
        if secrets is None:
            return None
        return SecretStores(
            f"{self._name}-secret-stores",
            SecretStoresArgs(
                source=secrets.source,
                folders=secrets.folders,
                wait_for=self._operators.ready_for("secrets"),
            ),
            self._opts,
        )

    def _gpus(self) -> None:
        args = self._args
        if any(pool.kind == "gpu" for pool in args.pools.values()):
            GpuPlugin(
                f"{self._name}-gpus",
                GpuPluginArgs(
                    image=args.mirror.image("nvidia-device-plugin"),
                    pools=args.pools,
                    sharing=args.settings.training.gpu_sharing,
                    with_plugin=args.with_gpu_plugin,
                ),
                self._opts,
            )

    def _elastic_pools(self, controller: Sequence[pulumi.Resource]) -> Sequence[pulumi.Resource]:
        elastic = self._args.elastic
        if elastic is None:
            return ()
        return ElasticPools(
            f"{self._name}-nodes",
            ElasticPoolsArgs(manifests=elastic.manifests, wait_for=[*controller, *elastic.ready]),
            self._opts,
        ).ready

    def _backup(self) -> None:
        if "velero" not in self._operators.charts:
            return
        ClusterBackup(
            f"{self._name}-backup",
            ClusterBackupArgs(
                settings=self._args.settings.cluster_backup,
                namespaces=[*self._teams, *self._operators.namespaces],
                bucket=self._args.backup_bucket,
                wait_for=self._operators.ready_for("backup"),
            ),
            self._opts,
        )

    def _queues(self) -> None:
        settings = self._args.settings
        Queues(
            f"{self._name}-queues",
            QueuesArgs(
                teams={
                    team: QueuedTeam(namespace=made.namespace, quota=settings.teams[team])
                    for team, made in self._teams.items()
                },
                pools=self._args.pools,
                settings=settings.training,
                wait_for=self._operators.ready_for("queues"),
            ),
            self._opts,
        )

    def _training(self) -> dict[str, pulumi.Output[str]]:
        """Team → the job server of its shared cluster."""
        args = self._args
        place = RayPlace(
            pools=args.pools,
            images=self._ray_images(),
            storage_class=self._classes.default,
            mesh=self._mesh,
        )
        made = {
            team: Training(
                f"{self._name}-training-{team}",
                TrainingArgs(
                    team=team,
                    namespace=one.namespace,
                    settings=args.settings.training,
                    place=place,
                    storage_name=f"{args.environment}-{team}",
                    token=self._token(team),
                    wait_for=[
                        *one.ready,
                        *self._operators.ready_for("training"),
                        *self._meshed,
                        *(self._stores.ready if self._stores is not None else ()),
                    ],
                ),
                self._opts,
            )
            for team, one in self._teams.items()
        }
        return {team: one.address for team, one in made.items() if one.address is not None}

    def _features(self) -> dict[str, str]:
        """Team → where its pods read features."""
        args = self._args
        ready = [
            *self._operators.ready_for("feature-store"),
            *self._meshed,
            *(self._stores.ready if self._stores is not None else ()),
        ]
        return feature_stores(
            self._name,
            FeatureStoresArgs(
                settings=args.settings.feature_store,
                mirror=args.mirror,
                backends=args.features,
                stores=self._stores.names if self._stores is not None else {},
                wait_for={team: [*one.ready, *ready] for team, one in self._teams.items()},
            ),
            self._opts,
        )

    def _ray_images(self) -> dict[Any, str]:
        mirror = self._args.mirror
        return {"cpu": mirror.image("ray"), "gpu": mirror.image("ray-gpu")}

    def _token(self, team: str) -> TokenSource | None:
        if self._stores is None:
            return None
        return TokenSource(store=self._stores.names[team], key="ray-token")

    def _gateway(self) -> Gateway | None:
        args = self._args
        if args.way_in is None:
            return None
        signed = self._authority(args.way_in)
        return Gateway(
            f"{self._name}-gateway",
            GatewayArgs(
                hosts=args.way_in.hosts,
                image=args.mirror.image("istio-proxyv2"),
                issuer=args.way_in.issuer if signed is None else signed.issuer,
                target_group_arn=args.way_in.target_group_arn,
                inside=self._serving,
                wait_for=[
                    *self._operators.ready_for("serving"),
                    *self._operators.ready_for("ingress"),
                    *(signed.ready if signed is not None else ()),
                ],
            ),
            self._opts,
        )

    def _authority(self, way_in: WayIn) -> Authority | None:
        """Who signs for the gateway, where that is made here."""
        if not way_in.authority or self._stores is None:
            return None
        return Authority(
            f"{self._name}-authority",
            AuthorityArgs(
                store=self._stores.names[authority.NAMESPACE],
                served={gateway.NAMESPACE: list(way_in.hosts)},
                wait_for=[*self._operators.ready_for("certificates"), *self._stores.ready],
            ),
            self._opts,
        )

    def _tracking(self, made: Gateway | None) -> pulumi.Input[str] | None:
        """Where pods reach MLflow; `None` without it."""
        args, settings, stores = self._args, self._args.settings.tracking, self._args.tracking
        if settings is None or stores is None:
            return None
        source = None
        if self._stores is not None:
            source = SecretSource(
                store=self._stores.names["tracking"], keys={key: key for key in _TRACKING_KEYS}
            )
        return Tracking(
            f"{self._name}-tracking",
            TrackingArgs(
                settings=settings,
                keep=args.keep,
                database_uri=stores.database_uri,
                users_uri=stores.users_uri,
                database_authorities=stores.authorities,
                bucket_uri=stores.bucket_uri,
                issuer=stores.issuer,
                database_region=stores.database_region,
                endpoint=stores.endpoint,
                secret_source=source,
                teams=args.settings.teams,
                addresses=args.addresses,
                door=made.door if made is not None else None,
                mesh=self._mesh,
                monitored=True,
                after=[
                    *self._operators.ready_for("tracking"),
                    *args.identified,
                    *self._meshed,
                    *(self._stores.ready if self._stores is not None else ()),
                    *(made.ready if made is not None else ()),
                ],
            ),
            self._opts,
        ).uri

    def _team_parts(
        self, made: Gateway | None, tracking_uri: pulumi.Input[str] | None
    ) -> dict[str, str]:
        """Team → where its people find its Dagster."""
        args = self._args
        return TeamParts(
            f"{self._name}-teams",
            TeamPartsArgs(
                settings=args.settings,
                keep=args.keep,
                mirror=args.mirror,
                addresses=args.addresses,
                pools=args.pools,
                teams=self._teams,
                stores=self._stores.names if self._stores is not None else {},
                databases=args.orchestration,
                storage_class=self._classes.kept if args.keep else self._classes.default,
                door=made.door if made is not None else None,
                tracking_uri=tracking_uri,
                mesh=self._mesh,
                wait_for=[
                    *self._operators.ready_for("orchestration"),
                    *args.identified,
                    *self._meshed,
                    *(self._stores.ready if self._stores is not None else ()),
                    *(made.ready if made is not None else ()),
                ],
            ),
            self._opts,
        ).urls

    def _target(self, door: Door) -> dict[str, Any]:
        """The contract's `ClusterTarget`."""
        args = self._args
        registry = args.mirror.registry
        return {
            "registry": f"{registry.registry}/{registry.repository('')}".rstrip("/"),
            "storage_class": self._classes.default,
            "mesh": self._mesh,
            "serving_engine": args.settings.serving.engine,
            "seldon_licence_reference": args.settings.serving.seldon_licence_reference,
            "ray_images": self._ray_images(),
            "pools": {
                name: {
                    "kind": pool.kind,
                    "labels": dict(pool.labels),
                    "taints": [dict(taint) for taint in pool.taints],
                    "cpus": pool.cpus,
                    "memory_gib": pool.memory_gib,
                    "gpus": pool.gpus,
                    "gpu_models": list(pool.gpu_models),
                    "max_nodes": pool.max_nodes,
                }
                for name, pool in args.pools.items()
            },
            "gateway": {
                "namespace": door.namespace,
                "gateway": door.gateway,
                "hosts": list(door.hosts[:1]),  # the others are the platform's own pages
                "service": door.service,
                "service_account": door.service_account,
            },
            "metrics_namespace": METRICS_NAMESPACE,
        }
