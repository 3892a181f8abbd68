"""Requests that several guards judge, and pods: one table for rules, IAM and API server.

A row says what is asked and what of it is wrong; each guard is asked by itself, and a guard that
answers otherwise than the rules is named. So a fact that is changed in one place alone is noticed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rule_cases import BY_NAME, resource, run

from policies.common.resources import Resource
from policies.declared import RULES as HELD

Object = dict[str, Any]
Spoil = Callable[[Object], None]

# --- requests to AWS ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AwsRow:
    """A resource as a program declares it, and the request that would make it."""

    rule: str
    """Which rule judges the resource."""
    resources: Sequence[Resource]
    action: str
    region: str
    """Where the request is made; of services in no region, where they are."""
    context: Mapping[str, str] = field(default_factory=dict)

    def refused_by_rules(self, **parameters: Any) -> bool:
        """Whether the rule finds a violation; `parameters` are those that it has."""
        rule = BY_NAME[self.rule]
        known = {key: one for key, one in parameters.items() if key in rule.parameters.model_fields}
        (result,) = run([rule], *self.resources, configuration={self.rule: known})
        return result.outcome == "failed"


REGIONS = ("me-central-1", "eu-west-1", "us-east-1")
_REGIONAL = {
    "aws:s3/bucket:Bucket": "s3:CreateBucket",
    "aws:sqs/queue:Queue": "sqs:CreateQueue",
    "aws:rds/instance:Instance": "rds:CreateDBInstance",
    "aws:ec2/instance:Instance": "ec2:RunInstances",
    "aws:kms/key:Key": "kms:CreateKey",
    "aws:bedrock/guardrail:Guardrail": "bedrock:CreateGuardrail",
}


def regional_rows() -> dict[str, AwsRow]:
    """What is in a region, in each of three."""
    return {
        f"{action} in {region}": AwsRow(
            rule="aws-resource-region-is-allowed",
            resources=[resource(kind, "one", {"region": region})],
            action=action,
            region=region,
        )
        for kind, action in _REGIONAL.items()
        for region in REGIONS
    }


_PREFIXES = {
    "bcmdata": "bcm-data-exports",
    "costexplorer": "ce",
    "costoptimizationhub": "cost-optimization-hub",
    "route53recoverycontrol": "route53-recovery-control-config",
    "route53recoveryreadiness": "route53-recovery-readiness",
}
"""Pulumi's module → what IAM calls the service, where the two differ."""
_ASKED_AT_HOME = ("backup", "ram", "s3")
"""Services in regions, some of whose resources count for all."""


def global_row(kind: str) -> AwsRow:
    """The resource in no region of type `kind`."""
    module, name = kind.split(":")[1].partition("/")[0], kind.rpartition(":")[2]
    return AwsRow(
        rule="type-without-region-is-listed",
        resources=[resource(kind, "one", {})],
        action=f"{_PREFIXES.get(module, module)}:Create{name}",
        region="me-central-1" if module in _ASKED_AT_HOME else "us-east-1",
    )


_TRAIL = {
    "isMultiRegionTrail": True,
    "enableLogFileValidation": True,
    "kmsKeyId": "arn:aws:kms:me-central-1:123456789012:key/1",
    "enableLogging": False,
}
RAILS = {
    "a snapshot for another account": AwsRow(
        rule="snapshot-and-image-are-not-shared",
        resources=[
            resource(
                "aws:ec2/snapshotCreateVolumePermission:SnapshotCreateVolumePermission",
                "one",
                {"accountId": "999999999999"},
            )
        ],
        action="ec2:ModifySnapshotAttribute",
        region="me-central-1",
    ),
    "a trail that writes nothing": AwsRow(
        rule="cloudtrail-is-complete",
        resources=[resource("aws:cloudtrail/trail:Trail", "one", _TRAIL)],
        action="cloudtrail:StopLogging",
        region="me-central-1",
    ),
    "an account open to the public": AwsRow(
        rule="s3-bucket-blocks-public-access",
        resources=[
            resource(
                "aws:s3/accountPublicAccessBlock:AccountPublicAccessBlock",
                "one",
                {"blockPublicAcls": False},
            )
        ],
        action="s3:PutAccountPublicAccessBlock",
        region="me-central-1",
    ),
}
"""What no role of a workload does, and no administrator."""

# --- pods -----------------------------------------------------------------------------------------

DIGEST = f"@sha256:{'0' * 64}"
REGISTRY = "registry.ae.example/prod/"
IMAGE = f"{REGISTRY}one:1{DIGEST}"
POD_SECURITY = (
    *("container-runs-as-non-root", "container-drops-all-capabilities"),
    "pod-uses-default-seccomp",
)
"""Rules that Pod Security holds alone, in a namespace that is `restricted`."""
ON_PODS = (*(name for names in HELD.values() for name in names), *POD_SECURITY)
"""Rules that a cluster holds its pods to as well."""
IN_PACKS_ALONE = ("container-has-read-only-root", "workload-pod-spec-is-found")
"""The other rules on what a container is: some pods that operators make write their own files."""


def template() -> Object:
    """What is accepted everywhere."""
    return {
        "metadata": {"labels": {"app.kubernetes.io/name": "one"}},
        "spec": {
            "serviceAccountName": "workload",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "one",
                    "image": IMAGE,
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "64Mi"},
                        "limits": {"memory": "64Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }


def container(**fields: Any) -> Spoil:
    """Sets fields of the container."""
    return lambda made: made["spec"]["containers"][0].update(fields)


def secured(**fields: Any) -> Spoil:
    """Sets fields of the container's security context."""
    return lambda made: made["spec"]["containers"][0]["securityContext"].update(fields)


def spec(**fields: Any) -> Spoil:
    """Sets fields of the pod."""
    return lambda made: made["spec"].update(fields)


def first(**fields: Any) -> Spoil:
    """Another container, that comes first and goes."""
    one = copy.deepcopy(template()["spec"]["containers"][0])
    return spec(initContainers=[one | {"name": "first", **fields}])


FOREIGN = container(image=f"docker.io/library/one:1{DIGEST}")
PODS: Mapping[str, Spoil] = {
    "as it should be": spec(),
    "from another registry": FOREIGN,
    "from one of a longer name": container(image=f"registry.ae.example/production/one:1{DIGEST}"),
    "without a registry": container(image=f"one:1{DIGEST}"),
    "from another registry at the start": first(image=f"docker.io/one:1{DIGEST}"),
    "by a tag": container(image=f"{REGISTRY}one:1"),
    "by a tag at the start": first(image=f"{REGISTRY}one:1"),
    "by a digest alone": container(image=f"{REGISTRY}one{DIGEST}"),
    "by latest and a digest": container(image=f"{REGISTRY}one:latest{DIGEST}"),
    "by a digest that is cut short": container(image=IMAGE[:-1]),
    "without resources": container(resources={}),
    "without a limit": container(resources={"requests": {"cpu": "1", "memory": "1Gi"}}),
    "without a request of cpu": container(resources={"limits": {"memory": "1Gi"}}),
    "with limits alone": container(resources={"limits": {"cpu": "1", "memory": "1Gi"}}),
    "with requests of one and limits of the other": container(
        resources={"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    ),
    # the server takes no container that is both privileged and may not become it
    "privileged": container(
        securityContext={"privileged": True, "capabilities": {"drop": ["ALL"]}}
    ),
    "said not to be privileged": secured(privileged=False),
    "privileged at the start": first(
        securityContext={"privileged": True, "capabilities": {"drop": ["ALL"]}}
    ),
    "which may become privileged": secured(allowPrivilegeEscalation=True),
    "in the host's network": spec(hostNetwork=True),
    "among the host's processes": spec(hostPID=True),
    "in the host's memory": spec(hostIPC=True),
    "said not to be in the host's network": spec(hostNetwork=False, hostPID=False, hostIPC=False),
    "with a folder of the host": spec(volumes=[{"name": "host", "hostPath": {"path": "/"}}]),
    "with a folder of its own": spec(volumes=[{"name": "own", "emptyDir": {}}]),
    "at a port of the host": container(ports=[{"containerPort": 80, "hostPort": 80}]),
    "as root": secured(runAsUser=0),
    "as anybody": spec(securityContext={"seccompProfile": {"type": "RuntimeDefault"}}),
    "with a capability": secured(capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    "with the one that ports need": secured(
        capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}
    ),
    "with all capabilities": secured(capabilities={}),
    "without a filter of calls": spec(securityContext={"runAsNonRoot": True}),
}
"""What is special about a pod → how it is made."""


def pod(spoil: Spoil | None = None, namespace: str = "credit") -> Object:
    """A pod of a team."""
    made = template()
    if spoil is not None:
        spoil(made)
    made["metadata"] |= {"name": "one", "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", **made}


def deployment(spoil: Spoil | None = None) -> Object:
    """The same pod by way of a Deployment."""
    made = template()
    if spoil is not None:
        spoil(made)
    spec = {"selector": {"matchLabels": {"app.kubernetes.io/name": "one"}}, "template": made}
    made["metadata"].setdefault("labels", {})["app.kubernetes.io/name"] = "one"
    metadata = {"name": "one", "namespace": "credit"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def refusing(thing: Object, registries: Iterable[str], names: Iterable[str] = ON_PODS) -> set[str]:
    """Which of the rules `names` find a violation in `thing`, images coming from `registries`."""
    group = thing["apiVersion"] if "/" in thing["apiVersion"] else f"core/{thing['apiVersion']}"
    made = resource(f"kubernetes:{group}:{thing['kind']}", "one", thing)
    known = {"image-comes-from-in-region-registry": {"allowedRegistries": list(registries)}}
    rules = [BY_NAME[name] for name in names]
    asked = {name: one for name, one in known.items() if name in names}
    results = run(rules, made, configuration=asked)
    return {one.rule.name for one in results if one.outcome == "failed"}
