"""Sets up a clone: `python3 -m tools.setup`, again and again, from any state.

What is missing and cannot be got without a person is said at once, in one line. Then everything is
made side by side: builds begin while the Python environment is installed. A step that is done is
skipped, one that was cut short is made again.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

from tools import stack_files
from tools.board import Board
from tools.install import (
    ROOT,
    Installer,
    Machine,
    SetupError,
    Tool,
    Way,
    choose,
    missing,
    tools,
)
from tools.venv import Venv

_HARMFUL = (
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
)
"""What would leave modules uncompiled, or mix in another environment."""

_DOING = {
    "release": "fetching the release",
    "go": "building from its Go module",
    "packages": "installing the package",
}


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Waits until no other set-up of this clone runs; the system frees the lock of a killed one."""
    own = root / ".tools"
    own.mkdir(exist_ok=True)
    with (own / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this clone is running: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def set_up(root: Path, purposes: frozenset[str]) -> None:
    """Makes everything for `purposes` (`run`, `test`, `scale`). Raises `SetupError`."""
    began = time.monotonic()
    machine = Machine.here(root)
    shutil.rmtree(root / ".tools" / "tmp", ignore_errors=True)
    wanted = [tool for tool in tools(root).values() if tool.purpose in purposes]
    installer = Installer(machine)
    with futures.ThreadPoolExecutor() as pool:
        ways = dict(pool.map(lambda tool: (tool.name, choose(tool, machine)), wanted))
    lacking = [tool for tool in wanted if ways[tool.name].kind == "missing"]
    if lacking:
        raise SetupError(missing(lacking, machine))
    _make(wanted, ways, installer)
    for line in stack_files.prepare(root):
        say(f"  {line}")
    say(f"Set up in {time.monotonic() - began:.1f} s")


def _make(wanted: list[Tool], ways: dict[str, Way], installer: Installer) -> None:
    board = Board()
    venv = Venv(installer)

    def install(tool: Tool) -> None:
        way = ways[tool.name]
        idle = way.kind in ("found", "ours")
        if not idle:
            board.running(tool.name, _DOING[way.kind])
        try:
            where = installer.install(tool, way)
        except SetupError:
            board.failed(tool.name, "not done")
            raise
        if not idle:
            board.done(tool.name, where)

    def python() -> None:
        if not venv.is_fresh():
            try:
                venv.make(lambda text: board.running("python", text))
            except SetupError:
                board.failed("python", "not done")
                raise
            board.done("python", ".venv")
        board.go_live(venv.python, venv.root)

    pool = futures.ThreadPoolExecutor(max_workers=len(wanted) + 1)
    try:
        # the longest first
        order = sorted(wanted, key=lambda tool: ways[tool.name].kind != "go")
        jobs = [pool.submit(install, tool) for tool in order] + [pool.submit(python)]
        for job in futures.as_completed(jobs):
            job.result()
    except BaseException:
        installer.stop()
        raise
    finally:
        pool.shutdown(wait=True)
        board.close()


def say(text: str) -> None:
    """A line for the person who waits."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def purposes(arguments: list[str]) -> frozenset[str]:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="tools.setup", description="Sets up this clone.")
    parser.add_argument("--with-tests", action="store_true", help="also what only tests need")
    parser.add_argument(
        "--with-scale", action="store_true", help="also what tests and `make bench-scale` need"
    )
    options = parser.parse_args(arguments)
    if options.with_scale:
        return frozenset({"run", "test", "scale"})
    return frozenset({"run", "test"} if options.with_tests else {"run"})


def main(arguments: list[str]) -> int:
    """The command line; returns the exit code."""
    wanted = purposes(arguments)
    for name in _HARMFUL:
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with only_one(ROOT):
            set_up(ROOT, wanted)
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("Set-up interrupted; run it again to go on\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
