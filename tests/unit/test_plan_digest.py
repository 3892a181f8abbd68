"""A plan is known again by what it does, and by nothing else."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stacks.environment import ROOT
from stacks.plan import _save, app
from stacks.plan_check import PlanError
from stacks.plan_digest import digest

ROOT_URN = "urn:pulumi:prod::bank::a:b:C"


def step(name: str, op: str = "create", **new: Any) -> dict[str, Any]:
    urn = f"{ROOT_URN}::{name}"
    state = {"urn": urn, "inputs": {"size": 1}, "protect": True, "sourcePosition": "project:///a#1"}
    return {"op": op, "urn": urn, "newState": state | new}


def plan(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"steps": list(steps), **more}


BOTH = plan(step("x"), step("y", "same"), step("z", "update", inputs={"size": 2}))


@pytest.mark.parametrize(
    "again",
    [
        plan(*reversed(BOTH["steps"]), duration=12),
        plan(step("x", sourcePosition="project:///b#9", created="2026-11-22"), *BOTH["steps"][1:]),
        plan(BOTH["steps"][0], BOTH["steps"][2]),
        BOTH | {"diagnostics": [{"severity": "warning", "message": "old"}]},
    ],
    ids=["order", "lines and times", "what stays", "warnings"],
)
def test_the_same_change_has_the_same_digest(again: dict[str, Any]) -> None:
    assert digest(again) == digest(BOTH)


@pytest.mark.parametrize(
    "other",
    [
        plan(),
        plan(*BOTH["steps"], step("w", "delete")),
        plan(step("x", inputs={"size": 9}), *BOTH["steps"][1:]),
        plan(step("x", protect=False), *BOTH["steps"][1:]),
        plan(step("x", "replace"), *BOTH["steps"][1:]),
        plan(step("x2"), *BOTH["steps"][1:]),
        # the state changed meanwhile: the same wish, from somewhere else
        plan(BOTH["steps"][0] | {"oldState": {"inputs": {"size": 7}}}, *BOTH["steps"][1:]),
    ],
    ids=["nothing", "a delete", "a value", "protection", "a replacement", "a name", "the state"],
)
def test_another_change_has_another_digest(other: dict[str, Any]) -> None:
    assert digest(other) != digest(BOTH)


def test_half_a_plan_has_none() -> None:
    failed = BOTH | {"diagnostics": [{"severity": "error", "message": "error: no such region"}]}
    with pytest.raises(PlanError, match="no such region"):
        digest(failed)
    with pytest.raises(PlanError, match="no plan"):
        digest({"steps": [1]})


def test_the_command_prints_the_digest_and_names_a_file_that_it_cannot_read(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(BOTH))
    assert CliRunner().invoke(app, ["digest", str(file)]).stdout == f"{digest(BOTH)}\n"

    wrong = CliRunner().invoke(app, ["digest", str(tmp_path / "missing")])
    assert isinstance(wrong.exception, PlanError)
    assert "missing" in str(wrong.exception)


def test_a_saved_plan_tells_lines_from_the_clone(tmp_path: Path) -> None:
    """The engine tells them from the folder of the stack, which lies elsewhere offline."""
    said = f"project:///{os.path.relpath(ROOT, tmp_path)}/components/a.py#3"
    _save(tmp_path / "plan.json", json.dumps({"sourcePosition": said}), tmp_path)

    saved = json.loads((tmp_path / "plan.json").read_text())
    assert saved["sourcePosition"] == "project:///components/a.py#3"
