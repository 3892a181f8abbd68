"""Log shipping, on mocks: the control plane's stream, the agent's outputs, and the SIEM's door."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import by_sid, statements
from pydantic import ValidationError

from components.aws.log_shipping import CONTROL_PLANE, LogShipping, LogShippingArgs, SiemNetwork
from components.aws.scope import Scope
from components.aws.settings.log_shipping import LogShippingSettings, problems_of_shipping
from components.log_shipper import to_bucket

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
KEY = SCOPE.arn("kms", "key/logs")
BUCKET = SCOPE.bucket("logs")
S3_SIEM = {"kind": "s3", "account_id": "210987654321", "external_id": "falaj-prod-siem-01"}
HTTP_SIEM = {
    "kind": "http",
    "host": "siem.prod.falaj.internal",
    "service_name": "com.amazonaws.vpce.me-central-1.vpce-svc-0a1b2c3d4e5f60718",
}


def shipping_of(record: Record, **settings: Any) -> tuple[Recording, LogShipping]:
    args = LogShippingArgs(
        scope=SCOPE,
        settings=LogShippingSettings.model_validate(settings),
        bucket=BUCKET,
        key_arn=KEY,
        control_plane_group="/aws/eks/falaj-prod/cluster",
        network=SiemNetwork(
            vpc_id="vpc-1",
            subnet_ids=["subnet-1", "subnet-2"],
            node_security_group_id="sg-nodes",
            zone_id="Z1",
        ),
    )
    made: list[LogShipping] = []
    recording = record(lambda: made.append(LogShipping("logs", args)))
    return recording, made[0]


def allowed_of(made: Recording, role: str) -> dict[str, dict[str, Any]]:
    """Of the policy of the role `role`, by their names."""
    policy = made.the("RolePolicy", role).inputs["policy"]
    return by_sid(policy)


def test_the_control_planes_log_group_is_streamed_to_the_bucket_under_the_log_key(
    record: Record,
) -> None:
    made, _ = shipping_of(record)
    stream = made.the("FirehoseDeliveryStream").inputs
    subscription = made.the("LogSubscriptionFilter").inputs

    assert subscription["logGroup"] == "/aws/eks/falaj-prod/cluster"
    assert subscription["destinationArn"] == "arn:logs-firehose"
    assert stream["destination"] == "extended_s3"
    assert stream["serverSideEncryption"] == {
        "enabled": True,
        "keyType": "CUSTOMER_MANAGED_CMK",
        "keyArn": KEY,
    }
    assert stream["extendedS3Configuration"]["bucketArn"] == f"arn:aws:s3:::{BUCKET}"
    assert stream["extendedS3Configuration"]["kmsKeyArn"] == KEY
    assert stream["extendedS3Configuration"]["prefix"] == CONTROL_PLANE


def test_the_stream_writes_where_it_delivers_and_nowhere_else(record: Record) -> None:
    made, _ = shipping_of(record)
    allowed = allowed_of(made, "stream")
    delivered = made.the("FirehoseDeliveryStream").inputs["extendedS3Configuration"]

    assert delivered["roleArn"] == "arn:logs-stream-role"
    assert allowed["WriteLogs"]["Resource"] == [
        f"arn:aws:s3:::{BUCKET}/{delivered['prefix']}*",
        f"arn:aws:s3:::{BUCKET}/{delivered['errorOutputPrefix']}*",
    ]
    assert allowed["SealLogs"]["Resource"] == [KEY]
    assert "s3:GetObject" not in str(allowed)


def test_cloudwatch_logs_sends_to_this_stream_alone(record: Record) -> None:
    made, _ = shipping_of(record)
    name = made.the("FirehoseDeliveryStream").inputs["name"]

    assert made.the("LogSubscriptionFilter").inputs["roleArn"] == "arn:logs-subscription-role"
    assert allowed_of(made, "subscription")["SendToStream"]["Resource"] == [
        SCOPE.arn("firehose", f"deliverystream/{name}")
    ]


def test_what_could_not_be_delivered_is_said_in_a_log_group_with_key_and_retention(
    record: Record,
) -> None:
    made, _ = shipping_of(record)
    group = made.the("LogGroup").inputs

    assert group["kmsKeyId"] == KEY
    assert group["retentionInDays"] >= 365


def test_the_agent_writes_to_the_locked_bucket_with_the_sum_that_a_lock_asks_for() -> None:
    properties = to_bucket(bucket=BUCKET, region="me-central-1").properties

    assert properties["send_content_md5"] == "true"
    # of several parts of an upload each would need its own
    assert properties["use_put_object"] == "true"
    assert properties["s3_key_format"].startswith("/cluster/")


def test_without_a_siem_nothing_else_reads_the_logs(record: Record) -> None:
    made, shipping = shipping_of(record)

    assert [output.name for output in shipping.outputs] == ["s3"]
    assert shipping.reader_arn is None
    assert not made.of("VpcEndpoint")


def test_a_siem_of_another_account_reads_its_prefixes_with_an_external_id(record: Record) -> None:
    made, _ = shipping_of(record, siem=S3_SIEM, control_plane=False)
    (trust,) = statements(made.the("Role", "siem-role").inputs["assumeRolePolicy"])
    allowed = allowed_of(made, "siem")

    assert trust["Principal"] == {"AWS": ["arn:aws:iam::210987654321:root"]}
    assert trust["Condition"] == {"StringEquals": {"sts:ExternalId": "falaj-prod-siem-01"}}
    assert f"arn:aws:s3:::{BUCKET}/AWSLogs/*" in allowed["ReadLogs"]["Resource"]
    assert "decisions" not in str(allowed), "decisions hold what applicants told"


def test_a_siem_by_https_is_reached_through_an_endpoint_that_nodes_alone_may_use(
    record: Record,
) -> None:
    made, shipping = shipping_of(record, siem=HTTP_SIEM, control_plane=False)
    endpoint, rule = made.the("VpcEndpoint").inputs, made.the("SecurityGroupIngressRule").inputs

    assert endpoint["serviceName"] == HTTP_SIEM["service_name"]
    assert endpoint["securityGroupIds"] == ["id:logs-siem-group"]
    assert rule["referencedSecurityGroupId"] == "sg-nodes"
    assert (rule["fromPort"], rule["toPort"]) == (443, 443)
    assert made.the("Record").inputs["name"] == HTTP_SIEM["host"]
    assert made.the("Record").inputs["records"] == ["dns:logs-siem-endpoint"]
    _, siem = shipping.outputs
    assert (siem.properties["host"], siem.properties["tls.verify"]) == (HTTP_SIEM["host"], "on")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mode": "existing"}, "without a reason"),
        ({"mode": False, "reason": "x", "siem": S3_SIEM}, "siem.kind: has no meaning"),
        ({"siem": S3_SIEM | {"external_id": "short"}}, "at least 16"),
        ({"siem": S3_SIEM | {"prefixes": ["cluster/", "cluster/"]}}, "names one twice"),
        ({"siem": HTTP_SIEM | {"service_name": "siem.bank.ae"}}, "pattern"),
        ({"siem": {"kind": "syslog"}}, "'none', 's3', 'http'"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LogShippingSettings.model_validate(settings)


def test_a_siem_is_another_account_and_in_the_country() -> None:
    def problems(siem: dict[str, Any]) -> list[str]:
        settings = LogShippingSettings.model_validate({"siem": siem})
        return problems_of_shipping(settings, account_id="123456789012", regions=["me-central-1"])

    abroad = HTTP_SIEM["service_name"].replace("me-central-1", "eu-west-1")
    assert problems(S3_SIEM) == problems(HTTP_SIEM) == problems({"kind": "none"}) == []
    assert "is this account" in problems(S3_SIEM | {"account_id": "123456789012"})[0]
    assert "is in eu-west-1" in problems(HTTP_SIEM | {"service_name": abroad})[0]
