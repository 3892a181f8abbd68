"""Cases of `policies/hardening/workloads.py`."""

from __future__ import annotations

from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, Change, mutated, resource
from rule_cases.pods import NOT_KNOWN, POD, everywhere, of, pod

GPU = "nvidia.com/gpu"
RESOURCES = ("containers", 0, "resources")
TOLERATED = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
WITH_GPU = mutated(
    POD,
    ((*RESOURCES, "requests", GPU), "1"),
    ((*RESOURCES, "limits", GPU), 1),
    (("tolerations",), TOLERATED),
    (("nodeSelector",), {"karpenter.sh/nodepool": "gpus"}),
)


def gpu(*changes: Change, kind: str = "apps/v1:Deployment") -> list[Resource]:
    """A workload with a GPU, changed."""
    template = {"spec": mutated(WITH_GPU, *changes)}
    return of(kind, {"spec": {"template": template}})


def bound(*terms: Any) -> list[Resource]:
    """A workload bound to its nodes by affinity."""
    required = {"nodeSelectorTerms": list(terms)}
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}
    return gpu((("nodeSelector",), ABSENT), (("affinity",), affinity))


def term(key: Any, operator: str = "In") -> dict[str, Any]:
    """Nodes by one label."""
    return {"matchExpressions": [{"key": key, "operator": operator, "values": ["gpus"]}]}


def tolerating(toleration: Any) -> list[Resource]:
    """A workload without a GPU."""
    return pod((("tolerations",), [toleration]))


def told(name: Any, value: Any, **more: Any) -> list[Resource]:
    """A container with a variable."""
    return pod((("containers", 0, "env"), [{"name": name, "value": value, **more}]))


def words(*said: str) -> list[Resource]:
    """A container that starts `said`."""
    return pod((("containers", 0, "args"), list(said)))


def config_map(data: Any) -> list[Resource]:
    """A ConfigMap."""
    return [resource("kubernetes:core/v1:ConfigMap", "one", {"data": data})]


def function(variables: Any) -> list[Resource]:
    """A function with an environment."""
    properties = {"environment": {"variables": variables}}
    return [resource("aws:lambda/function:Function", "one", properties)]


def redis(**password: Any) -> list[Resource]:
    """A cluster of Ray that keeps its state in Redis."""
    spec = {
        "headGroupSpec": {"template": {"spec": POD}},
        "gcsFaultToleranceOptions": {"redisPassword": password},
    }
    return of("ray.io/v1:RayCluster", {"spec": spec})


FROM = {"valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}
KEY_ID = "AKIA" + "ABCDEFGHIJKLMNOP"
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----"
URL = "postgresql://app:" + "hunter2@db:5432/app"
LEAK = mutated(POD, (("containers", 0, "env"), [{"name": "DB_PASSWORD", "value": "hunter2"}]))

CASES = (
    Cases(
        rule="gpu-request-equals-limit-and-is-tolerated",
        baseline=gpu(),
        fails={
            "fewer requested": gpu(((*RESOURCES, "requests", GPU), "0")),
            "no limit": gpu(((*RESOURCES, "limits", GPU), ABSENT)),
            "half of one": gpu(
                ((*RESOURCES, "limits", GPU), "500m"), ((*RESOURCES, "requests", GPU), "500m")
            ),
            "not tolerated": gpu((("tolerations",), ABSENT)),
            "tolerates something else": gpu(
                (("tolerations",), [{"key": "a", "operator": "Exists"}])
            ),
            "tolerates another effect": gpu((("tolerations", 0, "effect"), "NoExecute")),
            "on any node": gpu((("nodeSelector",), ABSENT)),
            "on any node of linux": gpu((("nodeSelector",), {"kubernetes.io/os": "linux"})),
            "by one of two ways": bound(term("karpenter.sh/nodepool"), term("kubernetes.io/os")),
            "on all but some": bound(term("karpenter.sh/nodepool", "NotIn")),
            "without a GPU": tolerating(TOLERATED[0]),
            "without a GPU, tolerates everything": tolerating({"operator": "Exists"}),
            "none of none": gpu(
                ((*RESOURCES, "limits", GPU), 0), ((*RESOURCES, "requests", GPU), 0)
            ),
            **everywhere(mutated(POD, ((*RESOURCES, "limits", GPU), "1"))),
        },
        passes={
            "a limit alone": gpu(((*RESOURCES, "requests", GPU), ABSENT)),
            "of any effect": gpu((("tolerations",), [{"key": GPU, "operator": "Exists"}])),
            "tolerates everything": gpu((("tolerations",), [{"operator": "Exists"}])),
            "by affinity": bound(term("karpenter.sh/nodepool")),
            "by either of two": bound(
                term("karpenter.sh/nodepool"), term("eks.amazonaws.com/nodegroup", "Exists")
            ),
            "on every node": gpu(
                ((*RESOURCES, "limits", GPU), ABSENT),
                ((*RESOURCES, "requests", GPU), ABSENT),
                kind="apps/v1:DaemonSet",
            ),
            "without a GPU, tolerates another": tolerating({"key": "spot", "operator": "Exists"}),
            "without": pod(),
        },
        pending={
            "how many": gpu(((*RESOURCES, "limits", GPU), UNKNOWN)),
            "where": gpu((("nodeSelector",), UNKNOWN)),
            "by affinity": bound(UNKNOWN),
            "what is tolerated": gpu((("tolerations",), UNKNOWN)),
            "what is tolerated without": tolerating({"key": UNKNOWN, "operator": "Exists"}),
            "a container": pod((("containers", 0), UNKNOWN)),
            "whole pod": NOT_KNOWN["whole pod"],
        },
    ),
    Cases(
        rule="container-env-holds-no-secret-value",
        baseline=told("DB_PASSWORD", None, **FROM),
        fails={
            "a password": told("DB_PASSWORD", "hunter2"),
            "a token": told("HF_TOKEN", "x" * 8),
            "a key": told("AWS_SECRET_ACCESS_KEY", "x" * 8),
            "an odd case": told("apiKey", "x" * 8),
            "a key's id by its looks": told("OTHER", KEY_ID),
            "a private key by its looks": told("CERT", f"{PEM}\nabc"),
            "inside an address": told("DATABASE_URL", URL),
            "in a command": words("--backend-store-uri", URL),
            "in a ConfigMap": config_map({"password": "hunter2"}),
            "in a file of a ConfigMap": config_map({"aws.ini": f"[default]\nkey = {KEY_ID}"}),
            "in a function": function({"API_KEY": "x" * 8}),
            "of Redis": redis(value="hunter2"),
            **everywhere(LEAK),
        },
        passes={
            "where it lies": told("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token"),
            "a switch": told("USE_TOKEN", "true"),
            "how many": told("MAX_TOKEN", "4096"),
            "nothing": told("DB_PASSWORD", ""),
            "another variable": told("DB_PASSWORD", "$(FROM_SECRET)"),
            "a file of Grafana": told("GF_SMTP_PASSWORD", "$__file{/etc/secrets/smtp}"),
            "an address with a variable": told("URL", "redis://default:$(PASSWORD)@cache:6379"),
            "an address with a user": told("URL", "postgresql://app@db:5432/app"),
            "an address with a port": told("URL", "http://db:5432/a@b"),
            "a mode": told("RAY_AUTH_MODE", "token"),
            "a ConfigMap": config_map({"token.yaml": "kind: Token"}),
            "a function": function({"SECRET_ARN": "arn:aws:secretsmanager:a"}),
            "of Redis": redis(**FROM),
            "by trade": of(
                "apps/v1:Deployment", {"spec": {"template": {"spec": LEAK}}}, "istio-system"
            ),
        },
        pending={
            "value": told("DB_PASSWORD", UNKNOWN),
            "value of something else": told("OTHER", UNKNOWN),
            "name": told(UNKNOWN, "hunter2"),
            "environment": pod((("containers", 0, "env"), UNKNOWN)),
            "ConfigMap": config_map(UNKNOWN),
            "function": function(UNKNOWN),
            "Redis": redis(value=UNKNOWN),
            "whole pod": NOT_KNOWN["whole pod"],
        },
        parameters={"exemptNamespaces": ["istio-system"]},
    ),
)
