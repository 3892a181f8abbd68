"""The settings of the machine from which an environment is deployed, and what it must reach."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, StringConstraints

from components.aws.settings.network import NetworkSettings
from components.section import Section

WITHOUT_ENDPOINT = ("iam.amazonaws.com", "route53.amazonaws.com")
"""What deploying calls and no endpoint of the region answers: services of AWS as a whole."""


class RunnerSettings(Section):
    """A machine inside the network, made by `make bootstrap` together with it.

    With it `pulumi up` of the environment works there and nowhere else.
    """

    instance_type: str = "t3.large"
    disk_gib: int = Field(50, ge=20)
    proxy: Annotated[str, StringConstraints(pattern=r"^https?://[a-z0-9.-]+:\d+$")] | None = None
    """The organisation's proxy, for what no endpoint answers; it must pass `WITHOUT_ENDPOINT`."""


def runner_problems(runner: RunnerSettings, network: NetworkSettings) -> Iterator[str]:
    """What keeps a runner in `network` from deploying."""
    if runner.proxy is not None:
        return
    if network.egress == "none":
        yield (
            f"runner.proxy: is missing; with network.egress none nothing else leads to "
            f"{' and '.join(WITHOUT_ENDPOINT)}, which deploying calls and no endpoint answers"
        )
        return
    allowed = network.allowed_domains
    for host in WITHOUT_ENDPOINT:
        if not any(host == one or (host.endswith(one) and one[0] == ".") for one in allowed):
            yield f"network.allowed_domains: lacks {host}, which the runner calls to deploy"
