"""The table of the audit: it asks what the services' own descriptions know, and only reads."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from botocore.session import get_session

from policies.audit.kinds import Ask, Kind
from policies.audit.permissions import actions, policy
from policies.audit.table import KINDS, TAGGED
from policies.packs import RULES

ROWS = [*KINDS, TAGGED]
PREFIXES = {"resourcegroupstaggingapi": "tag"}


@cache
def service(name: str) -> Any:
    return get_session().get_service_model(name)


def operation(kind: Kind, name: str) -> Any:
    words = re.sub(r"[^a-z]", "", name)
    (found,) = [one for one in service(kind.service).operation_names if one.lower() == words]
    return service(kind.service).operation_model(found)


def asks_of(kind: Kind) -> list[Ask]:
    return [*([kind.locate] if kind.locate else []), *kind.asks]


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.label)
def test_every_question_is_one_that_the_service_understands(kind: Kind) -> None:
    listing = operation(kind, kind.operation)
    takes = listing.input_shape.members if listing.input_shape else {}
    assert set(kind.arguments) <= set(takes)
    first = re.search(r"[A-Za-z]\w+", kind.items)
    assert first is not None
    assert first[0] in listing.output_shape.members
    for ask in asks_of(kind):
        model = operation(kind, ask.operation)
        assert set(model.input_shape.required_members) <= set(ask.arguments)
        assert set(ask.arguments) <= set(model.input_shape.members)
        told = ask.answer.partition(".")[0]
        assert told == "@" or told in model.output_shape.members


@pytest.mark.parametrize("kind", ROWS, ids=lambda kind: kind.label)
def test_every_operation_has_its_action_in_the_policy_and_reads(kind: Kind) -> None:
    allowed = set(actions())
    for name in kind.operations():
        action = kind.action(name)
        assert action in allowed
        assert re.fullmatch(r"[a-z0-9-]+:(Describe|Get|List)\w+", action), action
        assert name.startswith(("describe_", "get_", "list_"))
        if name not in kind.actions:
            assert action.partition(":")[2] == operation(kind, name).name
        prefix = PREFIXES.get(kind.service, service(kind.service).signing_name)
        assert action.partition(":")[0] == prefix


def test_an_operation_without_a_row_has_no_action() -> None:
    asked = {kind.action(name) for kind in ROWS for name in kind.operations()}
    assert set(actions()) - asked == {"ec2:DescribeRegions", "sts:GetCallerIdentity"}
    (statement,) = policy()["Statement"]
    assert not any("*" in action for action in statement["Action"])


def test_rows_name_rules_that_there_are() -> None:
    known = {rule.name for rule in RULES}
    assert {name for kind in ROWS for name in kind.rules} <= known


def test_no_type_is_listed_by_two_rows() -> None:
    types = [one for kind in KINDS for one in kind.types]
    assert len(types) == len(set(types))
