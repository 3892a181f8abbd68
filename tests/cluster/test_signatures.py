"""The policy on signatures as the API server sees it, by Kyverno's own definition.

Kyverno does not run, so no image is looked at; what it judges stands in `components/kubernetes/
signatures.py`, with the command that shows it on a cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api, ApiError, Object

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
from components.kubernetes.settings import AdmissionSettings
from components.kubernetes.signature_settings import SignatureSettings
from components.kubernetes.signatures import Signatures, SignaturesArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
Signatures(
    "signatures",
    SignaturesArgs(
        environment="prod",
        settings=SignatureSettings.model_validate({{"signers": {SIGNERS}, "sbom": "cyclonedx"}}),
        admission=AdmissionSettings(),
        registry="{REGISTRY}",
        registry_login="amazon",
    ),
    pulumi.ResourceOptions(provider=here),
)
"""


def live(api: Api) -> Object | None:
    """The policy as it is there."""
    metadata = {"name": POLICY}
    return api.get(
        {"apiVersion": API_VERSION, "kind": "ImageValidatingPolicy", "metadata": metadata}
    )


def test_the_policy_is_taken_stays_as_it_is_and_goes(
    program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    api: Api,
) -> None:
    define("kyverno")
    made = program(PROGRAM)
    succeed(made.up())
    there = live(api)
    assert there is not None
    assert there["spec"]["validationActions"] == ["Deny"]
    assert there["spec"]["attestors"][0]["cosign"]["key"]["kms"] == f"awskms:///{KEY}"
    succeed(made.up("--expect-no-changes", "--refresh"))
    succeed(made.destroy())
    assert live(api) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"attestors": None}, "attestors"),
        ({"failurePolicy": "Sometimes"}, "Sometimes"),
        ({"attestor": []}, "unknown field"),
    ],
)
def test_the_server_judges_every_field(
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
