"""The evaluation of policies that other tests lean on, by the examples of the IAM user guide."""

from __future__ import annotations

from typing import Any

import pytest
from policy_decision import Request, decide, verdict

ROLE = "arn:aws:iam::123456789012:role/job"
STRANGER = "arn:aws:iam::999999999999:role/job"
OBJECT = "arn:aws:s3:::bucket/key"


def document(effect: str = "Allow", **more: Any) -> dict[str, Any]:
    statement = {"Effect": effect, "Action": ["s3:Get*"], "Resource": ["arn:aws:s3:::bucket/*"]}
    return {"Statement": [{**statement, **more}]}


def request(principal: str = ROLE, action: str = "s3:GetObject", **context: Any) -> Request:
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


def test_a_boundary_grants_nothing_and_limits_what_a_role_has() -> None:
    named = document(Principal={"AWS": [ROLE]})

    assert decide(request(), boundary=document()) == "not allowed"
    assert decide(request(), identity=[document()], boundary=document()) == "allowed"
    nothing: dict[str, Any] = {"Statement": []}
    assert decide(request(), identity=[document()], boundary=nothing) == "not allowed"
    assert decide(request(), resource=[named], boundary=nothing) == "not allowed"
    refused = document("Deny")
    assert decide(request(), identity=[document()], boundary=refused) == "denied"


def test_a_key_must_let_in_the_principal_or_its_account() -> None:
    nobody: dict[str, Any] = {"Statement": []}
    delegated, named = document(Principal=ACCOUNT), document(Principal={"AWS": ROLE})

    assert decide(request(), identity=[document()], key=nobody) == "not allowed"
    assert decide(request(), key=delegated) == "not allowed"
    assert decide(request(), identity=[document()], key=delegated) == "allowed"
    assert decide(request(), key=named) == "allowed"


def test_one_policy_by_itself_is_what_there_is_of_a_trust() -> None:
    issuer = "arn:aws:iam::123456789012:oidc-provider/gitlab.bank.ae"
    trust = document(Principal={"Federated": [issuer]})

    assert verdict(trust, request(issuer)) == "allowed"
    assert verdict(trust, request()) == "not allowed"
    assert verdict(document(Principal="*"), request()) == "allowed"
    assert verdict(document("Deny", Principal=ACCOUNT), request()) == "denied"


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
        ("NumericLessThanEquals", "1.2", "1.2", True),
        ("StringLike", "${aws:PrincipalAccount}/*", "123456789012/x", True),
        ("StringLike", "${aws:PrincipalAccount}/*", "999999999999/x", False),
        ("StringLike", "${aws:username}/*", "amna/x", False),
        ("ForAnyValue:StringLike", "b*", ["a", "b1"], True),
        ("ForAnyValue:StringLike", "b*", None, False),
        ("ForAnyValue:StringNotEquals", "a", ["a", "b"], True),
        ("ForAnyValue:StringNotEquals", "a", None, False),
        ("ForAllValues:StringLike", "b*", ["a", "b1"], False),
        ("ForAllValues:StringLike", "b*", ["b1", "b2"], True),
        ("ForAllValues:StringLike", "b*", None, True),
        ("Null", "true", None, True),
        ("Null", "false", None, False),
        ("Null", "false", "x", True),
    ],
)
def test_operators_hold_as_the_reference_says(
    operator: str, expected: Any, value: Any, *, holds: bool
) -> None:
    conditional = document(Condition={operator: {"x:Key": expected}})
    context = {} if value is None else {"x_key": value}

    assert (decide(request(**context), identity=[conditional]) == "allowed") is holds


@pytest.mark.parametrize(
    ("element", "values"),
    [("Resource", ["arn:aws:s3:::bucket/mine/*"]), ("Action", ["s3:Put*", "s3:List*"])],
)
def test_an_element_turned_round_means_everything_else(element: str, values: list[str]) -> None:
    other = document("Deny", **{f"Not{element}": values})
    del other["Statement"][0][element]

    assert decide(request(), identity=[document(), other]) == "denied"
    other["Statement"][0][f"Not{element}"] = "*"
    assert decide(request(), identity=[document(), other]) == "allowed"


@pytest.mark.parametrize(
    "odd",
    [
        {"Condition": {"IpAddress": {"aws:SourceIp": "::/0"}}},
        {"Condition": {"ForSomeValues:StringLike": {"x:Key": "a"}}},
        {"Condition": {"StringLike": {"x:Several": "a"}}},
        {"NotPrincipal": {"AWS": [ROLE]}},
    ],
)
def test_what_is_not_known_is_no_silent_yes(odd: dict[str, Any]) -> None:
    with pytest.raises(NotImplementedError):
        decide(request(x_Several=["a", "b"]), identity=[document(**odd)])
