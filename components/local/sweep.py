"""Finds and ends the processes of a part that outlived it.

A part's children carry its mark in their environment: when a parent is killed, its children keep
ports open and the next start fails with "address already in use". Every supervised command is
therefore started through this module, which clears what is left over and then becomes the command:

    python -m components.local.sweep --part tracking -- uvicorn …

`python -m components.local.sweep --root DIRECTORY` ends everything that is left of a clone, for the
end of `make down`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

MARK = "FALAJ_PART"
TERM_SECONDS = 5.0


def mark(state_directory: str | Path, part: str) -> str:
    """The value of `MARK` in the processes of `part` of the clone that keeps `state_directory`."""
    return f"{state_directory}#{part}"


def marked(prefix: str) -> Iterator[psutil.Process]:
    """Each process of this user whose mark begins with `prefix`, save us and our parents.

    A process that renames itself, as Ray's agents do, overwrites its environment. It is known by
    its group, which supervisord makes for each part: one whose leader is marked or gone.
    """
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found: list[psutil.Process] = []
    unnamed: dict[int, list[psutil.Process]] = {}
    groups: set[int] = set()
    others = set(own)
    for process in psutil.process_iter():
        try:
            if process.pid in own or process.status() == psutil.STATUS_ZOMBIE:
                continue
            carried = process.environ().get(MARK)
            group = os.getpgid(process.pid)
        except (psutil.Error, ProcessLookupError):
            continue  # gone meanwhile, or somebody else's
        if carried is not None and carried.startswith(prefix):
            found.append(process)
            groups.add(group)
        elif carried is None:
            unnamed.setdefault(group, []).append(process)
            others.add(process.pid)
    yield from found
    for group in groups - others:
        yield from unnamed.get(group, ())


def end(prefix: str) -> list[int]:
    """Ends the processes whose mark begins with `prefix`; returns their ids."""
    processes = list(marked(prefix))
    for process in processes:
        _signal(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=TERM_SECONDS)
    for process in alive:
        _signal(process.kill)
    psutil.wait_procs(alive, timeout=TERM_SECONDS)
    return [process.pid for process in processes]


def _signal(send: object) -> None:
    try:
        send()  # type: ignore[operator]
    except psutil.NoSuchProcess:
        return


def main(arguments: list[str]) -> None:
    """The command line described in the module's docstring."""
    parser = argparse.ArgumentParser(prog="components.local.sweep", description=__doc__)
    parser.add_argument("--part", help="the part whose leftovers are ended before COMMAND starts")
    parser.add_argument("--root", type=Path, help="the clone whose processes are all ended")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    options = parser.parse_args(arguments)
    if options.root is not None:
        ended = end(mark(options.root.resolve() / ".state", ""))
        if ended:
            print(f"ended {len(ended)} leftover processes", file=sys.stderr)  # noqa: T201
        return
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not options.part or not command:
        parser.error("name a --part and a COMMAND, or a --root")
    end(os.environ[MARK])
    os.execvp(command[0], command)  # noqa: S606 no shell is what we want


if __name__ == "__main__":
    main(sys.argv[1:])
