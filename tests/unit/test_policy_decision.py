"""The evaluation of policies that other tests lean on, by the examples of the IAM user guide."""

from __future__ import annotations

from typing import Any

import pytest
from policy_decision import Request, decide

ROLE = "arn:aws:iam::123456789012:role/job"
STRANGER = "arn:aws:iam::999999999999:role/job"
OBJECT = "arn:aws:s3:::bucket/key"


def document(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": ["s3:Get*"], "Resource": ["arn:aws:s3:::bucket/*"]}
    return {"Statement": [{**statement, **more}]}


def request(principal: str = ROLE, action: str = "s3:GetObject", **context: str) -> Request:
    keys = {key.replace("_", ":"): value for key, value in context.items()}
    return Request(principal=principal, action=action, resource=OBJECT, context=keys)


ANYONE = {"AWS": ["*"]}
ACCOUNT = {"AWS": ["arn:aws:iam::123456789012:root"]}


def test_nothing_is_allowed_by_itself() -> None:
    assert decide(request()) == "not allowed"
    assert decide(request(action="s3:PutObject"), identity=[document()]) == "not allowed"


def test_in_one_account_either_side_is_enough_and_a_denial_wins() -> None:
    named = document(Principal={"AWS": [ROLE]})

    assert decide(request(), identity=[document()]) == "allowed"
    assert decide(request(), resource=[named]) == "allowed"
    refused = document("Deny", Principal=ANYONE)
    assert decide(request(), identity=[document()], resource=[named, refused]) == "denied"


def test_an_account_as_principal_delegates_and_allows_nobody() -> None:
    delegated = document(Principal=ACCOUNT)

    assert decide(request(), resource=[delegated]) == "not allowed"
    assert decide(request(), identity=[document()], resource=[delegated]) == "allowed"


def test_between_accounts_both_sides_must_agree() -> None:
    other = document(Principal={"AWS": ["arn:aws:iam::999999999999:root"]})

    assert decide(request(STRANGER), identity=[document()]) == "not allowed"
    assert decide(request(STRANGER), resource=[other]) == "not allowed"
    assert decide(request(STRANGER), identity=[document()], resource=[other]) == "allowed"


def test_a_service_is_let_in_by_its_own_name_alone() -> None:
    service = "logging.s3.amazonaws.com"

    assert decide(request(service), resource=[document(Principal=ACCOUNT)]) == "not allowed"
    let_in = document(Principal={"Service": [service]})
    assert decide(request(service), resource=[let_in]) == "allowed"


@pytest.mark.parametrize(
    ("operator", "expected", "value", "holds"),
    [
        ("StringEquals", "a", "a", True),
        ("StringEquals", "a", "A", False),
        ("StringEquals", ["a", "b"], "b", True),
        ("StringEquals", "a", None, False),
        ("StringEqualsIfExists", "a", None, True),
        ("StringNotEquals", "a", "b", True),
        ("StringNotEquals", ["a", "b"], "b", False),
        ("StringNotEquals", "a", None, True),
        ("StringNotEqualsIfExists", "a", None, True),
        ("StringLike", "teams/*", "teams/credit/1", True),
        ("StringLike", "teams/?", "teams/credit", False),
        ("StringNotLike", "teams/*", None, True),
        ("ArnLike", "arn:aws:iam::123456789012:role/team-*", ROLE, False),
        ("ArnLike", "arn:aws:iam::*:role/job", ROLE, True),
        ("ArnLike", "arn:aws:*", ROLE, False),
        ("ArnNotEquals", ROLE, ROLE, False),
        ("ArnNotEquals", ROLE, None, True),
        ("Bool", "false", "false", True),
        ("Bool", "false", None, False),
        ("BoolIfExists", "false", None, True),
        ("NumericLessThan", "1.2", "1.1", True),
        ("NumericLessThan", "1.2", "1.2", False),
        ("NumericLessThan", "1.2", None, False),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", "false", "x", True),
    ],
)
def test_operators_hold_as_the_reference_says(
    operator: str, expected: Any, value: str | None, *, holds: bool
) -> None:
    conditional = document(Condition={operator: {"x:Key": expected}})
    context = {} if value is None else {"x_key": value}

    assert (decide(request(**context), identity=[conditional]) == "allowed") is holds


def test_not_resource_means_everything_else() -> None:
    other = document("Deny", NotResource=["arn:aws:s3:::bucket/mine/*"])
    del other["Statement"][0]["Resource"]

    assert decide(request(), identity=[document(), other]) == "denied"


def test_an_operator_that_is_not_known_is_no_silent_yes() -> None:
    with pytest.raises(KeyError):
        decide(request(), identity=[document(Condition={"IpAddress": {"aws:SourceIp": "::/0"}})])
