"""The gateway of the mesh on a real API server, under our own admission and Pod Security."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from applied import KUBECONFIG, Program
from kubernetes_api import Api, ApiError

IMAGE = f"registry.ae.example/prod/istio-proxyv2:1@sha256:{'0' * 64}"
PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.authority import Authority, AuthorityArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.gateway import Gateway, GatewayArgs
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs, Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
priorities = Priorities("priorities", opts)
admission = Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
room = Namespace(
    "certificates",
    NamespaceArgs(
        namespace="certificates", part="certificates", quota=TeamQuota(), addresses=Addresses()
    ),
    opts,
)
Team("credit", TeamArgs(team="credit", quota=TeamQuota()), opts)
authority = Authority(
    "authority",
    AuthorityArgs(
        store="falaj-certificates",
        served={{"serving": ["serving.example.ae"]}},
        wait_for=room.ready,
    ),
    opts,
)
Gateway(
    "gateway",
    GatewayArgs(
        hosts=["serving.example.ae"],
        image="{IMAGE}",
        issuer=authority.issuer,
        target_group_arn="arn:aws:elasticloadbalancing:me-central-1:1:targetgroup/falaj/0a",
        inside=Namespace(
            "serving",
            NamespaceArgs(
                namespace="serving",
                part="serving",
                quota=TeamQuota(),
                addresses=Addresses(clients=["10.64.0.0/16"], api_server=["10.96.0.1/32"]),
            ),
            opts,
        ),
        wait_for=[priorities, admission, *authority.ready],
    ),
    opts,
)
"""


@pytest.fixture(scope="module", autouse=True)
def gateway(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
) -> Program:
    """The gateway, applied."""
    define("istio", "cert-manager", "aws-load-balancer-controller", "external-secrets")
    program = lasting_program(PROGRAM)
    succeed(program.up())
    return program


def test_applied_again_nothing_changes(gateway: Program, succeed: Callable[..., Any]) -> None:
    succeed(gateway.up("--expect-no-changes"))


def test_its_pods_may_come_in(api: Api) -> None:
    deployment = api.get(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "gateway", "namespace": "serving"},
        }
    )
    assert deployment is not None
    template = deployment["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "one", "namespace": "serving"},
        "spec": template["spec"],
    }
    # the account is there, and neither Pod Security nor a policy of ours refuses it
    api.request("POST", api.path("v1", "Pod", "", "serving") + "?dryRun=All", json=pod)


@pytest.mark.parametrize(
    ("api_version", "kind", "name"),
    [
        ("networking.istio.io/v1", "Gateway", "models"),
        ("cert-manager.io/v1", "Certificate", "gateway-tls"),
        ("elbv2.k8s.aws/v1beta1", "TargetGroupBinding", "gateway"),
    ],
)
def test_what_others_answer_for_is_there(api: Api, api_version: str, kind: str, name: str) -> None:
    thing = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "namespace": "serving"},
    }
    assert api.get(thing) is not None


def certificate(namespace: str, **changes: Any) -> dict[str, Any]:
    """A Certificate as a program could ask for it."""
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "another", "namespace": namespace},
        "spec": {
            "secretName": "another",
            "dnsNames": ["serving.example.ae"],
            "issuerRef": {"kind": "ClusterIssuer", "name": "falaj-authority"},
            **changes,
        },
    }


def asked(api: Api, thing: dict[str, Any]) -> str:
    """What the API server says of it: nothing where it is taken."""
    try:
        api.create(thing, dry_run=True)
    except ApiError as error:
        return str(error)
    return ""


def test_the_authority_signs_for_the_gateways_names_alone(api: Api) -> None:
    # a policy is in force some moments after it is there
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2),
        stop=tenacity.stop_after_delay(60),
        retry=tenacity.retry_if_exception_type(AssertionError),
        reraise=True,
    ):
        with pause:
            assert "signs for serving alone" in asked(api, certificate("credit"))

    assert asked(api, certificate("serving")) == ""
    for changes in (
        {"dnsNames": ["bank.ae"]},
        {"dnsNames": ["serving.example.ae", "bank.ae"]},
        {"isCA": True},
        {"commonName": "bank.ae"},
        {"ipAddresses": ["10.0.0.1"]},
    ):
        said = asked(api, certificate("serving", **changes))
        assert "the gateway's own names alone" in said, changes
    # others' issuers are none of its business
    own = {"kind": "Issuer", "name": "falaj-authority"}
    assert asked(api, certificate("credit", issuerRef=own)) == ""
