"""What guards connections and images, as the API server sees it: the mesh and the signatures.

By Istio's and Kyverno's own definitions. Neither runs, so that no connection and no image is judged
here; the components say by which commands a cluster shows that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api, ApiError, Object

from components.kubernetes.flows import IN_MESH, MESH, TEAM
from components.kubernetes.mesh import SECURITY, rules
from components.kubernetes.settings import AdmissionSettings
from components.kubernetes.signature_settings import SignatureSettings
from components.kubernetes.signatures import API_VERSION, POLICY, SignaturesArgs, policy_spec

KEY = "arn:aws:kms:me-central-1:432109876543:key/01234567-89ab-cdef-0123-456789abcdef"
SIGNERS = {"pipeline": {"kms_key": KEY}}
REGISTRY = "registry.ae.example/prod"
PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.flows import MESH, Addresses
from components.kubernetes.mesh import REASON, Mesh, MeshArgs, MeshRules, MeshRulesArgs
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.signature_settings import SignatureSettings
from components.kubernetes.signatures import Signatures, SignaturesArgs
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
quota = TeamQuota()
space = Namespace(
    "mesh-space",
    NamespaceArgs(
        namespace=MESH, part=MESH, quota=quota, addresses=addresses, mesh=True,
        level="privileged", reason=REASON,
    ),
    opts,
)
Mesh("mesh", MeshArgs(space=space), opts)
team = Team("wool", TeamArgs(team="wool", quota=quota, addresses=addresses, mesh=True), opts)
MeshRules(
    "wool-rules",
    MeshRulesArgs(namespace=team.namespace, part="team", name="wool", teams=["wool"]),
    opts,
)
Signatures(
    "signatures",
    SignaturesArgs(
        environment="prod",
        settings=SignatureSettings.model_validate({{"signers": {SIGNERS}, "sbom": "cyclonedx"}}),
        admission=AdmissionSettings(),
        registry="{REGISTRY}",
        registry_login="amazon",
    ),
    opts,
)
"""


def test_the_guards_are_taken_stay_as_they_are_and_go(
    program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> None:
    define("istio", "prometheus-operator", "kyverno")
    made = program(PROGRAM)
    succeed(made.up())
    assert strict(api) == ["STRICT"]
    (wool,) = (one for one in api.list("v1", "Namespace") if one["metadata"]["name"] == "wool")
    assert wool["metadata"]["labels"]["istio.io/dataplane-mode"] == "ambient"
    made_of = {one["metadata"]["name"] for one in api.list(SECURITY, "AuthorizationPolicy", "wool")}
    assert made_of == {f"falaj-{noun}" for noun in rules(TEAM, name="wool", teams=["wool"])}
    policy = live(api)
    assert policy is not None
    assert policy["spec"]["validationActions"] == ["Deny"]
    assert policy["spec"]["attestors"][0]["cosign"]["key"]["kms"] == f"awskms:///{KEY}"
    # the mesh's own pods may have what no other's may
    api.create(agent(MESH), dry_run=True)
    with pytest.raises(ApiError, match="violates PodSecurity"):
        api.create(agent("wool"), dry_run=True)
    succeed(made.up("--expect-no-changes", "--refresh"))
    succeed(made.destroy())
    assert strict(api) == []
    assert live(api) is None
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


def live(api: Api) -> Object | None:
    """The policy as it is there."""
    metadata = {"name": POLICY}
    return api.get(
        {"apiVersion": API_VERSION, "kind": "ImageValidatingPolicy", "metadata": metadata}
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"attestors": None}, "attestors"),
        ({"failurePolicy": "Sometimes"}, "Sometimes"),
        ({"attestor": []}, "unknown field"),
    ],
)
def test_the_server_judges_every_field_of_the_policy(
    define: Callable[..., list[str]], api: Api, spoil: dict[str, Any], said: str
) -> None:
    define("kyverno")
    settings = SignatureSettings.model_validate({"signers": SIGNERS})
    args = SignaturesArgs(
        environment="prod", settings=settings, admission=AdmissionSettings(), registry=REGISTRY
    )
    spec = policy_spec(args, [REGISTRY])

    def made(spec: Object) -> Object:
        metadata = {"name": "spoiled"}
        thing = {"apiVersion": API_VERSION, "kind": "ImageValidatingPolicy", "metadata": metadata}
        return {**thing, "spec": spec}

    api.create(made(spec), dry_run=True)
    spoiled = {key: value for key, value in (spec | spoil).items() if value is not None}
    with pytest.raises(ApiError, match=said):
        api.create(made(spoiled), dry_run=True)
