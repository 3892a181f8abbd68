"""`falaj quotas`: whether the account may have what an environment can grow to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from components.aws.quotas import Demand

app = typer.Typer()

_NEVER_SET = "NoSuchResourceException"
"""A quota that was never changed in an account has AWS's default."""


class QuotasError(Exception):
    """The account does not say what its quotas are, or an environment has none."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A quota beside what is needed of it."""

    demand: Demand
    allowed: float

    @property
    def enough(self) -> bool:
        """Whether the environment fits, if nothing else in the account draws on the quota."""
        return self.allowed >= self.demand.needed


@app.command()
def quotas(
    stack: Annotated[str, typer.Option("--stack", "-s", help="The environment to check.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Compare the account's quotas with what an environment needs at its largest.

    Needs credentials that may call servicequotas:GetServiceQuota and
    servicequotas:GetAWSDefaultServiceQuota. Exits with 1 when a quota is too small. Quotas hold for
    the whole account: other environments in it draw on them too.

    Example: falaj quotas -s dev
    """
    import boto3

    from components.aws.quotas import demands
    from stacks.settings import read_file

    aws = read_file(stack).aws
    if aws is None:
        raise QuotasError(f"{stack} is not on AWS: it has no quotas")
    client = cast("Callable[..., Any]", boto3.client)("service-quotas", region_name=aws.region)
    found = standings(demands(aws), client)
    if as_json:
        rows = [
            asdict(one.demand) | {"allowed": one.allowed, "enough": one.enough} for one in found
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for line in told(found, aws.region):
            typer.echo(line)
    if not all(one.enough for one in found):
        raise typer.Exit(1)


def standings(wanted: list[Demand], client: Any) -> list[Standing]:
    """Each demand with what the account allows. Raises `QuotasError`."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return [Standing(demand=one, allowed=_allowed(one, client)) for one in wanted]
    except (BotoCoreError, ClientError) as error:
        raise QuotasError(f"the account does not say its quotas: {error}") from error


def told(found: list[Standing], region: str) -> list[str]:
    """A line for each quota, and for each that is too small the command that asks for more."""
    lines = []
    for one in found:
        demand = one.demand
        verdict = "enough" if one.enough else "TOO SMALL"
        lines.append(
            f"{verdict:9}  {demand.name} ({demand.service} {demand.code}): needs {demand.needed}, "
            f"has {one.allowed:g}; for {', '.join(demand.pools)}"
        )
        if not one.enough:
            lines.append(
                "           aws service-quotas request-service-quota-increase --region "
                f"{region} --service-code {demand.service} --quota-code {demand.code} "
                f"--desired-value {demand.needed}"
            )
    return lines


def _allowed(demand: Demand, client: Any) -> float:
    from botocore.exceptions import ClientError

    which = {"ServiceCode": demand.service, "QuotaCode": demand.code}
    try:
        answer = client.get_service_quota(**which)
    except ClientError as error:
        if error.response["Error"]["Code"] != _NEVER_SET:
            raise
        answer = client.get_aws_default_service_quota(**which)
    return float(answer["Quota"]["Value"])
