"""Rule on backup plans: each thing that keeps data is chosen by one that runs daily.

What a selection chooses is as AWS Backup says it of `BackupSelection`: any of `resources` or of
`selectionTags`, all of `conditions`, none of `notResources`. A star stands at the end of an ARN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from policies.common.arns import arn_of
from policies.common.logic import Answer, all_of, any_of
from policies.common.properties import is_said
from policies.common.resources import UNKNOWN, Resource, at, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import Stack
from policies.common.tags import tag
from policies.hardening.locks import Backups

_SELECTION = "aws:backup/selection:Selection"
_PLANS = frozenset({"aws:backup/plan:Plan"})
_KEPT: Mapping[str, tuple[str, str]] = {
    "aws:docdb/cluster:Cluster": ("rds", "cluster:"),
    "aws:dynamodb/table:Table": ("dynamodb", "table/"),
    "aws:ebs/volume:Volume": ("ec2", "volume/"),
    "aws:efs/fileSystem:FileSystem": ("elasticfilesystem", "file-system/"),
    "aws:neptune/cluster:Cluster": ("rds", "cluster:"),
    "aws:rds/cluster:Cluster": ("rds", "cluster:"),
    "aws:rds/instance:Instance": ("rds", "db:"),
    "aws:s3/bucket:Bucket": ("s3", ""),
    "aws:s3/bucketV2:BucketV2": ("s3", ""),
}
"""What keeps data → how its ARN begins: the service, and the resource."""
_OPERATORS = {
    "stringEquals": (True, False),
    "stringLikes": (True, True),
    "stringNotEquals": (False, False),
    "stringNotLikes": (False, True),
}
"""Of a condition: whether it must match, and whether stars count."""
_TAG_KEY = "aws:ResourceTag/"
_EVERY_DAY = {"*", "?", "*/1", "1/1"}
_EVERY_WEEKDAY = _EVERY_DAY | {"SUN-SAT", "MON-SUN", "1-7"}
_CRON = re.compile(r"CRON\(\S+ +\S+ +(\S+) +(\S+) +(\S+) +(\S+)\)")
_RATE = re.compile(r"rate\((\d+) (minute|hour|day)s?\)")


def backup_plan_covers_stateful(stack: Stack, parameters: Backups) -> Iterator[Finding]:
    """What no plan chooses is backed up when somebody remembers."""
    selections = [_Selection(one, stack, parameters) for one in stack.of({_SELECTION})]
    for resource in stack.of(_KEPT):
        said = tag(resource, "backup")
        # a replica is backed up at its source
        if said == "none" or not is_missing(resource.at("replicateSourceDb")):
            continue
        chosen = [(one, one.chooses(resource)) for one in selections]
        kept = [all_of((verdict, one.keeps)) for one, verdict in chosen]
        if True in kept:
            continue
        if said is UNKNOWN or None in kept:
            yield pending(resource, "its backup", "may be by a selection that is not known yet")
        elif found := [one for one, verdict in chosen if verdict]:
            what = f"is by '{found[0].resource.name}', {found[0].why}"
            yield Finding(resource=resource, where="its backup", what=what)
        else:
            what = "is in no plan: no Selection of the stack chooses it"
            yield Finding(resource=resource, where="its backup", what=what)


class _Selection:
    """What a selection chooses, and how well its plan keeps that."""

    def __init__(self, resource: Resource, stack: Stack, parameters: Backups) -> None:
        self.resource = resource
        plan = stack.named(resource, "planId", _PLANS, "id")
        self.keeps: Answer
        if plan is UNKNOWN:
            self.keeps, self.why = None, ""
        elif not isinstance(plan, Resource):
            self.keeps, self.why = False, "whose plan is not in the stack"
        else:
            self.keeps = _keeps(plan.at("rules"), parameters.minBackupDays)
            self.why = f"whose plan '{plan.name}' has no daily rule that keeps for "
            self.why += f"{parameters.minBackupDays} days"

    def chooses(self, resource: Resource) -> Answer:
        """Whether it chooses `resource`."""
        own = self.resource
        excluded = self._named("notResources", resource)
        if excluded is not False:
            return False if excluded else None
        verdicts: list[Answer] = []
        # at preview what nobody set is not known either
        if is_said(own, "resources"):
            verdicts.append(self._named("resources", resource))
        if is_said(own, "selectionTags"):
            verdicts.append(_tagged(own.at("selectionTags"), resource))
        if is_said(own, "conditions"):
            verdicts += _fits(own.at("conditions"), resource)
        # with nothing said it chooses nothing, with a filter all that fits it
        return all_of(verdicts) if verdicts else False

    def _named(self, where: str, resource: Resource) -> Answer:
        patterns = self.resource.at(where)
        # at preview the ARN is not known, but the property refers to the resource
        if resource.urn in self.resource.references.get(where, ()):
            return True
        if patterns is UNKNOWN:
            return None if is_said(self.resource, where) else False
        entries = patterns if isinstance(patterns, list) else []
        return any_of(_matches(one, resource) for one in entries)


def _matches(pattern: Any, resource: Resource) -> Answer:
    """Whether the ARN of `resource`, which is not known at preview, fits `pattern`."""
    if pattern is UNKNOWN:
        return None
    arn = resource.at("arn")
    return _like(arn, pattern) if isinstance(arn, str) else _may_match(pattern, resource)


def _may_match(pattern: str, resource: Resource) -> Answer:
    service, prefix = _KEPT[resource.type]
    start = f"arn:aws:{service}:"
    if pattern.endswith("*") and start.startswith(pattern.removesuffix("*")):
        return True
    named = arn_of(pattern)
    if named is None or named.service != service:
        return None if pattern.startswith(start) else False
    inside = named.resource
    if {named.region, named.account} <= {"*", ""} and inside in ("*", f"{prefix}*"):
        return True
    if service == "s3" and isinstance(resource.at("bucket"), str):
        return _like(resource.at("bucket"), inside)
    begins = inside.startswith(prefix) or prefix.startswith(inside.removesuffix("*"))
    return None if begins else False


def _like(text: str, pattern: str) -> bool:
    """Whether `text` fits `pattern`, where a star is anything."""
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None


def _tagged(listed: Any, resource: Resource) -> Answer:
    entries = listed if isinstance(listed, list) else [UNKNOWN]
    return any_of(_has(resource, at(one, "key"), at(one, "value")) for one in entries)


def _has(resource: Resource, key: Any, value: Any, *, like: bool = False) -> Answer:
    if UNKNOWN in (key, value) or not isinstance(key, str):
        return None
    own = tag(resource, key.removeprefix(_TAG_KEY))
    if own is UNKNOWN:
        return None
    return isinstance(own, str) and (_like(own, value) if like else own == value)


def _fits(conditions: Any, resource: Resource) -> Iterator[Answer]:
    """Whether each condition holds; where there is none nothing is said."""
    for block in conditions if isinstance(conditions, list) else [conditions]:
        for name, (wanted, like) in _OPERATORS.items():
            entries = at(block, name)
            if entries is UNKNOWN:
                yield None
            for one in entries if isinstance(entries, list) else ():
                answer = _has(resource, at(one, "key"), at(one, "value"), like=like)
                yield answer if answer is None else answer is wanted


def _keeps(rules: Any, days: int) -> Answer:
    if rules is UNKNOWN:
        return None
    return any_of(_kept_by(one, days) for one in (rules if isinstance(rules, list) else ()))


def _kept_by(rule: Any, days: int) -> Answer:
    after = at(rule, "lifecycle", "deleteAfter")
    # nothing said is for ever
    kept = None if after is UNKNOWN else is_missing(after) or after >= days
    return all_of((_is_daily(at(rule, "schedule")), kept))


def _is_daily(schedule: Any) -> Answer:
    """Whether it comes at least once a day, as it does where nobody says."""
    if schedule is UNKNOWN:
        return None
    if is_missing(schedule):
        return True
    if rate := _RATE.fullmatch(schedule.strip()):
        return rate[2] != "day" or rate[1] == "1"
    fields = _CRON.fullmatch(schedule.strip().upper())
    if fields is None:
        return False
    day, month, weekday, year = fields.groups()
    return day in _EVERY_DAY and weekday in _EVERY_WEEKDAY and {month, year} <= _EVERY_DAY


RULES = (
    Rule(
        name="backup-plan-covers-stateful",
        description="Everything that keeps data is backed up daily, and the backups are kept.",
        mend="tag the resource with the class of backup that the plan selects.",
        applies_to=lambda resource: resource.type in _KEPT,
        parameters=Backups,
        together=backup_plan_covers_stateful,
    ),
)
