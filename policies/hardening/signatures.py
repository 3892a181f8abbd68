"""Rules on signatures: a cluster takes the images alone that the organisation signed."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from policies.common.images import Registries, sample_of
from policies.common.namespaces import NAMESPACE, name_of
from policies.common.places import found, shown
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import Stack

_VALIDATING = frozenset(
    f"kubernetes:policies.kyverno.io/{version}:ImageValidatingPolicy"
    for version in ("v1", "v1beta1", "v1alpha1")
)
_CLUSTER_POLICIES = frozenset(
    f"kubernetes:kyverno.io/{version}:ClusterPolicy" for version in ("v1", "v2beta1")
)
_SIGSTORE = frozenset(
    f"kubernetes:policy.sigstore.dev/{version}:ClusterImagePolicy"
    for version in ("v1beta1", "v1alpha1")
)
_POLICIES = _VALIDATING | _CLUSTER_POLICIES | _SIGSTORE
_WEBHOOKS = "kubernetes:admissionregistration.k8s.io/v1:ValidatingWebhookConfiguration"
_ENGINES = ("kyverno", "sigstore")


class Signed(Registries):
    """Images of which registries must be signed, and where not."""

    exemptNamespaces: tuple[str, ...] = ()  # noqa: N815


def signed_images(stack: Stack, parameters: Signed) -> Iterator[Finding]:
    """Who gets into the registry gets into the cluster, unless somebody looks at signatures."""
    namespaces = [
        one for one in stack.of({NAMESPACE}) if name_of(one) not in parameters.exemptNamespaces
    ]
    policies = stack.of(_POLICIES)
    for registry in parameters.allowedRegistries if namespaces else ():
        answers = [_verifies(policy, registry) for policy in policies]
        if True in answers:
            continue
        where = f"images of {registry}"
        if UNKNOWN in answers:
            yield pending(namespaces[0], where, "may be verified by a policy that is not known yet")
        else:
            what = "are verified by no policy of the stack that denies what is not signed"
            yield Finding(resource=namespaces[0], where=where, what=what)
    for webhook in stack.of({_WEBHOOKS}):
        yield from _fails_closed(webhook)


def _verifies(policy: Resource, registry: str) -> Any:
    """Whether `policy` keeps what is not signed of `registry` out, or `UNKNOWN`."""
    if policy.hidden:
        return UNKNOWN
    if policy.type in _VALIDATING:
        return _validating(policy, registry)
    if policy.type in _SIGSTORE:
        globs = policy.at("spec", "images")
        asked = [policy.at("spec", "mode"), policy.at("spec", "authorities")]
        return _all(
            asked[0] if asked[0] is UNKNOWN else asked[0] != "warn",
            _some(asked[1]),
            _covers([at(one, "glob") for one in _listed(globs)], registry),
        )
    rules = policy.at("spec", "rules")
    default = policy.at("spec", "validationFailureAction")
    answers = [_old(policy, one, default, registry) for one in _listed(rules)]
    return True if True in answers else UNKNOWN if UNKNOWN in (rules, *answers) else False


def _validating(policy: Resource, registry: str) -> Any:
    spec = policy.at("spec")
    actions, failure = at(spec, "validationActions"), at(spec, "failurePolicy")
    admission = at(spec, "evaluation", "admission", "enabled")
    references = [at(one, "glob") for one in _listed(at(spec, "matchImageReferences"))]
    return _all(
        UNKNOWN if actions is UNKNOWN else "Deny" in _listed(actions),
        UNKNOWN if failure is UNKNOWN else failure != "Ignore",
        UNKNOWN if admission is UNKNOWN else admission is not False,
        _some(at(spec, "attestors")),
        _some(at(spec, "validations")),
        _covers(references, registry),
    )


def _old(policy: Resource, rule: Any, default: Any, registry: str) -> Any:
    """What is deprecated since Kyverno 1.17 says it in each rule."""
    verified = at(rule, "verifyImages")
    answers: list[Any] = [verified] if verified is UNKNOWN else []
    for one in _listed(verified):
        action = at(one, "failureAction")
        action = default if is_missing(action) else action
        failure = policy.at("spec", "failurePolicy")
        answers.append(
            _all(
                UNKNOWN if action is UNKNOWN else str(action).lower() == "enforce",
                UNKNOWN if failure is UNKNOWN else failure != "Ignore",
                _some(at(one, "attestors")),
                _covers(_listed(at(one, "imageReferences")), registry),
            )
        )
    return True if True in answers else UNKNOWN if UNKNOWN in answers else False


def _all(*answers: Any) -> Any:
    return False if False in answers else UNKNOWN if UNKNOWN in answers else True


def _some(value: Any) -> Any:
    return UNKNOWN if value is UNKNOWN else not is_missing(value)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [UNKNOWN] if value is UNKNOWN else []


def _covers(globs: Any, registry: str) -> Any:
    """Whether every image of `registry` is among `globs`."""
    known = [one for one in globs if isinstance(one, str)]
    if any(fnmatch.fnmatchcase(sample_of(registry, one), _wild(one)) for one in known):
        return True
    return UNKNOWN if UNKNOWN in globs else False


def _wild(glob: str) -> str:
    """A pattern of Kyverno; in brackets ours would see a set of letters."""
    return glob.replace("[", "[[]")


def _fails_closed(webhook: Resource) -> Iterator[Finding]:
    if not any(engine in str(webhook.at("metadata", "name")) for engine in _ENGINES):
        return
    for place, policy in found(webhook.properties, "webhooks.failurePolicy"):
        if policy is UNKNOWN:
            yield pending(webhook, shown(place))
        elif policy == "Ignore":
            what = "is Ignore: while the engine is down, anything is let in"
            yield Finding(resource=webhook, where=shown(place), what=what)


RULES = (
    Rule(
        name="signed-image-policy-is-present",
        description="Every cluster lets in the images alone that are signed.",
        mend="add an ImageValidatingPolicy with Deny for all images of the registry.",
        applies_to=lambda resource: resource.type == NAMESPACE,
        parameters=Signed,
        together=signed_images,
    ),
)
