"""Cases of `policies/residency/deliveries.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, resource
from rule_cases.values import nested

HOME, AWAY = "me-central-1", "eu-west-1"
PINNED = resource(
    "pulumi:providers:aws", "pinned", {"region": HOME, "allowedAccountIds": f'["{ACCOUNT}"]'}
)
QUEUE = "arn:aws:sqs:{}:" + ACCOUNT + ":jobs"
SOMEBODY = f"arn:aws:sqs:{HOME}:999999999999:jobs"
TARGET, SCHEDULE = "aws:cloudwatch/eventTarget:EventTarget", "aws:scheduler/schedule:Schedule"
SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
API = "aws:cloudwatch/eventApiDestination:EventApiDestination"
INVOKED = "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig"
PIPE = "aws:pipes/pipe:Pipe"
NOTIFICATION = "aws:s3/bucketNotification:BucketNotification"
TARGETS = (
    (TARGET, "arn"),
    (TARGET, "deadLetterConfig.arn"),
    ("aws:cloudwatch/logDestination:LogDestination", "targetArn"),
    ("aws:cloudwatch/logSubscriptionFilter:LogSubscriptionFilter", "destinationArn"),
    ("aws:cloudwatch/metricStream:MetricStream", "firehoseArn"),
    (
        "aws:lambda/eventSourceMapping:EventSourceMapping",
        "destinationConfig.onFailure.destinationArn",
    ),
    ("aws:lambda/function:Function", "deadLetterConfig.targetArn"),
    (INVOKED, "destinationConfig.onFailure.destination"),
    (INVOKED, "destinationConfig.onSuccess.destination"),
    (PIPE, "target"),
    (PIPE, "enrichment"),
    (PIPE, "logConfiguration.cloudwatchLogsLogDestination.logGroupArn"),
    (PIPE, "logConfiguration.firehoseLogDestination.deliveryStreamArn"),
    (PIPE, "sourceParameters.dynamodbStreamParameters.deadLetterConfig.arn"),
    (PIPE, "sourceParameters.kinesisStreamParameters.deadLetterConfig.arn"),
    (NOTIFICATION, "lambdaFunctions*.lambdaFunctionArn"),
    (NOTIFICATION, "queues*.queueArn"),
    (NOTIFICATION, "topics*.topicArn"),
    (SCHEDULE, "target.arn"),
    (SCHEDULE, "target.deadLetterConfig.arn"),
)
REDRIVEN = ("aws:sqs/queue:Queue", "aws:sqs/redrivePolicy:RedrivePolicy", SUBSCRIPTION)

STREAM = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
STORE = resource("aws:s3/bucket:Bucket", "store", {"bucket": "store"}, provider=PINNED)
ABROAD = resource("aws:s3/bucket:Bucket", "abroad", {"bucket": "abroad", "region": AWAY})
NAMELESS = resource("aws:s3/bucket:Bucket", "nameless", {"bucket": UNKNOWN}, provider=PINNED)
BUCKET = "extendedS3Configuration.bucketArn"
TO_STORE = "arn:aws:s3:::store"


def one(kind: str, path: str, value: Any) -> list[Resource]:
    return [resource(kind, "one", nested(path, value), provider=PINNED)]


def subscription(protocol: Any, endpoint: Any, **more: Any) -> list[Resource]:
    properties = {"protocol": protocol, "endpoint": endpoint, **more}
    return [resource(SUBSCRIPTION, "one", properties, provider=PINNED)]


def redriven(kind: str, target: str) -> list[Resource]:
    policy = json.dumps({"deadLetterTargetArn": target, "maxReceiveCount": 3})
    properties = {"protocol": "sqs", "endpoint": QUEUE.format(HOME), "redrivePolicy": policy}
    return [resource(kind, "one", properties, provider=PINNED)]


def stream(path: str, value: Any, *referred: Resource, **more: Any) -> list[Resource]:
    """A stream into S3 with `value` at `path`, whose block refers to `referred`."""
    block = path.partition(".")[0]
    properties = {"destination": "extended_s3", **nested(path, value), **more}
    references = {block: tuple(one.urn for one in referred)}
    made = resource(STREAM, "stream", properties, provider=PINNED, references=references)
    return [STORE, ABROAD, made]


CASES = (
    Cases(
        rule="event-and-log-target-stays-in-country",
        baseline=one(TARGET, "arn", QUEUE.format(HOME)),
        fails={
            **{f"{kind}: {path}": one(kind, path, QUEUE.format(AWAY)) for kind, path in TARGETS},
            **{f"dead letters of {kind}": redriven(kind, QUEUE.format(AWAY)) for kind in REDRIVEN},
            "to somebody else": one(TARGET, "arn", SOMEBODY),
            "to no ARN": one(TARGET, "arn", "jobs"),
            "to a bucket, anywhere": one(
                INVOKED, "destinationConfig.onFailure.destination", TO_STORE
            ),
            "to a second region": one("aws:cloudwatch/eventEndpoint:EventEndpoint", "name", "one"),
            "to a mailbox": subscription("email", "a@example.org"),
            "to a telephone": subscription("sms", "+97140000000"),
            "to a queue abroad": subscription("sqs", QUEUE.format(AWAY)),
            "to a host that nobody named": subscription("https", "https://hook.example.org/a"),
            "to the host of another region": subscription(
                "https", "https://a.execute-api.eu-west-1.amazonaws.com/a"
            ),
            "to an API that nobody named": one(API, "invocationEndpoint", "https://example.org/*"),
        },
        passes={
            **{f"{kind}: {path}": one(kind, path, QUEUE.format(HOME)) for kind, path in TARGETS},
            **{f"dead letters of {kind}": redriven(kind, QUEUE.format(HOME)) for kind in REDRIVEN},
            "a schedule calls an API of its region": one(
                SCHEDULE, "target.arn", "arn:aws:scheduler:::aws-sdk:sqs:sendMessage"
            ),
            "of no account": one(TARGET, "arn", f"arn:aws:apigateway:{HOME}::/restapis/a"),
            "nobody says which accounts": [
                resource(TARGET, "one", {"arn": SOMEBODY}),
            ],
            "to a host that is named": subscription("https", "https://hook.bank.ae/a"),
            "to an API here": subscription(
                "https", f"https://a.execute-api.{HOME}.amazonaws.com/a"
            ),
            "to an API that is named": one(API, "invocationEndpoint", "https://hook.bank.ae/*"),
            "no dead letters": one("aws:sqs/queue:Queue", "redrivePolicy", ""),
        },
        pending={
            "which": one(TARGET, "arn", UNKNOWN),
            "whose dead letters": one("aws:sqs/queue:Queue", "redrivePolicy", UNKNOWN),
            "which schedule": one(SCHEDULE, "target", UNKNOWN),
            "how": subscription(UNKNOWN, QUEUE.format(HOME)),
            "which endpoint": subscription("sqs", UNKNOWN),
            "which host": subscription("https", UNKNOWN),
        },
        parameters={"allowedHosts": ["hook.bank.ae"]},
    ),
    Cases(
        rule="firehose-destination-stays-in-country",
        baseline=stream(BUCKET, TO_STORE),
        fails={
            "a bucket abroad": stream(BUCKET, "arn:aws:s3:::abroad"),
            "a bucket abroad, by reference": stream(BUCKET, UNKNOWN, ABROAD),
            "a bucket that nobody knows": stream(BUCKET, "arn:aws:s3:::other"),
            "a copy of it": stream(
                "extendedS3Configuration.s3BackupConfiguration.bucketArn", "arn:aws:s3:::abroad"
            ),
            "in a list": stream("extendedS3Configuration*.bucketArn", "arn:aws:s3:::abroad"),
            "what cannot be indexed": stream(
                "opensearchConfiguration.s3Configuration.bucketArn", "arn:aws:s3:::abroad"
            ),
            "an index abroad": stream(
                "opensearchConfiguration.domainArn", f"arn:aws:es:{AWAY}:1:domain/a"
            ),
            "a collection abroad": stream(
                "opensearchserverlessConfiguration.collectionEndpoint",
                f"https://a.{AWAY}.aoss.amazonaws.com",
            ),
            "a warehouse abroad": stream(
                "redshiftConfiguration.clusterJdbcurl",
                f"jdbc:redshift://a.b.{AWAY}.redshift.amazonaws.com:5439/db",
            ),
            "a source abroad": stream(
                "kinesisSourceConfiguration.kinesisStreamArn", f"arn:aws:kinesis:{AWAY}:1:stream/a"
            ),
            "a topic abroad": stream(
                "mskSourceConfiguration.mskClusterArn", f"arn:aws:kafka:{AWAY}:1:cluster/a/1"
            ),
            "a catalogue abroad": stream(
                "icebergConfiguration.catalogArn", f"arn:aws:glue:{AWAY}:1:catalog"
            ),
            "somebody else": stream(BUCKET, TO_STORE, destination="splunk"),
            "somebody else's host": stream("httpEndpointConfiguration.url", "https://example.org"),
            "somebody else's host for logs": stream(
                "splunkConfiguration.hecEndpoint", "https://example.org:8088"
            ),
            "somebody else's warehouse": stream(
                "snowflakeConfiguration.accountUrl", "https://a.snowflakecomputing.com"
            ),
        },
        passes={
            "by reference": stream(BUCKET, UNKNOWN, STORE),
            "a bucket that is known": stream(BUCKET, "arn:aws:s3:::known"),
            "an index here": stream(
                "opensearchConfiguration.domainArn", f"arn:aws:es:{HOME}:1:domain/a"
            ),
            "a warehouse here": stream(
                "redshiftConfiguration.clusterJdbcurl",
                f"jdbc:redshift://a.b.{HOME}.redshift.amazonaws.com:5439/db",
            ),
            "a host that is named": stream(
                "httpEndpointConfiguration.url", "https://hook.bank.ae/a"
            ),
            "an output that nobody set": stream(BUCKET, TO_STORE, kinesisStreamArn=UNKNOWN),
        },
        pending={
            "which bucket": stream(BUCKET, UNKNOWN, PINNED),
            "whether a bucket whose name is not known yet": [
                NAMELESS,
                *stream(BUCKET, "arn:aws:s3:::other"),
            ],
            "which index": stream("opensearchConfiguration.domainArn", UNKNOWN, STORE),
            "all of it": stream("opensearchConfiguration", UNKNOWN, STORE),
            "where to": stream(BUCKET, TO_STORE, destination=UNKNOWN),
        },
        parameters={"allowedHosts": ["hook.bank.ae"], "knownBuckets": {"known": HOME}},
    ),
)
