"""The whole main job, once, for every test that looks at what it made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tools.scratch_clone import ScratchClone


@dataclass(frozen=True)
class Journey:
    """A scratch clone after `make up`, and what that printed."""

    clone: ScratchClone
    printed: str

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The platform's stack outputs, secrets shown."""
        return self.json("pulumi", "stack", "output", "--json", "--show-secrets", "-s", "local")

    @cached_property
    def variables(self) -> dict[str, str]:
        """The environment variables of the workload's code."""
        answer = self.json(
            *("pulumi", "-C", "workloads", "stack", "output", "--json", "--show-secrets"),
            *("-s", "credit-risk.local"),
        )
        return dict(answer["variables"])

    def json(self, *command: str) -> Any:
        """What a command prints, read as JSON; fails the test when the command fails."""
        ran = self.clone.run(*command)
        assert ran.returncode == 0, ran.stdout
        return json.loads(ran.stdout[ran.stdout.index("{") :])

    def status(self) -> dict[str, Any]:
        """`falaj status --json`."""
        return dict(self.json("falaj", "status", "--json"))


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    clone = ScratchClone.make_at(Path(tmp_path_factory.mktemp("journey")) / "falaj")
    try:
        up = clone.make("up")
        assert up.returncode == 0, up.stdout[-6000:]
        yield Journey(clone, up.stdout)
    finally:
        clone.make("down", seconds=300)
