"""Environments whose cloud outlives a run, so that it can be compared with the engine's state."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from world import VARIABLE, World

from stacks.locks import is_cut_short
from stacks.offline import Offline, offline
from stacks.plan import held_to, planned
from stacks.settings import CONFIG_DIRECTORY, PROFILES

UNASKED = ("--yes", "--skip-preview")


@dataclasses.dataclass(frozen=True)
class Living:
    """An environment and the world that its stand-in providers keep."""

    stack: Offline
    world: World

    def pulumi(
        self, *arguments: str, faults: list[dict[str, Any]] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the Pulumi CLI; `faults` are what goes wrong (tools/providers/faults.py)."""
        told = {"FALAJ_STANDIN_FAULTS": json.dumps(faults or [])}
        surviving = self.stack.with_checkpoints() if faults else self.stack
        stack = dataclasses.replace(surviving, variables=surviving.variables | told)
        return stack.pulumi(*arguments)

    def up(
        self, *arguments: str, faults: list[dict[str, Any]] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`pulumi up`, with every policy pack."""
        held = held_to(self.stack.environment)
        return self.pulumi("up", *UNASKED, *held, *arguments, faults=faults)

    def deployment(self) -> dict[str, Any]:
        """The exported state."""
        exported = self.pulumi("stack", "export")
        assert exported.returncode == 0, exported.stderr
        return dict(json.loads(exported.stdout)["deployment"])

    def resources(self) -> list[dict[str, Any]]:
        """What the state holds that a provider made."""
        return [
            one
            for one in self.deployment().get("resources", ())
            if one.get("custom") and not one["type"].startswith("pulumi:")
        ]

    def in_state(self) -> set[tuple[str, str]]:
        """Type and id of everything in the state."""
        return {(one["type"], one["id"]) for one in self.resources()}

    def in_world(self) -> set[tuple[str, str]]:
        """Type and id of everything that exists."""
        return {(thing.token, thing.id) for thing in self.world.things()}

    def kept(self) -> set[tuple[str, str]]:
        """Type and id of what a `destroy` of the state leaves."""
        return {(one["type"], one["id"]) for one in self.resources() if one.get("retainOnDelete")}

    def recover(self) -> None:
        """What docs/operations.md says to type when an `up` was killed."""
        self.end_orphans()
        self.mend_attributes()
        self.pulumi("cancel", "--yes")
        pending = self.deployment().get("pending_operations") or ()
        if not pending:
            return
        # a person looks in the account, by name and by the tags that all resources carry
        found = [
            (operation["resource"], thing.id)
            for operation in pending
            for thing in self.world.things()
            if operation["type"] == "creating" and thing.urn == operation["resource"]["urn"]
        ]
        if found:
            self.take_over(found)
        refreshed = self.pulumi("refresh", *UNASKED, "--clear-pending-creates")
        assert refreshed.returncode == 0, refreshed.stdout + refreshed.stderr

    def end_orphans(self) -> None:
        """Ends the providers of an engine that was killed, which would go on making things."""
        world = self.stack.variables[VARIABLE]
        orphans = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(VARIABLE) == world:
                    process.kill()
                    orphans.append(process)
        _, alive = psutil.wait_procs(orphans, timeout=60)
        assert not alive, alive

    def take_over(self, found: list[tuple[Mapping[str, Any], str]]) -> None:
        """Takes what exists into the state, as docs/operations.md says: resource and its id."""
        table, made = {}, []
        for one, identifier in found:
            table |= {one["urn"]: one["parent"], f"provider of {one['urn']}": provider(one)}
            made.append(
                {
                    "type": one["type"],
                    "name": one["urn"].rpartition("::")[2],
                    "id": identifier,
                    "parent": one["urn"],
                    "provider": f"provider of {one['urn']}",
                }
            )
        file = self.stack.directory / "made.json"
        file.write_text(json.dumps({"nameTable": table, "resources": made}))
        told = ("--file", str(file), "--generate-code=false", "--protect=false")
        imported = self.pulumi("import", *told, *UNASKED)
        assert imported.returncode == 0, imported.stdout + imported.stderr

    @contextlib.contextmanager
    def rewound(self) -> Iterator[None]:
        """What is done inside has not been done afterwards: a deployed environment serves again."""
        state, before = self.stack.directory / "state", self.stack.directory / "before"
        shutil.copytree(state, before)
        with (
            contextlib.closing(sqlite3.connect(self.stack.variables[VARIABLE])) as world,
            contextlib.closing(sqlite3.connect(":memory:")) as kept,
        ):
            world.backup(kept)
            try:
                yield
            finally:
                kept.backup(world)
                shutil.rmtree(state)
                before.rename(state)

    def mend_attributes(self) -> None:
        """Where a kill cut the attributes of the state file short they go.

        A bucket has no such moment: it keeps them itself.
        """
        for file in (self.stack.directory / "state").rglob("*.attrs"):
            if is_cut_short(file):
                file.unlink()

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes the settings by `change`, which gets the stack file's `config`."""
        content = yaml.safe_load(self.stack.stack_file.read_text())
        change(content["config"])
        self.stack.stack_file.write_text(yaml.safe_dump(content))

    def planned(self, urn: str) -> Mapping[str, Any]:
        """What a preview would make of a resource."""
        preview = self.pulumi("preview", "--json")
        steps = json.loads(preview.stdout)["steps"]
        return dict(next(step["newState"] for step in steps if step["urn"] == urn))

    def steps(self, *arguments: str) -> dict[str, str]:
        """What a preview would do: URN → operation, what stays the same left out."""
        preview = self.pulumi("preview", "--json", *arguments)
        assert preview.returncode == 0, preview.stdout + preview.stderr
        return {
            step["urn"]: step["op"]
            for step in json.loads(preview.stdout)["steps"]
            if step["op"] not in ("same", "read") and "::pulumi:pulumi:Stack::" not in step["urn"]
        }


def provider(resource: Mapping[str, Any]) -> str:
    """The URN of a resource's provider: its reference without the provider's id."""
    return str(resource["provider"]).rpartition("::")[0]


@contextlib.contextmanager
def living(environment: str) -> Iterator[Living]:
    """The environment with nothing in it yet, its teams to be deployed."""
    with offline(environment) as empty:
        path = empty.directory / "world.db"
        stack = dataclasses.replace(empty, variables=empty.variables | {VARIABLE: str(path)})
        set_up = stack.pulumi(
            "config", "set", "--secret", "falaj:kubeconfig", standard_input="apiVersion: v1\n"
        )
        assert set_up.returncode == 0, set_up.stderr
        with World(path).closing() as world:
            environment = Living(stack, world)
            try:
                yield environment
            finally:
                environment.end_orphans()


@pytest.fixture(name="living", scope="session")
def _living() -> Callable[[str], contextlib.AbstractContextManager[Living]]:
    return living


@pytest.fixture(scope="session")
def plan_of() -> Callable[[str], list[dict[str, Any]]]:
    """What an environment would be made of, planned once; only to be read."""
    return functools.cache(planned)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every environment on AWS there is, and every profile."""
    if "aws_environment" in metafunc.fixturenames:
        metafunc.parametrize("aws_environment", environments(), scope="module")
    if "profile" in metafunc.fixturenames:
        metafunc.parametrize("profile", sorted(file.stem for file in PROFILES.glob("*.yaml")))


def environments() -> list[str]:
    """The environments that the clone has stack files of, those on a machine left out."""
    return sorted(
        file.suffixes[0][1:]
        for file in CONFIG_DIRECTORY.glob("Pulumi.*.yaml")
        if _config(file).get("falaj:place", "aws") == "aws" and file.suffixes[0] != ".local"
    )


def _config(file: Path) -> Mapping[str, Any]:
    return dict((yaml.safe_load(file.read_text()) or {}).get("config") or {})
