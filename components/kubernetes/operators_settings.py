"""What may be asked of the operators of others: which there are, and who brings them.

Pure: parsed and checked without Pulumi. What each is made of is in `operator_table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Literal, Self, get_args

from pydantic import Field, StringConstraints, model_validator

from components.kubernetes.signature_settings import ENFORCED
from components.section import Section

OperatorName = Literal[
    "cert-manager",
    "external-secrets",
    "kube-prometheus-stack",
    "metrics-server",
    "istio-base",
    "istiod",
    "istio-cni",
    "ztunnel",
    "kyverno",
    "kuberay-operator",
    "kueue",
    "seldon-core-operator",
    "karpenter-crd",
    "karpenter",
    "aws-load-balancer-controller",
    "dcgm-exporter",
    "velero",
]
NAMES: tuple[OperatorName, ...] = get_args(OperatorName)
"""In the order in which they are made."""

MESH: tuple[OperatorName, ...] = ("istio-base", "istiod", "istio-cni", "ztunnel")
"""Ambient mode: pods carry no sidecar and need no right that Pod Security `restricted` denies."""

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=10)]

GUARDED = ENFORCED
"""Environments in which images must be signed, objects are backed up, and a controller that goes
away must be missed by nobody."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What of the environment an operator is there for, beyond what every cluster needs."""

    mesh: bool = True
    seldon: bool = False
    """Whether the engine of serving is Seldon Core."""
    gpus: bool = False
    elastic_nodes: bool = False
    load_balancer: bool = False
    """Of the cloud, whose controller registers the gateway's pods."""


_ALWAYS: tuple[OperatorName, ...] = (
    "cert-manager",
    "external-secrets",
    "kube-prometheus-stack",
    "metrics-server",
    "kuberay-operator",
    "kueue",
)
_FOR: Mapping[str, tuple[OperatorName, ...]] = {
    "mesh": MESH,
    "seldon": ("seldon-core-operator",),
    "gpus": ("dcgm-exporter",),
    "elastic_nodes": ("karpenter-crd", "karpenter"),
    "load_balancer": ("aws-load-balancer-controller",),
}
_FOR_GUARDED: tuple[OperatorName, ...] = ("kyverno", "velero")


class OperatorsSettings(Section):
    """The operators of others that the parts on a cluster stand on."""

    installed: dict[OperatorName, Reason] = Field(default_factory=dict)
    """Operator → who brings it: it is not made here, and the kinds that it serves must be there."""
    without: dict[OperatorName, Reason] = Field(default_factory=dict)
    """Operator → why the environment does without what it is for."""
    also: tuple[OperatorName, ...] = ()
    """Those that the environment would not have by itself, such as `kyverno` in `dev`."""

    @model_validator(mode="after")
    def _says_one_thing_of_each(self) -> Self:
        problems = [
            f"{name}: stands under {one} and under {other}; leave it in one of them"
            for one, other in (("installed", "without"), ("also", "without"), ("also", "installed"))
            for name in getattr(self, one)
            if name in getattr(self, other)
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self


def wanted(settings: OperatorsSettings, environment: str, needs: Needs) -> tuple[OperatorName, ...]:
    """The operators that must be there, made here or `installed`, in the order of `NAMES`."""
    asked: set[OperatorName] = {*_ALWAYS, *settings.also}
    for need in fields(needs):
        if getattr(needs, need.name):
            asked.update(_FOR[need.name])
    if environment in GUARDED:
        asked.update(_FOR_GUARDED)
    return tuple(name for name in NAMES if name in asked - settings.without.keys())


def made_here(
    settings: OperatorsSettings, environment: str, needs: Needs
) -> tuple[OperatorName, ...]:
    """The operators that an environment makes itself, in their order."""
    return tuple(
        name for name in wanted(settings, environment, needs) if name not in settings.installed
    )


def problems_of_operators(
    settings: OperatorsSettings,
    environment: str,
    needs: Needs,
    *,
    after: Mapping[str, tuple[str, ...]],
    needed_by: Mapping[str, tuple[str, ...]],
) -> Iterator[str]:
    """What is wrong with `settings`; each begins with the key it is about.

    `after` says which operators another cannot work without, `needed_by` those that each part that
    is deployed makes objects for.
    """
    there = wanted(settings, environment, needs)
    otherwise = wanted(OperatorsSettings(also=settings.also), environment, needs)
    for part, operators in needed_by.items():
        for name in operators:
            if name in settings.without and name in otherwise:
                yield (
                    f"without.{name}: {part} is deployed, and makes objects for it; take it out, "
                    f"say under installed who brings it, or take {part} out"
                )
    for name in there:
        if name in settings.installed:
            continue
        for needed in after.get(name, ()):
            if needed not in there:
                yield (
                    f"without.{needed}: {name} cannot work without it; take it out, say under "
                    f"installed who brings {needed}, or put {name} under without too"
                )
    if environment in GUARDED and "kyverno" in settings.without:
        yield (
            f"without.kyverno: in {environment} an image must be signed, which Kyverno checks; "
            "take it out, or say under installed who brings it"
        )
    for name in ("istiod", "istio-cni", "ztunnel", "istio-base"):
        split = {one in settings.installed for one in MESH if one in there}
        if name in settings.installed and len(split) > 1:
            yield (
                f"installed.{name}: the mesh is brought by one hand; put all of "
                f"{', '.join(MESH)} under installed, or none"
            )
            break
