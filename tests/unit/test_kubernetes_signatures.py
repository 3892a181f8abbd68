"""Signatures of images: the settings, and the policy that is made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from components.kubernetes.settings import AdmissionSettings
from components.kubernetes.signature_settings import SignatureSettings, problems_of_signatures
from components.kubernetes.signatures import (
    ENGINE_NAMESPACE,
    Signatures,
    SignaturesArgs,
    policy_spec,
)

Record = Callable[[Callable[[], object]], Any]

KEY = "arn:aws:kms:me-central-1:432109876543:key/01234567-89ab-cdef-0123-456789abcdef"
PUBLIC_KEY = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQ==\n-----END PUBLIC KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIDTTCCAjWgAwIBAgIJAPI=\n-----END CERTIFICATE-----\n"
KEYLESS = {
    "issuer": "https://gitlab.bank.example",
    "subject": "https://gitlab.bank.example/ml/images//.gitlab-ci.yml@refs/heads/main",
    "roots": CERTIFICATE,
    "trust_mirror": "https://tuf.bank.example",
    "log": "https://rekor.bank.example",
}
REGISTRY = "432109876543.dkr.ecr.me-central-1.amazonaws.com/prod"


def settings(**more: Any) -> SignatureSettings:
    """With one signer, a key of KMS."""
    return SignatureSettings.model_validate({"signers": {"pipeline": {"kms_key": KEY}}} | more)


def args(environment: str = "prod", **more: Any) -> SignaturesArgs:
    """For an environment whose registry is the place's own."""
    given: dict[str, Any] = {
        "settings": settings(),
        "admission": AdmissionSettings(),
        "registry": REGISTRY,
    }
    return SignaturesArgs(environment=environment, **(given | more))


def spec(environment: str = "prod", **more: Any) -> dict[str, Any]:
    """Of the policy."""
    return policy_spec(args(environment, **more), [REGISTRY])


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "signer", [{"kms_key": KEY}, {"public_key": PUBLIC_KEY}, {"keyless": KEYLESS}]
)
def test_a_signer_is_a_key_of_kms_a_public_key_or_an_identity(signer: dict[str, Any]) -> None:
    read = SignatureSettings.model_validate({"signers": {"one": signer}})
    assert list(problems_of_signatures("prod", read)) == []


@pytest.mark.parametrize(
    ("signer", "said"),
    [
        ({}, "a signer is one of kms_key, public_key and keyless; here is none"),
        ({"kms_key": KEY, "public_key": PUBLIC_KEY}, r"here is \['kms_key', 'public_key'\]"),
        ({"kms_key": "alias/signing"}, "kms_key"),
        ({"public_key": PUBLIC_KEY.replace("PUBLIC", "PRIVATE")}, "public_key"),
        ({"keyless": KEYLESS | {"subject": "https://gitlab.bank.example/*"}}, "an identity is one"),
        ({"keyless": KEYLESS | {"log": "https://rekor.sigstore.dev"}}, "log: .* public Sigstore"),
        (
            {"keyless": KEYLESS | {"trust_mirror": "https://tuf-repo-cdn.sigstore.dev"}},
            "trust_mirror: .* public Sigstore",
        ),
    ],
)
def test_what_is_no_signer_is_refused(signer: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SignatureSettings.model_validate({"signers": {"one": signer}})


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_staging_and_prod_need_a_signer_and_hear_the_way_out(environment: str) -> None:
    (said,) = problems_of_signatures(environment, SignatureSettings())
    assert said.startswith("signers: is empty")
    assert "cosign sign" in said
    with pytest.raises(ValueError, match=r"signatures\.signers: is empty"):
        args(environment, settings=SignatureSettings())


@pytest.mark.parametrize("environment", ["local", "dev", "test"])
def test_elsewhere_nobody_has_to_sign(environment: str) -> None:
    assert list(problems_of_signatures(environment, SignatureSettings())) == []


def test_a_key_outside_of_the_country_is_refused() -> None:
    (said,) = problems_of_signatures("prod", settings(), ["eu-west-1"])
    assert said.startswith("signers.pipeline.kms_key: is in me-central-1, and allowed are eu-west-")
    assert list(problems_of_signatures("prod", settings(), ["me-central-1"])) == []


def test_a_cluster_without_a_registry_is_refused() -> None:
    with pytest.raises(ValueError, match=r"admission\.registries: is empty"):
        args(registry=None)


# --- the policy -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "action"),
    [("dev", "Audit"), ("test", "Audit"), ("staging", "Deny"), ("prod", "Deny")],
)
def test_staging_and_prod_refuse_and_the_others_report(environment: str, action: str) -> None:
    assert spec(environment)["validationActions"] == [action]


def test_it_fails_closed_but_for_the_namespaces_that_are_exempt() -> None:
    exempt = {"kube-system": "the cloud brings its own", "istio-system": "its pods come first"}
    made = spec(admission=AdmissionSettings(exempt_namespaces=exempt))
    assert made["failurePolicy"] == "Fail"
    (where,) = made["matchConstraints"]["namespaceSelector"]["matchExpressions"]
    assert where["operator"] == "NotIn"
    assert set(where["values"]) == {*exempt, ENGINE_NAMESPACE}


@pytest.mark.parametrize("kind", ["containers", "initContainers", "ephemeralContainers"])
def test_every_container_is_looked_at(kind: str) -> None:
    about = [one for one in spec()["validations"] if f"images.{kind}." in one["expression"]]
    assert ["verifyImageSignatures" in one["expression"] for one in about] == [True]
    (rule,) = spec()["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == {"pods", "pods/ephemeralcontainers"}


def test_one_signer_of_several_is_enough() -> None:
    two = settings(signers={"old-key": {"kms_key": KEY}, "new-key": {"public_key": PUBLIC_KEY}})
    made = spec(settings=two)
    assert [one["name"] for one in made["attestors"]] == ["old_key", "new_key"]
    for one in made["validations"]:
        assert "[attestors.old_key, attestors.new_key])).all(count, count > 0)" in one["expression"]


def test_with_a_key_nothing_is_asked_of_the_internet() -> None:
    two = settings(signers={"kms": {"kms_key": KEY}, "file": {"public_key": PUBLIC_KEY}})
    for attestor in spec(settings=two)["attestors"]:
        log = attestor["cosign"]["ctlog"]
        assert log == {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}


def test_an_identity_is_checked_against_a_sigstore_of_ones_own() -> None:
    (attestor,) = spec(settings=settings(signers={"ci": {"keyless": KEYLESS}}))["attestors"]
    cosign = attestor["cosign"]
    assert cosign["keyless"]["identities"] == [
        {"issuer": KEYLESS["issuer"], "subject": KEYLESS["subject"]}
    ]
    assert cosign["tuf"] == {"mirror": KEYLESS["trust_mirror"]}
    assert cosign["ctlog"] == {"url": KEYLESS["log"]}


def test_a_tag_does_not_do_and_nothing_that_was_declared_is_changed() -> None:
    held = spec()["validationConfigurations"]
    assert held == {"mutateDigest": False, "verifyDigest": True, "required": True}


def test_the_contents_must_be_attested_where_that_is_asked() -> None:
    assert "attestations" not in spec()
    made = spec(settings=settings(sbom="spdx"))
    assert made["attestations"] == [
        {"name": "sbom", "intoto": {"type": "https://spdx.dev/Document"}}
    ]
    assert sum("attestations.sbom" in one["expression"] for one in made["validations"]) == 3


def test_the_registry_is_opened_by_the_place_unless_the_settings_say_how() -> None:
    assert "credentials" not in spec()
    assert spec(registry_login="amazon")["credentials"] == {"providers": ["amazon"]}
    own = settings(registry_login="azure", pull_secrets=["pull"])
    made = spec(settings=own, registry_login="amazon")
    assert made["credentials"] == {"providers": ["azure"], "secrets": ["pull"]}


def test_images_of_the_registry_are_held_to_it_and_no_lookalike(record: Record) -> None:
    (made,) = record(lambda: Signatures("signatures", args())).of("ImageValidatingPolicy")
    assert made.inputs["spec"]["matchImageReferences"] == [{"glob": f"{REGISTRY}/*"}]
    own = AdmissionSettings(registries=("registry.ae/ml/",))
    (made,) = record(lambda: Signatures("signatures", args(admission=own))).of(
        "ImageValidatingPolicy"
    )
    assert made.inputs["spec"]["matchImageReferences"] == [{"glob": "registry.ae/ml/*"}]


def test_without_signers_there_is_no_policy(record: Record) -> None:
    made = record(lambda: Signatures("signatures", args("dev", settings=SignatureSettings())))
    assert made.of("ImageValidatingPolicy") == []
