"""What watches an environment, on mocks: trail, recorder, detectors, and whom alarms reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import statements
from pydantic import ValidationError

from components.aws.alarm_topic import AlarmTopic, AlarmTopicArgs
from components.aws.audit_trail import AuditTrail, AuditTrailArgs
from components.aws.config_recorder import MANAGED_RULES, ConfigRecorder, ConfigRecorderArgs
from components.aws.log_delivery import (
    config_delivery_statements,
    log_delivery_statements,
    topic_arn,
    trail_arn,
)
from components.aws.policy_document import Statement
from components.aws.scope import Scope
from components.aws.settings.audit import AuditSettings, RecorderSettings, TrailSettings
from components.aws.threat_detection import ThreatDetection, ThreatDetectionArgs
from components.aws.watches import watches

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
SCOPE = Scope(environment="prod", account_id="123456789012", region="me-central-1")
KEY = SCOPE.arn("kms", "key/logs")
TOPIC = topic_arn(SCOPE)
BUCKETS = [SCOPE.bucket_arn(content) for content in ("artifacts", "data", "models")]


def trail_of(record: Record, **changes: Any) -> Recording:
    args: dict[str, Any] = {
        "scope": SCOPE,
        "settings": TrailSettings(),
        "allowed_regions": ["me-central-1"],
        "log_bucket": SCOPE.bucket("logs"),
        "key_arn": KEY,
        "topic_arn": TOPIC,
        "watched_buckets": BUCKETS,
        "keep": True,
    }
    return record(lambda: AuditTrail("trail", AuditTrailArgs(**args | changes)))


@pytest.fixture
def trail(record: Record) -> Recording:
    return trail_of(record)


def detection(record: Record, **settings: Any) -> Recording:
    args = ThreatDetectionArgs(scope=SCOPE, settings=AuditSettings(**settings), topic_arn=TOPIC)
    return record(lambda: ThreatDetection("threats", args))


def by_sid(statements: tuple[Statement, ...]) -> dict[str, Statement]:
    found = {one.sid: one for one in statements}
    assert len(found) == len(statements), "two statements of one name"
    return found


# --- the trail ------------------------------------------------------------------------------------


def test_the_trail_is_complete_encrypted_and_delivered_to_the_log_bucket(trail: Recording) -> None:
    inputs = trail.the("Trail").inputs

    assert inputs["isMultiRegionTrail"] is True
    assert inputs["includeGlobalServiceEvents"] is True
    assert inputs["enableLogFileValidation"] is True
    assert inputs["enableLogging"] is True
    assert inputs["kmsKeyId"] == KEY
    assert inputs["s3BucketName"] == "falaj-prod-logs-123456789012"
    assert trail_arn(SCOPE).endswith(f"trail/{inputs['name']}")


def test_the_trail_records_objects_of_the_stores_but_not_of_the_log_bucket(
    trail: Recording,
) -> None:
    management, objects = trail.the("Trail").inputs["advancedEventSelectors"]
    fields = {one["field"]: one for one in objects["fieldSelectors"]}

    assert management["fieldSelectors"] == [{"field": "eventCategory", "equals": ["Management"]}]
    assert fields["resources.ARN"]["startsWiths"] == [f"{bucket}/" for bucket in BUCKETS]
    assert fields["eventCategory"]["equals"] == ["Data"]
    assert "readOnly" not in fields


def test_a_trail_without_stores_selects_management_events_alone(record: Record) -> None:
    (only,) = trail_of(record, watched_buckets=[]).the("Trail").inputs["advancedEventSelectors"]

    assert only["name"] == "management"


def test_the_trail_writes_to_its_own_log_group_and_nothing_else(trail: Recording) -> None:
    group, role = trail.the("LogGroup"), trail.the("Role", "trail-role")
    (allowed,) = statements(trail.the("RolePolicy").inputs["policy"])
    (trust,) = statements(role.inputs["assumeRolePolicy"])

    assert trail.the("Trail").inputs["cloudWatchLogsGroupArn"] == f"arn:{group.name}:*"
    assert trail.the("Trail").inputs["cloudWatchLogsRoleArn"] == f"arn:{role.name}"
    assert allowed["Resource"] == [
        SCOPE.arn("logs", f"log-group:{group.inputs['name']}:log-stream:*")
    ]
    assert trust["Principal"] == {"Service": ["cloudtrail.amazonaws.com"]}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceArn": trail_arn(SCOPE)}}


def test_the_log_group_is_encrypted_and_kept_for_more_than_a_year(trail: Recording) -> None:
    inputs = trail.the("LogGroup").inputs

    assert inputs["kmsKeyId"] == KEY
    assert inputs["retentionInDays"] >= 365
    assert inputs["deletionProtectionEnabled"] is True


def test_where_data_is_not_kept_the_log_group_goes_with_the_stack(record: Record) -> None:
    group = trail_of(record, keep=False).the("LogGroup")

    assert group.inputs["deletionProtectionEnabled"] is False


def test_each_watch_has_a_filter_on_the_trail_and_an_alarm_on_that_filter(trail: Recording) -> None:
    expected = {watch.name: watch for watch in watches(SCOPE, ["me-central-1"])}
    filters = {
        one.inputs["metricTransformation"]["name"]: one for one in trail.of("LogMetricFilter")
    }
    alarms = {one.inputs["metricName"]: one for one in trail.of("MetricAlarm")}

    assert filters.keys() == expected.keys()
    assert alarms.keys() == expected.keys() | {"IncomingLogEvents"}
    for name, found in filters.items():
        assert found.inputs["pattern"] == expected[name].pattern
        assert found.inputs["logGroupName"] == trail.the("LogGroup").inputs["name"]
        alarm = alarms[name].inputs
        assert alarm["namespace"] == found.inputs["metricTransformation"]["namespace"]
        assert (alarm["threshold"], alarm["treatMissingData"]) == (1, "notBreaching")


def test_every_alarm_tells_the_topic(trail: Recording) -> None:
    assert len(trail.of("MetricAlarm")) > 10
    for alarm in trail.of("MetricAlarm"):
        assert alarm.inputs["alarmActions"] == [TOPIC]
        assert alarm.inputs["alarmDescription"]


def test_a_trail_that_falls_silent_is_an_alarm_although_no_filter_counts(trail: Recording) -> None:
    silent = trail.the("MetricAlarm", "silent").inputs

    assert silent["treatMissingData"] == "breaching"
    assert silent["comparisonOperator"] == "LessThanThreshold"
    assert silent["dimensions"] == {"LogGroupName": trail.the("LogGroup").inputs["name"]}


# --- delivery -------------------------------------------------------------------------------------


def test_services_deliver_only_for_this_account_and_below_its_folder() -> None:
    statements = by_sid(log_delivery_statements(SCOPE) + config_delivery_statements(SCOPE))

    for statement in statements.values():
        assert "Service" in statement.principals
        assert any(
            "123456789012" in str(value)
            for keys in statement.conditions.values()
            for key, value in keys.items()
            if key in ("aws:SourceArn", "aws:SourceAccount")
        ), statement.sid
        if "s3:PutObject" in statement.actions:
            (resource,) = statement.resources
            assert str(resource).endswith("/AWSLogs/123456789012/*")
            assert statement.conditions["StringEquals"]["s3:x-amz-acl"] == (
                "bucket-owner-full-control"
            )


def test_config_delivers_to_a_bucket_of_its_own_because_it_refuses_a_locked_one() -> None:
    assert {str(s.resources[0]).split("/")[0] for s in config_delivery_statements(SCOPE)} == {
        SCOPE.bucket_arn("config")
    }
    assert not [s for s in log_delivery_statements(SCOPE) if "config.amazonaws.com" in str(s)]
    assert {str(s.resources[0]).split("/")[0] for s in log_delivery_statements(SCOPE)} == {
        SCOPE.bucket_arn("logs")
    }


# --- the topic ------------------------------------------------------------------------------------


def test_alarms_and_events_of_this_environment_reach_the_encrypted_topic(record: Record) -> None:
    made = record(
        lambda: AlarmTopic(
            "alarms",
            AlarmTopicArgs(scope=SCOPE, key_arn=KEY, webhooks=["https://duty.bank.ae/falaj"]),
        )
    )
    policy = statements(made.the("TopicPolicy").inputs["policy"])

    assert made.the("Topic").inputs["kmsMasterKeyId"] == KEY
    assert TOPIC.endswith(made.the("Topic").inputs["name"])
    assert {one["Principal"]["Service"][0]: one["Condition"]["ArnLike"] for one in policy} == {
        "cloudwatch.amazonaws.com": {
            "aws:SourceArn": "arn:aws:cloudwatch:me-central-1:123456789012:alarm:falaj-prod-*"
        },
        "events.amazonaws.com": {
            "aws:SourceArn": "arn:aws:events:me-central-1:123456789012:rule/falaj-prod-*"
        },
    }
    (subscription,) = made.of("TopicSubscription")
    assert subscription.inputs["protocol"] == "https"


def test_alarms_wait_in_an_encrypted_queue_that_only_the_topic_fills(record: Record) -> None:
    made = record(
        lambda: AlarmTopic("alarms", AlarmTopicArgs(scope=SCOPE, key_arn=KEY, queue=True))
    )
    (allowed,) = statements(made.the("QueuePolicy").inputs["policy"])
    subscription = made.the("TopicSubscription").inputs

    assert made.the("Queue").inputs["kmsMasterKeyId"] == KEY
    assert allowed["Principal"] == {"Service": ["sns.amazonaws.com"]}
    assert allowed["Condition"] == {"ArnEquals": {"aws:SourceArn": TOPIC}}
    assert (subscription["protocol"], subscription["endpoint"]) == ("sqs", "arn:alarms-queue")


# --- recorder and detectors -----------------------------------------------------------------------


def test_the_recorder_leaves_out_what_the_region_cannot_record(record: Record) -> None:
    args = ConfigRecorderArgs(
        scope=SCOPE, settings=RecorderSettings(), bucket=SCOPE.bucket("config"), key_arn=KEY
    )
    made = record(lambda: ConfigRecorder("recorder", args))

    assert made.the("Recorder").inputs["recordingGroup"] == {
        "allSupported": True,
        "includeGlobalResourceTypes": False,
    }
    assert made.the("DeliveryChannel").inputs["s3KmsKeyArn"] == KEY
    assert made.the("RecorderStatus").inputs["isEnabled"] is True
    assert made.the("Recorder").inputs["roleArn"] == "arn:recorder-role"
    assert {one.inputs["source"]["sourceIdentifier"] for one in made.of("Rule")} == set(
        MANAGED_RULES
    )


def test_a_rule_that_the_region_lacks_can_be_left_out(record: Record) -> None:
    settings = RecorderSettings(
        omit_rules=("EKS_SECRETS_ENCRYPTED",), service_linked_role_exists=True
    )
    args = ConfigRecorderArgs(
        scope=SCOPE, settings=settings, bucket=SCOPE.bucket("config"), key_arn=KEY
    )
    made = record(lambda: ConfigRecorder("recorder", args))

    assert len(made.of("Rule")) == len(MANAGED_RULES) - 1
    assert not made.of("ServiceLinkedRole")
    assert made.the("Recorder").inputs["roleArn"] == (
        "arn:aws:iam::123456789012:role/aws-service-role/config.amazonaws.com/"
        "AWSServiceRoleForConfig"
    )


def test_guardduty_reads_the_audit_log_of_the_cluster_and_the_buckets(record: Record) -> None:
    made = detection(record)
    features = {one.inputs["name"]: one.inputs for one in made.of("DetectorFeature")}

    assert features["EKS_AUDIT_LOGS"]["status"] == "ENABLED"
    assert features["S3_DATA_EVENTS"]["status"] == "ENABLED"
    assert features["RUNTIME_MONITORING"]["status"] == "DISABLED"
    assert {one["detectorId"] for one in features.values()} == {"id:threats-detector"}


def test_guardduty_installs_nothing_by_itself_even_where_it_watches_nodes(record: Record) -> None:
    made = detection(record, threats={"runtime": True})
    runtime = made.the("DetectorFeature", "runtime").inputs

    assert runtime["status"] == "ENABLED"
    assert {one["status"] for one in runtime["additionalConfigurations"]} == {"DISABLED"}


def test_findings_of_guardduty_reach_the_topic(record: Record) -> None:
    made = detection(record)
    target = made.the("EventTarget").inputs

    assert json.loads(made.the("EventRule").inputs["eventPattern"])["source"] == ["aws.guardduty"]
    assert target["arn"] == TOPIC
    assert target["rule"] == made.the("EventRule").inputs["name"]


def test_a_control_that_asks_for_another_region_is_off_with_its_reason(record: Record) -> None:
    made = detection(record, posture={"standards": ["fsbp", "nist"]})
    exception = made.the("StandardsControlAssociation").inputs

    assert (exception["securityControlId"], exception["associationStatus"]) == ("S3.7", "DISABLED")
    assert "residency" in exception["updatedReason"]
    assert exception["standardsArn"] in {
        one.inputs["standardsArn"] for one in made.of("StandardsSubscription")
    }


def test_what_the_organisation_runs_is_not_made_twice(record: Record) -> None:
    central = {"mode": "existing", "reason": "run by the security account"}
    made = detection(record, threats=central, posture=central, access_analyzer=central)

    assert [one.type for one in made.resources if one.type.startswith("aws:")] == []


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"trail": {"mode": "off"}}, "mode is off without a reason"),
        ({"trail": {"mode": "existing", "reason": " "}}, "mode is existing without a reason"),
        ({"trail": {"retention_days": 90}}, "365"),
        ({"recorder": {"mode": "off", "reason": "cost"}}, "posture.mode: is own"),
        ({"posture": {"standards": ["cis", "cis"]}}, "posture.standards: names one twice"),
        ({"alarms": {"webhooks": ["http://duty.bank.ae"]}}, "should match pattern"),
        ({"alarms": {"email": "duty@bank.ae"}}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AuditSettings.model_validate(settings)


def test_everything_is_on_unless_somebody_says_why_not() -> None:
    settings = AuditSettings()

    assert all(
        part.own
        for part in (
            *(settings.trail, settings.recorder, settings.threats, settings.posture),
            settings.access_analyzer,
        )
    )
