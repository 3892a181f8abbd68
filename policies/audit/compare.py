"""What an account holds against what is declared of it, and what the packs' rules say of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from policies.audit.account import WORLDWIDE, AuditError, Found, Listing
from policies.audit.declared import Declaration, Declared
from policies.audit.table import KINDS
from policies.common.arns import arn_of
from policies.common.configuration import Configured, configured
from policies.common.exceptions import RuleException
from policies.common.resources import Resource
from policies.common.rule import Finding, Parameters, Rule, unmatched
from policies.common.stack import Stack
from policies.packs import RULES

REGION = "aws-resource-region-is-allowed"
UNMANAGED = "account-resource-is-declared"
MISSING = "declared-resource-is-there"
UNLISTED = "account-is-listed-everywhere"

Standing = Literal["managed", "aws", "service", "unmanaged"]


def _says(resource: Resource, _: Parameters) -> Iterator[Finding]:
    yield Finding(resource=resource, where="it", what=str(resource.at("audit")))


def _own(name: str, description: str, mend: str) -> Rule:
    return Rule(
        name=name, description=description, mend=mend, applies_to=lambda _: True, each=_says
    )


OWN_RULES = (
    _own(
        UNMANAGED,
        "Everything in the account is declared by a program.",
        "import it into a program, remove it, or except it with a reason.",
    ),
    _own(
        MISSING,
        "Everything that is declared is there.",
        "find out who removed it; `pulumi refresh` and `up` make it again.",
    ),
    _own(
        UNLISTED,
        "The audit sees the whole account.",
        "let the audit's role list it, or except it with a reason.",
    ),
)
"""What the audit itself finds; exceptions of a configuration may name them as those of any rule."""


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something that is there, and what it is to the declaration."""

    found: Found
    standing: Standing
    resource: Resource


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a rule found."""

    rule: Rule
    level: str
    region: str
    finding: Finding

    @property
    def counts(self) -> bool:
        """Whether the audit fails by it."""
        return self.finding.verdict == "violation" and self.level != "advisory"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """How an audit came out."""

    listing: Listing
    allowed: Sequence[str]
    things: Sequence[Thing]
    told: Sequence[Told]
    unlooked: Mapping[str, int]
    """Declared types of which the table has no row → how many are declared."""

    @property
    def status(self) -> int:
        """0 where nothing is wrong, 1 for violations, 2 where not everything could be seen."""
        failed = [one for one in self.told if one.counts]
        if any(one.rule.name == UNLISTED for one in failed):
            return 2
        return 1 if failed else 0


def settings(configuration: Any, accepted: Any = None) -> dict[str, Configured]:
    """The rules as an environment sets them, with the exceptions of `accepted`, by name.

    `accepted` is of the same form; exceptions of what no program declares have their place there,
    since those in an environment's file must match what its programs declare. Raises
    `ConfigurationError`.
    """
    rules = configured(RULES, configuration)
    more = {one.rule.name: one for one in configured((*RULES, *OWN_RULES), accepted)}
    made = {one.rule.name: one for one in rules}
    for name, one in more.items():
        before = made.get(name, one)
        exceptions = (
            *(before.parameters.exceptions if name in made else ()),
            *one.parameters.exceptions,
        )
        parameters = before.parameters.model_copy(update={"exceptions": exceptions})
        made[name] = Configured(rule=one.rule, level=before.level, parameters=parameters)
    return made


def home(configuration: Any, accepted: Any = None) -> str:
    """The region that is asked first, which data may be in. Raises `ConfigurationError`."""
    parameters: Any = settings(configuration, accepted)[REGION].parameters
    return str(parameters.allowedRegions[0])


def accepted_in(accepted: Any) -> dict[str, tuple[RuleException, ...]]:
    """The exceptions that are the audit's alone, by rule."""
    rules = configured((*RULES, *OWN_RULES), accepted)
    return {one.rule.name: one.parameters.exceptions for one in rules}


def compared(
    listing: Listing, declaration: Declaration, configuration: Any, accepted: Any = None
) -> Audit:
    """Judges `listing`. Raises `AuditError` where the states are of another account."""
    rules, own = settings(configuration, accepted), accepted_in(accepted)
    accounts = declaration.accounts()
    if accounts and listing.account not in accounts:
        raise AuditError(
            f"the states declare things in account {', '.join(sorted(accounts))}, and the "
            f"credentials are of {listing.account}: sign in to the other, or export other stacks"
        )
    parameters: Any = rules[REGION].parameters
    things = _things(listing, declaration)
    told = [
        *_unlisted(listing, rules[UNLISTED]),
        *_unmanaged(things, rules[UNMANAGED]),
        *_missing(listing, declaration, rules[MISSING]),
        *_judged(listing, things, declaration, rules),
    ]
    if not listing.gaps:  # what is not seen may be what an exception is for
        told += _stale(told, rules, own)
    kinds = _types()
    unlooked: dict[str, int] = {}
    for one in declaration.all:
        if one.type not in kinds:
            unlooked[one.type] = unlooked.get(one.type, 0) + 1
    return Audit(
        listing=listing,
        allowed=parameters.allowedRegions,
        things=things,
        told=told,
        unlooked=unlooked,
    )


def _types() -> set[str]:
    return {type_ for kind in KINDS for type_ in kind.types}


def _things(listing: Listing, declaration: Declaration) -> list[Thing]:
    made = []
    for found in listing.found:
        declared = declaration.of(found.arn, found.kind.type, found.region, found.name)
        standing: Standing = "managed" if declared else found.origin or "unmanaged"
        kind = found.plain[0][0] if found.plain else found.kind.type or _type_of(found.arn)
        made.append(
            Thing(
                found=found,
                standing=standing,
                resource=_resource(listing, found, kind, {}, declared),
            )
        )
    return made


def _type_of(arn: str) -> str:
    """Some name for a type that the table has no row of: ``aws:sagemaker:notebook-instance``."""
    said = arn_of(arn)
    if said is None:
        return "aws:unknown"
    kind, separator, _ = said.resource.replace(":", "/").partition("/")
    return f"aws:{said.service}:{kind}" if separator else f"aws:{said.service}"


def _resource(
    listing: Listing,
    found: Found,
    kind: str,
    said: Mapping[str, Any],
    declared: Declared | None,
) -> Resource:
    """As the rules see it: with the name that its program gave it, or what AWS calls it."""
    region = {} if found.region == WORLDWIDE else {"region": found.region}
    held = {**region, "allowedAccountIds": json.dumps([listing.account])}
    provider = Resource(type="pulumi:providers:aws", urn="", name="audit", properties=held)
    name = declared.name if declared else found.name
    made_up = f"urn:pulumi:{listing.account}::{found.region}::{kind}::{name}"
    return Resource(
        type=kind,
        urn=declared.urn if declared else made_up,
        name=name,
        # all of it is known: absent is absent
        properties={"arn": found.arn, **region, **said},
        provider=provider,
    )


# --- findings -------------------------------------------------------------------------------------


def _tell(rule: Configured, region: str, resource: Resource) -> Iterator[Told]:
    if rule.level == "disabled":
        return
    for finding in rule.rule.judge_one(resource, rule.parameters) or ():
        yield Told(rule=rule.rule, level=rule.level, region=region, finding=finding)


def _noted(resource: Resource, what: str) -> Resource:
    return Resource(
        type=resource.type, urn=resource.urn, name=resource.name, properties={"audit": what}
    )


def _unlisted(listing: Listing, rule: Configured) -> Iterator[Told]:
    for gap in listing.gaps:
        resource = Resource(
            type="region",
            urn=f"urn:pulumi:{listing.account}::{gap.region}::region::{gap.region}",
            name=gap.region,
        )
        said = f"is not listed: {gap.what}: {gap.reason}"
        yield from _tell(rule, gap.region, _noted(resource, said))


def _unmanaged(things: Iterable[Thing], rule: Configured) -> Iterator[Told]:
    for thing in things:
        if thing.standing == "unmanaged":
            what = f"is declared by none of the states: {thing.found.arn}"
            yield from _tell(rule, thing.found.region, _noted(thing.resource, what))


def _missing(listing: Listing, declaration: Declaration, rule: Configured) -> Iterator[Told]:
    there = {found.arn for found in listing.found}
    worldwide = {type_ for kind in KINDS if kind.worldwide for type_ in kind.types}
    for one in declaration.all:
        place = WORLDWIDE if one.type in worldwide else one.region
        said = arn_of(one.arn)
        ours = said is not None and said.account in ("", listing.account)
        if ours and one.arn not in there and (place, one.type) in listing.listed:
            resource = Resource(type=one.type, urn=one.urn, name=one.name)
            what = f"is declared and not there: {one.arn}"
            yield from _tell(rule, place, _noted(resource, what))


def _judged(
    listing: Listing,
    things: Sequence[Thing],
    declaration: Declaration,
    rules: Mapping[str, Configured],
) -> Iterator[Told]:
    """What AWS made for itself is judged by no rule."""
    ours = [thing for thing in things if thing.standing != "aws"]
    for thing in ours:
        if thing.found.region != WORLDWIDE:
            yield from _tell(rules[REGION], thing.found.region, thing.resource)
    names = _names_of_keys(listing)
    regions: dict[str, str] = {}
    seen: dict[str, list[Resource]] = {}
    for thing in ours:
        for resource in _plain(listing, thing, declaration, names):
            regions[resource.urn] = thing.found.region
            for name in thing.found.kind.rules:
                seen.setdefault(name, []).append(resource)
    for name, resources in seen.items():
        one = rules[name]
        if one.level == "disabled":
            continue
        findings, _ = one.rule.judge(Stack(resources), one.parameters)
        for finding in findings:
            region = regions.get(finding.resource.urn, WORLDWIDE)
            yield Told(rule=one.rule, level=one.level, region=region, finding=finding)


def _plain(
    listing: Listing, thing: Thing, declaration: Declaration, names: Mapping[str, str]
) -> Iterator[Resource]:
    found = thing.found
    for number, (kind, said) in enumerate(found.plain):
        declared = declaration.of(found.arn if number == 0 else "", kind, found.region, found.name)
        yield _resource(listing, found, kind, _renamed(said, names), declared)


def _names_of_keys(listing: Listing) -> dict[str, str]:
    """ARN and id of AWS's own keys → ``alias/aws/…``: answers name them as any other key."""
    made: dict[str, str] = {}
    for found in listing.found:
        if found.kind.type == "aws:kms/alias:Alias" and found.origin == "aws":
            for _, said in found.plain:
                if target := said.get("targetKeyId"):
                    made[target] = found.name
                    made[f"{found.arn.partition(':alias/')[0]}:key/{target}"] = found.name
    return made


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def _stale(
    told: Sequence[Told],
    rules: Mapping[str, Configured],
    own: Mapping[str, Sequence[RuleException]],
) -> list[Told]:
    made = []
    for name, exceptions in own.items():
        findings = [one.finding for one in told if one.rule.name == name]
        for finding in unmatched(exceptions, findings):
            one = rules[name]
            made.append(Told(rule=one.rule, level=one.level, region="", finding=finding))
    return made


def is_abroad(thing: Thing, allowed: Sequence[str]) -> bool:
    """Whether it is in a region, and in none of those that data may be in."""
    return thing.found.region != WORLDWIDE and thing.found.region not in allowed
