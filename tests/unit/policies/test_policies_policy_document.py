"""Policy documents, held against an evaluator that is slow and obvious."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.common.policy_document import (
    Document,
    InvalidPolicyError,
    overlap,
    parsed,
    within,
)
from policies.common.resources import UNKNOWN

STRANGER, ROLE, SERVICE = "arn:aws:iam::9:role/x", "arn:aws:iam::1:role/a", "s3.amazonaws.com"
ACTIONS = ("s3:GetObject", "s3:PutObject", "kms:Decrypt")
RESOURCES = ("b", "b/1", "b/1/2", "c")


def matches(pattern: str, text: str) -> bool:
    """Letter by letter."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", text[0]) and matches(pattern[1:], text[1:])


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def holds(operator: str, key: str, wanted: list[Any], context: dict[str, str]) -> bool:
    """Of one value a key: what the sets of several would say is not asked."""
    lowered = {name.lower(): value for name, value in context.items()}
    bare = operator.removeprefix("ForAllValues:").removesuffix("IfExists")
    if key.lower() not in lowered:
        return operator != bare
    value = lowered[key.lower()]
    said = [str(one).lower() if bare == "Bool" else str(one) for one in wanted]
    if bare == "StringNotEquals":
        return value not in said
    if bare == "StringLike":
        return any(matches(one, value) for one in said)
    return value in said


def applies(statement: dict[str, Any], request: tuple[str, str, str], context: Any) -> bool:
    principal, action, resource = request
    who = statement.get("Principal", statement.get("NotPrincipal"))
    named = who == "*" or any(
        one in ("*", principal)
        for kind, names in (who.items() if isinstance(who, dict) else ())
        for one in listed(names)
        if (kind == "Service") == (principal == SERVICE)
    )
    done = any(
        matches(one.lower(), action.lower())
        for one in listed(statement.get("Action", statement.get("NotAction")))
    )
    upon = any(
        matches(one, resource)
        for one in listed(statement.get("Resource", statement.get("NotResource")))
    )
    return (
        named == ("Principal" in statement)
        and done == ("Action" in statement)
        and upon == ("Resource" in statement)
        and all(
            holds(operator, key, listed(wanted), context)
            for operator, tests in statement.get("Condition", {}).items()
            for key, wanted in tests.items()
        )
    )


def one_or_more(values: Any) -> Any:
    return values | st.lists(values, min_size=1, max_size=3)


PATTERNS = st.text("ab*?", max_size=5)
ACTION = st.sampled_from(["*", "s3:*", "S3:get*", "s3:???Object", *ACTIONS])
RESOURCE = st.sampled_from(["*", "b*", "b", "b/*", "b/?", "c"])
PRINCIPAL = st.just("*") | st.dictionaries(
    st.sampled_from(["AWS", "Service"]),
    one_or_more(st.sampled_from(["*", ROLE])),
    min_size=1,
)
CONDITION = st.dictionaries(
    st.sampled_from(
        [
            *("Bool", "BoolIfExists", "ForAllValues:Bool", "StringNotEquals"),
            *("StringEquals", "StringLike", "StringEqualsIfExists"),
        ]
    ),
    st.dictionaries(
        st.sampled_from(["aws:SecureTransport", "AWS:securetransport", "kms:CallerAccount"]),
        one_or_more(st.sampled_from(["false", "true", "1", "*"])),
        min_size=1,
    ),
    max_size=2,
)


@st.composite
def statements(draw: Any) -> dict[str, Any]:
    negated = st.sampled_from(["", "", "", "Not"])
    return {
        "Effect": draw(st.sampled_from(["Allow", "Deny"])),
        f"{draw(negated)}Principal": draw(PRINCIPAL),
        f"{draw(negated)}Action": draw(one_or_more(ACTION)),
        f"{draw(negated)}Resource": draw(one_or_more(RESOURCE)),
        "Condition": draw(CONDITION),
    }


def document(policy: Any) -> Document:
    result = parsed(policy)
    assert isinstance(result, Document)
    return result


TEXTS = ["".join(letters) for size in range(5) for letters in itertools.product("ab", repeat=size)]


@given(PATTERNS, PATTERNS)
def test_a_pattern_is_within_another_only_if_all_its_texts_are(inner: str, outer: str) -> None:
    if within(inner, outer):
        assert all(matches(outer, text) for text in TEXTS if matches(inner, text))


@given(st.text("ab", max_size=4), PATTERNS)
def test_a_text_is_within_a_pattern_if_it_matches(text: str, pattern: str) -> None:
    assert within(text, pattern) == matches(pattern, text)


@given(PATTERNS, PATTERNS)
def test_patterns_that_share_a_text_overlap(one: str, other: str) -> None:
    if any(matches(one, text) and matches(other, text) for text in TEXTS):
        assert overlap(one, other)


@settings(max_examples=400)
@given(st.lists(statements(), min_size=1, max_size=2))
def test_what_is_said_to_deny_plaintext_denies_it_to_everybody(said: list[Any]) -> None:
    if document({"Statement": said}).denies_plaintext(["s3:*"], ["b", "b/*"]):
        for principal, action, resource in itertools.product(
            (STRANGER, ROLE), ACTIONS[:2], RESOURCES[:3]
        ):
            assert any(
                one["Effect"] == "Deny"
                and applies(one, (principal, action, resource), {"aws:SecureTransport": "false"})
                for one in said
            )


@settings(max_examples=400)
@given(statements())
def test_a_stranger_gets_nothing_from_what_names_or_narrows(said: dict[str, Any]) -> None:
    (statement,) = document({"Statement": said}).statements
    if not statement.is_for_everyone or statement.narrowed_by(["kms:CallerAccount"]):
        for context in ({}, {"kms:CallerAccount": "9"}):
            for action, resource in itertools.product(ACTIONS, RESOURCES):
                request = (STRANGER, action, resource)
                assert not applies(said, request, {**context, "aws:SecureTransport": "true"})


@settings(max_examples=400)
@given(st.lists(statements(), min_size=1, max_size=3), st.sampled_from(ACTIONS))
def test_what_a_role_is_not_said_to_be_granted_it_does_not_get(
    said: list[Any], action: str
) -> None:
    if not document({"Statement": said}).grants(ROLE, action):
        named = [one for one in said if "Principal" in one and one["Principal"] != "*"]
        mine = [one for one in named if ROLE in listed(one["Principal"].get("AWS", []))]
        allowed = [one for one in mine if one["Effect"] == "Allow"]
        denied = [one for one in said if one["Effect"] == "Deny"]
        for resource in RESOURCES:
            request = (ROLE, action, resource)
            assert not any(applies(one, request, {}) for one in allowed) or any(
                applies(one, request, {}) for one in denied
            )


GOOD = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "*"}


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "no JSON"),
        ("[]", "no object"),
        ({}, "no Statement"),
        ({"statement": []}, "statement, which IAM does not know"),
        ({"Statement": [{**GOOD, "effect": "Deny"}]}, "effect, which IAM does not know"),
        ({"Statement": {**GOOD, "NotAction": "a"}}, "both Action and NotAction"),
        ({"Statement": {**GOOD, "Effect": "allow"}}, "the Effect 'allow'"),
        ({"Statement": {**GOOD, "Principal": "me"}}, "the principal 'me'"),
        ({"Statement": {**GOOD, "Principal": {"aws": "*"}}}, "aws, which IAM does not know"),
        ({"Statement": {**GOOD, "Condition": {"Like": {}}}}, "operator Like"),
        ({"Statement": {"Effect": "Allow"}}, "without Action"),
        ('{"Statement": [], "Statement": []}', "twice"),
    ],
)
def test_what_iam_refuses_is_refused(policy: Any, message: str) -> None:
    with pytest.raises(InvalidPolicyError, match=message):
        parsed(policy)


def test_a_text_is_parsed_once_for_all_rules_and_a_wrong_one_refused_each_time() -> None:
    text = '{"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}}'

    assert parsed(text) is parsed(text)
    assert parsed(text.replace("Allow", "Deny")) != parsed(text)
    for _ in range(2):
        with pytest.raises(InvalidPolicyError, match="has the Effect 'allow'"):
            parsed(text.replace("Allow", "allow"))


def test_what_is_not_known_stays_apart() -> None:
    half = document({"Statement": [GOOD, {**GOOD, "Action": ["s3:*", UNKNOWN]}]})

    assert parsed(UNKNOWN) is UNKNOWN
    assert parsed({"Statement": UNKNOWN}) is UNKNOWN
    assert [one.is_known for one in half.statements] == [True, False]
    assert not half.is_known
    assert document(json.dumps({"Statement": GOOD})).is_known
