"""The life of every environment on the real engine, from the first preview to its end."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from aws_shapes import coverage
from aws_types import Aws

from stacks.plan import held_to

if TYPE_CHECKING:
    from conftest import Living

Begin = Callable[[str], contextlib.AbstractContextManager["Living"]]
Done = subprocess.CompletedProcess[str]
UNCHANGED = ("--yes", "--skip-preview", "--expect-no-changes")


@dataclasses.dataclass(frozen=True)
class Life:
    """What each step of an environment's life gave, in order."""

    profile: str
    preview: Done
    up: Done
    made: set[tuple[str, str]]
    existed: set[tuple[str, str]]
    again: Done
    refresh: Done
    after_a_change: dict[str, str]
    changed_pool: str
    kept: set[tuple[str, str]]
    destroy: Done
    remembered: set[tuple[str, str]]
    left: set[tuple[str, str]]


@pytest.fixture(scope="module")
def life(living: Begin, aws_environment: str) -> Iterator[Life]:
    held = held_to(aws_environment)
    with living(aws_environment) as environment:
        found = yaml.safe_load(environment.stack.stack_file.read_text())["config"]
        profile = str(found.get("falaj:profile", ""))
        preview = environment.pulumi("preview", "--json", *held)
        up = environment.up()
        made, existed = environment.in_state(), environment.in_world()
        again = environment.pulumi("up", *UNCHANGED)
        refresh = environment.pulumi("refresh", *UNCHANGED)
        pool = _widen(environment)
        after_a_change = environment.steps()
        kept = environment.kept()
        environment.pulumi("state", "unprotect", "--all", "--yes")
        yield Life(
            profile=profile,
            preview=preview,
            up=up,
            made=made,
            existed=existed,
            again=again,
            refresh=refresh,
            after_a_change=after_a_change,
            changed_pool=pool,
            kept=kept,
            destroy=environment.pulumi("destroy", "--yes", "--skip-preview"),
            remembered=environment.in_state(),
            left=environment.in_world(),
        )


def _widen(environment: Living) -> str:
    """Gives the first CPU pool one node more; its name."""
    changed: list[str] = []

    def change(config: dict[str, Any]) -> None:
        pools = config["falaj:aws"]["node_pools"]
        name = next(name for name, pool in pools.items() if pool["kind"] == "cpu")
        pools[name]["max_nodes"] += 1
        changed.append(name)

    environment.edit(change)
    return changed[0]


def succeeded(done: Done) -> None:
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"


AGENTS_QUOTAS = {
    f"{environment}-operators-{namespace}-quota"
    for environment in ("test", "staging", "prod")
    for namespace in ("istio-system", "node-agents")
}


def test_the_first_preview_knows_what_it_cannot_know_yet(life: Life) -> None:
    succeeded(life.preview)
    assert "04da6b54-80e4-46f7-96ec-b56ff0331ba9" in life.preview.stdout
    assert {step["op"] for step in json.loads(life.preview.stdout)["steps"]} == {"create"}


def test_up_makes_what_it_remembers_and_nothing_else(life: Life) -> None:
    succeeded(life.up)
    assert len(life.made) > 20
    assert life.made == life.existed


def test_most_types_are_held_to_the_model_of_their_service(life: Life) -> None:
    catalogue = Aws()
    tokens = sorted({token for token, _ in life.made if token.startswith("aws:")})
    rows = [coverage(token, catalogue.classes(token)[1]) for token in tokens]  # type: ignore[index]
    for row in rows:
        shown = f"{row.checked} of {row.properties}"
        print(f"{shown:>9} {row.token} {row.made_by or '-'}")  # noqa: T201 shown with `-s`
    known = sum(row.made_by is not None for row in rows)
    print(f"{known} of {len(rows)} types belong to an operation")  # noqa: T201

    assert known / len(rows) > 0.6


def test_no_policy_has_anything_against_it(life: Life) -> None:
    assert "falaj@v" in life.up.stdout
    assert "violation" not in life.up.stdout
    assert "violation" not in life.preview.stdout


def test_a_second_up_changes_nothing(life: Life) -> None:
    succeeded(life.again)


def test_a_refresh_changes_nothing(life: Life) -> None:
    succeeded(life.refresh)


def test_one_node_more_touches_its_pool_and_quotas_alone_and_replaces_nothing(life: Life) -> None:
    """Agents run on each node, so that the quota of their namespace counts nodes."""
    assert life.after_a_change
    for urn, operation in life.after_a_change.items():
        name = urn.rpartition("::")[2]
        assert operation == "update", urn
        assert f"-{life.changed_pool}-" in name or name in AGENTS_QUOTAS, urn


def test_destroy_leaves_what_is_kept_and_nothing_else(life: Life) -> None:
    succeeded(life.destroy)
    assert life.remembered == set()
    assert life.left == life.kept


def test_an_environment_can_be_planned_with_every_profile(
    life: Life, living: Begin, aws_environment: str, profile: str
) -> None:
    if profile == life.profile:  # planned above
        operations = {step["op"] for step in json.loads(life.preview.stdout)["steps"]}
    else:
        with living(aws_environment) as environment:
            environment.edit(lambda config: config.update({"falaj:profile": profile}))
            operations = set(environment.steps().values())

    assert operations == {"create"}
