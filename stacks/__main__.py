"""The platform as a Pulumi program: settings in, components joined, outputs out.

One stack an environment; `pulumi up -s local` makes all of it on this machine.
"""

from __future__ import annotations

import pulumi

from components.images import CatalogueError, NotLockedError
from components.kubernetes.layer_settings import LayerError
from components.local.machine import MissingToolError
from components.platform import Platform
from stacks import bootstrapped, cluster_access, environment, image_lock, runner, settings


def main() -> None:
    """Makes the platform and exports its contract, one stack output a field."""
    environment.require()
    wanted = settings.read()
    runner.require(wanted)
    cluster_access.require(wanted)
    platform = Platform(
        wanted,
        {
            "state_directory": str(environment.state_directory()),
            "runtime_directory": str(environment.runtime_directory()),
        },
        bootstrapped.network(wanted),
        image_lock.read(),
    )
    for name, value in platform.outputs.items():
        pulumi.export(name, value)


try:
    main()
except (
    CatalogueError,
    LayerError,
    MissingToolError,
    NotLockedError,
    cluster_access.ClusterAccessError,
    environment.WrongEnvironmentError,
    runner.WrongPlaceError,
    settings.SettingsError,
) as error:
    # the engine shows this as one message, without a traceback
    raise pulumi.RunError(str(error)) from None
