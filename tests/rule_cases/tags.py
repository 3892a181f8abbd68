"""Cases of `policies/hardening/tags.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import ABSENT, UNKNOWN, Resource
from rule_cases import Cases, mutated, resource

QUEUE, GROUP = "aws:sqs/queue:Queue", "aws:autoscaling/group:Group"
TAGS = {
    "owner": "ml-platform",
    "environment": "prod",
    "data-classification": "internal",
    "residency": "in-country",
}


def provider(tags: Any) -> Resource:
    return resource("pulumi:providers:aws", "home", {"defaultTags": tags})


BY_DEFAULT = provider(json.dumps({"tags": TAGS}))


def queue(*changes: Any, kind: str = QUEUE, **more: Any) -> list[Resource]:
    return [resource(kind, "one", {"tags": mutated(TAGS, *changes)}, **more)]


def bare(given: Resource | None = BY_DEFAULT, kind: str = QUEUE, **tags: Any) -> list[Resource]:
    return [resource(kind, "one", {"tags": tags} if tags else {}, provider=given)]


def group(*keys: str, given: Resource | None = None, value: Any = "prod") -> list[Resource]:
    tags = [{"key": key, "value": TAGS[key], "propagateAtLaunch": True} for key in keys]
    listed = [*tags, {"key": "environment", "value": value}]
    return [resource(GROUP, "one", {"tags": listed}, provider=given)]


def stack(name: str, environment: str) -> list[Resource]:
    urn = f"urn:pulumi:{name}::bank::{QUEUE}::one"
    tags = TAGS | {"environment": environment}
    return [Resource(type=QUEUE, urn=urn, name="one", properties={"tags": tags})]


OTHERS = ("owner", "data-classification", "residency")

CASES = (
    Cases(
        rule="resource-has-required-tags",
        baseline=queue(),
        fails={
            "none": bare(None),
            "null": [resource(QUEUE, "one", {"tags": None})],
            "none by the provider": bare(provider("{}")),
            "a provider that says no JSON": bare(provider("{")),
            **{f"without {key}": queue(((key,), ABSENT)) for key in TAGS},
            "empty": queue((("owner",), "")),
            "blank": queue((("owner",), " ")),
            "empty over the provider's": bare(owner=""),
            "in another case": queue((("owner",), ABSENT), (("Owner",), "ml-platform")),
            "a group takes none of its provider": bare(kind=GROUP),
            "a group without one": group("owner", "residency"),
        },
        passes={
            "by the provider": bare(),
            "by the provider in a state": bare(provider({"tags": TAGS})),
            "both": bare(provider({"tags": TAGS | {"owner": ""}}), owner="team"),
            "a group": group(*OTHERS),
            "what takes no tags": [*queue(), resource("aws:iam/rolePolicy:RolePolicy", "b", {})],
            "tags that are not its own": [
                *queue(),
                resource("aws:devopsguru/resourceCollection:ResourceCollection", "c", {}),
            ],
        },
        pending={
            "all": [resource(QUEUE, "one", {"tags": UNKNOWN})],
            "one": queue((("owner",), UNKNOWN)),
            "the provider's": bare(provider(UNKNOWN)),
            "a group's": [resource(GROUP, "one", {"tags": UNKNOWN})],
        },
    ),
    Cases(
        rule="tag-value-is-in-vocabulary",
        baseline=queue(),
        fails={
            "a slip": queue((("data-classification",), "intern")),
            "in another case": queue((("data-classification",), "Internal")),
            "no environment": queue((("environment",), "production")),
            "another environment": queue((("environment",), "dev")),
            "abroad": queue((("residency",), "approved-foreign-copy")),
            "by the provider": bare(provider(json.dumps({"tags": {"environment": "uat"}}))),
            "a group": group(*OTHERS, value="uat"),
        },
        passes={
            "none": bare(None),
            "another tag": queue((("team",), "any")),
            "another class": queue((("data-classification",), "restricted")),
            "a stack whose name is no environment": stack("acme", "dev"),
            "what takes no tags": [
                *queue(),
                resource("aws:iam/rolePolicy:RolePolicy", "b", {"tags": {"environment": "uat"}}),
            ],
        },
        pending={
            "which": queue((("environment",), UNKNOWN)),
            "all": [resource(QUEUE, "one", {"tags": UNKNOWN})],
        },
    ),
)
