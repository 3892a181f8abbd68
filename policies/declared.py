"""What a configuration of the packs declares, for what else is made of it: guards of an
organisation, an account and a cluster.

The rules are the declaration: what one asks at the level `mandatory` a guard refuses, what one only
advises an API server warns of, and what is disabled nobody asks. Exceptions are of one resource in
one program; a guard knows none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from policies.common.configuration import Configured
from policies.guards.admission import Level
from policies.guards.pods import Noun, PodRules

RULES: Mapping[Noun, tuple[str, ...]] = {
    "images": ("image-comes-from-in-region-registry",),
    "digests": ("image-is-pinned-by-digest",),
    "limits": ("container-sets-requests-and-limits",),
    "no-privilege": ("container-is-not-privileged", "pod-does-not-share-host"),
}
"""Admission policy → the rules that it holds pods to; no rule asks for labels."""
_ACCOUNT = "{accountId}"
_NUMBER = re.compile(r"\d{12}")


class DeclarationError(Exception):
    """The rules do not declare one thing; the message says which ones differ, and what to do."""


def allowed_regions(configuration: Sequence[Configured]) -> tuple[str, ...]:
    """Where data may be. Raises `DeclarationError`."""
    regions: tuple[str, ...] = _one_value(configuration, "allowedRegions")
    if not regions:
        raise DeclarationError(
            "allowedRegions: every rule that has it is disabled, and a guard without regions would "
            "refuse all: leave aws-resource-region-is-allowed on"
        )
    return regions


def allowed_accounts(configuration: Sequence[Configured]) -> tuple[str, ...]:
    """Accounts of others that something may be shared with, or that may take a role."""
    said = (getattr(one.parameters, "allowedAccounts", ()) for one in configuration)
    return tuple(sorted({account for accounts in said for account in accounts}))


def pod_rules(
    configuration: Sequence[Configured], *, account: str | None = None, labels: Sequence[str] = ()
) -> PodRules:
    """What is asked of pods. Raises `DeclarationError`.

    `account` stands for ``{accountId}`` in names of registries; `labels` are asked of pods besides.
    """
    of = {one.rule.name: one for one in configuration}
    wanted: dict[Noun, Level] = {"labels": "deny"} if labels else {}
    return PodRules(
        registries=_registries(of["image-comes-from-in-region-registry"], account),
        levels=_levels(of) | wanted,
        cpu_limits=_parameter(of["container-sets-requests-and-limits"], "requireCpuLimit"),
        required_labels=tuple(labels),
        exempt={
            noun: _one_value([of[name] for name in names], "exemptNamespaces")
            for noun, names in RULES.items()
        },
    )


def _levels(of: Mapping[str, Configured]) -> dict[Noun, Level]:
    """One policy asks for several rules, as firmly as the firmest of them."""
    levels: dict[Noun, Level] = {}
    for noun, names in RULES.items():
        said = {of[name].level for name in names} - {"disabled"}
        if said:
            levels[noun] = "warn" if said == {"advisory"} else "deny"
    return levels


def _one_value(rules: Iterable[Configured], name: str) -> Any:
    """The value of the parameter `name`, which is the same of all that have it and are asked."""
    said: dict[Any, list[str]] = {}
    for one in rules:
        if one.level != "disabled" and hasattr(one.parameters, name):
            said.setdefault(tuple(sorted(_parameter(one, name))), []).append(one.rule.name)
    if len(said) > 1:
        differ = "; ".join(f"{list(value)} in {', '.join(of)}" for value, of in said.items())
        raise DeclarationError(
            f"{name}: rules say different things, and a guard can hold one: {differ}. Write the "
            "same in each"
        )
    return next(iter(said), ())


def _parameter(rule: Configured, name: str) -> Any:
    return getattr(rule.parameters, name)


def _registries(rule: Configured, account: str | None) -> tuple[str, ...]:
    if rule.level == "disabled":
        return ()
    registries: tuple[str, ...] = _parameter(rule, "allowedRegistries")
    if account is not None and not _NUMBER.fullmatch(account):
        raise DeclarationError(f"--account: is {account}; an account is a number of twelve digits")
    open_ones = [one for one in registries if _ACCOUNT in one]
    if open_ones and account is None:
        raise DeclarationError(
            f"{rule.rule.name}.allowedRegistries: {', '.join(open_ones)} stands for any account, "
            "and a cluster takes images of one: say which by --account, or write it out"
        )
    return tuple(one.replace(_ACCOUNT, account or "") for one in registries)
