"""Cases of `policies/hardening/logs.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import KEY_ARN, PROVIDER, Cases, mutated, resource

ABROAD = resource("pulumi:providers:aws", "abroad", {"region": "eu-west-1"})
CLUSTER, GROUP = "aws:eks/cluster:Cluster", "aws:cloudwatch/logGroup:LogGroup"
TYPES = ["api", "audit", "authenticator", "controllerManager", "scheduler"]


def cluster(listed: Any) -> list[Resource]:
    return [resource(CLUSTER, "one", {"enabledClusterLogTypes": listed})]


AUDIT = {
    "name": "/aws/eks/one/cluster",
    "kmsKeyId": KEY_ARN,
    "retentionInDays": 365,
    "deletionProtectionEnabled": True,
    "skipDestroy": False,
}


def audited(*changes: Any, name: Any = "one", waits: bool = True, **more: Any) -> list[Resource]:
    group = resource(GROUP, "log", mutated(AUDIT, *changes), **more)
    needed = frozenset({group.urn}) if waits else frozenset()
    return [resource(CLUSTER, "one", {"name": name}, dependencies=needed), group]


VPC = resource("aws:ec2/vpc:Vpc", "vpc", {"id": "vpc-1"})
NEW_VPC = resource("aws:ec2/vpc:Vpc", "vpc", {"id": UNKNOWN})
RECORDS = resource(GROUP, "records", {}, provider=PROVIDER)
RECORDS_ABROAD = resource(GROUP, "records", {}, provider=ABROAD)
TO_GROUP = "arn:aws:logs:{}:1:log-group:flow"


def flow(vpc: Any = "vpc-1", references: Any = (), **properties: Any) -> Resource:
    said = {
        "vpcId": vpc,
        "trafficType": "ALL",
        "logDestination": TO_GROUP.format("me-central-1"),
        **properties,
    }
    return resource("aws:ec2/flowLog:FlowLog", "flow", said, references=dict(references))


BUCKET, BUCKET_V2 = "aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2"
STORE = resource(BUCKET, "store", {"bucket": "store-1"}, provider=PROVIDER)
NEW_STORE = resource(BUCKET, "store", {"bucket": UNKNOWN, "logging": UNKNOWN}, provider=PROVIDER)
LOGS = resource(
    BUCKET, "logs", {"bucket": "logs-1", "tags": {"purpose": "logs"}}, provider=PROVIDER
)
OTHERS = resource(BUCKET, "others", {"bucket": "others-1"}, provider=PROVIDER)
LOGS_ABROAD = resource(BUCKET, "logs", LOGS.properties, provider=ABROAD)
LOGS_BY_DEFAULT = resource(
    BUCKET,
    "logs",
    {"bucket": "logs-1"},
    provider=resource(
        "pulumi:providers:aws",
        "logs",
        {"region": "me-central-1", "defaultTags": '{"tags": {"purpose": "logs"}}'},
    ),
)


def bucket(kind: str = BUCKET, name: str = "store", **properties: Any) -> Resource:
    return resource(kind, name, {"bucket": f"{name}-1", **properties}, provider=PROVIDER)


def writes(
    source: Any = "store-1",
    target: Any = "logs-1",
    references: Any = (),
    kind: str = "aws:s3/bucketLogging:BucketLogging",
) -> Resource:
    said = {"bucket": source, "targetBucket": target}
    return resource(kind, f"logging-{source}", said, references=dict(references))


def kept(**properties: Any) -> list[Resource]:
    return [resource(GROUP, "log", properties)]


def expires(
    purpose: Any = "logs", kind: str = "BucketLifecycleConfiguration", **rule: Any
) -> list[Resource]:
    rules = [{"status": "Enabled", "id": "all", **rule}]
    type_ = f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}"
    return [
        bucket(name="logs", tags={"purpose": purpose}),
        resource(type_, "lifecycle", {"bucket": "logs-1", "rules": rules}),
    ]


def exports(engine: Any, *listed: Any, kind: str = "instance", **more: Any) -> list[Resource]:
    said = {"engine": engine, "enabledCloudwatchLogsExports": list(listed), **more}
    properties = {key: value for key, value in said.items() if value is not ABSENT}
    return [resource(f"aws:rds/{kind}:{kind.capitalize()}", "one", properties)]


CASES = (
    Cases(
        rule="eks-writes-all-log-types",
        baseline=cluster(TYPES),
        fails={
            "none": cluster(ABSENT),
            "null": cluster(None),
            "empty": cluster([]),
            **{
                f"without {one}": cluster([type_ for type_ in TYPES if type_ != one])
                for one in TYPES
            },
        },
        passes={"in another order": cluster(TYPES[::-1]), "a sixth": cluster([*TYPES, "new"])},
        pending={"which": cluster(UNKNOWN), "one of them": cluster([*TYPES[:4], UNKNOWN])},
    ),
    Cases(
        rule="kubernetes-audit-log-is-kept",
        baseline=audited(),
        fails={
            "no group": audited()[:1],
            "of another cluster": audited(name="two"),
            "under another name": audited((("name",), "/aws/eks/one/Cluster")),
            "made after the cluster": audited(waits=False),
            "no key": audited((("kmsKeyId",), ABSENT)),
            "a key of AWS": audited((("kmsKeyId",), "alias/aws/logs")),
            "too short": audited((("retentionInDays",), 90)),
            "goes with the stack": audited((("deletionProtectionEnabled",), False)),
            "nobody said": audited((("deletionProtectionEnabled",), UNKNOWN)),
        },
        passes={
            "for ever": audited((("retentionInDays",), 0)),
            "for ever as nobody says": audited((("retentionInDays",), ABSENT)),
            "left behind": audited(
                (("deletionProtectionEnabled",), UNKNOWN), (("skipDestroy",), True)
            ),
            "a key of the stack": audited(
                (("kmsKeyId",), UNKNOWN), references={"kmsKeyId": ("urn:key",)}
            ),
        },
        pending={
            "which cluster": audited(name=UNKNOWN),
            "which group": audited((("name",), UNKNOWN)),
            "how long": audited(
                (("retentionInDays",), UNKNOWN), references={"retentionInDays": ("urn:a",)}
            ),
            "whether it is left behind": audited(
                (("deletionProtectionEnabled",), False), (("skipDestroy",), UNKNOWN)
            ),
        },
    ),
    Cases(
        rule="vpc-has-flow-logs",
        baseline=[VPC, flow()],
        fails={
            "none": [VPC],
            "the default network": [resource("aws:ec2/defaultVpc:DefaultVpc", "vpc", {})],
            "what was let in": [VPC, flow(trafficType="ACCEPT")],
            "nothing said": [VPC, flow(trafficType=None)],
            "of another network": [VPC, flow("vpc-2")],
            "of one subnet": [VPC, flow(ABSENT, subnetId="subnet-1")],
            "to a group abroad": [VPC, flow(logDestination=TO_GROUP.format("eu-west-1"))],
            "to a group of the stack abroad": [
                VPC,
                RECORDS_ABROAD,
                flow(logDestination=UNKNOWN, references={"logDestination": (RECORDS_ABROAD.urn,)}),
            ],
        },
        passes={
            "to a bucket, whose ARN has no region": [VPC, flow(logDestination="arn:aws:s3:::a")],
            "two, one of all": [VPC, flow(trafficType="REJECT"), flow()],
            "at preview": [
                NEW_VPC,
                RECORDS,
                flow(
                    UNKNOWN,
                    logDestination=UNKNOWN,
                    references={"vpcId": (NEW_VPC.urn,), "logDestination": (RECORDS.urn,)},
                ),
            ],
        },
        pending={
            "whose": [VPC, flow(UNKNOWN)],
            "of what": [VPC, flow(trafficType=UNKNOWN)],
            "to where": [
                VPC,
                flow(logDestination=UNKNOWN, references={"logDestination": ("urn:stream",)}),
            ],
        },
    ),
    Cases(
        rule="s3-bucket-writes-access-logs",
        baseline=[STORE, LOGS, writes()],
        fails={
            "none": [STORE, LOGS],
            "before": [bucket(BUCKET_V2)],
            "of another": [STORE, LOGS, writes("another-1")],
            "into itself": [STORE, writes(target="store-1")],
            "into nothing": [STORE, writes(target=None)],
            "abroad": [STORE, LOGS_ABROAD, writes()],
            "what nobody set": [NEW_STORE],
        },
        passes={
            "what holds others' logs": [STORE, OTHERS, writes(target="others-1")],
            "by a tag of the provider": [STORE, LOGS_BY_DEFAULT, writes()],
            "into a bucket of another stack": [STORE, writes(target="elsewhere")],
            "inline": [bucket(logging={"targetBucket": "logs-1"}), LOGS],
            "inline, before": [bucket(BUCKET_V2, loggings=[{"targetBucket": "logs-1"}]), LOGS],
            "before": [STORE, LOGS, writes(kind="aws:s3/bucketLoggingV2:BucketLoggingV2")],
            "at preview": [
                NEW_STORE,
                LOGS,
                writes(
                    UNKNOWN,
                    UNKNOWN,
                    {"bucket": (NEW_STORE.urn,), "targetBucket": (LOGS.urn,)},
                ),
            ],
        },
        pending={
            "whose": [STORE, LOGS, writes(UNKNOWN)],
            "what for": [bucket(tags={"purpose": UNKNOWN})],
            "whether it holds logs": [STORE, LOGS, OTHERS, writes(target=UNKNOWN)],
        },
    ),
    Cases(
        rule="log-retention-is-long-enough",
        baseline=kept(retentionInDays=365),
        fails={
            "a month": kept(retentionInDays=30),
            "a year, of a consumer": kept(retentionInDays=365, tags={"record": "consumer"}),
            "objects": expires(expiration={"days": 30}),
            "objects, before": expires(
                kind="BucketLifecycleConfigurationV2", expiration={"days": 30}
            ),
            "objects of an audit": expires("audit", expiration={"days": 30}),
            "some of them": expires(expiration={"days": 30}, filter={"prefix": "a/"}),
            "on a day": expires(expiration={"date": "2030-01-01T00:00:00Z"}),
            "inline": [
                bucket(
                    tags={"purpose": "logs"},
                    lifecycleRules=[{"enabled": True, "expiration": {"days": 30}}],
                )
            ],
            "inline, before": [
                bucket(
                    BUCKET_V2,
                    tags={"purpose": "logs"},
                    lifecycleRules=[{"enabled": True, "expirations": [{"days": 30}]}],
                )
            ],
            "objects of a consumer": [
                bucket(tags={"record": "consumer"}),
                resource(
                    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
                    "lifecycle",
                    {"bucket": "store-1", "rules": [{"expiration": {"days": 365}}]},
                ),
            ],
        },
        passes={
            "nothing said": kept(),
            "0 is for ever": kept(retentionInDays=0),
            "five years, of a consumer": kept(retentionInDays=1827, tags={"record": "consumer"}),
            "objects": expires(expiration={"days": 365}),
            "a rule that is off": expires(status="Disabled", expiration={"days": 1}),
            "what is no log": expires("scratch", expiration={"days": 1}),
            "old versions, and markers": expires(
                expiration={"expiredObjectDeleteMarker": True},
                noncurrentVersionExpiration={"noncurrentDays": 1},
            ),
        },
        pending={
            "days of a group": [
                resource(
                    GROUP,
                    "log",
                    {"retentionInDays": UNKNOWN},
                    references={"retentionInDays": ("urn:a",)},
                )
            ],
            "whose": kept(retentionInDays=400, tags=UNKNOWN),
            "days": expires(expiration={"days": UNKNOWN}),
            "what for": expires(UNKNOWN, expiration={"days": 30}),
            "whether": expires(status=UNKNOWN, expiration={"days": 30}),
        },
    ),
    Cases(
        rule="rds-exports-logs",
        baseline=exports("postgres", "postgresql", "upgrade"),
        fails={
            "none": exports("postgres"),
            "one of two": exports("postgres", "postgresql"),
            "mysql": exports("mysql", "error"),
            "mariadb": exports("mariadb", "error", "slowquery"),
            "a cluster": exports("aurora-postgresql", kind="cluster"),
            "aurora-mysql": exports("aurora-mysql", "audit", kind="cluster"),
            "an engine nobody listed": exports("oracle-ee"),
            "a replica": exports(ABSENT, replicateSourceDb="a"),
        },
        passes={
            "a cluster": exports("aurora-postgresql", "postgresql", kind="cluster"),
            "an engine nobody listed": exports("oracle-ee", "audit"),
            "a replica": exports(ABSENT, "postgresql", replicateSourceDb="a"),
        },
        pending={
            "which": exports("postgres", enabledCloudwatchLogsExports=UNKNOWN),
            "one": exports("postgres", "postgresql", UNKNOWN),
            "of what engine": exports(UNKNOWN, "postgresq"),
            "of a replica": exports(ABSENT, enabledCloudwatchLogsExports=UNKNOWN),
        },
    ),
)
