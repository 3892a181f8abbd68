"""Shows how the steps of the set-up stand: lines of text, or a live table once rich is there."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Step:
    """How one step stands; times are seconds since the epoch."""

    name: str
    state: str
    """`running`, `done` or `failed`."""
    text: str
    since: float
    until: float | None = None


class Board:
    """Takes what the steps say, from any thread."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._guard = threading.Lock()
        self._display: subprocess.Popen[str] | None = None

    def running(self, name: str, text: str) -> None:
        """The step has begun, or does something else now."""
        with self._guard:
            known = self._steps.get(name)
            since = known.since if known else time.time()
            self._show(Step(name, "running", text, since))

    def done(self, name: str, text: str) -> None:
        """The step is complete."""
        self._end(name, "done", text)

    def failed(self, name: str, text: str) -> None:
        """The step cannot be completed."""
        self._end(name, "failed", text)

    def go_live(self, python: Path, root: Path) -> None:
        """From now on a table is drawn by the clone's own Python, which has rich."""
        with self._guard:
            if not sys.stdout.isatty() or self._display is not None:
                return
            if all(step.state != "running" for step in self._steps.values()):
                return
            self._display = subprocess.Popen(
                [str(python), "-m", "tools.board"], cwd=root, stdin=subprocess.PIPE, text=True
            )
            for step in self._steps.values():
                self._show(step)

    def close(self) -> None:
        """Ends the live table and leaves its last state on the screen."""
        with self._guard:
            if self._display is not None and self._display.stdin is not None:
                with contextlib.suppress(OSError):
                    self._display.stdin.close()
                self._display.wait()
                self._display = None

    def _end(self, name: str, state: str, text: str) -> None:
        with self._guard:
            now = time.time()
            since = self._steps[name].since if name in self._steps else now
            self._show(Step(name, state, text, since, now))

    def _show(self, step: Step) -> None:
        self._steps[step.name] = step
        if self._display is not None and self._display.stdin is not None:
            with contextlib.suppress(OSError):
                self._display.stdin.write(json.dumps(asdict(step)) + "\n")
                self._display.stdin.flush()
            return
        took = f" ({step.until - step.since:.0f} s)" if step.until is not None else ""
        dots = " …" if step.state == "running" else ""
        sys.stdout.write(f"  {step.name:<12} {step.text}{dots}{took}\n")
        sys.stdout.flush()


def main() -> None:
    """Draws the steps that arrive on standard input, a JSON object a line."""
    import signal

    from rich.live import Live
    from rich.table import Table

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # our parent says when it is over
    marks = {"running": "[yellow]…[/]", "done": "[green]✓[/]", "failed": "[red]✗[/]"}
    steps: dict[str, Step] = {}

    def table() -> Table:
        drawn = Table(box=None, show_header=False, pad_edge=True)
        for step in list(steps.values()):
            seconds = (step.until or time.time()) - step.since
            drawn.add_row(marks[step.state], step.name, step.text, f"{seconds:.0f} s")
        return drawn

    with Live(get_renderable=table, refresh_per_second=4):
        for line in sys.stdin:
            step = Step(**json.loads(line))
            steps[step.name] = step


if __name__ == "__main__":
    main()
