"""A first deployment comes in stages, since pods need images and databases made on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml

from components.images import Lock, made_up
from components.kubernetes.layer_settings import WHAT_NEXT, Stage
from components.platform import Platform
from stacks.settings import CONFIG_DIRECTORY, SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
Names = set[tuple[str, str]]
STARTS_PODS = ("Chart", "Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob")


def settings(stage: str) -> Any:
    """Those of prod, at a stage."""
    content = yaml.safe_load((CONFIG_DIRECTORY / "Pulumi.prod.yaml").read_text())["config"]
    told = content | {"falaj:stage": stage}
    return parse(
        "prod", {key: it if isinstance(it, str) else json.dumps(it) for key, it in told.items()}
    )


@pytest.fixture
def made(record: Record) -> Callable[[Stage], Names]:
    """Type and name of what prod is made of at a stage."""

    def at(stage: Stage) -> Names:
        made = record(lambda: Platform(settings(stage), {}, None, made_up(Lock())))
        return {(one.type, one.name) for one in made.resources}

    return at


def test_each_stage_adds_to_the_one_before_and_takes_nothing_away(
    made: Callable[[Stage], Names], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", lambda text, *_: said.append(text))
    account, operators, everything = made("account"), made("operators"), made("all")

    assert account < operators < everything
    of_the_cloud = [{one for one in found if one[0].startswith("aws:")} for found in (
        account, operators, everything,
    )]  # fmt: skip
    assert of_the_cloud[0] == of_the_cloud[1] == of_the_cloud[2]
    assert not [one for one in account if one[0].endswith(STARTS_PODS)]
    assert ("kubernetes:core/v1:Namespace", "prod-team-credit-namespace") in account
    assert [one for one in operators if one[0].endswith(":Chart")]
    for part in ("tracking", "orchestration", "features"):
        starting = {one for one in everything if one[0].endswith(STARTS_PODS) and part in one[1]}
        assert starting, part
        assert not starting & operators, part
    assert [one for one in said if one.startswith("falaj:stage")] == [
        f"falaj:stage: is {stage}, so that parts are left out; once this is up: {WHAT_NEXT[stage]}"
        for stage in WHAT_NEXT
    ]


def test_a_stage_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"falaj:stage: .*'account', 'operators' or 'all'"):
        settings("first")
