"""Clears the locks and what else killed Pulumi runs left in the clone's state.

Pulumi keeps a lock file while it changes a stack. A run that is killed leaves it, and every later
one refuses to start. A lock goes only when the process that made it is gone from this machine. One
that is no lock yet, since the disk was full or the run was killed as it wrote, goes when it is old:
Pulumi reads it and fails with "unexpected end of JSON input".

A state in files is replaced whole, but not the attributes beside it (`<stack>.json.attrs`): cut
short by a kill they make every later run fail with "failed to load checkpoint: EOF". They hold
nothing that is needed, so they go.

    python -m stacks.locks
"""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from stacks.environment import ROOT, state_directory

HALF_WRITTEN_SECONDS = 2.0
"""How old a file is that nobody is writing any more; a lock is some hundred bytes."""
CLOCK_SECONDS = 2.0
"""How far a process's start, counted in ticks since boot, may seem later than it was."""


@dataclass(frozen=True, kw_only=True)
class Lock:
    """What a lock file says about the run that made it."""

    path: Path
    process: int
    user: str
    host: str
    since: datetime.datetime

    @property
    def stack(self) -> str:
        """Such as `falaj/local`: the project and the stack."""
        return "/".join(self.path.parts[-3:-1])

    def is_stale(self) -> bool:
        """Whether its process is gone; that of another host cannot be known."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.process)
            started, name = process.create_time(), process.name()
        except psutil.NoSuchProcess:
            return True
        # the number may have been given to another process since; but where the clock was set
        # forward a run seems to have started after the lock that it made
        return started > self.since.timestamp() + CLOCK_SECONDS and name != "pulumi"

    def describe(self) -> str:
        """A line that says who holds the lock and what to do."""
        who = f"process {self.process} of {self.user}, since {self.since:%Y-%m-%d %H:%M:%S %Z}"
        if self.host != socket.gethostname():
            return (
                f"stack {self.stack} is locked on another machine, {self.host} ({who}): when that "
                f"run is gone, `pulumi cancel` clears it"
            )
        return f"stack {self.stack} is being changed by {who}: wait for it, or end it"


def locks(root: Path = ROOT) -> list[Lock]:
    """Every readable lock in the state of the clone at `root`."""
    found = (_read(path) for path in _files(root))
    return [lock for lock in found if lock is not None]


def clear(root: Path = ROOT) -> tuple[list[Lock], list[Lock]]:
    """Removes the stale locks, what never became one and attributes that were cut short.

    Returns the locks that were stale and those that hold.
    """
    for path in sorted((state_directory(root) / "pulumi").rglob("*.attrs")):
        if is_cut_short(path):
            _remove_half_written(path)
    stale, held = [], []
    for path in _files(root):
        lock = _read(path)
        if lock is None:
            _remove_half_written(path)
        elif lock.is_stale():
            path.unlink(missing_ok=True)
            stale.append(lock)
        else:
            held.append(lock)
    return stale, held


def _files(root: Path) -> list[Path]:
    folder = state_directory(root) / "pulumi" / ".pulumi" / "locks"
    return sorted(path for path in folder.rglob("*.json*") if path.suffix in (".json", ".tmp"))


def is_cut_short(path: Path) -> bool:
    """Whether a file of JSON ends too early."""
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False


def _remove_half_written(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if abs(time.time() - path.stat().st_mtime) > HALF_WRITTEN_SECONDS:
            path.unlink()


def _read(path: Path) -> Lock | None:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        return Lock(
            path=path,
            process=int(content["pid"]),
            user=str(content["username"]),
            host=str(content["hostname"]),
            since=datetime.datetime.fromisoformat(content["timestamp"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None  # gone meanwhile, or half written


def main() -> int:
    """Clears what is stale; 1 when a run holds a lock."""
    stale, held = clear()
    for lock in stale:
        sys.stderr.write(f"stack {lock.stack}: removed the lock of a run that was killed\n")
    for lock in held:
        sys.stderr.write(f"{lock.describe()}\n")
    return 1 if held else 0


if __name__ == "__main__":
    sys.exit(main())
