"""What a rule is, and how it runs: on a state in this process, or inside the engine as a policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi_policy
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError
from pydantic import BaseModel, ConfigDict, ValidationError

from policies.common.controls import CONTROLS
from policies.common.resources import Resource, of_stack, of_validation

Verdict = Literal["violation", "pending"]
Outcome = Literal["passed", "failed", "pending", "not applicable"]
Configuration = Mapping[str, Mapping[str, Any]]
"""Rule → its parameters, as a pack's configuration file holds them."""


class ConfigurationError(Exception):
    """The configuration of a pack is wrong."""


class Parameters(BaseModel):
    """What an organisation may set of a rule. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule has to say about one property of one resource."""

    resource: Resource
    where: str
    """The property, or the related resource, that it is about."""
    what: str
    """What is wrong, or cannot be decided yet, as the end of a sentence about `where`."""
    verdict: Verdict = "violation"

    @property
    def sentence(self) -> str:
        """The finding for people: one line."""
        return f"{self.resource.type} '{self.resource.name}': {self.where} {self.what}"


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
    together: Callable[[Sequence[Resource], Any], Iterable[Finding]] | None = None
    """For a rule about resources that belong together: judges the outputs of a whole stack."""
    level: pulumi_policy.EnforcementLevel = pulumi_policy.EnforcementLevel.MANDATORY

    @property
    def sees(self) -> Literal["inputs", "outputs"]:
        """Which properties of a resource the rule judges."""
        return "inputs" if self.each is not None else "outputs"

    def judge(self, resources: Sequence[Resource], parameters: Any) -> list[Finding]:
        """All that the rule finds in `resources`."""
        if self.together is not None:
            concerned = [resource for resource in resources if self.is_about(resource)]
            try:
                return list(self.together(resources, parameters))
            except Exception as error:  # noqa: BLE001 a broken rule must not hide what others find
                return [self._broken(resource, error) for resource in concerned[:1]]
        return [
            finding
            for resource in resources
            if self.is_about(resource)
            for finding in self._judge_one(resource, parameters)
        ]

    def is_about(self, resource: Resource) -> bool:
        """Whether the rule is about `resource`; where it cannot tell, it is."""
        try:
            return self.applies_to(resource)
        except Exception:  # noqa: BLE001 judging it will say what is wrong
            return True

    def _judge_one(self, resource: Resource, parameters: Any) -> list[Finding]:
        assert self.each is not None, "a rule judges resources each or together"  # noqa: S101
        try:
            return list(self.each(resource, parameters)) if self.applies_to(resource) else []
        except Exception as error:  # noqa: BLE001 a broken rule must not hide what others find
            return [self._broken(resource, error)]

    def _broken(self, resource: Resource, error: Exception) -> Finding:
        """What cannot be judged is not passed."""
        what = f"cannot be judged, the rule is broken: {type(error).__name__}: {error}"
        return Finding(resource=resource, where=f"rule {self.name}", what=what)

    def configured(self, values: Mapping[str, Any] | None) -> Parameters:
        """The rule's parameters. Raises `ConfigurationError`."""
        try:
            return self.parameters.model_validate(dict(values or {}))
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
                for problem in error.errors()
            )
            raise ConfigurationError(f"the configuration of {self.name}: {problems}") from error

    @property
    def advice(self) -> str:
        """Why the rule matters and how to keep it: one line."""
        return f"Controls: {', '.join(CONTROLS[self.name])}. To mend: {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a rule came out."""

    rule: Rule
    findings: Sequence[Finding]
    applicable: int
    """How many resources the rule is about."""

    @property
    def outcome(self) -> Outcome:
        """Failed outweighs pending, pending outweighs passed."""
        if any(finding.verdict == "violation" for finding in self.findings):
            return "failed"
        if self.findings:
            return "pending"
        return "passed" if self.applicable else "not applicable"


def check(
    rules: Iterable[Rule],
    resources: Callable[[str], Sequence[Resource]],
    configuration: Configuration | None = None,
) -> list[Result]:
    """Runs `rules`; `resources` gives those of the stack with their inputs or their outputs.

    Raises `ConfigurationError`.
    """
    rules, configuration = list(rules), {} if configuration is None else configuration
    if not isinstance(configuration, Mapping) or not all(
        isinstance(values, Mapping) for values in configuration.values()
    ):
        raise ConfigurationError("a configuration maps rules to their parameters")
    strangers = configuration.keys() - {rule.name for rule in rules}
    if strangers:
        raise ConfigurationError(
            f"the configuration names {', '.join(sorted(strangers))}, which is no rule; "
            f"rules: {', '.join(rule.name for rule in rules)}"
        )
    seen = {show: resources(show) for show in {rule.sees for rule in rules}}
    return [
        Result(
            rule=rule,
            findings=rule.judge(seen[rule.sees], rule.configured(configuration.get(rule.name))),
            applicable=sum(map(rule.is_about, seen[rule.sees])),
        )
        for rule in rules
    ]


def policy(rule: Rule) -> pulumi_policy.Policy:
    """`rule` as the engine runs it."""
    schema = rule.parameters.model_json_schema()
    common: dict[str, Any] = {
        "name": rule.name,
        "description": rule.description,
        "enforcement_level": rule.level,
        "config_schema": (
            pulumi_policy.PolicyConfigSchema(properties=schema["properties"])
            if schema["properties"]
            else None
        ),
        "remediation_steps": rule.mend,
    }
    if rule.each is not None:

        def validate_each(
            args: pulumi_policy.ResourceValidationArgs, report: pulumi_policy.ReportViolation
        ) -> None:
            resource = of_validation(args)
            if not rule.is_about(resource):
                args.not_applicable()
            _report(rule, rule.judge([resource], rule.configured(args.get_config())), report)

        return pulumi_policy.ResourceValidationPolicy(validate=validate_each, **common)

    def validate_together(
        args: pulumi_policy.StackValidationArgs, report: pulumi_policy.ReportViolation
    ) -> None:
        resources = of_stack(args.resources)
        if not any(map(rule.is_about, resources)):
            args.not_applicable("the stack has no resource that the rule is about")
        _report(rule, rule.judge(resources, rule.configured(args.get_config())), report)

    return pulumi_policy.StackValidationPolicy(validate=validate_together, **common)


def serve(name: str, rules: Sequence[Rule]) -> None:
    """Serves `rules` to the engine as the policy pack `name`, until it is stopped."""
    pulumi_policy.PolicyPack(name=name, policies=[policy(rule) for rule in rules])


class _PendingError(UnknownValueError):
    """Makes the engine print an advisory line: violations of a mandatory policy are mandatory."""

    def __init__(self, message: str) -> None:
        super().__init__(UNKNOWN_STRING_VALUE, [])
        self.message = message


def _report(rule: Rule, findings: Iterable[Finding], report: pulumi_policy.ReportViolation) -> None:
    undecided = []
    for finding in findings:
        if finding.verdict == "violation":
            report(f"{finding.sentence}.\n{rule.advice}", finding.resource.urn)
        else:
            undecided.append(f"pending: {finding.sentence}; it is checked again at up")
    if undecided:
        raise _PendingError("\n".join(undecided))
