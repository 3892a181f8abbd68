"""Names of things on AWS, ARNs and hosts, and the region that each says it is in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_DIRECTION = "(?:central|(?:north|south)(?:east|west)?|east|west)"
_REGION = re.compile(rf"(?<![a-z0-9])[a-z]{{2,4}}(?:-[a-z]{{2,5}})?-{_DIRECTION}-\d{{1,2}}(?!\d)")
_DOMAINS = (
    *(".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"),
    *(".api.aws", ".on.aws", ".aws.dev"),
)
"""In which AWS answers, and where a region in a host's name is where it answers."""


@dataclass(frozen=True)
class Arn:
    """An ARN by its fields, any of which may be empty: that of a bucket names no region."""

    partition: str
    service: str
    region: str
    account: str
    resource: str


def arn_of(value: Any) -> Arn | None:
    """The ARN that `value` is; nothing where it is none, or not known yet."""
    if not isinstance(value, str) or not value.startswith("arn:"):
        return None
    fields = value.split(":", 5)[1:]
    return Arn(*fields) if len(fields) == 5 and fields[1] else None


def is_region(value: Any) -> bool:
    """Whether `value` looks like the name of a region."""
    return isinstance(value, str) and _REGION.fullmatch(value) is not None


def region_in(text: str) -> str | None:
    """The first region that `text` names, such as the name of a service for endpoints."""
    match = _REGION.search(text)
    return match[0] if match else None


def host_of(url: str) -> str | None:
    """The host of `url`, which may be one alone; nothing where there is none."""
    text = url.strip().removeprefix("jdbc:")
    try:
        return urlsplit(text if "//" in text else f"//{text}").hostname
    except ValueError:
        return None


def region_of_host(host: str) -> str | None:
    """The region that a host of AWS names; nothing where it is no such host, or names none."""
    host = host.lower().rstrip(".")
    return region_in(host) if host.endswith(_DOMAINS) else None


def is_host_among(host: str, allowed: Iterable[str]) -> bool:
    """Whether `host` is one of `allowed`, where ``*.`` stands for any name below a domain."""
    host = host.lower().rstrip(".")
    return any(
        host == one or (one.startswith("*.") and host.endswith(one[1:]))
        for one in map(str.lower, allowed)
    )
