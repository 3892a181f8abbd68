"""Cases of `policies/residency/pins.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import ACCOUNT, REGION, Cases, resource
from rule_cases.keys import ROOT, USER, allow, written

AWAY = "eu-west-1"
GLOBAL = ["iam:*", "sts:*", "route53:*"]
POLICY, ROLE = "aws:iam/policy:Policy", "aws:iam/role:Role"
ARN = f"arn:aws:iam::{ACCOUNT}:policy/guard"


def outside(*regions: str, operator: str = "StringNotEquals", **more: Any) -> dict[str, Any]:
    return {operator: {"aws:RequestedRegion": list(regions or (REGION,))}, **more}


def deny(condition: Any = None, **more: Any) -> dict[str, Any]:
    said: dict[str, Any] = {"Effect": "Deny", "NotAction": GLOBAL, "Resource": "*"}
    said["Condition"] = outside() if condition is None else condition
    return {key: one for key, one in {**said, **more}.items() if one is not ABSENT}


GRANTS = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}


def guard(*statements: Any, name: str = "guard", arn: Any = ARN, policy: Any = None) -> Resource:
    said = policy or written(GRANTS, *statements)
    return resource(POLICY, name, {"name": name, "arn": arn, "policy": said})


def bound(by: Any = ARN, kind: str = ROLE, **more: Any) -> Resource:
    return resource(kind, "app", {"permissionsBoundary": by}, **more)


def guarded(*statements: Any) -> list[Resource]:
    return [bound(), guard(*statements)]


NEW = guard(deny(), arn=UNKNOWN)

KEY, SEPARATE = "aws:kms/key:Key", "aws:kms/keyPolicy:KeyPolicy"
USE = ["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
ADMINISTERS = allow({"AWS": ROOT}, "kms:Describe*", "kms:PutKeyPolicy")
USES = allow({"AWS": USER}, *USE)
ABROAD = {**allow("*", *USE, Condition=outside()), "Effect": "Deny"}


def key(*statements: Any, kind: str = KEY, **more: Any) -> list[Resource]:
    return [resource(kind, "key", {"policy": written(ADMINISTERS, *statements), **more})]


def via(*services: str, operator: str = "StringEquals") -> dict[str, Any]:
    return allow({"AWS": USER}, *USE, Condition={operator: {"kms:ViaService": list(services)}})


HERE = f"s3.{REGION}.amazonaws.com"
BARE = resource(KEY, "key", {"keyId": "id-1"})


def apart(*statements: Any, of: Any = "id-1", **more: Any) -> Resource:
    return resource(SEPARATE, "policy", {"keyId": of, "policy": written(*statements)}, **more)


BUCKET = "aws:s3/bucket:Bucket"
TAGS = {"data-classification": "confidential"}
ACTIONS = ["s3:GetObject*", "s3:PutObject*", "s3:ListBucket"]
EVERYTHING = ["arn:aws:s3:::one", "arn:aws:s3:::one/*"]
AGENT = f"arn:aws:iam::{ACCOUNT}:role/falaj-prod-backup"


def bucket(kind: str = BUCKET, **properties: Any) -> Resource:
    return resource(kind, "one", {"bucket": "one", "tags": TAGS, **properties})


def network(key_: str = "aws:SourceVpc", *values: str, **more: Any) -> dict[str, Any]:
    return {"StringNotEqualsIfExists": {key_: list(values or ("vpc-1",))}, **more}


def refuses(condition: Any = None, **more: Any) -> dict[str, Any]:
    said = allow("*", *ACTIONS, Resource=EVERYTHING, Condition=condition or network())
    return {**said, "Effect": "Deny", **more}


def policy(*statements: Any, of: Any = "one", **more: Any) -> Resource:
    said = {"bucket": of, "policy": written(*statements)}
    return resource("aws:s3/bucketPolicy:BucketPolicy", "policy", said, **more)


def used(*statements: Any) -> list[Resource]:
    return [bucket(), policy(*statements)]


NAMELESS = bucket(bucket=UNKNOWN)
PROVIDER = resource("pulumi:providers:aws", "home", {"defaultTags": json.dumps({"tags": TAGS})})
BY_SERVICES = {"aws:PrincipalIsAWSService": "false", "aws:ViaAWSService": "false"}

CASES = (
    Cases(
        rule="iam-boundary-pins-region",
        parameters={"boundaryNames": ["guard", "landing-zone"]},
        baseline=guarded(deny()),
        fails={
            "denies nothing": guarded(),
            "allows": guarded({**deny(), "Effect": "Allow"}),
            "a second region": guarded(deny(outside(REGION, AWAY))),
            "the wrong way round": guarded(deny(outside(operator="StringEquals"))),
            "for none": guarded(deny(outside(operator="ForAllValues:StringNotEquals"))),
            "another key": guarded(deny({"StringNotEquals": {"ec2:Region": REGION}})),
            "but for some": guarded(
                deny(outside(ArnNotLike={"aws:PrincipalArn": "arn:aws:iam::*:role/x"}))
            ),
            "but for a service with data": guarded(deny(NotAction=[*GLOBAL, "s3:*"])),
            "but for everything": guarded(deny(NotAction="*")),
            "some actions": guarded(deny(NotAction=ABSENT, Action=["s3:*", "ec2:*"])),
            "some resources": guarded(deny(Resource="arn:aws:s3:::one/*")),
            "without a condition": guarded(deny({})),
            "nobody says it is one": [bound(name) for name in (ARN[:-1],)],
            "of AWS": [bound("arn:aws:iam::aws:policy/PowerUserAccess")],
            "a user's": [bound(f"{ARN}-2", "aws:iam/user:User")],
            "not in use yet": [bound(f"{ARN}-2"), guard(), guard(deny(), name="b", arn=f"{ARN}-2")],
            "no JSON": [bound(), guard(policy="{")],
        },
        passes={
            "all actions": guarded(deny(NotAction=ABSENT, Action="*")),
            "no list": guarded(deny({"StringNotEquals": {"AWS:requestedregion": REGION}})),
            "if there": guarded(deny(outside(operator="StringNotEqualsIfExists"))),
            "fewer exceptions": guarded(deny(NotAction="iam:List*")),
            "at preview": [bound(UNKNOWN, references={"permissionsBoundary": (NEW.urn,)}), NEW],
            "of another stack": [bound("arn:aws:iam::123456789012:policy/landing-zone")],
            "a policy that bounds nobody": [*guarded(deny()), guard(name="other", arn=f"{ARN}-2")],
        },
        pending={
            "which": [bound(UNKNOWN, references={"permissionsBoundary": ("urn:a",)})],
            "its text": [bound(), guard(policy=UNKNOWN)],
            "a part of it": [
                bound(),
                guard(policy={"Statement": [GRANTS, {**deny(), "Resource": UNKNOWN}]}),
            ],
        },
    ),
    Cases(
        rule="kms-key-policy-pins-region",
        baseline=key(USES, ABROAD),
        fails={
            **{
                f"{kind}": key(USES, kind=f"aws:kms/{kind[0].lower()}{kind[1:]}:{kind}")
                for kind in ("ExternalKey", "Key", "ReplicaExternalKey", "ReplicaKey")
            },
            "nothing said": [resource(KEY, "key", {})],
            "no input": [resource(KEY, "key", {"policy": UNKNOWN})],
            "what AWS writes": key(allow({"AWS": ROOT}, "kms:*")),
            "all but": key(allow({"AWS": USER}, Action=ABSENT, NotAction="kms:Delete*")),
            "everybody but": key(allow(ABSENT, *USE, NotPrincipal={"Service": "x"})),
            "a second region": key(USES, {**ABROAD, "Condition": outside(REGION, AWAY)}),
            "the wrong way round": key(
                USES, {**ABROAD, "Condition": outside(operator="StringEquals")}
            ),
            "but for some": key(
                USES,
                {**ABROAD, "Condition": outside(ArnNotLike={"aws:PrincipalArn": "arn:x"})},
            ),
            "for one alone": key(USES, {**ABROAD, "Principal": {"AWS": USER}}),
            "a part of the use": key(USES, {**ABROAD, "Action": "kms:Decrypt"}),
            "of a key that signs": key(
                allow({"AWS": USER}, "kms:Sign"), ABROAD, keyUsage="SIGN_VERIFY"
            ),
            "through a service abroad": key(via(f"s3.{AWAY}.amazonaws.com")),
            "through one here and one abroad": key(via(HERE, f"s3.{AWAY}.amazonaws.com")),
            "through any": key(via("s3.*.amazonaws.com", operator="StringLike")),
            "through one if there": key(via(HERE, operator="StringEqualsIfExists")),
            "through all others": key(via(HERE, operator="StringNotEquals")),
            "a service and somebody": key(
                allow({"Service": "s3.amazonaws.com", "AWS": USER}, "kms:Decrypt")
            ),
            "separate": [BARE, apart(USES)],
            "of another key": [BARE, apart(USES, ABROAD, of="id-2")],
        },
        passes={
            "through a service": key(via(HERE)),
            "through any service here": key(
                via(f"*.{REGION}.amazonaws.com", operator="StringLike")
            ),
            "all of it": key(USES, {**ABROAD, "Action": "kms:*"}),
            "by parts": key(USES, *({**ABROAD, "Action": action} for action in USE)),
            "a service itself": key(allow({"Service": "logs.amazonaws.com"}, *USE)),
            "nobody uses it": key(),
            "of a key that signs": key(
                allow({"AWS": USER}, "kms:Sign"),
                {**ABROAD, "Action": ["kms:Sign", "kms:Verify"]},
                keyUsage="SIGN_VERIFY",
            ),
            "separate": [BARE, apart(USES, ABROAD)],
        },
        pending={
            "text": [resource(KEY, "key", {"policy": UNKNOWN}, references={"policy": ("urn:a",)})],
            "part of it": [
                resource(KEY, "key", {"policy": {"Statement": [{**USES, "Condition": UNKNOWN}]}})
            ],
            "whose": [BARE, apart(USES, of=UNKNOWN)],
        },
    ),
    Cases(
        rule="s3-bucket-policy-pins-network",
        parameters={"exemptPrincipals": ["arn:aws:iam::*:role/falaj-prod-*"]},
        baseline=used(refuses()),
        fails={
            "nothing said": [bucket()],
            "of the older type": [bucket("aws:s3/bucketV2:BucketV2")],
            "restricted": [bucket(tags={"data-classification": "restricted"})],
            "by the tags of its provider": [
                resource(BUCKET, "one", {"bucket": "one"}, provider=PROVIDER)
            ],
            "by all its tags": [resource(BUCKET, "one", {"bucket": "one", "tagsAll": TAGS})],
            "no input": [bucket(policy=UNKNOWN)],
            "of another bucket": [bucket(), policy(refuses(), of="two")],
            "by region": used(refuses(outside())),
            "allows": used(refuses(Effect="Allow")),
            "the wrong way round": used(refuses({"StringEquals": {"aws:SourceVpc": "vpc-1"}})),
            "any network": used(refuses(network("aws:SourceVpc", "vpc-*"))),
            "by address": used(refuses({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}})),
            "one alone": used(refuses(Principal={"AWS": USER})),
            "reading": used(refuses(Action=["s3:GetObject"])),
            "objects": used(refuses(Resource=EVERYTHING[1])),
            "some objects": used(refuses(Resource=[EVERYTHING[0], "arn:aws:s3:::one/a/*"])),
            "but for a stranger": used(
                refuses(network(ArnNotLike={"aws:PrincipalArn": "arn:aws:iam::*:role/x"}))
            ),
            "but for anybody": used(refuses(network(ArnNotLike={"aws:PrincipalArn": "*"}))),
            "but without TLS": used(refuses(network(Bool={"aws:SecureTransport": "true"}))),
            "services alone": used(refuses(network(Bool={"aws:ViaAWSService": "true"}))),
        },
        passes={
            "internal": [bucket(tags={"data-classification": "internal"})],
            "without a class": [bucket(tags=None)],
            "without a class, at preview": [bucket(tags=UNKNOWN, tagsAll=UNKNOWN)],
            "by endpoint": used(refuses(network("aws:SourceVpce", "vpce-1", "vpce-2"))),
            "not if there": used(refuses({"StringNotEquals": {"aws:sourcevpc": "vpc-1"}})),
            "but for services": used(refuses(network(BoolIfExists=BY_SERVICES))),
            "but for those who may": used(
                refuses(network(ArnNotEqualsIfExists={"aws:PrincipalArn": [AGENT]}))
            ),
            "in parts": used(*(refuses(Action=action) for action in ACTIONS)),
            "all of it": used(refuses(Action="s3:*", Resource="*")),
            "inside the bucket": [bucket(policy=written(refuses()))],
            "at preview": [
                NAMELESS,
                policy(refuses(), of=UNKNOWN, references={"bucket": (NAMELESS.urn,)}),
            ],
        },
        pending={
            "policy": [
                bucket(),
                resource(
                    "aws:s3/bucketPolicy:BucketPolicy", "p", {"bucket": "one", "policy": UNKNOWN}
                ),
            ],
            "network": [
                bucket(),
                resource(
                    "aws:s3/bucketPolicy:BucketPolicy",
                    "p",
                    {
                        "bucket": "one",
                        "policy": {"Statement": [{**refuses(), "Condition": UNKNOWN}]},
                    },
                ),
            ],
            "whose": [bucket(), policy(refuses(), of=UNKNOWN)],
            "class": [bucket(tags={"data-classification": UNKNOWN})],
            "tags": [
                resource(
                    BUCKET,
                    "one",
                    {"bucket": "one", "tags": UNKNOWN},
                    references={"tags": ("urn:a",)},
                )
            ],
        },
    ),
)
