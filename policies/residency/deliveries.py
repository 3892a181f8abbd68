"""Rules on deliveries: where events, logs, messages and streams are sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.common.accounts import accounts_of
from policies.common.arns import arn_of, host_of
from policies.common.places import Place, document, found, leaves, property_of, shown
from policies.common.resources import ABSENT, UNKNOWN, Resource, is_missing
from policies.common.rule import Finding, Rule, pending
from policies.common.stack import Stack
from policies.residency.buckets import BucketRegions
from policies.residency.endpoints import Hosts, is_in_country
from policies.residency.regions import judged

_ENDPOINT = "aws:cloudwatch/eventEndpoint:EventEndpoint"
_API = "aws:cloudwatch/eventApiDestination:EventApiDestination"
_SUBSCRIPTION = "aws:sns/topicSubscription:TopicSubscription"
_TARGETS: dict[str, tuple[str, ...]] = {
    _API: (),
    _ENDPOINT: (),
    _SUBSCRIPTION: (),
    "aws:cloudwatch/eventTarget:EventTarget": ("arn", "deadLetterConfig.arn"),
    "aws:cloudwatch/logDestination:LogDestination": ("targetArn",),
    "aws:cloudwatch/logSubscriptionFilter:LogSubscriptionFilter": ("destinationArn",),
    "aws:cloudwatch/metricStream:MetricStream": ("firehoseArn",),
    "aws:lambda/eventSourceMapping:EventSourceMapping": (
        "destinationConfig.onFailure.destinationArn",
    ),
    "aws:lambda/function:Function": ("deadLetterConfig.targetArn",),
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": (
        "destinationConfig.onFailure.destination",
        "destinationConfig.onSuccess.destination",
    ),
    "aws:pipes/pipe:Pipe": (
        "target",
        "enrichment",
        "logConfiguration.cloudwatchLogsLogDestination.logGroupArn",
        "logConfiguration.firehoseLogDestination.deliveryStreamArn",
        "sourceParameters.dynamodbStreamParameters.deadLetterConfig.arn",
        "sourceParameters.kinesisStreamParameters.deadLetterConfig.arn",
    ),
    "aws:s3/bucketNotification:BucketNotification": (
        "lambdaFunctions.lambdaFunctionArn",
        "queues.queueArn",
        "topics.topicArn",
    ),
    "aws:scheduler/schedule:Schedule": ("target.arn", "target.deadLetterConfig.arn"),
    "aws:sqs/queue:Queue": (),
    "aws:sqs/redrivePolicy:RedrivePolicy": (),
}
"""Where a type names by an ARN what it sends to."""
_REDRIVE = "redrivePolicy"
_BY_ARN = ("sqs", "lambda", "firehose", "application")
"""Protocols of subscriptions whose endpoint is an ARN."""


class Targets(Hosts):
    """What events, logs and messages may be sent to."""

    allowedAccounts: tuple[str, ...] = ()  # noqa: N815
    """Besides those that the provider of the resource is held to (``allowedAccountIds``). Accounts
    are not judged while neither names one."""
    allowedProtocols: tuple[str, ...] = ("sqs", "lambda", "firehose", "https")  # noqa: N815


def targets(resource: Resource, parameters: Targets) -> Iterator[Finding]:
    """Each service has a name of its own for what it sends to."""
    for path in _TARGETS[resource.type]:
        for place, target in found(resource.properties, path):
            yield from _judge_target(resource, shown(place), target, parameters)
    redrive = document(resource.at(_REDRIVE))
    for place, target in found(redrive, "deadLetterTargetArn", (_REDRIVE,)):
        yield from _judge_target(resource, shown(place), target, parameters)
    if resource.type == _ENDPOINT:
        what = "sends events to a second region"
        yield Finding(resource=resource, where="it", what=what)
    elif resource.type == _SUBSCRIPTION:
        yield from _subscription(resource, parameters)
    elif resource.type == _API:
        yield from _judge_host(resource, "invocationEndpoint", parameters)


def _judge_target(
    resource: Resource, where: str, target: Any, parameters: Targets
) -> Iterator[Finding]:
    arn = arn_of(target)
    if target is UNKNOWN:
        yield pending(resource, where)
    elif arn is None:
        yield Finding(resource=resource, where=where, what=f"is {target}, which is no ARN")
    elif not arn.region:
        # a schedule may call any API, in its own region
        if arn.service != "scheduler":
            what = f"is {target}, which names no region"
            yield Finding(resource=resource, where=where, what=what)
    else:
        yield from judged(resource, f"region of {where}", arn.region, parameters)
        yield from _judge_account(resource, where, arn.account, parameters)


def _judge_account(
    resource: Resource, where: str, account: str, parameters: Targets
) -> Iterator[Finding]:
    allowed = accounts_of(resource, parameters.allowedAccounts)
    if account and allowed and account not in allowed:
        what = f"is of account {account}; allowed: {', '.join(sorted(allowed))}"
        yield Finding(resource=resource, where=where, what=what)


def _subscription(resource: Resource, parameters: Targets) -> Iterator[Finding]:
    protocol = resource.at("protocol")
    if protocol is UNKNOWN:
        yield pending(resource, "protocol")
    elif protocol not in parameters.allowedProtocols:
        allowed = ", ".join(parameters.allowedProtocols)
        yield Finding(
            resource=resource, where="protocol", what=f"is {protocol}; allowed: {allowed}"
        )
    elif protocol in ("http", "https"):
        yield from _judge_host(resource, "endpoint", parameters)
    elif protocol in _BY_ARN:
        yield from _judge_target(resource, "endpoint", resource.at("endpoint"), parameters)


def _judge_host(resource: Resource, name: str, parameters: Hosts) -> Iterator[Finding]:
    url = resource.at(name)
    if url is UNKNOWN:
        yield pending(resource, name)
    elif not is_in_country(host_of(str(url)) or "", parameters):
        # an URL may hold a token
        what = f"has the host {host_of(str(url))}, which is not in allowedHosts"
        yield Finding(resource=resource, where=name, what=what)


_STREAM = "aws:kinesis/firehoseDeliveryStream:FirehoseDeliveryStream"
_STREAM_ARNS = ("domainArn", "kinesisStreamArn", "mskClusterArn", "catalogArn")
_STREAM_HOSTS = ("clusterEndpoint", "collectionEndpoint", "clusterJdbcurl")
_FOREIGN_HOSTS = (
    "httpEndpointConfiguration.url",
    "splunkConfiguration.hecEndpoint",
    "snowflakeConfiguration.accountUrl",
)


class Streams(Hosts):
    """What streams may be delivered to."""

    allowedDestinations: tuple[str, ...] = (  # noqa: N815
        *("extended_s3", "opensearch", "opensearchserverless", "redshift", "iceberg"),
    )
    knownBuckets: dict[str, str] = {}  # noqa: N815, RUF012 pydantic copies a default
    """Buckets that the stack does not make: name → region."""


def streams(stack: Stack, parameters: Streams) -> Iterator[Finding]:
    """A stream keeps what it could not deliver in a bucket, whatever its destination is."""
    regions = BucketRegions(stack, parameters.knownBuckets)
    for stream in stack.of({_STREAM}):
        destination = stream.at("destination")
        if destination is UNKNOWN:
            yield pending(stream, "destination")
        elif destination not in parameters.allowedDestinations:
            allowed = ", ".join(parameters.allowedDestinations)
            what = f"is {destination}; allowed: {allowed}"
            yield Finding(resource=stream, where="destination", what=what)
        every = leaves(stream.properties)
        values = [(place, value) for place, value in every if _counts(stream, place, value)]
        buckets = [one for one in values if property_of(one[0]) == "bucketArn"]
        for place, region in regions.of(buckets, stream):
            known = None if region is ABSENT else region
            yield from _judge_bucket(stream, shown(place), known, parameters)
        for place, value in values:
            yield from _judge_place(stream, place, value, parameters)
        for path in _FOREIGN_HOSTS:
            for place, url in found(stream.properties, path):
                if _counts(stream, place, url):
                    yield from _judge_url(stream, shown(place), url, parameters)


def _counts(stream: Resource, place: Place, value: Any) -> bool:
    """An output that is not known yet and refers to nothing was no input."""
    return value is not UNKNOWN or bool(stream.references.get(str(place[0])))


def _judge_bucket(
    stream: Resource, where: str, region: Any, parameters: Streams
) -> Iterator[Finding]:
    if region is None:
        what = "is a bucket whose region nobody knows: its ARN names none"
        yield Finding(resource=stream, where=where, what=what)
    else:
        yield from judged(stream, f"region of {where}", region, parameters)


def _judge_place(
    stream: Resource, place: Place, value: Any, parameters: Streams
) -> Iterator[Finding]:
    name, where = property_of(place), shown(place)
    if value is UNKNOWN and name.endswith("Configuration"):
        yield pending(stream, where)
    if name not in (*_STREAM_ARNS, *_STREAM_HOSTS) or is_missing(value):
        return
    if value is UNKNOWN:
        yield pending(stream, where)
    elif name in _STREAM_HOSTS:
        yield from _judge_url(stream, where, value, parameters)
    else:
        arn = arn_of(value)
        yield from judged(stream, f"region of {where}", arn.region if arn else None, parameters)


def _judge_url(stream: Resource, where: str, url: Any, parameters: Streams) -> Iterator[Finding]:
    host = host_of(str(url)) or ""
    if url is UNKNOWN:
        yield pending(stream, where)
    elif not is_in_country(host, parameters):
        what = f"has the host {host}, which is neither in an allowed region nor in allowedHosts"
        yield Finding(resource=stream, where=where, what=what)


RULES = (
    Rule(
        name="event-and-log-target-stays-in-country",
        description="No event, log, metric or message is sent to a region, account or host abroad.",
        mend="send to a target in an allowed region and account.",
        applies_to=lambda resource: resource.type in _TARGETS,
        parameters=Targets,
        each=targets,
    ),
    Rule(
        name="firehose-destination-stays-in-country",
        description="No stream is delivered to, or read from, a region or host abroad.",
        mend="deliver to S3 or OpenSearch in an allowed region.",
        applies_to=lambda resource: resource.type == _STREAM,
        parameters=Streams,
        together=streams,
    ),
)
