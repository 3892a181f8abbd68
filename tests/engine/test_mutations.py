"""`prod`, made weaker in ten places drawn at random: the engine says what the rules say alone.

What no rule catches is listed by `tests/benchmarks/mutations.py`, which tries every place in one
process, without the engine. Here its verdicts are held against the engine's own.
"""

from __future__ import annotations

import datetime
import json
import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rule_weakenings import can_weaken, one_of_each, weaken, weakenings

from policies.common.configuration import check, configured
from policies.common.resources import of_state
from policies.common.stack import Stack
from policies.packs import CONFIGURATIONS, RULES
from stacks.offline import Offline, offline
from stacks.plan import held_to

DRAWN = 10
CONFIGURED = configured(RULES, json.loads((CONFIGURATIONS / "prod.json").read_text()))
SENTENCE = re.compile(r"[\w-]+:\S+ '[^']+': ")


@dataclass(frozen=True)
class Prod:
    """`prod` after an `up`: then all about it is known."""

    stack: Offline
    state: str


@pytest.fixture(scope="module")
def prod() -> Iterator[Prod]:
    with offline("prod") as stack:
        up = stack.pulumi("up", "--yes", "--skip-preview")
        assert up.returncode == 0, up.stdout + up.stderr
        yield Prod(stack, stack.pulumi("stack", "export", "--show-secrets").stdout)


def alone(state: str) -> set[str]:
    """What the rules have against `state`, without the engine."""
    inputs, outputs = (Stack(of_state(state, show)) for show in ("inputs", "outputs"))
    return {
        finding.sentence
        for result in check(CONFIGURED, inputs, outputs)
        for finding in result.findings
        if finding.verdict == "violation"
    }


def under_the_engine(prod: Prod, state: Path) -> set[str]:
    """What the packs have against it, as the engine asks them."""
    analysis = subprocess.run(
        ["pulumi", "policy", "analyze", "--file", str(state), *held_to("prod")],
        cwd=prod.stack.directory,
        env=prod.stack.variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "falaj@v" in analysis.stdout, analysis.stdout + analysis.stderr
    lines = (line.strip().removesuffix(".") for line in analysis.stdout.splitlines())
    return {line for line in lines if SENTENCE.match(line)}


def test_ten_drawn_at_random_come_out_the_same_under_the_engine(prod: Prod, tmp_path: Path) -> None:
    state = json.loads(prod.state)
    resources = state["deployment"]["resources"]
    tried = one_of_each(
        one for resource in of_state(prod.state, "inputs") for one in weakenings(resource)
    )
    seed = datetime.datetime.now(datetime.UTC).date().toordinal()
    print(f"seed {seed}")  # noqa: T201 shown when it fails
    able = [one for one in tried if can_weaken(resources, one)]
    for one in random.Random(seed).sample(able, DRAWN):  # noqa: S311 no secret
        print(one)  # noqa: T201
        weaken(resources, one)
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state))

    assert under_the_engine(prod, file) == alone(file.read_text())
