"""The gateway of the mesh on a real API server, under our own admission and Pod Security."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api

IMAGE = f"registry.ae.example/prod/istio-proxyv2:1@sha256:{'0' * 64}"
PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.gateway import Gateway, GatewayArgs
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamQuota
from components.kubernetes.tenancy import Namespace, NamespaceArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
priorities = Priorities("priorities", opts)
admission = Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
Gateway(
    "gateway",
    GatewayArgs(
        hosts=["serving.example.ae"],
        image="{IMAGE}",
        issuer="bank",
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
        wait_for=[priorities, admission],
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
    define("istio", "cert-manager", "aws-load-balancer-controller")
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
