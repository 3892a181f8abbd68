"""What `falaj policy check` does with broken, huge or strange files, and with broken rules."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rule_cases import BY_NAME, PROVIDER, resource
from typer.testing import CliRunner, Result

from policies import packs
from policies.cli import InputError, app
from policies.common.configuration import ConfigurationError, check, configured
from policies.common.exceptions import today
from policies.common.resources import UNKNOWN, Resource, StateError, of_export, of_plan
from policies.common.rule import Finding, Rule
from policies.common.stack import Stack

AWS = "pulumi:providers:aws"


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:prod::bank::{kind}::{name}"


def state(*resources: dict[str, Any]) -> str:
    return json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": list(resources)}})


def home(region: str = "me-central-1") -> dict[str, Any]:
    inputs = {"region": region, "allowedAccountIds": '["123456789012"]'}
    return {"urn": urn(AWS, "home"), "type": AWS, "inputs": inputs, "outputs": inputs}


def checked(tmp_path: Path, content: str | bytes, *words: str, option: str = "--state") -> Result:
    file = tmp_path / "given.json"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return CliRunner().invoke(app, ["check", option, str(file), *words])


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--state", "--plan"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "line 1 column 1"),
        (state(home())[:-40], "line 1 column"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", ""),
        ('{"deployment": null, "steps": null}', ""),
        ('{"deployment": {}, "steps": 7}', ""),
        ('{"deployment": {"resources": [1]}, "steps": [1]}', ""),
        ('{"deployment": {"resources": [{"urn": 1}]}, "steps": [{"newState": {"urn": 1}}]}', ""),
    ],
    ids=["empty", "truncated", "deep", "a list", "null", "without", "numbers", "without type"],
)
def test_a_file_that_is_none_is_refused_by_name_and_says_how_to_make_one(
    tmp_path: Path, option: str, content: str, says: str
) -> None:
    done = checked(tmp_path, content, option=option)

    assert isinstance(done.exception, StateError)
    assert "given.json: this is no" in str(done.exception)
    assert ("stack export" if option == "--state" else "preview --json") in str(done.exception)
    assert says in str(done.exception)
    assert done.exit_code != 0


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    done = checked(tmp_path, b"\xff\xfe\x00")
    assert isinstance(done.exception, InputError)
    assert "given.json cannot be read" in str(done.exception)


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "7", '{"no-such-rule": "mandatory"}'])
def test_a_broken_configuration_is_refused(tmp_path: Path, content: str) -> None:
    config = tmp_path / "rules.json"
    config.write_text(content)
    done = checked(tmp_path, state(home()), "--config", str(config))

    assert isinstance(done.exception, InputError | ConfigurationError)
    assert done.exit_code != 0


def test_a_stack_without_resources_has_nothing_that_rules_are_about(tmp_path: Path) -> None:
    done = checked(tmp_path, '{"version": 3, "deployment": {"manifest": {}}}', "--json")

    assert done.exit_code == 0
    assert {one["outcome"] for one in json.loads(done.stdout)} == {"not applicable"}


def test_a_large_state_is_read_once_and_takes_a_small_multiple_of_its_size(tmp_path: Path) -> None:
    """200 MB, 42,230 resources, took 0.9 GB; here a hundredth."""
    blob = {
        "urn": "",
        "type": "a:b:C",
        "inputs": {"text": "x" * 900},
        "outputs": {"n": list(range(200))},
    }
    many = (blob | {"urn": urn("a:b:C", f"c{number}")} for number in range(1_000))
    text = state(home(), *many)
    tracemalloc.start()
    try:
        inputs, outputs = of_export(text)
        results = check(configured(packs.RULES), Stack(inputs), Stack(outputs))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(inputs) == len(outputs) == 1_001
    assert {result.outcome for result in results} == {"passed", "not applicable"}
    assert peak_bytes < 10 * len(text)


# --- resources ------------------------------------------------------------------------------------


def test_what_nobody_knows_is_judged_by_the_rules_that_are_about_everything(tmp_path: Path) -> None:
    strange = [
        {"urn": urn("who:knows:What", "x"), "type": "who:knows:What", "inputs": {"a": [None, {}]}},
        {"urn": "no urn", "type": "", "inputs": None, "propertyDependencies": None},
        {
            "urn": urn("kubernetes:what.example/v9:Thing", "y"),
            "type": "kubernetes:what.example/v9:Thing",
        },
    ]
    done = checked(tmp_path, state(home(), *strange), "--json")

    assert done.exit_code == 0, done.stdout
    assert not any(one["broken"] for one in json.loads(done.stdout))


def test_components_in_a_circle_end(tmp_path: Path) -> None:
    """No engine writes one; a state that was edited by hand may."""
    a, b = urn("falaj:x:Part", "a"), urn("falaj:x:Part", "b")
    circle = [
        {"urn": a, "type": "falaj:x:Part", "parent": b, "dependencies": [b]},
        {"urn": b, "type": "falaj:x:Part", "parent": a, "dependencies": [a]},
        {
            "urn": urn("aws:sqs/queue:Queue", "q"),
            "type": "aws:sqs/queue:Queue",
            "parent": urn("aws:sqs/queue:Queue", "q"),
            "provider": f"{urn(AWS, 'home')}::id",
            "inputs": {"region": "eu-west-1"},
            "outputs": {"region": "eu-west-1"},
            "propertyDependencies": {"name": [urn("aws:sqs/queue:Queue", "q")]},
        },
    ]
    done = checked(tmp_path, state(home(), *circle))

    assert done.exit_code == 1
    assert "'q': region is eu-west-1; allowed: me-central-1" in done.stdout
    assert "broken" not in done.stdout


# --- rules that break -----------------------------------------------------------------------------


def breaks(*_: Any) -> Iterator[Finding]:
    raise KeyError("nothing")


def broken(**judging: Any) -> Rule:
    return Rule(
        name="kms-key-rotates",
        description="Breaks.",
        mend="mend it.",
        applies_to=lambda one: one.type == AWS,
        **judging,
    )


@pytest.mark.parametrize("level", ["advisory", "mandatory"])
def test_a_rule_that_breaks_is_told_by_name_at_every_level_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    sound = BY_NAME["aws-provider-region-is-allowed"]
    monkeypatch.setattr(packs, "RULES", (broken(each=breaks), sound))
    config = tmp_path / "rules.json"
    config.write_text(json.dumps({"kms-key-rotates": level}))
    done = checked(tmp_path, state(home()), "--config", str(config))

    assert done.exit_code == 1
    assert "rule kms-key-rotates cannot be judged, the rule is broken: KeyError" in done.stdout
    assert "passed          aws-provider-region-is-allowed" in done.stdout


def test_a_rule_that_breaks_on_a_stack_without_its_resources_is_told_too() -> None:
    stack = Stack([resource("a:b:C", "c", {})])
    (result,) = check(configured([broken(together=breaks)]), stack, stack)

    assert result.broken
    assert result.stops
    assert "'kms-key-rotates': rule kms-key-rotates cannot be judged" in result.findings[0].sentence


def test_no_exception_excuses_a_rule_that_breaks() -> None:
    excuse = {
        "resource": f"{AWS}::home",
        "reason": "goes away next month",
        "approver": "CISO",
        "expires": str(today() + timedelta(days=9)),
    }
    rules = configured([broken(each=breaks)], {"kms-key-rotates": {"exceptions": [excuse]}})
    (result,) = check(rules, Stack([PROVIDER]), Stack([PROVIDER]))

    assert result.outcome == "failed"
    assert result.broken


# --- plans ----------------------------------------------------------------------------------------

UNTOLD = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


def planned(*steps: dict[str, Any]) -> tuple[list[Resource], list[Resource]]:
    return of_plan(json.dumps({"steps": list(steps)}))


def step(kind: str, name: str, op: str = "create", **more: Any) -> dict[str, Any]:
    about = {"urn": urn(kind, name), "type": kind, "inputs": {}}
    return {"op": op, "urn": about["urn"], "newState": about | more}


def test_a_plan_shows_what_would_be_there_and_what_is_not_known_yet() -> None:
    password = step("a:b:C", "c", inputs={"one": UNTOLD, "two": "[secret]", "three": [3.0]})
    gone = {"op": "delete", "urn": urn("a:b:C", "old"), "oldState": {}}
    again = step("a:b:C", "c", "create-replacement", inputs={"one": "x"})
    inputs, outputs = planned(password, gone)

    assert [one.name for one in inputs] == ["c"]
    for seen in (inputs[0], outputs[0]):
        assert seen.properties == {"one": UNKNOWN, "two": UNKNOWN, "three": [3]}
    # a replacement is told in several steps
    assert [one.at("one") for one in planned(password, again)[0]] == ["x"]


def test_of_what_waits_for_its_provider_a_plan_knows_no_outputs() -> None:
    kube = "pulumi:providers:kubernetes"
    waiting = step(kube, "k", inputs={"kubeconfig": UNTOLD})
    object_ = step("kubernetes:core/v1:Namespace", "n", provider=f"{urn(kube, 'k')}::id")
    inputs, outputs = planned(waiting, object_)

    assert [one.hidden for one in inputs] == [False, False]
    assert [one.hidden for one in outputs] == [False, True]
    known = step(kube, "k", inputs={"kubeconfig": "a"})
    assert [one.hidden for one in planned(known, object_)[1]] == [False, False]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("project:///parts/a.py#12", ("parts/a.py", 12)),
        ("project:///a%20b.ts#3,9", ("a b.ts", 3)),
        ("project:///../elsewhere/a.py#12", None),
        ("project:///%2e%2e/etc/passwd#1", None),
        ("project:////etc/passwd#1", None),
        ("file:///etc/passwd#1", None),
        ("project:///a.py", None),
        (None, None),
        (7, None),
    ],
)
def test_the_line_that_made_a_resource_lies_in_the_project(
    told: Any, expected: tuple[str, int] | None
) -> None:
    inputs, _ = planned(step("a:b:C", "c", sourcePosition=told))
    assert inputs[0].made_at == expected
