"""Cases of `policies/hardening/signatures.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, Change, mutated, resource
from rule_cases.images import REGISTRY
from rule_cases.namespaces import hidden, namespace

VALIDATING: dict[str, Any] = {
    "validationActions": ["Deny"],
    "failurePolicy": "Fail",
    "attestors": [{"name": "pipeline"}],
    "validations": [{"expression": "true"}],
    "matchImageReferences": [{"glob": f"{REGISTRY}*"}],
}
OLD: dict[str, Any] = {
    "rules": [
        {
            "name": "signed",
            "verifyImages": [
                {
                    "imageReferences": [f"{REGISTRY}*"],
                    "failureAction": "Enforce",
                    "attestors": [{"entries": [{"keys": {"kms": "a"}}]}],
                }
            ],
        }
    ]
}
SIGSTORE: dict[str, Any] = {
    "images": [{"glob": f"{REGISTRY}**"}],
    "authorities": [{"key": {"kms": "a"}}],
}
VERIFIED = ("rules", 0, "verifyImages", 0)
SPACE = namespace()


def made(kind: str, spec: Any, *changes: Change) -> list[Resource]:
    """A namespace, and a policy."""
    return [SPACE, resource(f"kubernetes:{kind}", "policy", {"spec": mutated(spec, *changes)})]


def validating(*changes: Change, version: str = "v1") -> list[Resource]:
    return made(f"policies.kyverno.io/{version}:ImageValidatingPolicy", VALIDATING, *changes)


def old(*changes: Change) -> list[Resource]:
    return made("kyverno.io/v1:ClusterPolicy", OLD, *changes)


def sigstore(*changes: Change) -> list[Resource]:
    return made("policy.sigstore.dev/v1beta1:ClusterImagePolicy", SIGSTORE, *changes)


def webhook(failure: Any, name: str = "kyverno-resource") -> list[Resource]:
    kind = "kubernetes:admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration"
    properties = {"metadata": {"name": name}, "webhooks": [{"failurePolicy": failure}]}
    return [*validating(), resource(kind, name, properties)]


GLOB = ("matchImageReferences", 0, "glob")

CASES = (
    Cases(
        rule="signed-image-policy-is-present",
        baseline=validating(),
        fails={
            "none": [SPACE],
            "told alone": validating((("validationActions",), ["Audit"])),
            "let in when it is down": validating((("failurePolicy",), "Ignore")),
            "not at admission": validating((("evaluation",), {"admission": {"enabled": False}})),
            "by nobody": validating((("attestors",), [])),
            "of nothing": validating((("validations",), ABSENT)),
            "of some images": validating((GLOB, f"{REGISTRY}team-a/*")),
            "of another registry": validating((GLOB, "ghcr.io/*")),
            "the old way, told alone": old(((*VERIFIED, "failureAction"), "Audit")),
            "the old way, not said": old(((*VERIFIED, "failureAction"), ABSENT)),
            "the old way, by nobody": old(((*VERIFIED, "attestors"), ABSENT)),
            "the old way, of something else": old((("rules", 0, "verifyImages"), ABSENT)),
            "by sigstore, told alone": sigstore((("mode",), "warn")),
            "by sigstore, by nobody": sigstore((("authorities",), [])),
            "an engine that may be down": webhook("Ignore"),
        },
        passes={
            "of all images": validating((GLOB, "*")),
            "as by default": validating((("failurePolicy",), ABSENT)),
            "an early version": validating(version="v1alpha1"),
            "the old way": old(),
            "the old way, of all rules": old(
                ((*VERIFIED, "failureAction"), ABSENT), (("validationFailureAction",), "enforce")
            ),
            "by sigstore": sigstore(),
            "another's webhook": webhook("Ignore", "cert-manager"),
            "an engine that is asked": webhook("Fail"),
            "one of two": [*validating((("validationActions",), ["Audit"])), *old()[1:]],
            "nothing to keep": [namespace("kube-system")],
        },
        pending={
            "everything": [SPACE, hidden("policies.kyverno.io/v1:ImageValidatingPolicy")],
            "whether": validating((("validationActions",), UNKNOWN)),
            "of which": validating((GLOB, UNKNOWN)),
            "by whom": validating((("attestors",), UNKNOWN)),
            "the old way": old(((*VERIFIED, "failureAction"), UNKNOWN)),
            "rules": old((("rules",), UNKNOWN)),
            "an engine": webhook(UNKNOWN),
        },
        parameters={"exemptNamespaces": ["kube-system"]},
    ),
)
