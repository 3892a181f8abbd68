"""Cases of `policies/hardening/backups.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import ACCOUNT, Cases, mutated, resource

INSTANCE, BUCKET = "aws:rds/instance:Instance", "aws:s3/bucket:Bucket"
ARN = f"arn:aws:rds:me-central-1:{ACCOUNT}:db:one"
DATABASE = resource(INSTANCE, "one", {"arn": ARN, "tags": {"backup": "standard"}})
NEW = resource(INSTANCE, "one", {"arn": UNKNOWN, "tags": {"backup": "standard"}})
DAILY = {"schedule": "cron(0 22 * * ? *)", "lifecycle": {"deleteAfter": 35}}
TAGGED = [{"type": "STRINGEQUALS", "key": "backup", "value": "standard"}]
OTHERS = (
    *("aws:rds/cluster:Cluster", "aws:dynamodb/table:Table", "aws:efs/fileSystem:FileSystem"),
    *("aws:ebs/volume:Volume", BUCKET, "aws:s3/bucketV2:BucketV2", "aws:docdb/cluster:Cluster"),
    "aws:neptune/cluster:Cluster",
)
BY_PROVIDER = resource(
    "pulumi:providers:aws", "home", {"defaultTags": '{"tags": {"backup": "standard"}}'}
)


def planned(
    *what: Resource, rule: Any = (), rules: Any = (), references: Any = (), **selection: Any
) -> list[Resource]:
    """`what`, with a plan and a selection."""
    said = {"planId": "plan-1", **(selection or {"selectionTags": TAGGED})}
    listed = rules or [mutated(DAILY, *rule)]
    return [
        *(what or (DATABASE,)),
        resource("aws:backup/plan:Plan", "plan", {"id": "plan-1", "rules": listed}),
        resource("aws:backup/selection:Selection", "selection", said, references=dict(references)),
    ]


def when(schedule: Any) -> list[Resource]:
    return planned(rule=[(("schedule",), schedule)])


def if_(**conditions: Any) -> list[Resource]:
    said = {
        name: [{"key": "aws:ResourceTag/backup", "value": value}]
        for name, value in conditions.items()
    }
    return planned(resources=["*"], conditions=[said])


CASES = (
    Cases(
        rule="backup-plan-covers-stateful",
        baseline=planned(),
        fails={
            "no plan": [DATABASE],
            **{f"{kind}, chosen by none": planned(resource(kind, "one", {})) for kind in OTHERS},
            "another tag": planned(resource(INSTANCE, "one", {"tags": {"backup": "Standard"}})),
            "its name is another's": planned(resources=[f"{ARN}-2"]),
            "left out": planned(resources=["*"], notResources=["arn:aws:rds:*"]),
            "of another service": planned(resources=["arn:aws:dynamodb:*:*:table/*"]),
            "a filter that does not fit": planned(
                resources=["arn:aws:ec2:*"], selectionTags=TAGGED
            ),
            "a condition that does not hold": if_(stringEquals="gold"),
            "a condition against it": if_(stringNotEquals="standard"),
            "one of two conditions": if_(stringLikes="stand*", stringNotLikes="*dard"),
            "chosen for nothing": planned(planId="plan-2", selectionTags=TAGGED),
            "nothing chosen": planned(planId="plan-1"),
            "no schedule that there is": when("0 22 * * ? *"),
            "weekly": when("cron(0 22 ? * SUN *)"),
            "weekdays": when("cron(0 22 ? * MON-FRI *)"),
            "monthly": when("cron(0 22 1 * ? *)"),
            "every other day": when("rate(2 days)"),
            "for a week": planned(rule=[(("lifecycle", "deleteAfter"), 7)]),
            "daily for a week, monthly for years": planned(
                rules=[
                    {"schedule": "cron(0 1 * * ? *)", "lifecycle": {"deleteAfter": 7}},
                    {"schedule": "cron(0 1 1 * ? *)", "lifecycle": {"deleteAfter": 1827}},
                ]
            ),
        },
        passes={
            **{
                f"{kind}, by a tag of the provider": planned(
                    resource(kind, "one", {}, provider=BY_PROVIDER)
                )
                for kind in OTHERS
            },
            "by its name": planned(resources=[ARN]),
            "by a beginning": planned(resources=["arn:aws:rds:*:*:db:*"]),
            "all": planned(resources=["*"]),
            "at preview": planned(
                NEW, resources=UNKNOWN, references={"resources": (NEW.urn,)}, planId="plan-1"
            ),
            "at preview, by its service": planned(NEW, resources=["arn:aws:rds:*"]),
            "a bucket, by its name": planned(
                resource(BUCKET, "one", {"bucket": "data-1", "arn": UNKNOWN}),
                resources=["arn:aws:s3:::data-*"],
            ),
            "a condition": if_(stringEquals="standard"),
            "two conditions": if_(stringLikes="stand*", stringNotEquals="gold"),
            "empty conditions": planned(
                selectionTags=TAGGED, conditions=[{"stringEquals": [], "stringLikes": []}]
            ),
            "not to be": [resource(INSTANCE, "one", {"tags": {"backup": "none"}})],
            "a replica": [resource(INSTANCE, "two", {"replicateSourceDb": "one"})],
            "when nobody says when": planned(rules=[{"lifecycle": {"deleteAfter": 35}}]),
            "for ever": planned(rules=[{"schedule": "rate(12 hours)"}]),
            "each day of the month": when("cron(30 3 1/1 * ? *)"),
            "hourly": when("cron(0 * ? * * *)"),
            "by the second of two": [
                *planned(),
                resource(
                    "aws:backup/selection:Selection", "other", {"planId": "no", "resources": ["*"]}
                ),
            ],
        },
        pending={
            "whether it is to be": [resource(INSTANCE, "one", {"tags": {"backup": UNKNOWN}})],
            "of which plan": planned(planId=UNKNOWN, resources=["*"]),
            "when": when(UNKNOWN),
            "for how long": planned(rule=[(("lifecycle", "deleteAfter"), UNKNOWN)]),
            "which": planned(resources=[UNKNOWN]),
            "which tag": planned(selectionTags=[{**TAGGED[0], "value": UNKNOWN}]),
            "what is left out": planned(resources=["*"], notResources=[UNKNOWN]),
            "its name": planned(NEW, resources=[ARN]),
            "under which condition": if_(stringEquals=UNKNOWN),
        },
    ),
)
