"""What the bootstrap made for an environment: the one place where its stack is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi

from components.aws.network import NetworkIds
from components.aws.settings.controllers import services_called
from components.aws.settings.network import NetworkSettings, used_zones
from stacks.runner import is_offline
from stacks.settings import Settings

PROJECT = "falaj-bootstrap"


def network(settings: Settings) -> NetworkIds | None:
    """The network that the bootstrap made; `None` where the environment makes or names its own.

    A plan without a cloud has no bootstrap to read. It shows the network among what is made.
    """
    if settings.aws is None or settings.aws.runner is None or is_offline():
        return None
    stack = pulumi.StackReference(f"organization/{PROJECT}/{settings.environment}")
    made = stack.require_output("network")
    existing = settings.aws.existing_network
    if existing is not None:
        zones = tuple(sorted(existing.private_subnet_ids))
        zone_id: pulumi.Input[str] | None = existing.private_zone_id
        cidr, tables = str(existing.cidr), len(existing.private_route_table_ids)
    else:
        asked = settings.aws.network or NetworkSettings()
        zones = used_zones(asked, settings.aws.region)
        zone_id = _at(made, "private_zone_id")
        cidr, tables = str(asked.cidr), len(zones)
    return NetworkIds(
        vpc_id=_at(made, "vpc_id"),
        cidr=cidr,
        private_subnet_ids={zone: _at(made, "private_subnet_ids", zone) for zone in zones},
        isolated_subnet_ids={zone: _at(made, "isolated_subnet_ids", zone) for zone in zones},
        private_route_table_ids=[
            _at(made, "private_route_table_ids", number) for number in range(tables)
        ],
        endpoints=services_called(),
        endpoint_security_group_id=_at(made, "endpoint_security_group_id"),
        private_zone_id=zone_id,
        runner_group_id=_at(stack.require_output("runner"), "group_id"),
    )


def _at(made: pulumi.Output[Any], *path: str | int) -> pulumi.Output[str]:
    return made.apply(lambda network: found_at(network, *path))


def found_at(network: Mapping[str, Any], *path: str | int) -> str:
    """The id under `path` of the bootstrap's network. Raises `LookupError` where it has none."""
    here: Any = network
    try:
        for key in path:
            here = here[key]
    except LookupError:
        where = ".".join(map(str, path))
        raise LookupError(
            f"the bootstrap made no {where}: run `make bootstrap` again with these settings"
        ) from None
    return str(here)
