"""Takes the local environment down: workloads, then the platform, then whatever process is left.

Data stays in `.state`. Runs in the environment of `stacks.environment`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from stacks import locks
from stacks.environment import ROOT

ENVIRONMENT = "local"


def stacks(project: Path) -> list[str]:
    """The names of a project's stacks in the clone's state."""
    done = subprocess.run(
        ["pulumi", "-C", str(project), "stack", "ls", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return [str(stack["name"]) for stack in json.loads(done.stdout)]


def destroy(project: Path, stack: str) -> bool:
    """Deletes what the stack made; returns whether that succeeded."""
    command = ["pulumi", "-C", str(project), "destroy", "--yes", "--skip-preview", "-s", stack]
    return subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode == 0


def main() -> int:
    """Goes on after a failure, so that as little as possible is left; 1 when there was one."""
    if locks.main() != 0:
        return 1
    workloads = ROOT / "workloads"
    done = [
        destroy(workloads, stack)
        for stack in stacks(workloads)
        if stack.endswith(f".{ENVIRONMENT}")
    ]
    if ENVIRONMENT in stacks(ROOT):
        done.append(destroy(ROOT, ENVIRONMENT))
    sweep = [sys.executable, "-m", "components.local.sweep", "--root", str(ROOT)]
    done.append(subprocess.run(sweep, check=False).returncode == 0)
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
