"""Whether a plan deletes or replaces what cannot be made again, why, and who approved it.

Owns the judgement; `stacks.plan` reads the files and prints. A plan is what `pulumi preview --json`
prints.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from components.section import Section
from components.stateful import STATEFUL, Stateful

Action = Literal["delete", "replace"]

LONGEST_APPROVAL_DAYS = 31
"""An approval is for a change that is about to happen, not for ever."""

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""What the engine writes for a value that is not known before `up`."""

_HARMLESS = {"same", "create", "update", "read", "refresh", "import"}
"""Operations after which the resource is still there, the same. Any other stops the plan, also one
that a later engine may invent."""
_LONGEST_VALUE = 60


class PlanError(Exception):
    """A plan or a file of approvals cannot be used."""


# --- what a plan does -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A stateful resource that a plan deletes or replaces."""

    urn: str
    type: str
    name: str
    action: Action
    because: tuple[str, ...]
    """What forces it, a sentence each."""
    loses: str
    instead: str
    retained: bool
    """Whether it stays in the cloud, where no stack looks after it any more."""


def losses(report: Mapping[str, Any]) -> list[Loss]:
    """The stateful resources that the plan `report` deletes or replaces, in its order."""
    steps = steps_of(report)
    replaced = {step["urn"] for step in steps if "replace" in step["op"]}
    created: dict[str, list[str]] = {}
    for step in steps:
        if step["op"] == "create":
            created.setdefault(_type(step), []).append(step["urn"])
    found: dict[str, Loss] = {}
    for step in steps:
        known = STATEFUL.get(_type(step))
        if known is None or step["op"] in _HARMLESS:
            continue
        loss = _loss(step, known, replaced, created)
        # one replacement may be told in several steps, the first of which has the reasons
        found.setdefault(loss.urn, loss)
    return list(found.values())


def failures(report: Mapping[str, Any]) -> list[str]:
    """Why the preview itself failed, empty where it did not."""
    said = [
        str(entry.get("message", "")).strip().removeprefix("error: ")
        for entry in report.get("diagnostics") or ()
        if entry.get("severity") == "error"
    ]
    return [one for one in said if one != "preview failed"] or said


def steps_of(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps of the plan `report`. Raises `PlanError`."""
    steps = report.get("steps")
    if not isinstance(steps, list) or not all(
        isinstance(step, dict) and isinstance(step.get("op"), str) and "urn" in step
        for step in steps
    ):
        raise PlanError("this is no plan: make one with `pulumi preview --json > plan.json`")
    return steps


def _loss(
    step: Mapping[str, Any],
    known: Stateful,
    replaced: set[str],
    created: Mapping[str, Sequence[str]],
) -> Loss:
    action: Action = "replace" if "replace" in step["op"] else "delete"
    because = _reasons(step, replaced) if action == "replace" else _renamed(step, created)
    return Loss(
        urn=step["urn"],
        type=_type(step),
        name=_name(step["urn"]),
        action=action,
        because=tuple(because),
        loses=known.loses,
        instead=known.instead,
        retained=bool((step.get("oldState") or {}).get("retainOnDelete")),
    )


def _reasons(step: Mapping[str, Any], replaced: set[str]) -> Iterator[str]:
    old, new = step.get("oldState") or {}, step.get("newState") or {}
    paths = [
        path
        for path, detail in (step.get("detailedDiff") or {}).items()
        if str(detail.get("kind", "")).endswith("-replace")
    ] or list(step.get("replaceReasons") or ())
    for path in paths:
        before, after = _value(old.get("inputs"), path), _value(new.get("inputs"), path)
        if before == after == "nothing":
            before, after = _value(old.get("outputs"), path), _value(new.get("outputs"), path)
        property_name = re.split(r"[.\[]", path, maxsplit=1)[0]
        makers = (new.get("propertyDependencies") or {}).get(property_name) or ()
        names = [_name(urn) for urn in makers if urn in replaced]
        if names:
            yield f"{path} comes from {', '.join(names)}, which is replaced itself."
        else:
            yield f"{path} changes from {before} to {after}, which cannot be done in place."
    if not paths:
        yield "The engine gives no property that forces it; it may have been asked for by name."


def _renamed(step: Mapping[str, Any], created: Mapping[str, Sequence[str]]) -> Iterator[str]:
    yield "It is no longer in the program."
    for urn in created.get(_type(step), ()):
        yield (
            f"{_name(urn)} of the same type is new: if it is the same thing under another name or "
            f"parent, give that the alias {step['urn']}"
        )


def _type(step: Mapping[str, Any]) -> str:
    kinds: str = step["urn"].split("::")[2]
    return kinds.rpartition("$")[2]


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def _value(properties: Any, path: str) -> str:
    """The value at `path`, such as ``vpcConfig.subnetIds[0]``, as it can be read."""
    for key in re.findall(r"[^.\[\]\"]+", path):
        if isinstance(properties, list) and key.isdigit() and int(key) < len(properties):
            properties = properties[int(key)]
        elif isinstance(properties, dict):
            properties = properties.get(key)
        else:
            properties = None
    if properties is None:
        return "nothing"
    if properties == UNKNOWN:
        return "what is known after up"
    text = json.dumps(properties)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


# --- who approved it ------------------------------------------------------------------------------


def _is_no_placeholder(text: str) -> str:
    if re.fullmatch(r"\W*(todo|tbd|xxx|fixme|why|who)?\W*", text, re.IGNORECASE):
        raise ValueError("must be filled in")
    return text


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=3), AfterValidator(_is_no_placeholder)
]


class Approval(Section):
    """That one loss is meant."""

    urn: str
    action: Action
    reason: Text
    approver: Text
    """Who looked at it; not the author of the change."""
    expires: datetime.date


class Approvals(Section):
    """A file of approvals; it goes through the same review as the change."""

    approvals: tuple[Approval, ...] = Field(min_length=1)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may not happen, what was approved, and what is wrong with plan or approvals."""

    stops: tuple[Loss, ...]
    approved: tuple[tuple[Loss, Approval], ...]
    problems: tuple[str, ...]

    @property
    def stopped(self) -> bool:
        """Whether the plan must not be carried out."""
        return bool(self.stops or self.problems)


def judge(
    report: Mapping[str, Any], approvals: Iterable[Approval], today: datetime.date
) -> Verdict:
    """Whether the plan `report` may be carried out on the day `today`."""
    lost = {(one.urn, one.action): one for one in losses(report)}
    problems = [f"the preview failed: {one}" for one in failures(report)]
    approved: dict[tuple[str, Action], tuple[Loss, Approval]] = {}
    for approval in approvals:
        at, who = (approval.urn, approval.action), f"{approval.approver}, {_name(approval.urn)}"
        if approval.expires < today:
            problems.append(f"approval of {who}: expired on {approval.expires}")
        elif (approval.expires - today).days > LONGEST_APPROVAL_DAYS:
            problems.append(
                f"approval of {who}: expires on {approval.expires}, more than "
                f"{LONGEST_APPROVAL_DAYS} days from now"
            )
        elif at not in lost:
            problems.append(
                f"approval of {who}: this plan does not {approval.action} it; remove it"
            )
        elif at in approved:
            problems.append(f"approval of {who}: stands twice")
        else:
            approved[at] = (lost[at], approval)
    return Verdict(
        stops=tuple(one for at, one in lost.items() if at not in approved),
        approved=tuple(approved.values()),
        problems=tuple(problems),
    )


def read_plan(text: str) -> dict[str, Any]:
    """The plan in `text`. Raises `PlanError`."""
    try:
        report = json.loads(text)
    except ValueError:
        report = None
    if not isinstance(report, dict):
        raise PlanError("this is no plan: make one with `pulumi preview --json > plan.json`")
    return report


def read_approvals(path: Path) -> tuple[Approval, ...]:
    """The approvals in the file at `path`. Raises `PlanError` with all that is wrong."""
    try:
        return Approvals.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).approvals
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlanError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, one['loc']))}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        ]
        raise PlanError("\n".join((f"{path} cannot be used:", *lines))) from error


def draft(stops: Iterable[Loss], today: datetime.date) -> str:
    """A file of approvals for `stops`, to be filled in by whoever approves."""
    expires = today + datetime.timedelta(days=7)
    return "approvals:\n" + "".join(
        f"  - urn: {one.urn}\n"
        f"    action: {one.action}\n"
        f'    reason: ""\n'
        f'    approver: ""\n'
        f"    expires: {expires}\n"
        for one in stops
    )
