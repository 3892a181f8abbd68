"""Cases of `policies/residency/endpoints.py`."""

from __future__ import annotations

import json
from typing import Any

from policies.common.resources import UNKNOWN, Resource
from rule_cases import Cases, resource


def provider(**properties: Any) -> list[Resource]:
    properties = {"region": "me-central-1", **properties}
    return [resource("pulumi:providers:aws", "home", properties)]


def at(url: str) -> list[Resource]:
    """A provider that finds S3 at `url`."""
    return provider(endpoints=json.dumps([{"s3": url, "sts": ""}]))


CASES = (
    Cases(
        rule="aws-provider-endpoint-is-in-region",
        baseline=provider(),
        fails={
            "in another region": at("https://s3.eu-west-1.amazonaws.com"),
            "in none": at("https://sts.amazonaws.com"),
            "without TLS": at("http://s3.me-central-1.amazonaws.com"),
            "of somebody else": at("https://s3.me-central-1.amazonaws.com.example.org"),
            "of somebody else, with a name that looks right": at(
                "https://s3.me-central-1.amazonaws.com@example.org"
            ),
            "no JSON": provider(endpoints="{"),
            "a plain list, as some languages send": provider(
                endpoints=[{"s3": "https://s3.eu-west-1.amazonaws.com"}]
            ),
            "tokens from another region": provider(stsRegion="us-east-1"),
            "the old endpoint of S3": provider(s3UsEast1RegionalEndpoint="legacy"),
            "through a proxy": provider(httpsProxy="http://proxy.example.org:3128"),
            "through one without TLS": provider(httpProxy="proxy.example.org:3128"),
            "no certificate checked": provider(insecure=True),
            "no certificate checked, in JSON": provider(insecure="true"),
        },
        passes={
            "in the region": at("https://s3.dualstack.me-central-1.amazonaws.com"),
            "in the network": at("https://vpce-1.s3.me-central-1.vpce.amazonaws.com/"),
            "of the organisation": at("https://s3.store.bank.ae:8443"),
            "through its own proxy": provider(httpsProxy="http://proxy.bank.ae:3128"),
            "what is the default": provider(
                stsRegion="me-central-1",
                s3UsEast1RegionalEndpoint="regional",
                insecure="false",
                httpProxy="",
            ),
        },
        pending={
            "where": provider(endpoints=UNKNOWN),
            "where S3 is": provider(endpoints=[{"s3": UNKNOWN}]),
            "through whom": provider(httpsProxy=UNKNOWN),
            "tokens from where": provider(stsRegion=UNKNOWN),
            "whether checked": provider(insecure=UNKNOWN),
        },
        parameters={"allowedHosts": ["proxy.bank.ae", "*.store.bank.ae"]},
    ),
)
