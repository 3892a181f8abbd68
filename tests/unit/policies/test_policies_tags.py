"""Tags: which types take them, and what is set where one is missing."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from rule_cases import BY_NAME, resource

from policies.common.resources import UNKNOWN
from policies.common.taggable import TAGGABLE

_TYPE = re.compile(r"super\(\w+, __self__\)\.__init__\(\s+'(aws:[^']+)'")
QUEUE, GROUP = "aws:sqs/queue:Queue", "aws:autoscaling/group:Group"
RULE = BY_NAME["resource-has-required-tags"]


def test_types_that_take_tags_are_those_whose_inputs_have_them() -> None:
    spec = importlib.util.find_spec("pulumi_aws")
    assert spec is not None
    assert spec.origin is not None
    taking = set()
    for module in Path(spec.origin).parent.glob("*/*.py"):
        if module.name.startswith(("_", "get_")):
            continue
        text = module.read_text()
        inputs = text.partition("\nclass _")[0]
        if "\n                 tags: pulumi.Input" in inputs and (kind := _TYPE.search(text)):
            taking.add(kind[1])

    assert taking == TAGGABLE | {"aws:devopsguru/resourceCollection:ResourceCollection"}


def remedied(kind: str, tags: Any, **defaults: str) -> Any:
    assert RULE.remedy is not None
    parameters = RULE.parameters.model_validate({"defaults": defaults})
    return RULE.remedy(
        resource(kind, "one", {"tags": tags} if tags is not None else {}), parameters
    )


def test_the_remedy_sets_tags_that_an_organisation_names_and_leaves_others() -> None:
    assert remedied(QUEUE, {"owner": "team"}, owner="nobody", residency="in-country") == {
        ("tags", "residency"): "in-country"
    }
    assert remedied(QUEUE, None, owner="team") == {("tags",): {"owner": "team"}}
    assert remedied(QUEUE, {"owner": ""}, owner="team") == {("tags", "owner"): "team"}


def test_the_remedy_sets_nothing_that_nobody_named_or_that_is_not_known() -> None:
    assert remedied(QUEUE, {}) == {}
    assert remedied(QUEUE, UNKNOWN, owner="team") == {}
    assert remedied(QUEUE, {"owner": UNKNOWN}, owner="team") == {}


def test_the_remedy_of_a_group_lists_the_tag() -> None:
    kept = {"key": "a", "value": "b", "propagateAtLaunch": False}
    added = {"key": "owner", "value": "team", "propagateAtLaunch": True}

    assert remedied(GROUP, [kept], owner="team") == {("tags",): [kept, added]}
