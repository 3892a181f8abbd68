"""The ground of an environment as a Pulumi program: settings of its stack file in, addresses out.

`make bootstrap ENV=<environment>` runs it; one stack an environment.
"""

from __future__ import annotations

import os
from pathlib import Path

import pulumi

from components.aws.foundation import Foundation, FoundationArgs
from components.aws.runner_bundle import Bundle
from components.aws.settings.identity import people_who_deploy, problems_of_bootstrap
from stacks import environment, settings
from stacks.bootstrap import BUNDLE


def main() -> None:
    """Makes it, and exports where the state of the environment is and what is in the network."""
    environment.require()
    wanted = settings.read()
    if wanted.aws is None:
        raise environment.WrongEnvironmentError(
            f"{wanted.environment} is not on AWS: it needs no bootstrap"
        )
    problems = problems_of_bootstrap(wanted.aws.identity)
    if problems:
        raise settings.SettingsError(
            wanted.environment, [f"{settings.NAMESPACE}:aws.{problem}" for problem in problems]
        )
    bundle = os.environ.get(BUNDLE)
    foundation = Foundation(
        wanted.environment,
        FoundationArgs(
            environment=wanted.environment,
            owner=wanted.owner,
            residency_mode=wanted.residency.mode,
            allowed_regions=wanted.residency.allowed_regions,
            aws=wanted.aws,
            people=people_who_deploy(wanted.environment, wanted.aws.identity),
            bundle=Bundle.of(Path(bundle)) if bundle else None,
        ),
    )
    for name, value in foundation.fields.items():
        pulumi.export(name, value)


try:
    main()
except (environment.WrongEnvironmentError, settings.SettingsError) as error:
    # the engine shows this as one message, without a traceback
    raise pulumi.RunError(str(error)) from None
