"""What an environment sets of the rules: their levels, parameters and exceptions.

One file an environment (`policies/config`), in the engine's own form, so that it serves ``pulumi
preview --policy-pack-config`` and everything of ours alike: a rule's name → its level, or an object
with ``enforcementLevel``, the rule's parameters and its ``exceptions``.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from policies.common.rule import Level, Parameters, Result, Rule, state_of, unmatched
from policies.common.stack import Stack

LEVEL = "enforcementLevel"


class ConfigurationError(Exception):
    """The configuration of a pack is wrong; the message says each mistake."""


@dataclass(frozen=True, kw_only=True)
class Configured:
    """A rule as an environment sets it."""

    rule: Rule
    level: Level
    parameters: Parameters


def parsed(text: str) -> Any:
    """The file's content. Raises `ConfigurationError`."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the configuration is not JSON: {error}") from error


def configured(rules: Iterable[Rule], content: Any = None) -> list[Configured]:
    """`rules` as `content` of a file sets them; without a file, as they are.

    Raises `ConfigurationError`, also for a rule that there is not.
    """
    rules, content = list(rules), {} if content is None else content
    if not isinstance(content, Mapping):
        raise ConfigurationError("a configuration maps rules to their levels and parameters")
    problems = []
    if strangers := content.keys() - {rule.name for rule in rules}:
        problems.append(
            f"the configuration names {', '.join(sorted(strangers))}, which is no rule; "
            f"rules: {', '.join(rule.name for rule in rules)}"
        )
    made = []
    for rule in rules:
        try:
            made.append(_one(rule, content.get(rule.name, {})))
        except ConfigurationError as error:
            problems.append(str(error))
    if problems:
        raise ConfigurationError("\n".join(problems))
    return made


def _one(rule: Rule, value: Any) -> Configured:
    values = {LEVEL: value} if isinstance(value, str) else value
    if not isinstance(values, Mapping):
        raise ConfigurationError(f"{rule.name}: is neither a level nor an object of parameters")
    level: Any = values.get(LEVEL, rule.level)
    if level not in get_args(Level):
        raise ConfigurationError(
            f"{rule.name}.{LEVEL}: is {level!r}; levels: {', '.join(get_args(Level))}"
        )
    if level == "remediate" and rule.remedy is None:
        raise ConfigurationError(
            f"{rule.name}.{LEVEL}: is remediate, and no default would be safe: say mandatory"
        )
    parameters = parameters_of(rule, {key: one for key, one in values.items() if key != LEVEL})
    return Configured(rule=rule, level=level, parameters=parameters)


def parameters_of(rule: Rule, values: Mapping[str, Any]) -> Parameters:
    """`values` as parameters of `rule`. Raises `ConfigurationError`."""
    try:
        return rule.parameters.model_validate(dict(values))
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
        )
        raise ConfigurationError(f"the configuration of {rule.name}: {problems}") from error


def check(configuration: Sequence[Configured], inputs: Stack, outputs: Stack) -> list[Result]:
    """Runs the rules on a stack, seen by its inputs and by its outputs."""
    return [judged(one, inputs if one.rule.sees == "inputs" else outputs) for one in configuration]


def judged(one: Configured, resources: Stack) -> Result:
    """How a rule comes out on `resources`, and each of its exceptions with it."""
    if one.level == "disabled":
        return Result(rule=one.rule, level=one.level, findings=(), applicable=0)
    findings, applicable = one.rule.judge(resources, one.parameters)
    exceptions = one.parameters.exceptions
    return Result(
        rule=one.rule,
        level=one.level,
        findings=[*findings, *unmatched(exceptions, findings)],
        applicable=applicable,
        exceptions=[(exception, state_of(exception, findings)) for exception in exceptions],
    )


def schema(rules: Iterable[Rule]) -> dict[str, Any]:
    """JSON schema of a configuration file."""
    level: dict[str, Any] = {"enum": sorted(get_args(Level))}
    properties: dict[str, Any] = {}
    for rule in rules:
        properties[rule.name] = {
            "description": rule.description,
            "oneOf": [
                level,
                {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {LEVEL: level, **schema_of(rule)},
                },
            ],
        }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of Falaj's policy packs in one environment",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
    }


def schema_of(rule: Rule) -> dict[str, Any]:
    """JSON schema of each parameter of `rule`, without references: the engine knows none."""
    return _schema_of(rule.parameters)


@functools.cache  # most rules have no parameters of their own
def _schema_of(parameters: type[Parameters]) -> dict[str, Any]:
    whole = parameters.model_json_schema()
    definitions = whole.get("$defs", {})
    return {name: _inlined(one, definitions) for name, one in whole["properties"].items()}


def _inlined(value: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        if "$ref" in value:
            return _inlined(copy.copy(definitions[value["$ref"].rpartition("/")[2]]), definitions)
        return {key: _inlined(one, definitions) for key, one in value.items()}
    return [_inlined(one, definitions) for one in value] if isinstance(value, list) else value
