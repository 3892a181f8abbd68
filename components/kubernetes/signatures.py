"""Signatures of images: in staging and prod nothing runs that nobody of ours has signed.

Owns the policy that Kyverno holds every pod to: an image of the registry in the country bears a
signature of one of the signers, its init and debugging containers too, and where asked for an
attested list of its contents. Images from anywhere else are refused by `admission`. Elsewhere than
in staging and prod the policy reports and lets everything in. Leaves Kyverno itself to its chart,
which must be there before, of 1.19 or later: earlier ones ask the internet for the keys of the
public Sigstore even where the signer is a key (kyverno/kyverno issue 16052).

Kyverno fails closed: while it is down nothing new starts, but in the namespaces that are exempt,
its own and those of `admission`. So it has three replicas on nodes that are always there. It reads
the registry and the KMS key as an identity of its own (`ecr:BatchGetImage`,
`ecr:GetDownloadUrlForLayer`, `ecr:GetAuthorizationToken`, `kms:GetPublicKey`, `kms:DescribeKey`).

What Kyverno makes of the policy is not shown by any test here, which prove that the real API server
takes it by the real definition. On a cluster: `kubectl get imagevalidatingpolicies` says ready, and
`kubectl -n <team> run unsigned --image=<registry>/<repository>@<digest>` of an image that nobody
signed is refused with the message below.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource

from components.kubernetes.flows import NAMESPACE
from components.kubernetes.settings import AdmissionSettings
from components.kubernetes.signature_settings import (
    ENFORCED,
    SignatureSettings,
    Signer,
    problems_of_signatures,
)

API_VERSION = "policies.kyverno.io/v1"
POLICY = "falaj-signatures"
ENGINE_NAMESPACE = "kyverno"

_TIMEOUT_SECONDS = 20
"""The registry is asked meanwhile; the server waits for no webhook longer than 30."""
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_CONTENTS = {
    "cyclonedx": "https://cyclonedx.org/bom",
    "spdx": "https://spdx.dev/Document",
}
"""Predicate types, as `cosign attest --type` writes them."""


@dataclass(frozen=True, kw_only=True)
class SignaturesArgs:
    """Who signs, and what is held to it."""

    environment: str
    settings: SignatureSettings
    admission: AdmissionSettings
    """Of the same cluster: its registries and exempt namespaces."""
    registry: pulumi.Input[str] | None = None
    """The place's own, where `admission` names none."""
    regions: Collection[str] = ()
    """In which a KMS key may be; any where none is named."""
    registry_login: str | None = None
    """The place's own (`amazon` on AWS), where `settings` names none."""
    wait_for: Sequence[pulumi.Resource] = ()
    """Kyverno, whose webhook answers for the policy."""

    def __post_init__(self) -> None:
        """Raises `ValueError` where staging or prod have no signer, or a key is outside."""
        problems = [
            f"signatures.{problem}"
            for problem in problems_of_signatures(self.environment, self.settings, self.regions)
        ]
        if not self.admission.registries and self.registry is None:
            problems.append("admission.registries: is empty, and the place has no registry")
        if problems:
            raise ValueError("\n".join(problems))


class Signatures(pulumi.ComponentResource):
    """The policy, where there are signers; `ready` is what pods must wait for to be judged."""

    def __init__(
        self, name: str, args: SignaturesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:kubernetes:Signatures", name, None, opts)
        self.ready: list[pulumi.Resource] = []
        if args.settings.signers:
            registries = pulumi.Output.all(*(args.admission.registries or (args.registry,)))
            self.ready.append(
                CustomResource(
                    f"{name}-policy",
                    api_version=API_VERSION,
                    kind="ImageValidatingPolicy",
                    metadata={"name": POLICY},
                    spec=registries.apply(functools.partial(policy_spec, args)),
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[*args.wait_for]),
                )
            )
        self.register_outputs({})


def policy_spec(args: SignaturesArgs, registries: Sequence[str]) -> dict[str, Any]:
    """The `spec` of the ImageValidatingPolicy for images of `registries`."""
    settings = args.settings
    signers = ", ".join(f"attestors.{_noun(name)}" for name in settings.signers)
    login = settings.registry_login or args.registry_login
    spec: dict[str, Any] = {
        "failurePolicy": "Fail",
        "validationActions": ["Deny"] if args.environment in ENFORCED else ["Audit"],
        "webhookConfiguration": {"timeoutSeconds": _TIMEOUT_SECONDS},
        "evaluation": {"background": {"enabled": True}},
        "matchConstraints": {
            "namespaceSelector": {
                "matchExpressions": [
                    {
                        "key": NAMESPACE,
                        "operator": "NotIn",
                        "values": sorted({ENGINE_NAMESPACE, *args.admission.exempt_namespaces}),
                    }
                ]
            },
            "resourceRules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CREATE", "UPDATE"],
                    "resources": ["pods", "pods/ephemeralcontainers"],
                }
            ],
        },
        "matchImageReferences": [{"glob": f"{one.rstrip('/')}/*"} for one in registries],
        # a tag could be moved after the look; what is declared is not changed, but refused
        "validationConfigurations": {"mutateDigest": False, "verifyDigest": True, "required": True},
        "attestors": [
            {"name": _noun(name), "cosign": _cosign(signer)}
            for name, signer in settings.signers.items()
        ],
        "validations": [_signed(kind, signers) for kind in _CONTAINERS],
    }
    if settings.sbom is not None:
        spec["attestations"] = [{"name": "sbom", "intoto": {"type": _CONTENTS[settings.sbom]}}]
        spec["validations"] += [_listed(kind, signers, settings.sbom) for kind in _CONTAINERS]
    credentials: dict[str, Any] = {}
    if login is not None:
        credentials["providers"] = [login]
    if settings.pull_secrets:
        credentials["secrets"] = list(settings.pull_secrets)
    return spec | ({"credentials": credentials} if credentials else {})


def _noun(name: str) -> str:
    """`name` as expressions can write it."""
    return name.replace("-", "_")


def _cosign(signer: Signer) -> dict[str, Any]:
    if (keyless := signer.keyless) is not None:
        return {
            "keyless": {
                "identities": [{"issuer": keyless.issuer, "subject": keyless.subject}],
                "roots": keyless.roots,
            },
            "ctlog": {"url": keyless.log},
            "tuf": {"mirror": keyless.trust_mirror},
        }
    key = (
        {"kms": f"awskms:///{signer.kms_key}"}
        if signer.kms_key is not None
        else {"data": signer.public_key}
    )
    # with a key of one's own nothing has to be looked up in a public log, which would be outside
    return {"key": key, "ctlog": {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}}


def _signed(kind: str, signers: str) -> dict[str, str]:
    return {
        "expression": f"images.{kind}.map(image, verifyImageSignatures(image, [{signers}]))"
        ".all(count, count > 0)",
        "message": (
            f"an image of {kind} bears no signature of ours: sign it where it is built, or copy it "
            "with its signature (docs/operations.md)"
        ),
    }


def _listed(kind: str, signers: str, sbom: str) -> dict[str, str]:
    return {
        "expression": f"images.{kind}.map(image, verifyAttestationSignatures(image, "
        f"attestations.sbom, [{signers}])).all(count, count > 0)",
        "message": (
            f"nobody of ours has attested what is in an image of {kind}: "
            f"cosign attest --type {'spdxjson' if sbom == 'spdx' else sbom}"
        ),
    }
