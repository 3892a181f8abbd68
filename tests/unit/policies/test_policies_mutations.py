"""The run that looks for what rules let through finds what they catch, and what they do not."""

from __future__ import annotations

from typing import Any

import pytest
from rule_cases import BY_NAME, resource
from rule_mutations import Mutation, mutants, uncaught

from policies.common.configuration import configured
from policies.common.resources import UNKNOWN, Resource

BUCKET, VERSIONS = "aws:s3/bucket:Bucket", "aws:s3/bucketVersioning:BucketVersioning"
STORE = resource(BUCKET, "store", {"bucket": "store-1"})
KEPT = resource(
    VERSIONS, "kept", {"bucket": "store-1", "versioningConfiguration": {"status": "Enabled"}}
)
KEY = resource(
    "aws:kms/key:Key",
    "key",
    {"enableKeyRotation": True, "rotationPeriodInDays": 365, "description": "one"},
)


def missed(*resources: Resource, rules: Any) -> list[str]:
    found, tried = uncaught(resources, configured([BY_NAME[rule] for rule in rules]))

    assert tried >= len(resources)
    return [str(one) for one in found]


def test_what_a_rule_about_one_resource_does_not_catch_is_listed() -> None:
    called = "aws:kms/key:Key 'key'"

    assert missed(KEY, rules=["kms-key-rotates"]) == [
        f"{called}: taken away",
        f"{called}: rotationPeriodInDays is not set",
        f"{called}: rotationPeriodInDays is 0",
    ]


def test_what_rules_about_a_stack_catch_is_not_listed() -> None:
    assert missed(STORE, KEPT, rules=["s3-bucket-is-versioned"]) == [
        f"{BUCKET} 'store': taken away"
    ]


def test_without_rules_everything_is_missed() -> None:
    found, tried = uncaught([STORE, KEPT, KEY], [])

    assert len(found) == tried


def test_what_was_wrong_before_catches_nothing() -> None:
    wrong = resource(KEY.type, "key", {"enableKeyRotation": False, "multiRegion": False})

    assert f"{KEY.type} 'key': multiRegion is true" in missed(wrong, rules=["kms-key-rotates"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, [{}, {"a": False}]),
        (7, [{}, {"a": 0}, {"a": 7000}]),
        ("x", [{}, {"a": "another-x"}]),
        ([1], [{"a": []}, {"a": [0]}, {"a": [1000]}]),
        ({"b": None}, [{"a": {}}]),
        (UNKNOWN, [{}]),
    ],
)
def test_each_value_has_others(value: Any, expected: list[Any]) -> None:
    made = list(mutants(resource("a:b:C", "one", {"a": value, "name": "one"})))

    assert [{k: v for k, v in one.properties.items() if k != "name"} for _, one in made] == expected


def test_protection_is_taken_away_too_and_references_with_what_is_not_known() -> None:
    one = resource("a:b:C", "one", {"key": UNKNOWN}, protect=True, references={"key": ("urn:key",)})
    (first, open_), (second, bare) = mutants(one)

    assert first == Mutation("a:b:C 'one'", "not protected")
    assert not open_.protect
    assert open_.references
    assert second.what == "key is not set"
    assert not bare.references
