"""Each rule keeps its cases, and has some of each kind. The matrix: `pytest -s -k matrix`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

import pytest
import rule_cases
from rich.console import Console
from rich.table import Table
from rule_cases import BY_NAME, Cases, outcome

from policies.common.resources import Resource

ALL: tuple[Cases, ...] = tuple(
    cases
    for module in pkgutil.iter_modules(rule_cases.__path__)
    for cases in importlib.import_module(f"rule_cases.{module.name}").CASES
)
EACH = [
    pytest.param(cases, stack, expected, id=f"{cases.rule}: {expected}, {name}")
    for cases in ALL
    for name, stack, expected in cases.all()
]


@pytest.mark.parametrize(("cases", "stack", "expected"), EACH)
def test_a_case_comes_out_as_it_must(
    cases: Cases, stack: Sequence[Resource], expected: str
) -> None:
    assert outcome(cases.rule, *stack, **cases.parameters) == expected


def test_no_rule_has_cases_twice_and_each_has_some_of_each_kind() -> None:
    names = [cases.rule for cases in ALL]

    assert len(names) == len(set(names))
    assert set(names) <= BY_NAME.keys()
    for cases in ALL:
        assert cases.fails, cases.rule
        assert cases.passes, cases.rule
        assert bool(cases.pending) != bool(cases.always_decided), cases.rule


def test_the_matrix() -> None:
    table = Table(title="Rules and their cases")
    for heading in ("rule", "passes", "fails", "pending"):
        table.add_column(heading, justify="left" if heading == "rule" else "right")
    for cases in sorted(ALL, key=lambda one: one.rule):
        pending = str(len(cases.pending)) if cases.pending else cases.always_decided
        table.add_row(cases.rule, str(1 + len(cases.passes)), str(len(cases.fails)), pending)
    Console(width=140).print(table)

    assert table.row_count == len(ALL)
