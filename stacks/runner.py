"""Where an environment may be deployed from.

A cluster without a public address answers inside its network alone. Started elsewhere, a deployment
would make half of an environment and then wait for an address that it cannot reach; so it is
stopped before, with what to do instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from components.aws.runner import RUNNER_VARIABLE, SHELL
from components.aws.scope import Scope
from stacks.settings import Settings

OFFLINE = "offline"
"""The runner of plans without a cloud: they reach nothing, from wherever."""


class WrongPlaceError(Exception):
    """The environment cannot be deployed from this machine; the message says from where."""


def require(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Raises `WrongPlaceError` unless this machine is the runner that `settings` ask for."""
    if settings.aws is None or settings.aws.runner is None or is_offline(environ):
        return
    here = environ.get(RUNNER_VARIABLE)
    environment = settings.environment
    if here == environment:
        return
    scope = Scope(
        environment=environment, account_id=settings.aws.account_id, region=settings.aws.region
    )
    raise WrongPlaceError(
        f"{environment} is deployed from its runner, a machine inside its network: its cluster has "
        f"no public address, and this is {f'the runner of {here}' if here else 'another machine'}\n"
        "  start a session there; this shell has Pulumi, its state and the role that deploys:\n"
        f"    {session(scope)}\n"
        f"  and type:                                pulumi up -s {environment}\n"
        f"  where there is no runner yet, once:      make bootstrap ENV={environment}\n"
        f"  to look at it from here:                 falaj plan --offline -s {environment}\n"
        "Where this machine reaches the network by a line of its own, leave falaj:aws.runner out."
    )


def session(scope: Scope, instance_id: str | None = None) -> str:
    """The command that opens a shell on the runner; without `instance_id` it looks that up."""
    target = instance_id or (
        f'"$(aws ec2 describe-instances --region {scope.region} '
        f"--filters Name=tag:Name,Values={scope.name('runner')} "
        "Name=instance-state-name,Values=running "
        "--query 'Reservations[].Instances[].InstanceId' --output text)\""
    )
    return (
        f"aws ssm start-session --region {scope.region} --target {target} "
        f"--document-name AWS-StartInteractiveCommand --parameters command={SHELL}"
    )


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a plan without a cloud."""
    return environ.get(RUNNER_VARIABLE) == OFFLINE
