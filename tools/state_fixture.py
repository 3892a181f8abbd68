"""Keeps the state of an environment as it is now, for the upgrade tests of every later release.

    python -m stacks.environment -- python -m tools.state_fixture dev 0.1.0

deploys `dev` on the stand-in providers and writes `tests/engine/states/0.1.0.dev.json`. Once a
release is published its file is never written again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from stacks.environment import ROOT
from stacks.offline import offline

STATES = ROOT / "tests" / "engine" / "states"
_OF_THE_MACHINE = frozenset({"created", "modified", "sourcePosition", "stackTrace", "viewOf"})
_KUBECONFIG = "apiVersion: v1\n"
"""Nobody's: the stand-in for Kubernetes reaches nothing."""


class FixtureError(Exception):
    """The environment cannot be deployed."""


def write(environment: str, release: str) -> Path:
    """Deploys `environment` and writes its state. Raises `FixtureError`, `OfflineError`."""
    with offline(environment) as stack:
        for arguments, given in (
            (("config", "set", "--secret", "falaj:kubeconfig"), _KUBECONFIG),
            (("up", "--yes", "--skip-preview"), None),
        ):
            done = stack.pulumi(*arguments, standard_input=given)
            if done.returncode != 0:
                raise FixtureError(done.stdout + done.stderr)
        exported = json.loads(stack.pulumi("stack", "export", "--show-secrets").stdout)
    path = STATES / f"{release}.{environment}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(scrubbed(exported), indent=1, sort_keys=True) + "\n")
    return path


def scrubbed(exported: dict[str, Any]) -> dict[str, Any]:
    """`exported` without what belongs to one machine or one moment.

    Secrets stay in plain text: those of a stand-in environment are none.
    """
    deployment = dict(exported["deployment"])
    deployment.pop("secrets_providers", None)
    deployment["manifest"] = {"time": "2026-01-01T00:00:00Z", "magic": "", "version": ""}
    deployment["resources"] = [
        {key: value for key, value in one.items() if key not in _OF_THE_MACHINE}
        for one in deployment["resources"]
    ]
    return {"version": exported["version"], "deployment": deployment}


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{write(*sys.argv[1:]).relative_to(ROOT)}\n")
    except TypeError:
        sys.exit(__doc__)
    except FixtureError as error:
        sys.exit(str(error))
