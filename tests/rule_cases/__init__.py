"""Cases of the policy rules: what passes, what fails, what is not decided yet; on plain data.

Each module beside this holds `CASES`, for the rules of the module of its name in `policies`.
`test_policies_cases.py` runs them, and holds that each rule has cases of each kind: a compliant
baseline, mutations of it that fail, near misses that pass, and unknowns that are pending.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from policies.common.configuration import check, configured
from policies.common.resources import ABSENT, Resource
from policies.common.rule import Outcome, Result, Rule
from policies.common.stack import Stack
from policies.packs import RULES

BY_NAME = {rule.name: rule for rule in RULES}
Path = tuple[str | int, ...]
Change = tuple[Path, Any]
REGION, ACCOUNT = "me-central-1", "123456789012"
KEY_ARN = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1"


def resource(kind: str, name: str, properties: Mapping[str, Any], **more: Any) -> Resource:
    """A resource with an URN like the engine's."""
    urn = f"urn:pulumi:prod::bank::{kind}::{name}"
    return Resource(type=kind, urn=urn, name=name, properties=dict(properties), **more)


PROVIDER = resource("pulumi:providers:aws", "home", {"region": REGION})


def mutated(properties: Mapping[str, Any], *changes: Change) -> dict[str, Any]:
    """`properties` with the value at each path changed, or taken away where it is `ABSENT`."""
    result = copy.deepcopy(dict(properties))
    for path, value in changes:
        inner: Any = result
        for step in path[:-1]:
            inner = inner[step]
        if value is ABSENT:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
    return result


def run(rules: Iterable[Rule], *resources: Resource, configuration: Any = None) -> list[Result]:
    """The results of `rules` on a stack whose outputs are its inputs."""
    stack = Stack(resources)
    return check(configured(rules, configuration), stack, stack)


def outcome(name: str, *resources: Resource, **parameters: Any) -> Outcome:
    """How the rule `name` comes out."""
    values = {name: parameters} if parameters else None
    (result,) = run([BY_NAME[name]], *resources, configuration=values)
    return result.outcome


@dataclass(frozen=True)
class Cases:
    """Of one rule. Each case is a stack, named by what is special in it."""

    rule: str
    baseline: Sequence[Resource]
    """Compliant."""
    fails: Mapping[str, Sequence[Resource]]
    """What is wrong → a stack with it."""
    passes: Mapping[str, Sequence[Resource]]
    """What looks wrong and is not → a stack with it."""
    pending: Mapping[str, Sequence[Resource]]
    """What is not known → a stack without it; nothing where the rule reads no value."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    always_decided: str = ""
    """Why nothing can be unknown, for a rule without pending cases."""

    def all(self) -> Iterable[tuple[str, Sequence[Resource], Outcome]]:
        """Each case, with the outcome that it must have."""
        yield "the baseline", self.baseline, "passed"
        for expected, cases in (
            ("passed", self.passes),
            ("failed", self.fails),
            ("pending", self.pending),
        ):
            for name, stack in cases.items():
                yield name, stack, expected  # type: ignore[misc]
