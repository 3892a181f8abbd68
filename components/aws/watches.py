"""What in the trail wakes somebody: each watch a pattern over CloudTrail's events, as typed data.

Owns the patterns and how CloudWatch Logs spells them. They are metric filters on the log group of a
trail over all regions, not EventBridge rules: IAM, root and other regions show up on the event bus
of their own region only, most in us-east-1, where nothing of the platform may be. The trail carries
them home. Patterns follow the CIS AWS Foundations Benchmark 3.0.0, section 4, where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.aws.scope import Scope

LONGEST_PATTERN = 1024
"""Characters of a filter pattern, by the limit of PutMetricFilter."""

GLOBAL_SERVICES = (
    *("account", "billing", "budgets", "health", "iam", "organizations", "route53"),
    *("signin", "sso", "sts", "support", "trustedadvisor"),
)
"""Services without regions: their events carry us-east-1 wherever one is."""


@dataclass(frozen=True, kw_only=True)
class Compare:
    """One test of a field of an event; `value` may end in ``*``."""

    field: str
    """Dotted path, such as ``userIdentity.type``."""
    test: str
    """``=``, ``!=``, ``NOT EXISTS`` or ``IS FALSE``; the last two have no value."""
    value: str | None = None

    def __str__(self) -> str:
        value = "" if self.value is None else f' "{self.value}"'
        return f"($.{self.field} {self.test}{value})"


@dataclass(frozen=True)
class Every:
    """All of these."""

    terms: Sequence[Term]

    def __str__(self) -> str:
        return "(" + " && ".join(map(str, self.terms)) + ")"


@dataclass(frozen=True)
class Some:
    """One of these at least."""

    terms: Sequence[Term]

    def __str__(self) -> str:
        return "(" + " || ".join(map(str, self.terms)) + ")"


Term = Compare | Every | Some


@dataclass(frozen=True, kw_only=True)
class Watch:
    """One thing that somebody is told about at once."""

    name: str
    """Of its filter, metric and alarm."""
    what: str
    """What it means and what to do, for whoever is woken."""
    term: Term

    @property
    def pattern(self) -> str:
        """As CloudWatch Logs reads it, at most `LONGEST_PATTERN` characters."""
        return f"{{ {self.term} }}"


def watches(scope: Scope, allowed_regions: Sequence[str]) -> tuple[Watch, ...]:
    """What is watched in the account of `scope`."""
    ours = scope.policy_arn("*")
    break_glass = scope.role_arn("break-glass")
    return (
        Watch(
            name="key-endangered",
            what="A key is scheduled for deletion or disabled: cancel it within the waiting period "
            "unless a team's data is being erased on purpose.",
            term=_calls(
                "kms",
                *("ScheduleKeyDeletion", "DisableKey", "DisableKeyRotation"),
                "DeleteImportedKeyMaterial",
            ),
        ),
        Watch(
            name="bucket-opened",
            what="Who may read a bucket, or how it is encrypted, locked or copied, was changed.",
            term=_calls(
                "s3",
                *("PutBucketPolicy", "DeleteBucketPolicy", "PutBucketAcl"),
                *("PutBucketPublicAccessBlock", "DeleteBucketPublicAccessBlock"),
                *("PutAccountPublicAccessBlock", "DeleteAccountPublicAccessBlock"),
                *("PutBucketEncryption", "DeleteBucketEncryption", "PutBucketReplication"),
                *("PutBucketObjectLockConfiguration", "PutBucketVersioning"),
            ),
        ),
        Watch(
            name="root-used",
            what="Somebody acts as the root of the account.",
            term=Every(
                (
                    _is("userIdentity.type", "Root"),
                    Compare(field="userIdentity.invokedBy", test="NOT EXISTS"),
                    _is_not("eventType", "AwsServiceEvent"),
                )
            ),
        ),
        Watch(
            name="glass-broken",
            what="Somebody took the break-glass role: there must be an open incident for it.",
            # by the ARN, in full: another account, or another path, has a role of the same name
            term=Some(
                (
                    Every(
                        (
                            _is("eventSource", "sts.amazonaws.com"),
                            _is("eventName", "AssumeRole*"),
                            _is("requestParameters.roleArn", break_glass),
                        )
                    ),
                    # whatever is done with it, should the taking have been missed
                    _is("userIdentity.sessionContext.sessionIssuer.arn", break_glass),
                )
            ),
        ),
        Watch(
            name="foreign-region-used",
            what="Something was changed, or an attempt was made, in a region that residency does "
            "not allow: "
            f"allowed is {', '.join(allowed_regions)}.",
            term=Every(
                (
                    *(_is_not("awsRegion", region) for region in allowed_regions),
                    *(_is_not("eventSource", f"{name}.amazonaws.com") for name in GLOBAL_SERVICES),
                    Compare(field="readOnly", test="IS FALSE"),
                    # AWS makes its service-linked things in every region by itself
                    Compare(field="userIdentity.invokedBy", test="NOT EXISTS"),
                    _is_not("eventType", "AwsServiceEvent"),
                )
            ),
        ),
        Watch(
            name="trail-stopped",
            what="The audit trail was stopped, removed or narrowed.",
            term=_calls(
                "cloudtrail",
                *("StopLogging", "DeleteTrail", "UpdateTrail", "PutEventSelectors"),
            ),
        ),
        Watch(
            name="recorder-stopped",
            what="AWS Config was stopped, removed or narrowed.",
            term=_calls(
                "config",
                *("StopConfigurationRecorder", "DeleteConfigurationRecorder"),
                *("PutConfigurationRecorder", "DeleteDeliveryChannel", "PutDeliveryChannel"),
                "DeleteConfigRule",
            ),
        ),
        Watch(
            name="alarm-silenced",
            what="A log group, filter, alarm or the topic that alarms go to was removed or muted.",
            term=Some(
                (
                    _calls(
                        "logs",
                        *("DeleteLogGroup", "DeleteMetricFilter", "PutRetentionPolicy"),
                        "DisassociateKmsKey",
                    ),
                    _calls("monitoring", "DeleteAlarms", "DisableAlarmActions"),
                    _calls("sns", "DeleteTopic", "Unsubscribe"),
                )
            ),
        ),
        Watch(
            name="login-without-mfa",
            what="Somebody signed in to the console without a second factor.",
            term=Every(
                (
                    _is("eventName", "ConsoleLogin"),
                    _is_not("additionalEventData.MFAUsed", "Yes"),
                    _is("userIdentity.type", "IAMUser"),
                    _is("responseElements.ConsoleLogin", "Success"),
                )
            ),
        ),
        Watch(
            name="guard-rail-changed",
            what="A permissions boundary, a policy of the platform or an organisation's policy was "
            "changed.",
            term=Some(
                (
                    _calls("iam", "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary"),
                    Every(
                        (
                            _named(
                                "CreatePolicyVersion", "SetDefaultPolicyVersion", "DeletePolicy"
                            ),
                            _is("requestParameters.policyArn", ours),
                        )
                    ),
                    Every(
                        (
                            _calls(
                                "iam",
                                *("UpdateAssumeRolePolicy", "AttachRolePolicy", "PutRolePolicy"),
                            ),
                            # these calls name a role without its account
                            _is("recipientAccountId", scope.account_id),
                            _is("requestParameters.roleName", scope.name("break-glass")),
                        )
                    ),
                    _calls("organizations", "DetachPolicy", "UpdatePolicy", "DisablePolicyType"),
                )
            ),
        ),
        Watch(
            name="lasting-credentials-made",
            what="A user, a password or an access key was made; people and jobs take roles.",
            term=_calls("iam", "CreateUser", "CreateAccessKey", "CreateLoginProfile"),
        ),
    )


def _is(field: str, value: str) -> Compare:
    return Compare(field=field, test="=", value=value)


def _is_not(field: str, value: str) -> Compare:
    return Compare(field=field, test="!=", value=value)


def _named(*calls: str) -> Term:
    return Some(tuple(_is("eventName", call) for call in calls))


def _calls(service: str, *calls: str) -> Term:
    return Every((_is("eventSource", f"{service}.amazonaws.com"), _named(*calls)))
