"""Where a workload is released: what splits its traffic, serves its models and keeps its journal.

A connection says which place it is. On one machine that is the local gateway, its workers and a
folder; on a cluster the objects of the team's namespace, reached through the API server.
"""

from __future__ import annotations

import functools
import os

import httpx

from workloads.delivery.api_server import CONTEXT, client_of
from workloads.delivery.connection import Connection
from workloads.delivery.ledger import FolderLedger, LeaseLedger, Ledger
from workloads.delivery.mesh import MeshRoute, MeshTrafficSplit
from workloads.delivery.servers import PodServers, Servers, WorkerServers
from workloads.delivery.traffic import GatewayTrafficSplit, TrafficSplit


def traffic_of(connection: Connection) -> TrafficSplit:
    """The split of the workload's live traffic. Raises `NotUpError` where it is not moved from
    here.
    """
    connection.require_releases()
    if connection.split:
        return _mesh(connection)
    return GatewayTrafficSplit(
        connection.traffic_weights, connection.traffic_socket, connection.traffic_backend
    )


def servers_of(connection: Connection) -> Servers:
    """The servers of the workload's slots. Raises `NotUpError` where a cluster has no way in."""
    if not connection.split:
        return WorkerServers(connection.slots)
    split = _mesh(connection)
    route = split.route
    pods = {
        slot: f"-n {route.namespace} -l falaj/workload={connection.workload},falaj/slot={slot}"
        for slot in route.slots
    }
    return PodServers(split, connection.metrics_url, connection.series, pods)


def ledger_of(connection: Connection) -> Ledger:
    """Who releases, and what was done. Raises `NotUpError` where a cluster has no way in."""
    if not connection.split:
        return FolderLedger(connection.state, connection.workload)
    split = _mesh(connection)
    return _lease(split.client, split.route.namespace, connection.workload)


@functools.cache
def _lease(client: httpx.Client, namespace: str, workload: str) -> LeaseLedger:
    """One for a process: it knows whether the process holds the Lease."""
    return LeaseLedger(client, namespace, workload)


def _mesh(connection: Connection) -> MeshTrafficSplit:
    said = dict(connection.split)
    server = str(said.pop("server"))
    variables = (os.environ.get("KUBECONFIG"), os.environ.get(CONTEXT))
    return MeshTrafficSplit(_client(server, *variables), MeshRoute(**said))


@functools.cache
def _client(server: str, *_variables: str | None) -> httpx.Client:
    """One for all that a command asks; `_variables` are those that it is made of."""
    return client_of(server)
