"""An environment on a cluster that somebody else keeps: the Kubernetes layer on a kubeconfig.

Sovereign and hybrid sites need it: not every body may use a hyperscaler, and a region can be lost.
The cluster, its nodes, their storage and the services around it must exist before; this place makes
what runs on them and says of the rest what it was told.
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.images import Lock, Mirror
from components.kubernetes.feature_store import FeatureBackends, OnlineStore, RegistryDatabase
from components.kubernetes.flows import Addresses
from components.kubernetes.layer import LayerArgs, TrackingStores, WayIn, make_layer
from components.kubernetes.layer_settings import LayerSettings
from components.kubernetes.orchestration_files import InstanceDatabase
from components.kubernetes.place_settings import GivenFeatures, KubernetesSettings
from components.kubernetes.tracking import S3Endpoint


@dataclass(frozen=True, kw_only=True)
class KubernetesPlaceArgs:
    """Which cluster, and what is asked for on it."""

    environment: str
    kubernetes: KubernetesSettings
    layer: LayerSettings
    kubeconfig: pulumi.Input[str]
    """A secret, also where it is not marked as one."""
    lock: Lock


class KubernetesPlace(pulumi.ComponentResource):
    """The layer on that cluster; `fields` is what it fills of `PlatformOutputs`."""

    fields: dict[str, pulumi.Input[Any]]

    def __init__(
        self, name: str, args: KubernetesPlaceArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:KubernetesPlace", name, None, opts)
        given = args.kubernetes
        secret = pulumi.Output.secret(args.kubeconfig)
        provider = kubernetes.Provider(
            f"{name}-kubernetes",
            kubeconfig=secret,
            opts=pulumi.ResourceOptions(parent=self),
        )
        pools = given.pools_for_pods()
        layer = make_layer(
            name,
            LayerArgs(
                environment=args.environment,
                settings=args.layer,
                mirror=Mirror(registry=given, lock=args.lock),
                addresses=Addresses(
                    clients=given.clients,
                    services=given.services,
                    api_server=given.api_server,
                    api_server_ports=(given.api_server_port,),
                    nodes=given.nodes,
                    credentials=(),
                ),
                pools=pools,
                keep=given.keep_data,
                tracking=_stores(given),
                orchestration=_databases(args.layer, given),
                features={team: _backends(one) for team, one in given.features.items()},
                way_in=(
                    WayIn(hosts=_hosts(given.domain, args.layer), issuer=given.issuer)
                    if given.domain is not None
                    else None
                ),
            ),
            # made here, so that children cannot inherit it
            pulumi.ResourceOptions(parent=self, provider=provider),
        )
        self.fields = {
            "kubeconfig": secret,
            "node_pools": {
                pool: {
                    "kind": one.kind,
                    "instance_types": list(one.gpu_models),
                    "min_nodes": 0,
                    "max_nodes": one.max_nodes,
                }
                for pool, one in pools.items()
            },
            "teams": layer.teams,
            **layer.fields,
        }
        self.register_outputs({})


def _stores(given: KubernetesSettings) -> TrackingStores | None:
    stores, authorities = given.tracking, given.database_authorities
    if stores is None or authorities is None:
        return None
    return TrackingStores(
        database_uri=stores.database_uri,
        users_uri=stores.users_uri,
        authorities=authorities,
        bucket_uri=stores.bucket_uri,
        issuer=stores.issuer,
        endpoint=S3Endpoint(address=stores.endpoint, region=stores.region),
    )


def _hosts(domain: str, layer: LayerSettings) -> list[str]:
    """What the gateway answers for: models first, then pages for people."""
    tracking = layer.tracking.hosts if layer.tracking is not None else ()
    grafana = layer.monitoring.grafana if layer.monitoring is not None else None
    figures = [grafana.host] if grafana is not None else []
    return list(dict.fromkeys([f"serving.{domain}", *tracking, *figures, *layer.page_hosts]))


def _databases(layer: LayerSettings, given: KubernetesSettings) -> dict[str, InstanceDatabase]:
    """Team → the database of its Dagster, signed in to by password."""
    if layer.orchestration is None or given.database_authorities is None:
        return {}
    found = {}
    for team, uri in given.orchestration.items():
        parts = urllib.parse.urlsplit(uri)
        found[team] = InstanceDatabase(
            host=str(parts.hostname),
            port=parts.port or 5432,
            name=parts.path.removeprefix("/"),
            role=str(parts.username),
            authorities=given.database_authorities,
        )
    return found


def _backends(given: GivenFeatures) -> FeatureBackends:
    registry = urllib.parse.urlsplit(given.registry_uri)
    return FeatureBackends(
        registry=RegistryDatabase(
            host=registry.hostname or "",
            port=registry.port or 5432,
            name=registry.path.removeprefix("/"),
            role=registry.username or "",
            authorities=given.authorities,
        ),
        online=OnlineStore(
            host=given.online_host,
            port=given.online_port,
            username=given.online_user,
            authorities=given.authorities,
        ),
        features_uri=given.features_uri,
        bucket=S3Endpoint(address=given.endpoint, region=given.region),
        bucket_by_keys=True,
    )
