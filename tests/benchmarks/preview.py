"""How long a preview of an environment takes, and how much memory, for 1 to 500 teams.

    python tests/benchmarks/preview.py [ENVIRONMENT] [TEAMS…]

On the stand-in providers, with every policy pack and without. Nothing fails on a time.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass

import machine
import psutil
import yaml
from rich.console import Console
from rich.table import Table

from stacks.offline import Offline, offline
from stacks.plan import held_to

TEAMS = (1, 10, 100, 500)
QUOTA = {"cpu_quota": 16, "memory_quota_gib": 64, "gpu_quota": 2}
PROGRAM = (
    "import pulumi, stacks.bootstrapped, stacks.runner, stacks.settings, components.platform, "
    "components.{place}.place"
)
PROMISED_IMPORT_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """One preview."""

    teams: int
    packs: bool
    """Whether it was held to them."""
    resources: int
    seconds: float
    largest_megabytes: float
    """Of engine, program, providers and packs together, at its highest."""
    cpu_seconds: float


def measured(stack: Offline, teams: int, held: list[str]) -> Row:
    """A preview of `stack` with `teams` teams."""
    content = yaml.safe_load(stack.stack_file.read_text())
    content["config"]["falaj:teams"] = {f"team-{number}": QUOTA for number in range(teams)}
    stack.stack_file.write_text(yaml.safe_dump(content))
    started = time.monotonic()
    command = ["pulumi", "--non-interactive", "preview", "--json", *held]
    output = stack.directory / "preview.json"
    with output.open("w") as file:
        running = psutil.Popen(
            [*command, "--stack", stack.environment],
            cwd=stack.directory,
            env=stack.variables,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        largest, used = 0.0, {}
        while running.poll() is None:
            family = [running, *children(running)]
            largest = max(largest, machine.megabytes(family))
            used |= {process.pid: seconds(process) for process in family}
            time.sleep(0.2)
    taken = time.monotonic() - started
    if running.returncode != 0:
        sys.exit(output.read_text()[-4000:])
    steps = len(json.loads(output.read_text())["steps"])
    return Row(teams, len(held), steps, taken, largest, sum(used.values()))


def children(process: psutil.Process) -> list[psutil.Process]:
    """All that `process` started; none when it is gone."""
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def seconds(process: psutil.Process) -> float:
    """The processor time that `process` used until now."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def import_seconds(place: str) -> tuple[float, float]:
    """Wall-clock and processor time of the shortest of three imports of the program."""
    taken = []
    for _ in range(3):
        started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", PROGRAM.format(place=place)], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        taken.append((time.monotonic() - started, used))
    return min(taken)


def main(environment: str, counts: list[int]) -> None:
    """Prints the table."""
    console = Console()
    table = Table(title=f"pulumi preview -s {environment}, on the stand-in providers")
    for heading in ("teams", "packs", "resources", "seconds", "CPU seconds", "memory (MB)"):
        table.add_column(heading, justify="right")
    with offline(environment) as stack:
        secret = ("config", "set", "--secret", "falaj:kubeconfig")
        stack.pulumi(*secret, standard_input="apiVersion: v1\n")
        measured(stack, 1, [])  # caches
        for teams in counts:
            for held in ([], held_to(environment)):
                row = measured(stack, teams, held)
                table.add_row(
                    f"{row.teams}",
                    "yes" if row.packs else "no",
                    f"{row.resources}",
                    f"{row.seconds:.1f}",
                    f"{row.cpu_seconds:.1f}",
                    f"{row.largest_megabytes:.0f}",
                )
    console.print(table)
    imports = Table(title=f"Import of the program (promised: {PROMISED_IMPORT_SECONDS:g} s)")
    for heading in ("place", "seconds", "CPU seconds"):
        imports.add_column(heading, justify="right")
    for place in ("aws", "local"):
        wall, used = import_seconds(place)
        imports.add_row(place, f"{wall:.2f}", f"{used:.2f}")
    console.print(imports)
    console.print(machine.description())


if __name__ == "__main__":
    environments = [argument for argument in sys.argv[1:] if not argument.isdigit()]
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    main(environments[0] if environments else "dev", numbers or list(TEAMS))
