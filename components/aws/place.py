"""An environment on AWS: its parts joined, and what they fill of the contract with teams.

Owns which parts there are and how they meet. The account must exist before, and the credentials of
whoever runs Pulumi must be those of the account. Network and cluster are made here or named in the
settings; what cannot be without one of them is left out until it is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.aws.access import FIGURES, ORCHESTRATION, Domain, team_role
from components.aws.backup import TAG
from components.aws.boundary import Boundary, BoundaryArgs
from components.aws.cache import Cache, CacheAccess, CacheArgs, existing_cache
from components.aws.compute import Compute, ComputeArgs, ComputeNetwork
from components.aws.database import Database, DatabaseAccess, DatabaseArgs, existing_database
from components.aws.delivery_roles import DeliveryRoles, DeliveryRolesArgs
from components.aws.disks import ebs_disks
from components.aws.identity import WorkloadIdentities, WorkloadIdentitiesArgs
from components.aws.image_registry import ImageRegistry, ImageRegistryArgs
from components.aws.ingress import Ingress, IngressArgs
from components.aws.keys import DOMAINS, DomainKey, DomainKeyArgs
from components.aws.log_delivery import config_delivery_statements, log_delivery_statements
from components.aws.log_shipping import SiemNetwork
from components.aws.network import (
    GivenNetwork,
    GivenNetworkArgs,
    Network,
    NetworkArgs,
    NetworkIds,
)
from components.aws.oversight import Oversight, OversightArgs, OversightSettings, make_oversight
from components.aws.placement import Placement
from components.aws.provider import RegionProvider, RegionProviderArgs
from components.aws.scope import Scope
from components.aws.secrets import GeneratedSecrets, GeneratedSecretsArgs
from components.aws.settings.aws import AwsSettings
from components.aws.settings.backup import STANDARD
from components.aws.settings.database import features_role, role_of_team
from components.aws.settings.network import (
    NetworkSettings,
    private_domain_of,
)
from components.aws.settings.node_pool import NodePoolSettings, PoolSettings
from components.aws.settings.pools_for_pods import pools_for_pods
from components.aws.settings.secrets import secret_folders
from components.aws.storage import Storage, StorageArgs, make_storage
from components.aws.stream import Stream, StreamAccess, StreamArgs, existing_stream
from components.images import Lock, Mirror, read_catalogue
from components.kubernetes.backup import Bucket
from components.kubernetes.feature_store import FeatureBackends, OnlineStore, RegistryDatabase
from components.kubernetes.flows import RESERVED, Addresses
from components.kubernetes.layer import (
    ElasticNodes,
    LayerArgs,
    Secrets,
    TrackingStores,
    WayIn,
    make_layer,
)
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.monitoring import Bucket as FiguresBucket
from components.kubernetes.operator_values import Cloud
from components.kubernetes.orchestration_files import InstanceDatabase
from components.kubernetes.pools import Pool
from components.kubernetes.secret_stores import SecretsManager
from components.kubernetes.tracking import S3Endpoint
from components.tags import tags
from policies.guards.organisation import service_control_policy

Keys = Mapping[Domain, DomainKey]


@dataclass(frozen=True, kw_only=True)
class AwsPlaceArgs:
    """Which environment, whose, and what is asked for."""

    environment: str
    owner: str
    residency_mode: str
    aws: AwsSettings
    """The section of the settings of each part."""
    allowed_regions: Sequence[str] = ()
    """Where roles may act; empty for the environment's own region alone."""
    network_ids: NetworkIds | None = None
    """Of the network that the bootstrap made; stands over those of the settings."""
    administrators: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Noun → ARN of a role that administers a cluster that is made; `apply` where none is named."""
    people: Sequence[str] = ()
    """ARNs of roles of people that deploy, beside pipelines and the runner."""
    placement: Placement | None = None
    """Where stores of data stand, and from where data is used; stands over the network and the
    cluster that are made here."""
    layer: LayerSettings = field(default_factory=LayerSettings)
    """Deployed once a cluster is made here, or `kubeconfig` says how to reach one."""
    lock: Lock = field(default_factory=Lock)
    """The digests of images."""
    kubeconfig: pulumi.Input[str] | None = None


class AwsPlace(pulumi.ComponentResource):
    """The parts of an environment on AWS; `fields` is what they fill of `PlatformOutputs`."""

    fields: dict[str, pulumi.Input[Any]]
    storage: Storage
    database: DatabaseAccess | None = None
    cache: CacheAccess | None = None
    stream: StreamAccess | None = None
    """How they are reached; `None` where there is none yet."""

    def __init__(
        self, name: str, args: AwsPlaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:AwsPlace", name, None, opts)
        self._name, self._args = name, args
        provider = RegionProvider(
            f"{name}-provider",
            RegionProviderArgs(
                account_id=args.aws.account_id, region=args.aws.region, default_tags=self._tags()
            ),
            pulumi.ResourceOptions(parent=self),
        )
        # this component makes the provider, so its children cannot inherit it
        self._child = pulumi.ResourceOptions(parent=self, provider=provider.provider)
        regions = args.allowed_regions or (args.aws.region,)
        self._scope = Scope(
            environment=args.environment, account_id=args.aws.account_id, region=args.aws.region
        )
        deployers = self._deployers(regions)

        keys, team_keys = self._keys()
        network = self._network(keys)
        self.storage = self._storage(keys, team_keys, network)
        compute = self._compute(keys, network, deployers)
        self._data_services(keys, self._placement(network, compute))
        self.ingress = self._ingress(keys, network, compute)
        self._images(keys)
        identities = self._identities(keys, team_keys, compute)
        self.oversight = self._oversight(keys, network, compute, regions)

        self.fields = {
            "region": args.aws.region,
            "organisation_policy": service_control_policy(regions),
            "encryption_keys": {
                **{domain: key.arn for domain, key in keys.items()},
                **{team_role(team): key.arn for team, key in team_keys.items()},
            },
            "artifact_uri": self.storage.stores["artifacts"].uri,
            "data_uri": self.storage.stores["data"].uri,
            "object_store_region": args.aws.region,
            "node_pools": {
                pool: {
                    "kind": shape.kind,
                    "instance_types": list(shape.instance_types),
                    "min_nodes": shape.min_nodes if isinstance(shape, NodePoolSettings) else 0,
                    "max_nodes": shape.max_nodes,
                }
                for pool, shape in self._pools().items()
            },
        }
        kubeconfig = args.kubeconfig if args.kubeconfig is not None else compute.kubeconfig
        if kubeconfig is not None:
            self.fields |= self._on_the_cluster(
                kubeconfig,
                compute,
                identities,
                team_keys,
                self._given(keys, network, compute)
                | {"identified": list(identities.associations.values())}
                | {"features": self._feature_backends(compute, team_keys)},
            )
        elif args.layer.teams:
            pulumi.log.warn(
                "teams are not deployed: set the secret falaj:kubeconfig once the cluster answers",
                self,
            )
        self.register_outputs({})

    def _tags(self) -> dict[str, str]:
        args = self._args
        own = tags(
            environment=args.environment, owner=args.owner, residency_mode=args.residency_mode
        )
        return own | ({TAG: STANDARD} if args.aws.backup.own else {})

    @property
    def _featured(self) -> tuple[str, ...]:
        """The teams with a feature store."""
        return tuple(self._args.layer.feature_store.teams)

    def _pools(self) -> dict[str, PoolSettings]:
        elastic = self._args.aws.elastic_nodes
        return {**self._args.aws.node_pools, **(elastic.pools if elastic is not None else {})}

    def _deployers(self, regions: Sequence[str]) -> dict[str, pulumi.Input[str]]:
        """The boundary of all roles and the roles that deploy; returns the ARNs of `apply` and,
        where pipelines look at the environment, of `plan`.

        Where the bootstrap made the network it made these as well.
        """
        args = self._args
        if args.network_ids is not None:
            self._scope = replace(self._scope, boundary_arn=self._scope.policy_arn("boundary"))
            nouns = ("apply", "plan") if args.aws.identity.ci else ("apply",)
            return {noun: self._scope.role_arn(noun) for noun in nouns}
        boundary = Boundary(
            f"{self._name}-boundary",
            BoundaryArgs(scope=self._scope, allowed_regions=regions, keep=args.aws.keep_data),
            self._child,
        )
        self._scope = replace(self._scope, boundary_arn=boundary.arn)
        made = DeliveryRoles(
            f"{self._name}-delivery",
            DeliveryRolesArgs(
                scope=self._scope,
                settings=args.aws.identity,
                keep=args.aws.keep_data,
                people=args.people,
            ),
            self._child,
        )
        looking = {"plan": made.plan_arn} if made.plan_arn is not None else {}
        return {"apply": made.apply_arn, **looking}

    def _keys(self) -> tuple[dict[Domain, DomainKey], dict[str, DomainKey]]:
        """The keys of the domains, and those of teams where teams have their own."""
        args = self._args

        def key(
            subject: str, *, domain: Domain | None = None, team: str | None = None
        ) -> DomainKey:
            return DomainKey(
                f"{self._name}-{subject}",
                DomainKeyArgs(
                    scope=self._scope,
                    domain=domain,
                    team=team,
                    settings=args.aws.keys,
                    keep=args.aws.keep_data,
                    # the first `up` is theirs where the bootstrap makes no role that deploys
                    deployers=args.people,
                ),
                self._child,
            )

        teams = args.layer.teams if args.aws.keys.team_keys else {}
        return (
            {domain: key(domain, domain=domain) for domain in DOMAINS},
            {team: key(f"team-{team}-data", team=team) for team in teams},
        )

    def _network(self, keys: Keys) -> Network | GivenNetwork | None:
        args = self._args
        ids = args.network_ids
        if ids is None and args.aws.existing_network is not None:
            ids = NetworkIds.of(args.aws.existing_network)
        if ids is not None:
            trusted = args.aws.network.trusted_accounts if args.aws.network is not None else ()
            return GivenNetwork(
                f"{self._name}-network",
                GivenNetworkArgs(scope=self._scope, ids=ids, trusted_accounts=trusted),
                self._child,
            )
        if args.aws.network is None:
            return None
        return Network(
            f"{self._name}-network",
            NetworkArgs(
                scope=self._scope,
                network=args.aws.network,
                log_key_arn=keys["logs"].arn,
                keep=args.aws.keep_data,
            ),
            self._child,
        )

    def _storage(
        self,
        keys: Keys,
        team_keys: Mapping[str, DomainKey],
        network: Network | GivenNetwork | None,
    ) -> Storage:
        args = self._args
        vpc_id = network.vpc_id if network is not None else None
        return make_storage(
            self._name,
            StorageArgs(
                scope=self._scope,
                storage=args.aws.storage,
                organisation_id=args.aws.organisation_id,
                key_arns={domain: key.arn for domain, key in keys.items()},
                keep=args.aws.keep_data,
                vpc_id=args.placement.vpc_id if args.placement is not None else vpc_id,
                teams=args.layer.teams,
                team_keys=args.aws.keys.team_keys,
                team_key_arns={team: key.arn for team, key in team_keys.items()},
                deliveries={
                    "logs": log_delivery_statements(self._scope),
                    "config": config_delivery_statements(self._scope),
                },
            ),
            self._child,
        )

    def _compute(
        self,
        keys: Keys,
        network: Network | GivenNetwork | None,
        deployers: Mapping[str, pulumi.Input[str]],
    ) -> Compute:
        args = self._args
        plan = args.aws.network or NetworkSettings()
        reached = None
        if network is not None:
            runner = network.runner_group_id
            reached = ComputeNetwork(
                vpc_id=network.vpc_id,
                cidrs=[network.cidr],
                private_subnet_ids=network.private_subnet_ids,
                service_cidr=str(plan.service_cidr),
                max_pods=plan.max_pods,
                api_security_group_ids={"runner": runner} if runner is not None else {},
                ready=network.ready,
            )
        return Compute(
            self._name,
            ComputeArgs(
                scope=self._scope,
                cluster=args.aws.cluster,
                existing_cluster=args.aws.existing_cluster,
                node_pools=args.aws.node_pools,
                elastic_nodes=args.aws.elastic_nodes,
                service_linked_roles=args.aws.service_linked_roles,
                network=reached,
                key_arn=keys["cluster"].arn,
                logs_key_arn=keys["logs"].arn,
                administrators=args.administrators
                or {
                    "apply": deployers["apply"],
                    **{arn.rpartition("/")[2]: arn for arn in args.people},
                },
                readers={"plan": deployers["plan"]} if "plan" in deployers else {},
                read_namespaces=sorted({*RESERVED, *args.layer.teams}),
                keep=args.aws.keep_data,
                tags=self._tags(),
                # a node whose disk may not be decrypted ends as it starts
                wait_for=[*keys["cluster"].ready, *keys["logs"].ready],
            ),
            self._child,
        )

    def _placement(
        self, network: Network | GivenNetwork | None, compute: Compute
    ) -> Placement | None:
        """Isolated subnets beside nodes that may connect; `None` until there are both."""
        if self._args.placement is not None or network is None or compute.cluster is None:
            return self._args.placement
        return Placement(
            vpc_id=network.vpc_id,
            subnet_ids=list(network.isolated_subnet_ids.values()),
            client_security_group_id=compute.cluster.node_security_group_id,
        )

    def _data_services(self, keys: Keys, placement: Placement | None) -> None:
        """Those of somebody else, or our own once there is a network for them."""
        name, args = self._name, self._args
        settings = args.aws.database.with_teams(ORCHESTRATION, args.layer.orchestrated)
        if settings.existing is not None:
            self.database = existing_database(
                self._scope, settings.existing, settings.consumers, self._featured
            )
        if args.aws.cache.existing is not None:
            self.cache = existing_cache(args.aws.cache.existing)
        if args.aws.stream.existing is not None:
            self.stream = existing_stream(args.aws.stream.existing)
        if placement is None:
            return
        common: dict[str, Any] = {
            "scope": self._scope,
            "placement": placement,
            "key_arn": keys["database"].arn,
            "log_key_arn": keys["logs"].arn,
            "keep": args.aws.keep_data,
        }
        if settings.existing is None:
            self.database = Database(
                f"{name}-database",
                DatabaseArgs(
                    **common,
                    settings=settings,
                    administrator_key_arn=keys["secrets"].arn,
                    featured=self._featured,
                ),
                self._child,
            ).access
        if args.aws.cache.kind == "elasticache":
            self.cache = Cache(
                f"{name}-cache",
                CacheArgs(**common, settings=args.aws.cache, featured=self._featured),
                self._child,
            ).access
        if args.aws.stream.kind == "msk":
            self.stream = Stream(
                f"{name}-stream", StreamArgs(**common, settings=args.aws.stream), self._child
            ).access

    def _ingress(
        self, keys: Keys, network: Network | GivenNetwork | None, compute: Compute
    ) -> Ingress | None:
        """The way in to a cluster that is made here; `None` where there is none, or it is off."""
        args = self._args
        if args.aws.ingress.mode == "off" or network is None or compute.cluster is None:
            return None
        return Ingress(
            f"{self._name}-ingress",
            IngressArgs(
                scope=self._scope,
                settings=args.aws.ingress,
                vpc_id=network.vpc_id,
                subnet_ids=list(network.private_subnet_ids.values()),
                zone_id=network.private_zone_id,
                domain=private_domain_of(args.aws.network, args.environment),
                cluster_name=compute.cluster.cluster_name,
                node_security_group_id=compute.cluster.node_security_group_id,
                secrets_key_arn=keys["secrets"].arn,
                keep=args.aws.keep_data,
                key_ready=keys["secrets"].ready,
            ),
            self._child,
        )

    def _images(self, keys: Keys) -> None:
        ImageRegistry(
            f"{self._name}-images",
            ImageRegistryArgs(
                scope=self._scope,
                repositories=read_catalogue().repositories(),
                key_arn=keys["artifacts"].arn,
                key_ready=keys["artifacts"].ready,
                organisation_id=self._args.aws.organisation_id,
                keep=self._args.aws.keep_data,
                settings=self._args.aws.image_registry,
            ),
            self._child,
        )

    def _identities(
        self, keys: Keys, team_keys: Mapping[str, DomainKey], compute: Compute
    ) -> WorkloadIdentities:
        args = self._args
        GeneratedSecrets(
            f"{self._name}-secrets",
            GeneratedSecretsArgs(
                scope=self._scope,
                teams=tuple(args.layer.teams),
                settings=args.aws.secrets,
                keep=args.aws.keep_data,
                secrets_key_arn=keys["secrets"].arn,
                logs_key_arn=keys["logs"].arn,
                cache_users=self.cache.team_users if self.cache is not None else {},
            ),
            self._child,
        )
        return WorkloadIdentities(
            f"{self._name}-identity",
            WorkloadIdentitiesArgs(
                scope=self._scope,
                teams=tuple(args.layer.teams),
                orchestrated=args.layer.orchestrated,
                key_arns={domain: key.arn for domain, key in keys.items()},
                team_key_arns={team: key.arn for team, key in team_keys.items()},
                cluster_name=self._cluster_name(compute),
                signing_keys=[
                    signer.kms_key
                    for signer in args.layer.signatures.signers.values()
                    if signer.kms_key is not None
                ],
            ),
            self._child,
        )

    def _cluster_name(self, compute: Compute) -> pulumi.Input[str] | None:
        if compute.cluster is not None:
            return compute.cluster.cluster_name
        existing = self._args.aws.existing_cluster
        return existing.name if existing is not None else None

    def _oversight(
        self,
        keys: Keys,
        network: Network | GivenNetwork | None,
        compute: Compute,
        regions: Sequence[str],
    ) -> Oversight:
        args = self._args
        cluster = self._cluster_name(compute) or self._scope.cluster()
        stores = self.storage.stores
        return make_oversight(
            self._name,
            OversightArgs(
                scope=self._scope,
                settings=OversightSettings(
                    audit=args.aws.audit, backup=args.aws.backup, logs=args.aws.logs
                ),
                allowed_regions=regions,
                key_arns={str(domain): key.arn for domain, key in keys.items()},
                team_keys=args.aws.keys.team_keys,
                cluster_name=cluster,
                cluster_log_group=pulumi.Output.concat("/aws/eks/", cluster, "/cluster"),
                keep=args.aws.keep_data,
                ready=[*stores["logs"].ready, *stores["config"].ready, *keys["logs"].ready],
                database_subnet_group=self.database.subnet_group if self.database else None,
                siem_network=self._siem_network(network, compute),
            ),
            self._child,
        )

    @staticmethod
    def _siem_network(
        network: Network | GivenNetwork | None, compute: Compute
    ) -> SiemNetwork | None:
        """For a SIEM behind an endpoint; `None` where the cluster is somebody else's, or nobody
        here writes names."""
        if network is None or network.private_zone_id is None or compute.cluster is None:
            return None
        return SiemNetwork(
            vpc_id=network.vpc_id,
            subnet_ids=list(network.private_subnet_ids.values()),
            node_security_group_id=compute.cluster.node_security_group_id,
            zone_id=network.private_zone_id,
        )

    def _addresses(self, network: Network | GivenNetwork | None) -> Addresses:
        """What pods may reach outside: the endpoints of the network, and the API server."""
        if network is None:
            existing = self._args.aws.existing_cluster
            there = [str(cidr) for cidr in existing.cidrs] if existing is not None else []
            return Addresses(services=there, api_server=there, nodes=there)
        services = str((self._args.aws.network or NetworkSettings()).service_cidr)
        callers = [str(cidr) for cidr in self._args.aws.ingress.client_cidrs]
        return Addresses(
            # the load balancer looks after the gateway by its own addresses, and hands on clients'
            clients=[network.cidr, *(one for one in callers if one != network.cidr)],
            services=[network.cidr],
            api_server=[network.cidr, services],
            nodes=[network.cidr],
        )

    def _on_the_cluster(
        self,
        kubeconfig: pulumi.Input[str],
        compute: Compute,
        identities: WorkloadIdentities,
        team_keys: Mapping[str, DomainKey],
        given: Mapping[str, Any],
    ) -> dict[str, pulumi.Input[Any]]:
        args, doors = self._args, self.storage.access
        elastic = args.aws.elastic_nodes
        secret = pulumi.Output.secret(kubeconfig)
        provider = compute.provider or kubernetes.Provider(
            f"{self._name}-kubernetes",
            kubeconfig=secret,
            opts=pulumi.ResourceOptions(parent=self),
        )
        # made here, like the provider of the account; all of it comes to a cluster that is ready
        # and leaves while its controllers are still there. A pod is told at its start alone who
        # it is: one before its association never gets an identity, however often it fails
        before = [
            *compute.ready,
            *identities.associations.values(),
            *([self.ingress] if self.ingress is not None else []),
        ]
        on = pulumi.ResourceOptions(parent=self, provider=provider, depends_on=before)
        layer = make_layer(
            self._name,
            LayerArgs(
                environment=args.environment,
                settings=args.layer,
                mirror=Mirror(registry=self._scope, lock=args.lock),
                pools=self._pools_for_pods(),
                with_gpu_plugin=elastic.with_gpu_plugin if elastic is not None else (),
                **given,
            ),
            on,
        )
        return {
            "kubeconfig": secret,
            "teams": {
                team: fields
                | {
                    "role": identities.roles[team_role(team)],
                    "encryption_key": team_keys[team].arn if team in team_keys else None,
                    "folders": dict(doors[team].folders) if team in doors else None,
                }
                for team, fields in layer.teams.items()
            },
            **layer.fields,
        }

    def _given(
        self, keys: Keys, network: Network | GivenNetwork | None, compute: Compute
    ) -> dict[str, Any]:
        """What the layer on the cluster stands on, as far as it is made here."""
        args, scope = self._args, self._scope
        region = args.aws.region
        folders = {
            namespace: scope.secret(folder)
            for namespace, folder in secret_folders(args.layer.teams).items()
        }
        given: dict[str, Any] = {
            "secrets": Secrets(source=SecretsManager(region=region), folders=folders),
            "addresses": self._addresses(network),
            "keep": args.aws.keep_data,
            "backup_bucket": Bucket(
                name=self.storage.stores["backups"].bucket_id,
                region=region,
                key_arn=keys["backups"].arn,
            ),
            "figures_bucket": FiguresBucket(
                name=self.storage.stores["artifacts"].bucket_id,
                region=region,
                folder=FIGURES,
                key=keys["artifacts"].arn,
            ),
        }
        if compute.cluster is not None and network is not None:
            given["disks"] = ebs_disks(keys["cluster"].arn, self._tags(), compute.ready)
            given["cloud"] = Cloud(
                region=region,
                cluster_name=compute.cluster.cluster_name,
                cluster_endpoint=compute.cluster.endpoint,
                vpc_id=network.vpc_id,
                interruption_queue=(
                    compute.elastic.queue_name if compute.elastic is not None else None
                ),
                isolated=(args.aws.network or NetworkSettings()).egress == "none",
            )
        given |= self._databases_of_parts(compute)
        if compute.elastic is not None:
            given["elastic"] = ElasticNodes(
                manifests=compute.elastic.manifests, ready=compute.elastic.ready
            )
        if self.ingress is not None:
            given["way_in"] = WayIn(
                hosts=list(self.ingress.hosts.values()),
                authority=True,
                target_group_arn=self.ingress.target_group_arn,
            )
        return given

    def _databases_of_parts(self, compute: Compute) -> dict[str, Any]:
        """What the parts of the platform keep their own in; nothing where it is not known yet."""
        args, database = self._args, self.database
        authorities = args.aws.database_authorities
        if database is None or authorities is None:
            return {}
        by_iam = args.aws.region if database.by_iam else None
        given: dict[str, Any] = {
            "orchestration": {
                team: InstanceDatabase(
                    host=database.address,
                    port=database.port,
                    name=role_of_team(ORCHESTRATION, team),
                    role=role_of_team(ORCHESTRATION, team),
                    authorities=authorities,
                    region=by_iam,
                )
                for team in args.layer.orchestrated
            }
        }
        if compute.cluster is not None:
            given["tracking"] = TrackingStores(
                database_uri=database.uri("tracking"),
                users_uri=database.uri("tracking", "tracking_users"),
                authorities=authorities,
                bucket_uri=self.storage.stores["artifacts"].uri,
                issuer=compute.cluster.oidc_issuer,
                database_region=by_iam,
            )
        return given

    def _feature_backends(
        self, compute: Compute, team_keys: Mapping[str, DomainKey]
    ) -> dict[str, FeatureBackends]:
        """Team → what its feature store keeps things in; nothing where one of them is missing."""
        region, authorities = self._args.aws.region, self._args.aws.database_authorities
        doors, database, cache = self.storage.access, self.database, self.cache
        if compute.cluster is None or database is None or cache is None or authorities is None:
            return {}
        return {
            team: FeatureBackends(
                registry=RegistryDatabase(
                    host=database.address,
                    port=database.port,
                    name=features_role(team),
                    role=features_role(team),
                    authorities=authorities,
                ),
                online=OnlineStore(host=cache.address, port=cache.port, username=user),
                features_uri=doors[team].folders["data"].apply(lambda folder: f"{folder}features"),
                bucket=S3Endpoint(address=f"https://s3.{region}.amazonaws.com", region=region),
                encryption_key=team_keys[team].arn if team in team_keys else None,
            )
            for team, user in cache.team_users.items()
            if team in doors
        }

    def _pools_for_pods(self) -> dict[str, Pool]:
        plan = self._args.aws.network or NetworkSettings()
        return pools_for_pods(self._args.aws.pools, plan.max_pods)
