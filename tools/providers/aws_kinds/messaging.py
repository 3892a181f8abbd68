"""Queues, topics, streams."""

from __future__ import annotations

from aws_forms import arn, filled, named, part
from standin import Kind

_QUEUE = "https://sqs.{region}.amazonaws.com/{account}/{name}"


def _brokers(port: int) -> str:
    host = "b-{number}.{{clusterName}}.abc123.c2.kafka.{{region}}.amazonaws.com:" + str(port)
    return ",".join(host.format(number=number) for number in (1, 2, 3))


KINDS: dict[str, Kind] = {
    "aws:msk/cluster:Cluster": Kind(
        identifier=arn("kafka", "cluster/{clusterName}/{uuid}-1"),
        outputs={
            "arn": arn("kafka", "cluster/{clusterName}/{uuid}-1"),
            "bootstrapBrokersSaslIam": filled(_brokers(9098)),
            "bootstrapBrokersTls": filled(_brokers(9094)),
            "clusterUuid": filled("{uuid}-1"),
        },
        name="clusterName",
        replaced_by=frozenset({"encryptionInfo", "region"}),
    ),
    "aws:sns/topic:Topic": named("name", "sns", "{name}", identifier=arn("sns", "{name}")),
    "aws:sns/topicPolicy:TopicPolicy": part("{arn}", "arn", overwrites=True),
    "aws:sqs/queue:Queue": named(
        "name",
        "sqs",
        "{name}",
        identifier=filled(_QUEUE),
        url=filled(_QUEUE),
        replaced_by=frozenset({"fifoQueue"}),
    ),
    "aws:sqs/queuePolicy:QueuePolicy": part("{queueUrl}", "queueUrl", overwrites=True),
}
