"""The log group that an AWS service writes to, made before the service makes one without a key."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

RETENTION_DAYS = 365


def service_log(
    name: str,
    log_group: str,
    *,
    key_arn: pulumi.Input[str],
    keep: bool,
    opts: pulumi.ResourceOptions,
) -> aws.cloudwatch.LogGroup:
    """The log group `log_group`; what writes to it must depend on it.

    Its name is the service's choice, so no other can be given where a stack is made again: with
    `keep` it stays behind like the data that it is about.
    """
    return aws.cloudwatch.LogGroup(
        name,
        name=log_group,
        kms_key_id=key_arn,
        retention_in_days=RETENTION_DAYS,
        skip_destroy=keep,
        opts=opts,
    )
