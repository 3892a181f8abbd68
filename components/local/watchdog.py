"""Ends a part that runs and does not answer, so that supervisord starts it anew.

supervisord notices a process that is gone, not one that hangs or whose children are gone: Ray's
head lives on when its raylet has left. This event listener of supervisord's asks every program that
has a file `<program>.watch.json` beside its section on each tick.

    python -m components.local.watchdog PROGRAMS_DIRECTORY
"""

from __future__ import annotations

import json
import os
import sys
import time
import xmlrpc.client
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supervisor import childutils

from components.local.health import is_alive

SILENT_SECONDS = 30.0
"""How long a part that has answered may be silent."""
SUFFIX = ".watch.json"


def path(programs: Path, program: str) -> Path:
    """Where the watchdog reads how `program` is asked: `health` and `start_seconds`."""
    return programs / f"{program}{SUFFIX}"


@dataclass
class Life:
    """One life of a program, from its start under a process id until it ends."""

    process: int
    answered_at: float
    has_answered: bool = False


@dataclass
class Watchdog:
    """What is known of each program; `silent_seconds` as `SILENT_SECONDS`."""

    programs: Path
    silent_seconds: float = SILENT_SECONDS
    lives: dict[str, Life] = field(default_factory=dict)

    def look(self, daemon: Any, now: float) -> list[str]:
        """Asks every running program at `now`, a monotonic time in seconds; ends the silent ones.

        `daemon` is supervisord's interface. Returns the names of those that were ended.
        """
        running = {
            info["name"]: info["pid"]
            for info in daemon.getAllProcessInfo()
            if info["statename"] == "RUNNING"
        }
        watched = {name: entry for name in running if (entry := _read(path(self.programs, name)))}
        with ThreadPoolExecutor(max_workers=8) as pool:
            answers = pool.map(lambda name: is_alive(watched[name]["health"]), watched)
            alive = dict(zip(watched, answers, strict=True))
        self.lives = {name: life for name, life in self.lives.items() if name in watched}
        ended = []
        for name, answered in alive.items():
            life = self.lives.get(name)
            if life is None or life.process != running[name]:
                life = self.lives[name] = Life(running[name], now)
            if answered:
                life.answered_at, life.has_answered = now, True
            limit = self.silent_seconds if life.has_answered else watched[name]["start_seconds"]
            if now - life.answered_at > limit and _end(daemon, name):
                ended.append(name)
        return ended


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError):
        return None  # not watched, or taken away meanwhile


def _end(daemon: Any, program: str) -> bool:
    try:
        # a process that hangs heeds nothing else; what it leaves behind its next start sweeps away
        daemon.signalProcess(program, "KILL")
    except xmlrpc.client.Fault:
        return False  # it has just ended by itself
    return True


def main() -> None:
    """Looks on every tick that supervisord sends, until it is gone."""
    watchdog = Watchdog(Path(sys.argv[1]))
    daemon = childutils.getRPCInterface(os.environ).supervisor
    while True:
        childutils.listener.wait(sys.stdin, sys.stdout)
        for program in watchdog.look(daemon, time.monotonic()):
            sys.stderr.write(f"{program} did not answer: ended it, so that it starts anew\n")
            sys.stderr.flush()
        childutils.listener.ok(sys.stdout)


if __name__ == "__main__":
    main()
