"""Times of the local environment, from `make setup` to `make down`, as one table.

Between them, while a model is in service, `tests/benchmarks/serving.py` measures predictions and
memory, and `tests/benchmarks/bad_versions.py` how long a bad version keeps its traffic.

    python tests/benchmarks/local.py            caches of packages and builds as they are
    python tests/benchmarks/local.py --cold     with empty caches: downloads and builds everything

Everything happens in a scratch clone on ports of its own. Nothing fails on a time.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import machine
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tools.scratch_clone import ScratchClone

CACHES = ("GOCACHE", "GOMODCACHE", "UV_CACHE_DIR", "PIP_CACHE_DIR")


def main() -> None:
    """The command line described in the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cold", action="store_true", help="use empty caches")
    cold = parser.parse_args().cold
    console = Console(log_path=False)
    console.width = max(console.width, 110)
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as scratch:
        caches = {name: f"{scratch}/{name.lower()}" for name in CACHES} if cold else {}
        clone = ScratchClone.make_at(Path(scratch) / "falaj")
        try:
            rows = _measure(clone, caches, console)
        finally:
            clone.make("down")
            if cold:  # Go makes its module cache read-only
                subprocess.run(["chmod", "-R", "u+w", scratch], check=False)
    table = Table(title=machine.description(), title_justify="left")
    table.add_column("what")
    table.add_column("seconds", justify="right")
    for what, seconds in rows.items():
        table.add_row(what, f"{seconds:.4f}" if seconds < 0.1 else f"{seconds:.1f}")
    console.print(table)


def _measure(clone: ScratchClone, caches: Mapping[str, str], console: Console) -> dict[str, float]:
    rows: dict[str, float] = {}
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:

        def timed(what: str, *command: str, plain: bool = False) -> str:
            task = progress.add_task(what)
            began = time.monotonic()
            ran = clone.run(*command, plain=plain, seconds=1800, variables=caches)
            rows[what] = time.monotonic() - began
            progress.remove_task(task)
            if ran.returncode != 0:
                sys.exit(f"{what}: {' '.join(command)} failed\n{ran.stdout[-4000:]}")
            return ran.stdout

        up = ("pulumi", "up", "--yes", "--skip-preview")
        timed("make setup" + (", empty caches" if caches else ""), "make", "setup", plain=True)
        timed("make setup, all there", "make", "setup", plain=True)
        timed("falaj --help", "falaj", "--help")
        timed("make up, tools present, nothing running", "make", "up", plain=True)
        timed("make up again", "make", "up", plain=True)
        timed("pulumi up without change", *up, "-s", "local")
        timed("pulumi up --refresh without change", *up, "--refresh", "-s", "local")
        timed("pulumi preview", "pulumi", "preview", "-s", "local")
        timed("falaj status", "falaj", "status")
        for script in ("serving", "bad_versions"):
            task = progress.add_task(f"tests/benchmarks/{script}.py")
            asked = clone.run("python", f"tests/benchmarks/{script}.py", seconds=1800)
            progress.remove_task(task)
            console.print(asked.stdout, highlight=False, markup=False)
            if asked.returncode != 0:
                sys.exit(f"{script} could not be measured")
        timed("falaj run --force, a second version", "falaj", "run", "credit-risk", "--force",
              "--spec", str(_lenient(clone)))  # fmt: skip
        timed("falaj rollback", "falaj", "rollback", "credit-risk")
        timed("falaj release", "falaj", "release", "credit-risk", "--version", "2")
        timed("make down", "make", "down", plain=True)
        timed("pulumi up, everything from nothing", *up, "-s", "local")
    return rows


def _lenient(clone: ScratchClone) -> Path:
    """The workload's declaration with a margin that an equal model clears."""
    path = clone.root.parent / "lenient.yaml"
    text = (clone.root / "workloads/credit_risk/workload.yaml").read_text()
    path.write_text(text.replace("margin: 0.002", "margin: -0.05"))
    return path


if __name__ == "__main__":
    main()
