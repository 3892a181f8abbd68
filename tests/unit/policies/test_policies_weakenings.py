"""What counts as a weakening, and which rules catch it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rule_cases import BY_NAME, resource
from rule_mutations import Judges
from rule_weakenings import can_weaken, one_of_each, weaken, weakenings

from policies.common.configuration import configured
from policies.common.resources import Resource

BUCKET, VERSIONS = "aws:s3/bucket:Bucket", "aws:s3/bucketVersioning:BucketVersioning"
KEY = "aws:kms/key:Key"
STORE = resource(BUCKET, "store", {"bucket": "store-1"})
KEPT = resource(
    VERSIONS, "kept", {"bucket": "store-1", "versioningConfiguration": {"status": "Enabled"}}
)


def weaker(**properties: Any) -> dict[str, Any]:
    """Change → the properties with it, of a resource that has these."""
    made = {}
    for one in weakenings(resource(KEY, "one", properties)):
        changed = one.make(resource(KEY, "one", properties))
        made[f"{one.where} {one.what}"] = None if changed is None else dict(changed.properties)
    assert made.pop("it is taken away") is None
    return made


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({"size": 7, "tags": {"kms": "a"}, "name": "public"}, {}),
        ({"kmsKeyId": "a"}, {"kmsKeyId is not set": {}}),
        ({"public": False}, {"public is not set": {}, "public is true": {"public": True}}),
        ({"logDays": 7}, {"logDays is not set": {}, "logDays is 0": {"logDays": 0}}),
        ({"place": "x:me-central-1:y"}, {"place is abroad": {"place": "x:eu-west-1:y"}}),
        ({"from": "10.0.0.0/16"}, {"from is the internet": {"from": "0.0.0.0/0"}}),
        ({"labels": {"istio.io/rev": "a", "app": "b"}}, {
            "labels.istio.io/rev is not set": {"labels": {"app": "b"}}
        }),
    ],
)  # fmt: skip
def test_what_has_a_word_or_a_value_of_security_is_weakened(
    properties: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert weaker(**properties) == expected


def test_each_statement_of_a_policy_is_widened() -> None:
    allow = {"Effect": "Allow", "Principal": {"AWS": "a"}, "Action": "b", "Condition": {"c": {}}}
    deny = {"Effect": "Deny", "Principal": "*", "Action": "d"}
    made = weaker(policy=json.dumps({"Statement": [allow, deny]}))

    assert {name: json.loads(one["policy"])["Statement"] for name, one in made.items()} == {
        "policy allows all actions": [{**allow, "Action": "*"}, deny],
        "policy allows without its condition": [
            {key: it for key, it in allow.items() if key != "Condition"},
            deny,
        ],
        "policy allows everybody": [{**allow, "Principal": "*"}, deny],
        "policy denies less": [allow],
    }


def test_the_engines_protection_is_taken_off() -> None:
    one = resource(KEY, "one", {}, protect=True)
    (off,) = (it for it in weakenings(one) if it.of_engine)
    changed = off.make(one)

    assert changed is not None
    assert not changed.protect


def test_entries_of_a_list_are_one_group_of_which_one_is_tried() -> None:
    two = resource(KEY, "two", {"keyPolicy": ["a", "b"]})
    tried = one_of_each(weakenings(two))

    assert [str(one) for one in tried] == [
        f"{KEY} 'two': it is taken away",
        f"{KEY} 'two': keyPolicy[0] is not set",
    ]


def judges(*resources: Resource, rules: tuple[str, ...]) -> Judges:
    return Judges(resources, resources, configured([BY_NAME[rule] for rule in rules]))


def test_a_rule_about_a_stack_is_asked_again_for_the_types_that_it_reads() -> None:
    made = judges(STORE, KEPT, rules=("s3-bucket-is-versioned", "kms-key-rotates"))
    caught = {str(one): made.catches(one.urn, one.make) for one in weakenings(KEPT)}

    assert caught == {
        f"{VERSIONS} 'kept': it is taken away": "s3-bucket-is-versioned",
        f"{VERSIONS} 'kept': versioningConfiguration.status is not set": "s3-bucket-is-versioned",
        f"{VERSIONS} 'kept': versioningConfiguration.status is off": "s3-bucket-is-versioned",
    }


def test_what_no_rule_reads_is_not_caught() -> None:
    key = resource(KEY, "key", {"enableKeyRotation": True, "deletionWindowInDays": 30})
    made = judges(key, rules=("kms-key-rotates",))

    assert [one.where for one in weakenings(key) if made.catches(one.urn, one.make) is None] == [
        "it",
        "deletionWindowInDays",
        "deletionWindowInDays",
    ]


def test_a_state_is_weakened_in_what_stands_in_plain() -> None:
    key = resource(KEY, "key", {"kmsRotation": True, "secret": "a"})
    state: list[dict[str, Any]] = [
        {
            "urn": key.urn,
            "inputs": {"kmsRotation": True, "secret": {"ciphertext": "b"}},
            "outputs": {"kmsRotation": True, "secret": {"ciphertext": "b"}},
        }
    ]
    able = [one for one in weakenings(key) if can_weaken(state, one)]
    (off,) = (one for one in able if one.what == "is false")
    weaken(state, off)

    assert state[0]["inputs"]["kmsRotation"] is False
    assert state[0]["outputs"]["kmsRotation"] is False
