"""What every pod must be before a cluster takes it, as the rules ask it of what is deployed.

What stands here is asked of each pod, whoever makes it; the rest of the rules on pods is held by
Pod Security's level ``restricted``, which a label of a namespace asks for.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from policies.guards.admission import Check, Level, of_containers

Noun = Literal["images", "digests", "limits", "no-privilege", "labels"]
NOUNS: tuple[Noun, ...] = get_args(Noun)

DIGEST = r"^[^@]+@sha256:[0-9a-f]{64}$"
"""How a name ends that cannot be moved to another image; in the syntax of RE2 and of Python."""
LATEST = r":latest(@|$)"
"""A tag that says nothing, whatever stands behind it."""


@dataclass(frozen=True, kw_only=True)
class PodRules:
    """What is asked of pods."""

    registries: Collection[str]
    """Where images may come from, by how their names begin; up to a whole part of the name."""
    levels: Mapping[Noun, Level] = field(default_factory=lambda: dict.fromkeys(NOUNS, "deny"))
    """What is asked at all, and what a no does."""
    cpu_limits: bool = False
    """Whether a limit of CPU is asked for as well as one of memory."""
    required_labels: Collection[str] = ()
    exempt_namespaces: Collection[str] = ()
    """Where nothing is asked."""
    exempt: Mapping[Noun, Collection[str]] = field(default_factory=dict)
    """Where one of these is not asked, besides."""


def checks(rules: PodRules) -> dict[str, Check]:
    """Every policy by its name, those alone that `rules` ask for.

    Raises `ValueError` where any image would be refused.
    """
    if "images" in rules.levels and not rules.registries:
        raise ValueError("registries: is empty, so that no image could come in")
    return {
        noun: replace(
            check,
            level=rules.levels[noun],
            exempt=sorted({*rules.exempt_namespaces, *rules.exempt.get(noun, ())}),
        )
        for noun, check in _checks(rules)
        if noun in rules.levels
    }


def _checks(rules: PodRules) -> Iterator[tuple[Noun, Check]]:
    yield "images", _images([f"{registry.rstrip('/')}/" for registry in rules.registries])
    yield (
        "digests",
        of_containers(
            f"c.image.matches({json.dumps(DIGEST)}) && !c.image.matches({json.dumps(LATEST)})",
            "'the image ' + c.image + ' is named by a tag, which can be moved to another: "
            "add its digest, as falaj images lock writes it, and a version instead of latest'",
        ),
    )
    yield "limits", _limits(rules)
    yield "no-privilege", _no_privilege()
    if rules.required_labels:
        yield "labels", _labels(list(rules.required_labels))


def _images(registries: list[str]) -> Check:
    return of_containers(
        f"{json.dumps(registries)}.exists(registry, c.image.startsWith(registry))",
        "'the image ' + c.image + ' is not from the registry in the country: copy it there "
        "(falaj images plan) and name it "
        + " or ".join(f"{registry}…" for registry in registries)
        + "'",
    )


def _limits(rules: PodRules) -> Check:
    # a limit alone is the request too, in a pod at once and in a template once it makes one
    needed = (
        "has(c.resources) && has(c.resources.limits) && 'memory' in c.resources.limits"
        " && ('cpu' in c.resources.limits"
        " || (has(c.resources.requests) && 'cpu' in c.resources.requests))"
    )
    return of_containers(
        needed + (" && 'cpu' in c.resources.limits" if rules.cpu_limits else ""),
        "'the container ' + c.name + ' lacks requests of cpu and memory or a limit of "
        f"{'cpu or ' if rules.cpu_limits else ''}memory: say under resources what it needs'",
        among="own",
    )


def _no_privilege() -> Check:
    return Check(
        holds=(
            "variables.containers.all(c, !(has(c.securityContext)"
            " && has(c.securityContext.privileged) && c.securityContext.privileged))"
            " && !(has(variables.pod.spec.hostNetwork) && variables.pod.spec.hostNetwork)"
            " && !(has(variables.pod.spec.hostPID) && variables.pod.spec.hostPID)"
            " && !(has(variables.pod.spec.hostIPC) && variables.pod.spec.hostIPC)"
            " && !(has(variables.pod.spec.volumes)"
            " && variables.pod.spec.volumes.exists(v, has(v.hostPath)))"
        ),
        message=(
            "'a privileged container, the network, processes or files of the host: a pod gets "
            "none of them; take securityContext.privileged, hostNetwork, hostPID, hostIPC and "
            "volumes of hostPath out'"
        ),
    )


def _labels(required: list[str]) -> Check:
    wanted = json.dumps(required)
    return Check(
        holds=f"{wanted}.all(label, label in variables.labels)",
        message=(
            f"'a pod needs the labels ' + {wanted}.filter(label, "
            "!(label in variables.labels)).join(', ') + ': whose it is must be told'"
        ),
    )
