"""Where an environment may be deployed from.

A cluster without a public address answers inside its network alone. Started elsewhere, a deployment
would make half of an environment and then wait for an address that it cannot reach; so it is
stopped before, with what to do instead.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from components.aws.runner import RUNNER_VARIABLE
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
    raise WrongPlaceError(
        f"{environment} is deployed from its runner, a machine inside its network: its cluster has "
        f"no public address, and this is {f'the runner of {here}' if here else 'another machine'}\n"
        f"  make the network and the runner, once:   make bootstrap ENV={environment}\n"
        "  log in to it:                            aws ssm start-session --target <instance>, "
        "as the bootstrap printed it\n"
        f"  and there:                               pulumi up -s {environment}\n"
        f"  to look at it from here:                 falaj plan --offline -s {environment}\n"
        "Where this machine reaches the network by a line of its own, leave falaj:aws.runner out."
    )


def is_offline(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this is a plan without a cloud."""
    return environ.get(RUNNER_VARIABLE) == OFFLINE
