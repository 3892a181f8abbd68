"""The settings of log shipping: where the cluster's logs go besides the cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.provision import Provision
from components.section import Section


class NoSiem(Section):
    """Nobody else reads the logs."""

    kind: Literal["none"] = "none"


class S3Siem(Section):
    """A SIEM of another account that reads the log bucket itself."""

    kind: Literal["s3"]
    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    external_id: str = Field(min_length=16)
    """Says that the SIEM acts for this environment and no other customer of its own; no secret."""
    prefixes: tuple[Annotated[str, StringConstraints(pattern=r"^([\w.-]+/)+$")], ...] = (
        "AWSLogs/",
        "cluster/",
        "control-plane/",
    )
    """What it reads. Not `decisions/` unless somebody says so: those hold what applicants told."""


class HttpSiem(Section):
    """A SIEM in the country that takes events by HTTPS through AWS PrivateLink."""

    kind: Literal["http"]
    host: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$")]
    """What its certificate says; the private zone of the network resolves it to the endpoint."""
    service_name: Annotated[
        str, StringConstraints(pattern=r"^com\.amazonaws\.vpce\.[a-z0-9-]+\.vpce-svc-[0-9a-f]+$")
    ]
    """Of its endpoint service."""
    port: int = Field(443, ge=1, le=65535)
    path: Annotated[str, StringConstraints(pattern=r"^/\S*$")] = "/"


Siem = Annotated[NoSiem | S3Siem | HttpSiem, Field(discriminator="kind")]


class LogShippingSettings(Provision):
    """How the logs of pods and of the control plane reach the locked bucket, and a SIEM."""

    siem: Siem = NoSiem()
    control_plane: bool = True
    """Whether the cluster's own logs, its audit log first, are copied to the bucket as well; they
    are in CloudWatch Logs either way."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = list(_problems(self))
        if problems:
            raise ValueError("\n".join(problems))
        return self


def _problems(shipping: LogShippingSettings) -> Iterator[str]:
    if not shipping.own and not isinstance(shipping.siem, NoSiem):
        yield f"siem.kind: has no meaning where mode is {shipping.mode}"
    if isinstance(shipping.siem, S3Siem) and len(set(shipping.siem.prefixes)) < len(
        shipping.siem.prefixes
    ):
        yield f"siem.prefixes: names one twice: {', '.join(shipping.siem.prefixes)}"


def problems_of_shipping(
    shipping: LogShippingSettings, *, account_id: str, regions: Sequence[str]
) -> list[str]:
    """What of the SIEM does not fit the account, or the regions that data may be in."""
    siem = shipping.siem
    if isinstance(siem, S3Siem) and siem.account_id == account_id:
        return ["aws.logs.siem.account_id: is this account; let its role read the bucket instead"]
    if isinstance(siem, HttpSiem):
        region = re.sub(r"^com\.amazonaws\.vpce\.([a-z0-9-]+)\..*$", r"\1", siem.service_name)
        if region not in regions:
            allowed = f"allowed by residency.allowed_regions: {', '.join(regions)}"
            return [f"aws.logs.siem.service_name: is in {region}; {allowed}"]
    return []
