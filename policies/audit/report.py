"""An audit for people and for machines."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from policies.audit.account import WORLDWIDE, AuditError
from policies.audit.compare import MISSING, Audit, Told, is_abroad

_COLUMNS = ("found", "managed", "unmanaged", "by services", "AWS's own", "missing", "not listed")


def lines(audit: Audit) -> Iterator[str]:
    """The report for people."""
    listing = audit.listing
    yield f"account {listing.account}; data may be in {', '.join(audit.allowed)}"
    yield ""
    yield from _table(audit)
    if listing.disabled:
        yield ""
        yield f"not enabled, so nothing can be asked there: {', '.join(listing.disabled)}"
    if defaults := sorted(_default_networks_abroad(audit)):
        yield f"default networks of AWS abroad: {', '.join(defaults)}"
    if audit.unlooked:
        yield f"declared, and of no kind that is looked for: {sum(audit.unlooked.values())}"
    shown = [one for one in audit.told if one.finding.verdict != "pending"]
    for region in sorted(
        {one.region for one in shown}, key=lambda one: (one in audit.allowed, one)
    ):
        yield ""
        yield region or "exceptions"
        for one in shown:
            if one.region == region:
                yield f"  {_verdict(one)}: {one.rule.name}: {one.finding.sentence}"
    yield ""
    yield _last(audit)


def _verdict(one: Told) -> str:
    advisory = one.finding.verdict == "violation" and not one.counts
    return "advice" if advisory else one.finding.verdict


def _table(audit: Audit) -> Iterator[str]:
    counted = _counted(audit)
    yield f"{'region':<26}" + "".join(f"{name:>12}" for name in _COLUMNS)
    for region, counts in counted.items():
        away = region != WORLDWIDE and region not in audit.allowed
        name = f"{region} (abroad)" if away and counts["found"] else region
        yield f"{name:<26}" + "".join(f"{counts[column]:>12}" for column in _COLUMNS)


def _counted(audit: Audit) -> dict[str, Counter[str]]:
    """Region → how many of what, those that data may be in first."""
    places = {WORLDWIDE, *audit.listing.enabled, *(one.found.region for one in audit.things)}
    order = sorted(places, key=lambda one: (one not in audit.allowed, one == WORLDWIDE, one))
    made: dict[str, Counter[str]] = {place: Counter() for place in order}
    columns = {"service": "by services", "aws": "AWS's own"}
    for thing in audit.things:
        counts = made[thing.found.region]
        counts.update(["found", columns.get(thing.standing, thing.standing)])
    for gap in audit.listing.gaps:
        made.setdefault(gap.region, Counter()).update(["not listed"])
    for one in audit.told:
        if one.rule.name == MISSING and one.region:
            made.setdefault(one.region, Counter()).update(["missing"])
    return made


def _default_networks_abroad(audit: Audit) -> set[str]:
    return {
        thing.found.region
        for thing in audit.things
        if thing.standing == "aws"
        and thing.resource.type == "aws:ec2/vpc:Vpc"
        and is_abroad(thing, audit.allowed)
    }


def _last(audit: Audit) -> str:
    failed = sum(one.counts for one in audit.told)
    excepted = sum(one.finding.verdict == "excepted" for one in audit.told)
    told = f"{failed} violations, {excepted} excepted"
    if audit.status == 2:
        return f"{told}; not everything could be listed, so this says nothing of the rest"
    return told


def plain(audit: Audit) -> dict[str, Any]:
    """The audit for machines."""
    listing = audit.listing
    return {
        "account": listing.account,
        "status": audit.status,
        "allowed_regions": list(audit.allowed),
        "regions": {"enabled": list(listing.enabled), "not_enabled": list(listing.disabled)},
        "not_listed": [
            {"region": gap.region, "what": gap.what, "reason": gap.reason} for gap in listing.gaps
        ],
        "resources": [
            {
                "region": thing.found.region,
                "type": thing.resource.type,
                "name": thing.found.name,
                "arn": thing.found.arn,
                "standing": thing.standing,
                "abroad": is_abroad(thing, audit.allowed),
                "urn": thing.resource.urn if thing.standing == "managed" else None,
            }
            for thing in audit.things
        ],
        "findings": [
            {
                "rule": one.rule.name,
                "level": one.level,
                "verdict": one.finding.verdict,
                "region": one.region,
                "type": one.finding.resource.type,
                "name": one.finding.resource.name,
                "urn": one.finding.resource.urn,
                "message": one.finding.sentence,
                "mend": one.rule.mend,
            }
            for one in audit.told
        ],
        "declared_and_not_looked_for": dict(sorted(audit.unlooked.items())),
    }


def write(path: Path, audit: Audit) -> None:
    """Writes it as JSON, by rename, so that nobody reads half of it. Raises `AuditError`."""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(json.dumps(plain(audit), indent=2, ensure_ascii=False) + "\n")
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise AuditError(f"{path} cannot be written: {error.strerror}") from error
