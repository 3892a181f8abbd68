"""The ground of an environment as a Pulumi program: settings of its stack file in, addresses out.

`make bootstrap ENV=<environment>` runs it; one stack an environment.
"""

from __future__ import annotations

import pulumi

from components.aws.foundation import Foundation, FoundationArgs
from stacks import environment, settings


def main() -> None:
    """Makes it, and exports where the state of the environment is and what is in the network."""
    environment.require()
    wanted = settings.read()
    if wanted.aws is None:
        raise environment.WrongEnvironmentError(
            f"{wanted.environment} is not on AWS: it needs no bootstrap"
        )
    foundation = Foundation(
        wanted.environment,
        FoundationArgs(
            environment=wanted.environment,
            owner=wanted.owner,
            residency_mode=wanted.residency.mode,
            allowed_regions=wanted.residency.allowed_regions,
            aws=wanted.aws,
        ),
    )
    for name, value in foundation.fields.items():
        pulumi.export(name, value)


try:
    main()
except (environment.WrongEnvironmentError, settings.SettingsError) as error:
    # the engine shows this as one message, without a traceback
    raise pulumi.RunError(str(error)) from None
