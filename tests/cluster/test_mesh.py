"""The mesh's objects as the API server sees them, by Istio's own definitions. No ztunnel runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api, ApiError, Object

from components.kubernetes.flows import IN_MESH, MESH, TEAM
from components.kubernetes.mesh import SECURITY, rules

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.flows import Addresses
from components.kubernetes.mesh import Mesh, MeshArgs, MeshRules, MeshRulesArgs
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
quota = TeamQuota()
mesh = Mesh("mesh", MeshArgs(quota=quota, addresses=addresses), opts)
team = Team("wool", TeamArgs(team="wool", quota=quota, addresses=addresses, mesh=True), opts)
MeshRules(
    "wool-rules",
    MeshRulesArgs(namespace=team.namespace, part="team", name="wool", teams=["wool"]),
    opts,
)
"""


def test_the_mesh_is_taken_stays_as_it_is_and_goes(
    program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> None:
    define("istio", "prometheus-operator")
    made = program(PROGRAM)
    succeed(made.up())
    assert strict(api) == ["STRICT"]
    (wool,) = (one for one in api.list("v1", "Namespace") if one["metadata"]["name"] == "wool")
    assert wool["metadata"]["labels"]["istio.io/dataplane-mode"] == "ambient"
    made_of = {one["metadata"]["name"] for one in api.list(SECURITY, "AuthorizationPolicy", "wool")}
    assert made_of == {f"falaj-{noun}" for noun in rules(TEAM, name="wool", teams=["wool"])}
    # its pods may have what no other's may
    api.create(agent(MESH), dry_run=True)
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api.create(agent("wool"), dry_run=True)
    succeed(made.up("--expect-no-changes", "--refresh"))
    succeed(made.destroy())
    assert strict(api) == []
    left = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    assert not {MESH, "wool"} & left


def strict(api: Api) -> list[str]:
    """The mode of each PeerAuthentication in the mesh's namespace."""
    found = api.list(SECURITY, "PeerAuthentication", MESH)
    return [one["spec"]["mtls"]["mode"] for one in found]


def agent(namespace: str) -> Object:
    """A pod as istio-cni's are."""
    container = {
        "name": "install-cni",
        "image": "registry.ae.example/prod/istio-install-cni",
        "securityContext": {"capabilities": {"add": ["NET_ADMIN", "SYS_ADMIN"]}},
        "volumeMounts": [{"name": "cni", "mountPath": "/host/opt/cni/bin"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "agent", "namespace": namespace},
        "spec": {
            "serviceAccountName": "default",
            "containers": [container],
            "volumes": [{"name": "cni", "hostPath": {"path": "/opt/cni/bin"}}],
        },
    }


@pytest.mark.parametrize("part", IN_MESH)
def test_each_rule_is_one_that_the_server_takes(
    define: Callable[..., list[str]], api: Api, part: str
) -> None:
    define("istio")

    def made(spec: Object) -> Object:
        metadata = {"name": "tried", "namespace": "default"}
        thing = {"apiVersion": SECURITY, "kind": "AuthorizationPolicy", "metadata": metadata}
        return {**thing, "spec": spec}

    of = rules(part, name="wool" if part == TEAM else "", teams=["wool"])
    for spec in of.values():
        api.create(made(spec), dry_run=True)
    with pytest.raises(ApiError, match="Unsupported value"):
        api.create(made({"action": "PERHAPS"}), dry_run=True)
