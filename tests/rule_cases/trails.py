"""Cases of `policies/hardening/trails.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import KEY_ARN, PROVIDER, Cases, mutated, resource

ABROAD = resource("pulumi:providers:aws", "abroad", {"region": "eu-west-1"})
TRAIL, STORE = "aws:cloudtrail/trail:Trail", "aws:cloudtrail/eventDataStore:EventDataStore"


def field(name: str, *equals: str, **more: Any) -> dict[str, Any]:
    return {"field": name, **({"equals": list(equals)} if equals else {}), **more}


MANAGEMENT = {"fieldSelectors": [field("eventCategory", "Management")]}
OBJECTS = [field("eventCategory", "Data"), field("resources.type", "AWS::S3::Object")]
MODELS = "arn:aws:s3:::models-1/"


def objects(*more: Any) -> dict[str, Any]:
    return {"fieldSelectors": [*OBJECTS, *more]}


SAID = {
    "isMultiRegionTrail": True,
    "enableLogFileValidation": True,
    "kmsKeyId": KEY_ARN,
    "includeGlobalServiceEvents": True,
    "enableLogging": True,
    "advancedEventSelectors": [
        MANAGEMENT,
        objects(field("resources.ARN", startsWiths=["arn:aws:s3:::a/", MODELS])),
    ],
}
BUCKET = resource("aws:s3/bucket:Bucket", "models", {"bucket": "models-1"})


def trail(*changes: Any, bucket: Resource = BUCKET, **more: Any) -> list[Resource]:
    more = {"provider": PROVIDER, **more}
    return [PROVIDER, bucket, resource(TRAIL, "trail", mutated(SAID, *changes), **more)]


def selected(*selectors: Any) -> list[Resource]:
    return trail((("advancedEventSelectors",), list(selectors)))


def basic(*, of: Any = ("arn:aws:s3",), **selector: Any) -> list[Resource]:
    """A trail with selectors of the older kind."""
    listed = [{"type": "AWS::S3::Object", "values": list(of) if isinstance(of, tuple) else of}]
    said = {"readWriteType": "All", "includeManagementEvents": True, "dataResources": listed}
    return trail(
        (("advancedEventSelectors",), ABSENT), (("eventSelectors",), [{**said, **selector}])
    )


def purpose(value: Any) -> Resource:
    return resource("aws:s3/bucket:Bucket", "b", {"bucket": "b-1", "tags": {"purpose": value}})


def store(**properties: Any) -> list[Resource]:
    return [*trail(), resource(STORE, "store", {"kmsKeyId": KEY_ARN, **properties})]


CASES = (
    Cases(
        rule="cloudtrail-is-complete",
        parameters={"requireTrail": True},
        baseline=trail(),
        fails={
            "none": [PROVIDER, BUCKET],
            "one region": trail((("isMultiRegionTrail",), False)),
            "one region as nobody says": trail((("isMultiRegionTrail",), ABSENT)),
            "can be changed unseen": trail((("enableLogFileValidation",), False)),
            "no key": trail((("kmsKeyId",), ABSENT)),
            "off": trail((("enableLogging",), False)),
            "without IAM": trail((("includeGlobalServiceEvents",), False)),
            "abroad": trail(provider=ABROAD),
            "by its own region": trail((("region",), "eu-west-1")),
            "no selectors": trail((("advancedEventSelectors",), ABSENT)),
            "no management": selected(objects()),
            "what is written alone": selected(
                {"fieldSelectors": [*MANAGEMENT["fieldSelectors"], field("readOnly", "false")]},
                objects(),
            ),
            "no objects": selected(MANAGEMENT),
            "what is read alone": selected(MANAGEMENT, objects(field("readOnly", "true"))),
            "of another bucket": selected(
                MANAGEMENT, objects(field("resources.ARN", startsWiths=["arn:aws:s3:::models-10/"]))
            ),
            "of all but": selected(
                MANAGEMENT, objects(field("resources.ARN", notStartsWiths=[MODELS]))
            ),
            "of something else": selected(
                MANAGEMENT,
                {
                    "fieldSelectors": [
                        field("eventCategory", "Data"),
                        field("resources.type", "AWS::Lambda::Function"),
                    ]
                },
            ),
            "older: what is written": basic(readWriteType="WriteOnly"),
            "older: no management": basic(includeManagementEvents=False),
            "older: without KMS": basic(excludeManagementEventSources=["kms.amazonaws.com"]),
            "older: of another bucket": basic(of=("arn:aws:s3:::a/",)),
            "a store without key": store(kmsKeyId=None),
            "a store for a month": store(retentionPeriod=30),
            "a store that can go": store(terminationProtectionEnabled=False),
        },
        passes={
            "of all": selected(MANAGEMENT, objects()),
            "of all by the beginning": selected(
                MANAGEMENT, objects(field("resources.ARN", startsWiths=["arn:aws:s3:::"]))
            ),
            "older: of all": basic(),
            "older: of it": basic(of=("arn:aws:s3:::models-1/",)),
            "older: as nobody says": basic(readWriteType=ABSENT, includeManagementEvents=ABSENT),
            "logs are not data": trail(bucket=purpose("logs")),
            "a second, of data alone": [
                *trail(),
                resource(
                    TRAIL,
                    "second",
                    mutated(SAID, (("advancedEventSelectors",), [objects()])),
                    provider=PROVIDER,
                ),
            ],
            "a store": store(retentionPeriod=2555, terminationProtectionEnabled=True),
            "a key of the stack": trail(
                (("kmsKeyId",), UNKNOWN), references={"kmsKeyId": ("urn:key",)}
            ),
        },
        pending={
            "regions": trail((("isMultiRegionTrail",), UNKNOWN)),
            "validation": trail((("enableLogFileValidation",), UNKNOWN)),
            "selectors": trail(
                (("advancedEventSelectors",), UNKNOWN),
                references={"advancedEventSelectors": ("urn:a",)},
            ),
            "which bucket": selected(
                MANAGEMENT, objects(field("resources.ARN", startsWiths=[UNKNOWN]))
            ),
            "older: which": basic(of=(UNKNOWN,)),
            "older: of what": basic(dataResources=UNKNOWN),
            "what a bucket is for": trail(
                (("advancedEventSelectors",), [MANAGEMENT]), bucket=purpose(UNKNOWN)
            ),
        },
    ),
)
