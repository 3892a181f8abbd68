"""The evaluator that other tests lean on says what AWS would say."""

from __future__ import annotations

import json
from typing import Any

import pytest

READ: dict[str, Any] = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def ask(iam: Any, **context: Any) -> Any:
    return iam.Request(
        action="s3:GetObject",
        resource="arn:aws:s3:::b/a/key",
        principal="arn:aws:iam::123456789012:role/reader",
        context={name.replace("__", ":"): value for name, value in context.items()},
    )


def test_what_nobody_allows_is_refused(iam: Any) -> None:
    assert not iam.allowed(ask(iam), identity=[policy()])
    assert iam.allowed(ask(iam), identity=[policy(READ)])


def test_a_refusal_wins_wherever_it_stands(iam: Any) -> None:
    deny = policy({**READ, "Effect": "Deny", "Principal": {"AWS": ["*"]}})

    assert not iam.allowed(ask(iam), identity=[policy(READ)], resource=deny)
    assert not iam.allowed(ask(iam), identity=[policy(READ, {**READ, "Effect": "Deny"})])


def test_a_boundary_grants_nothing_and_limits_what_the_identity_has(iam: Any) -> None:
    assert not iam.allowed(ask(iam), identity=[], boundary=policy(READ))
    assert not iam.allowed(ask(iam), identity=[policy(READ)], boundary=policy())
    assert iam.allowed(ask(iam), identity=[policy(READ)], boundary=policy(READ))


def test_a_key_must_allow_beside_the_identity(iam: Any) -> None:
    own = policy({**READ, "Principal": {"AWS": ["*"]}})

    assert iam.allowed(ask(iam), resource=own)
    assert not iam.allowed(ask(iam), resource=own, resource_must_allow=True)
    assert iam.allowed(ask(iam), identity=[policy(READ)], resource=own, resource_must_allow=True)


@pytest.mark.parametrize(
    ("condition", "context", "expected"),
    [
        ({"StringEquals": {"aws:x": ["1", "2"]}}, {"aws__x": "2"}, True),
        ({"StringEquals": {"aws:x": "1"}}, {}, False),
        ({"StringEqualsIfExists": {"aws:x": "1"}}, {}, True),
        ({"StringNotEquals": {"aws:x": ["1", "2"]}}, {"aws__x": "2"}, False),
        ({"StringNotEquals": {"aws:x": "1"}}, {}, True),
        ({"ArnLike": {"aws:x": "arn:*:role/a-*"}}, {"aws__x": "arn:1:role/a-b"}, True),
        ({"ArnNotEquals": {"aws:x": "arn:1"}}, {"aws__x": "arn:1"}, False),
        ({"StringLike": {"aws:x": "${aws:y}/*"}}, {"aws__x": "a/b", "aws__y": "a"}, True),
        ({"StringLike": {"aws:x": "${aws:y}/*"}}, {"aws__x": "a/b"}, False),
        ({"Null": {"aws:x": "true"}}, {}, True),
        ({"NumericLessThan": {"aws:x": "900"}}, {"aws__x": "899"}, True),
        ({"NumericLessThan": {"aws:x": "900"}}, {"aws__x": "900"}, False),
        ({"ForAnyValue:StringLike": {"aws:x": "b*"}}, {"aws__x": ["a", "b1"]}, True),
        ({"ForAllValues:StringLike": {"aws:x": "b*"}}, {"aws__x": ["a", "b1"]}, False),
        ({"ForAllValues:StringLike": {"aws:x": "b*"}}, {}, True),
        ({"Bool": {"aws:x": "true"}}, {"aws__x": "false"}, False),
    ],
)
def test_conditions_hold_as_iam_says(
    iam: Any, condition: dict[str, Any], context: dict[str, Any], *, expected: bool
) -> None:
    one = policy({**READ, "Condition": condition})

    assert (iam.verdict(one, ask(iam, **context)) == "allow") is expected


def test_what_the_evaluator_does_not_know_is_an_error(iam: Any) -> None:
    with pytest.raises(NotImplementedError):
        iam.verdict(policy({**READ, "NotPrincipal": "*"}), ask(iam))
    with pytest.raises(NotImplementedError):
        iam.verdict(
            policy({**READ, "Condition": {"DateLessThan": {"aws:x": "2"}}}), ask(iam, aws__x="1")
        )
