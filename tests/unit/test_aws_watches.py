"""What the watches over the trail match: their patterns, read as CloudWatch Logs reads them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from typing import Any

import pytest

from components.aws.scope import Scope
from components.aws.watches import LONGEST_PATTERN, watches

SCOPE = Scope(environment="staging", account_id="123456789012", region="me-central-1")
WATCHES = {watch.name: watch for watch in watches(SCOPE, ["me-central-1"])}
TOKEN = re.compile(r'\(|\)|&&|\|\||!=|=|NOT EXISTS|IS FALSE|\$\.[\w.]+|"[^"]*"|\S')


def event(source: str, name: str, **more: Any) -> dict[str, Any]:
    """An event of CloudTrail; keys of `more` may be dotted paths with ``__`` for the dot."""
    made: dict[str, Any] = {
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "eventType": "AwsApiCall",
        "awsRegion": "me-central-1",
        "recipientAccountId": SCOPE.account_id,
        "readOnly": False,
        "userIdentity": {"type": "AssumedRole"},
    }
    for path, value in more.items():
        at = made
        *folders, last = path.split("__")
        for folder in folders:
            at = at.setdefault(folder, {})
        at[last] = value
    return made


def matches(pattern: str, what: dict[str, Any]) -> bool:
    """Whether a JSON filter pattern matches `what`; a field that is not there equals nothing."""
    assert pattern.startswith("{ ")
    assert pattern.endswith(" }")
    tokens = iter(TOKEN.findall(pattern[2:-2]))
    found = _term(next(tokens), tokens, what)
    assert next(tokens, None) is None, "something follows the pattern"
    return found


def _term(first: str, tokens: Iterator[str], what: dict[str, Any]) -> bool:
    assert first == "("
    first = next(tokens)
    if first.startswith("$."):
        found = _compare(first[2:], tokens, what)
        assert next(tokens) == ")"
        return found
    found = _term(first, tokens, what)
    operators = set()
    while (operator := next(tokens)) != ")":
        operators.add(operator)
        other = _term(next(tokens), tokens, what)
        found = (found and other) if operator == "&&" else (found or other)
    assert operators in ({"&&"}, {"||"}, set()), "mixed without brackets"
    return found


def _compare(field: str, tokens: Iterator[str], what: dict[str, Any]) -> bool:
    value: Any = what
    for step in field.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    test = next(tokens)
    if test == "NOT EXISTS":
        return value is None
    if test == "IS FALSE":
        return value is False
    wanted = next(tokens).strip('"')
    return value is not None and fnmatch.fnmatchcase(str(value), wanted) is (test == "=")


@pytest.mark.parametrize("watch", WATCHES.values(), ids=WATCHES)
def test_a_pattern_is_one_that_cloudwatch_takes(watch: Any) -> None:
    assert len(watch.pattern) <= LONGEST_PATTERN
    assert matches(watch.pattern, {}) is False


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("key-endangered", event("kms", "ScheduleKeyDeletion")),
        ("key-endangered", event("kms", "DisableKey")),
        ("bucket-opened", event("s3", "PutBucketPolicy")),
        ("bucket-opened", event("s3", "DeleteBucketPublicAccessBlock")),
        ("root-used", event("signin", "ConsoleLogin", userIdentity__type="Root")),
        (
            "glass-broken",
            event("sts", "AssumeRole", requestParameters__roleArn=SCOPE.role_arn("break-glass")),
        ),
        (
            "glass-broken",
            event(
                *("sts", "AssumeRoleWithSAML"),
                requestParameters__roleArn=SCOPE.role_arn("break-glass"),
            ),
        ),
        ("foreign-region-used", event("ec2", "RunInstances", awsRegion="eu-west-1")),
        ("foreign-region-used", event("s3", "CreateBucket", awsRegion="us-east-1")),
        (
            "foreign-region-used",
            event("ec2", "RunInstances", awsRegion="eu-west-1", errorCode="AccessDenied"),
        ),
        ("trail-stopped", event("cloudtrail", "StopLogging")),
        ("trail-stopped", event("cloudtrail", "PutEventSelectors")),
        ("recorder-stopped", event("config", "StopConfigurationRecorder")),
        ("alarm-silenced", event("logs", "DeleteMetricFilter")),
        ("alarm-silenced", event("sns", "Unsubscribe")),
        (
            "login-without-mfa",
            event(
                *("signin", "ConsoleLogin"),
                userIdentity__type="IAMUser",
                additionalEventData__MFAUsed="No",
                responseElements__ConsoleLogin="Success",
            ),
        ),
        ("guard-rail-changed", event("iam", "DeleteRolePermissionsBoundary")),
        (
            "guard-rail-changed",
            event(
                *("iam", "CreatePolicyVersion"),
                requestParameters__policyArn=SCOPE.policy_arn("boundary"),
            ),
        ),
        (
            "guard-rail-changed",
            event(
                *("iam", "UpdateAssumeRolePolicy"),
                requestParameters__roleName="falaj-staging-break-glass",
            ),
        ),
        ("lasting-credentials-made", event("iam", "CreateAccessKey")),
    ],
)
def test_a_watch_sees_what_it_is_for(name: str, what: dict[str, Any]) -> None:
    assert matches(WATCHES[name].pattern, what)


GLASS = SCOPE.role_arn("break-glass")
STRANGERS = (
    GLASS.replace(SCOPE.account_id, "210987654321"),
    GLASS.replace("role/", "role/people/"),
    GLASS.replace("staging", "dev"),
    f"{GLASS}-2",
)


def by(issuer: str) -> dict[str, Any]:
    """An act of a session of the role `issuer`."""
    return event(
        *("s3", "DeleteObject"),
        userIdentity__sessionContext__sessionIssuer__arn=issuer,
        userIdentity__sessionContext__sessionIssuer__userName=issuer.rpartition("/")[2],
    )


def taken(role: str, how: str = "AssumeRole", **more: Any) -> dict[str, Any]:
    return event("sts", how, requestParameters__roleArn=role, **more)


@pytest.mark.parametrize(
    "what",
    [
        taken(GLASS),
        taken(GLASS, errorCode="AccessDenied"),
        taken(GLASS, "AssumeRoleWithWebIdentity"),
        by(GLASS),
    ],
)
def test_the_alarm_goes_off_when_the_glass_is_broken_and_when_it_is_used(
    what: dict[str, Any],
) -> None:
    assert matches(WATCHES["glass-broken"].pattern, what)


@pytest.mark.parametrize("role", STRANGERS)
def test_a_role_of_the_same_name_elsewhere_breaks_no_glass(role: str) -> None:
    for what in (taken(role), by(role)):
        assert not matches(WATCHES["glass-broken"].pattern, what)


def test_to_look_at_the_role_or_to_name_it_elsewhere_breaks_no_glass() -> None:
    looked = event("iam", "GetRole", requestParameters__roleName="falaj-staging-break-glass")
    passed = event("ecs", "AssumeRoleForTask", requestParameters__roleArn=GLASS)

    for what in (looked, passed):
        assert not matches(WATCHES["glass-broken"].pattern, what)


@pytest.mark.parametrize(
    ("account", "role", "expected"),
    [
        (SCOPE.account_id, "falaj-staging-break-glass", True),
        ("210987654321", "falaj-staging-break-glass", False),
        (SCOPE.account_id, "falaj-dev-break-glass", False),
    ],
)
def test_who_may_break_the_glass_is_watched_in_this_account_and_environment(
    account: str, role: str, *, expected: bool
) -> None:
    changed = event(
        *("iam", "UpdateAssumeRolePolicy"),
        requestParameters__roleName=role,
        recipientAccountId=account,
    )

    assert matches(WATCHES["guard-rail-changed"].pattern, changed) is expected


@pytest.mark.parametrize(
    "what",
    [
        event("kms", "GenerateDataKey"),
        event("s3", "PutObject"),
        event("ec2", "RunInstances"),
        event("ec2", "DescribeRegions", awsRegion="us-east-1", readOnly=True),
        event("iam", "CreateRole", awsRegion="us-east-1"),
        event(
            *("ec2", "CreateNetworkInterface"),
            awsRegion="eu-west-1",
            userIdentity__invokedBy="config.amazonaws.com",
        ),
        event("sts", "AssumeRole", requestParameters__roleArn=SCOPE.role_arn("training")),
        event(
            *("iam", "CreatePolicyVersion"),
            requestParameters__policyArn="arn:aws:iam::123456789012:policy/somebody-elses",
        ),
        event(
            *("kms", "Decrypt"),
            userIdentity__type="Root",
            userIdentity__invokedBy="backup.amazonaws.com",
        ),
        event(
            *("signin", "ConsoleLogin"),
            userIdentity__type="IAMUser",
            additionalEventData__MFAUsed="Yes",
            responseElements__ConsoleLogin="Success",
        ),
    ],
    ids=lambda what: f"{what['eventName']} {what['awsRegion']}",
)
def test_everyday_work_wakes_nobody(what: dict[str, Any]) -> None:
    assert [name for name, watch in WATCHES.items() if matches(watch.pattern, what)] == []
