"""What the services' own models say of a value: enumerations, lengths, patterns, ranges.

The models are botocore's. A type of Pulumi belongs to the operation that makes it
(`aws:kms/key:Key` to `CreateKey` of `kms`), found by its name or in `_OPERATIONS`; a property
belongs to the member of the operation's input that has its name, spelt either way. What belongs to
nothing is not checked.
`python aws_shapes.py TOKEN…` prints how much is.

What is found for a type is kept as JSON under `.state/stand-ins`, so that a preview loads no model.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pulumi import _types
from pulumi.runtime import rpc

_CACHE = Path(__file__).resolve().parents[2] / ".state" / "stand-ins"
_FORMAT = 1
"""Raised when what is kept changes its form."""

_SERVICES = {
    "acmpca": "acm-pca",
    "alb": "elbv2",
    "cfg": "config",
    "ebs": "ec2",
    "ec2transitgateway": "ec2",
    "lb": "elbv2",
    "msk": "kafka",
    "networkfirewall": "network-firewall",
    "s3tables": "s3tables",
    "vpc": "ec2",
}
"""Pulumi's module → botocore's service, where they differ."""

_OPERATIONS = {
    "aws:cfg/recorder:Recorder": "config:PutConfigurationRecorder",
    "aws:cfg/rule:Rule": "config:PutConfigRule",
    "aws:cloudwatch/eventBus:EventBus": "events:CreateEventBus",
    "aws:cloudwatch/eventRule:EventRule": "events:PutRule",
    "aws:cloudwatch/eventTarget:EventTarget": "events:PutTargets",
    "aws:cloudwatch/logGroup:LogGroup": "logs:CreateLogGroup",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "logs:PutMetricFilter",
    "aws:cloudwatch/logResourcePolicy:LogResourcePolicy": "logs:PutResourcePolicy",
    "aws:ec2/eip:Eip": "ec2:AllocateAddress",
    "aws:ec2/flowLog:FlowLog": "ec2:CreateFlowLogs",
    "aws:ec2/routeTableAssociation:RouteTableAssociation": "ec2:AssociateRouteTable",
    "aws:ecr/lifecyclePolicy:LifecyclePolicy": "ecr:PutLifecyclePolicy",
    "aws:ecr/repositoryPolicy:RepositoryPolicy": "ecr:SetRepositoryPolicy",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation": "eks:AssociateAccessPolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "iam:AttachRolePolicy",
    "aws:rds/instance:Instance": "rds:CreateDBInstance",
    "aws:rds/parameterGroup:ParameterGroup": "rds:CreateDBParameterGroup",
    "aws:rds/subnetGroup:SubnetGroup": "rds:CreateDBSubnetGroup",
    "aws:s3/accessPoint:AccessPoint": "s3control:CreateAccessPoint",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": (
        "s3:PutBucketLifecycleConfiguration"
    ),
    "aws:s3/bucketNotification:BucketNotification": "s3:PutBucketNotificationConfiguration",
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": (
        "s3:PutObjectLockConfiguration"
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": "s3:PutPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        "s3:PutBucketEncryption"
    ),
    "aws:route53/zone:Zone": "route53:CreateHostedZone",
    # pragma: allowlist nextline secret
    "aws:secretsmanager/secretPolicy:SecretPolicy": "secretsmanager:PutResourcePolicy",
    # pragma: allowlist nextline secret
    "aws:secretsmanager/secretRotation:SecretRotation": "secretsmanager:RotateSecret",
    # pragma: allowlist nextline secret
    "aws:secretsmanager/secretVersion:SecretVersion": "secretsmanager:PutSecretValue",
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": ("ec2:AuthorizeSecurityGroupEgress"),
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": (
        "ec2:AuthorizeSecurityGroupIngress"
    ),
}
"""Type token → service and operation, where the name does not tell."""

_VERBS = ("Create", "Put", "Associate", "Attach", "Enable", "Register", "Set", "Request", "Start")

_RETENTION_DAYS = [
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
]
_ONLY_IN_WORDS: dict[str, dict[str, dict[str, Any]]] = {
    "aws:cloudwatch/logGroup:LogGroup": {
        # PutRetentionPolicy, "Possible values are"; 0 is Pulumi's for ever
        "retentionInDays": {"enum": [0, *_RETENTION_DAYS]}
    },
    # ScheduleKeyDeletion, "between 7 and 30, inclusive"
    "aws:kms/key:Key": {"deletionWindowInDays": {"min": 7, "max": 30}},
    # CreateDBInstance: "1 to 63 letters, numbers, or hyphens", and so on
    "aws:rds/instance:Instance": {
        "allocatedStorage": {"min": 20, "max": 65536},
        "backupRetentionPeriod": {"min": 0, "max": 35},
        "identifier": {"max": 63, "pattern": r"[a-z]([a-z0-9]|-(?!-|$))*"},
        "monitoringInterval": {"enum": [0, 1, 5, 10, 15, 30, 60]},
    },
    # the S3 user guide, "General purpose bucket naming rules"
    "aws:s3/bucket:Bucket": {
        "bucket": {"min": 3, "max": 63, "pattern": r"[a-z0-9]([a-z0-9-]|\.(?!\.))*[a-z0-9]"},
    },
    # CreateQueue: "up to 80 characters"
    "aws:sqs/queue:Queue": {
        "delaySeconds": {"min": 0, "max": 900},
        "messageRetentionSeconds": {"min": 60, "max": 1209600},
        "name": {"max": 80, "pattern": r"[A-Za-z0-9_-]+(\.fifo)?"},
        "visibilityTimeoutSeconds": {"min": 0, "max": 43200},
    },
    # deletion waits "from 7 to 30 days"; 0 is at once
    "aws:secretsmanager/secret:Secret": {
        "recoveryWindowInDays": {"enum": [0, *range(7, 31)]},
    },
}
"""Limits that the service's documentation states and its model does not."""

_DEEPEST = 6
_CLASSES = {r"\p{L}": r"a-zA-Z\u00c0-\uffff", r"\p{Z}": r"\s", r"\p{N}": r"\d"}
"""What Python's patterns lack → nearly the same."""

Node = dict[str, Any]
"""Of a value: `enum`, `min`, `max`, `pattern`; of a list or mapping: `each` element, `list` of the
former, `keys` of the latter, `min_count`, `max_count`; of an object: `members`."""


def problems(token: str, args: type, inputs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What the service's model has against `inputs`: (property path, reason)."""
    for name, node in constraints(token, args).items():
        if name in inputs:
            yield from _judge(node, inputs[name], name)


@functools.cache
def constraints(token: str, args: type) -> dict[str, Node]:
    """Property → what its value must keep to."""
    versions = f"{_FORMAT}-{metadata.version('botocore')}-{metadata.version('pulumi-aws')}"
    kept = _CACHE / versions / f"{re.sub(r'[^A-Za-z0-9]', '-', token)}.json"
    try:
        return dict(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        found = _found(token, args) | _ONLY_IN_WORDS.get(token, {})
    if _CACHE.parent.is_dir():
        kept.parent.mkdir(parents=True, exist_ok=True)
        # whoever reads meanwhile sees all of it or nothing
        temporary = kept.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found), encoding="utf-8")
        temporary.replace(kept)
    return found


@functools.cache
def operation(token: str) -> str | None:
    """The service and operation that make resources of the type `token`, `None` if not known."""
    if token in _OPERATIONS:
        return _OPERATIONS[token]
    module, _, _ = token.split(":")[1].partition("/")
    service, type_name = _SERVICES.get(module, module), token.rpartition(":")[2]
    model = _model(service)
    if model is None:
        return None
    spelt = {name.lower(): name for name in model.operation_names}
    for verb in _VERBS:
        # CreateKey, or CreateBackupVault of `backup`
        for noun in (type_name, f"{module}{type_name}"):
            if (name := spelt.get(f"{verb}{noun}".lower())) is not None:
                return f"{service}:{name}"
    return None


def _found(token: str, args: type) -> dict[str, Node]:
    made_by = operation(token)
    if made_by is None:
        return {}
    service, _, name = made_by.partition(":")
    model = _model(service)
    shape = model.operation_model(name).input_shape if model is not None else None
    if shape is None:
        return {}
    noun = re.sub(r"^[A-Z][a-z]+", "", name)
    return _members(args, [shape, *_inside(shape)], noun.lower(), 0)


def _inside(shape: Any) -> list[Any]:
    """The objects inside an operation's input: Pulumi often leaves that level out."""
    inside = [member for member in shape.members.values() if member.type_name == "structure"]
    lists = [member for member in shape.members.values() if member.type_name == "list"]
    if len(lists) == 1 and lists[0].member.type_name == "structure":
        inside.append(lists[0].member)
    return inside


def _members(args: type, shapes: list[Any], noun: str, depth: int) -> dict[str, Node]:
    annotations = _types.input_type_types(args)
    found = {}
    for name in _types.input_type_py_to_pulumi_names(args).values():
        member = _member(name, shapes, noun)
        if member is not None and depth < _DEEPEST:
            node = _node(annotations.get(name), member, depth)
            if node:
                found[name] = node
    return found


def _member(name: str, shapes: list[Any], noun: str) -> Any:
    """The member that the property `name` belongs to, `None` if there is none."""
    plain = name.lower()
    spellings = [plain, f"{plain}s", f"{noun}{plain}", f"{plain}document", plain.removesuffix("s")]
    for shape in shapes:
        by_name = {member.lower(): inner for member, inner in shape.members.items()}
        for spelling in spellings:
            if spelling in by_name:
                return by_name[spelling]
    return None


def _node(annotation: Any, shape: Any, depth: int) -> Node:
    if shape.type_name in ("string", "integer", "long", "float", "double"):
        node = {key: shape.metadata[key] for key in ("min", "max") if key in shape.metadata}
        if shape.metadata.get("enum"):
            node["enum"] = list(shape.metadata["enum"])
        if _compiled(str(shape.metadata.get("pattern", ""))):
            node["pattern"] = shape.metadata["pattern"]
        return node
    objects = _objects(annotation)
    if shape.type_name == "structure" and objects:
        members = _members(objects[0], [shape], "", depth + 1)
        return {"members": members} if members else {}
    if shape.type_name == "list":
        node = _tags(shape) or _element(annotation, shape.member, depth)
        limits = {key: shape.metadata[key] for key in ("min", "max") if key in shape.metadata}
        counts = {f"{key}_count": limit for key, limit in limits.items()}
        return node | counts | {"list": True} if node or counts else {}
    if shape.type_name == "map":
        keys, each = _node(None, shape.key, depth), _node(None, shape.value, depth)
        return {key: node for key, node in (("keys", keys), ("each", each)) if node}
    return {}


def _element(annotation: Any, shape: Any, depth: int) -> Node:
    each = _node(annotation, shape, depth)
    return {"each": each} if each else {}


def _tags(shape: Any) -> Node:
    """Pulumi's tags are a mapping, the service's a list of keys with values."""
    members = getattr(shape.member, "members", {})
    if set(members) != {"Key", "Value"}:
        return {}
    return {"keys": _node(None, members["Key"], 0), "each": _node(None, members["Value"], 0)}


def _objects(annotation: Any) -> list[type]:
    """The input classes that an annotation holds, however deep in lists."""
    if isinstance(annotation, type) and _types.is_input_type(annotation):
        return [annotation]
    return [one for inner in getattr(annotation, "__args__", ()) for one in _objects(inner)]


@functools.cache
def _model(service: str) -> Any:
    # not at the top: a preview whose types are kept needs no botocore
    from botocore import exceptions, loaders
    from botocore.model import ServiceModel

    try:
        return ServiceModel(_loader(loaders).load_service_model(service, "service-2"), service)
    except exceptions.UnknownServiceError:
        return None


@functools.cache
def _loader(loaders: Any) -> Any:
    return loaders.Loader()


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str] | None:
    """`None` where there is no pattern, or Python cannot read it."""
    for theirs, ours in _CLASSES.items():
        pattern = pattern.replace(theirs, ours)
    try:
        return re.compile(pattern) if pattern else None
    except re.error:
        return None


def _judge(node: Node, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if value is None or value == rpc.UNKNOWN:
        return
    if isinstance(value, dict):
        if node.get("list") and "keys" not in node:
            node = node.get("each", {})  # an object where the service has a list of one
        for key, inner in value.items():
            if "keys" in node:
                yield from _judge(node["keys"], key, f"{path}.{key}")
            below = node["members"].get(key, {}) if "members" in node else node.get("each", {})
            yield from _judge(below, inner, f"{path}.{key}")
    elif isinstance(value, list):
        yield from _count(node, len(value), path)
        for index, inner in enumerate(value):
            yield from _judge(node.get("each", {}), inner, f"{path}[{index}]")
    elif isinstance(value, str) and rpc.UNKNOWN not in value:
        yield from _text(node, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(node, value, path)


def _count(node: Node, count: int, path: str) -> Iterator[tuple[str, str]]:
    if count > node.get("max_count", count):
        yield path, f"has {count} entries; the service takes {node['max_count']} at most"
    if count < node.get("min_count", count):
        yield path, f"has {count} entries; the service wants {node['min_count']} at least"


def _text(node: Node, value: str, path: str) -> Iterator[tuple[str, str]]:
    allowed = node.get("enum")
    if allowed and all(isinstance(one, str) for one in allowed) and value not in allowed:
        yield path, f"is {value!r}; the service takes {_listed(allowed)}"
        return
    shown = value if len(value) <= 60 else f"{value[:57]}..."
    if len(value) > node.get("max", len(value)):
        yield path, f"is {len(value)} characters long; the service takes {node['max']} ({shown!r})"
    elif len(value) < node.get("min", 0):
        yield path, f"is {len(value)} characters long; the service wants {node['min']} ({shown!r})"
    else:
        pattern = _compiled(node.get("pattern", ""))
        if pattern is not None and not pattern.fullmatch(value):
            yield path, f"is {shown!r}; the service takes what matches {node['pattern']}"


def _number(node: Node, value: float, path: str) -> Iterator[tuple[str, str]]:
    allowed = node.get("enum")
    if allowed and all(isinstance(one, int) for one in allowed) and value not in allowed:
        yield path, f"is {value:g}; the service takes {_listed(allowed)}"
    elif not node.get("min", value) <= value <= node.get("max", value):
        yield path, f"is {value:g}; the service takes {node.get('min')} to {node.get('max')}"


def _listed(values: list[Any]) -> str:
    shown = [str(value) for value in values[:12]]
    return ", ".join([*shown, "…"] if len(values) > len(shown) else shown)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a type is checked."""

    token: str
    made_by: str | None
    checked: int
    """Properties with at least one limit, at the first level."""
    properties: int


def coverage(token: str, args: type) -> Coverage:
    """How much of the type `token` is checked."""
    properties = _types.input_type_py_to_pulumi_names(args)
    found = constraints(token, args)
    return Coverage(
        token=token, made_by=operation(token), checked=len(found), properties=len(properties)
    )


def _main(tokens: list[str]) -> None:
    from aws_types import Aws

    catalogue = Aws()
    write = sys.stdout.write
    for token in tokens:
        classes = catalogue.classes(token)
        if classes is None:
            sys.exit(f"the SDK knows no type {token}")
        row = coverage(token, classes[1])
        write(f"{row.checked:>3} of {row.properties:<3} {token}  {row.made_by or '-'}\n")


if __name__ == "__main__":
    _main(sys.argv[1:])
