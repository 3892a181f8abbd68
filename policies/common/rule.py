"""What a rule is, and how it judges plain data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from policies.common.controls import CONTROLS
from policies.common.exceptions import RuleException
from policies.common.resources import Resource
from policies.common.stack import Stack

Verdict = Literal["violation", "pending", "excepted"]
Outcome = Literal["failed", "pending", "excepted", "disabled", "passed", "not applicable"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
"""The worst first."""
Level = Literal["advisory", "mandatory", "remediate", "disabled"]
"""What a violation does: it is told, or it stops the deployment; `remediate` mends it before and is
mandatory where that does not help."""
ExceptionState = Literal["in force", "expired", "matches nothing"]
Path = tuple[str | int, ...]
"""To a property."""


class Parameters(BaseModel):
    """What an organisation may set of a rule. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    exceptions: tuple[RuleException, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule has to say about one property of one resource."""

    resource: Resource
    where: str
    """The property, or the related resource, that it is about."""
    what: str
    """What is wrong, or cannot be decided yet, as the end of a sentence about `where`."""
    verdict: Verdict = "violation"
    exception: RuleException | None = None
    """What excuses it, in force or no more."""
    broken: bool = False
    """Whether the rule itself failed: nothing was judged; no level and no exception lets it be."""

    @property
    def sentence(self) -> str:
        """The finding for people: one line."""
        said = f"{self.resource.type} '{self.resource.name}': {self.where} {self.what}"
        if self.exception is None:
            return said
        if self.verdict == "excepted":
            return f"{said}; excepted until {self.exception.expires}: {self.exception.reason}"
        return f"{said}; its exception expired on {self.exception.expires}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule: a plain function over plain data, and what people need to know about it."""

    name: str
    """Says the rule."""
    description: str
    mend: str
    """How to keep it, as an imperative sentence."""
    applies_to: Callable[[Resource], bool]
    """Whether the rule is about a resource; a run without one is not applicable, not passed."""
    parameters: type[Parameters] = Parameters
    each: Callable[[Resource, Any], Iterable[Finding]] | None = None
    """For a rule about one resource: judges its inputs."""
    together: Callable[[Stack, Any], Iterable[Finding]] | None = None
    """For a rule about resources that belong together: judges the outputs of a whole stack."""
    remedy: Callable[[Resource, Any], Mapping[Path, Any]] | None = None
    """What to set, where a default is safe: property → value. Only at the level `remediate`."""
    level: Level = "mandatory"
    """Where no configuration says another."""

    @property
    def sees(self) -> Literal["inputs", "outputs"]:
        """Which properties of a resource the rule judges."""
        return "inputs" if self.each is not None else "outputs"

    def judge(self, resources: Stack, parameters: Any) -> tuple[list[Finding], int]:
        """All that the rule finds in `resources`, and how many of them it is about."""
        if self.together is not None:
            found = self._together(resources, parameters)
            about = sum(map(self.is_about, resources))
            return [_excused(finding, parameters.exceptions) for finding in found], about
        each = [self.judge_one(resource, parameters) for resource in resources]
        judged = [findings for findings in each if findings is not None]
        return [finding for findings in judged for finding in findings], len(judged)

    def judge_one(self, resource: Resource, parameters: Any) -> list[Finding] | None:
        """What a rule about one resource finds in `resource`; `None` where it is not about it."""
        assert self.each is not None, "a rule judges resources each or together"  # noqa: S101
        try:
            if not self.applies_to(resource):
                return None
            found = list(self.each(resource, parameters))
        except Exception as error:  # noqa: BLE001 a broken rule must not hide what others find
            found = [self._broken(resource, error)]
        return [_excused(finding, parameters.exceptions) for finding in found]

    def is_about(self, resource: Resource) -> bool:
        """Whether the rule is about `resource`; where it cannot tell, it is."""
        try:
            return self.applies_to(resource)
        except Exception:  # noqa: BLE001 judging it will say what is wrong
            return True

    def _together(self, resources: Stack, parameters: Any) -> list[Finding]:
        assert self.together is not None, "a rule judges resources each or together"  # noqa: S101
        try:
            return list(self.together(resources, parameters))
        except Exception as error:  # noqa: BLE001 a broken rule must not hide what others find
            itself = Resource(type="rule", urn="", name=self.name)
            concerned = (resource for resource in resources if self.is_about(resource))
            return [self._broken(next(concerned, itself), error)]

    def _broken(self, resource: Resource, error: Exception) -> Finding:
        """What cannot be judged is not passed."""
        what = f"cannot be judged, the rule is broken: {type(error).__name__}: {error}"
        return Finding(resource=resource, where=f"rule {self.name}", what=what, broken=True)

    @property
    def why(self) -> str:
        """Why the rule matters: one line."""
        return f"Controls: {', '.join(CONTROLS[self.name])}."

    @property
    def advice(self) -> str:
        """Why the rule matters and how to keep it: one line."""
        return f"{self.why} To mend: {self.mend}"


def pending(resource: Resource, where: str, what: str = "is not known yet") -> Finding:
    """What cannot be decided before `up`."""
    return Finding(resource=resource, where=where, what=what, verdict="pending")


def state_of(exception: RuleException, findings: Sequence[Finding]) -> ExceptionState:
    """How `exception` of a rule stands that found `findings`."""
    found = (finding.resource for finding in findings)
    if not any(exception.is_for(resource.type, resource.urn) for resource in found):
        return "matches nothing"
    return "expired" if exception.expired() else "in force"


def unmatched(exceptions: Iterable[RuleException], findings: Sequence[Finding]) -> list[Finding]:
    """That an exception is there for nothing: what it excused is mended, or it is misspelt."""
    return [
        Finding(
            resource=Resource(type="exception", urn="", name=exception.resource),
            where="it",
            what="matches nothing that the rule finds: take it away, or correct its resource",
        )
        for exception in exceptions
        if state_of(exception, findings) == "matches nothing"
    ]


def _excused(finding: Finding, exceptions: Sequence[RuleException]) -> Finding:
    if finding.broken:
        return finding
    for exception in exceptions:
        if exception.is_for(finding.resource.type, finding.resource.urn):
            verdict = finding.verdict
            if verdict == "violation" and not exception.expired():
                verdict = "excepted"
            elif verdict == "pending":
                return finding
            return dataclasses.replace(finding, verdict=verdict, exception=exception)
    return finding


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a rule came out."""

    rule: Rule
    level: Level
    findings: Sequence[Finding]
    applicable: int
    """How many resources the rule is about."""
    exceptions: Sequence[tuple[RuleException, ExceptionState]] = ()
    """Each that the configuration has of the rule."""

    @property
    def broken(self) -> bool:
        """Whether the rule itself failed."""
        return any(finding.broken for finding in self.findings)

    @property
    def stops(self) -> bool:
        """Whether a deployment must not go on."""
        return self.broken or (self.outcome == "failed" and self.level != "advisory")

    @property
    def outcome(self) -> Outcome:
        """Failed outweighs pending, pending what is excepted, and that what passed."""
        if self.level == "disabled":
            return "disabled"
        verdicts = {finding.verdict for finding in self.findings}
        if "violation" in verdicts:
            return "failed"
        if "pending" in verdicts:
            return "pending"
        if "excepted" in verdicts:
            return "excepted"
        return "passed" if self.applicable else "not applicable"
