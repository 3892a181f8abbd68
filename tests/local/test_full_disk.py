"""An environment of its own whose disk runs full: what goes on, what is said, what is left.

`.state` lies on a file system of one gigabyte that only the processes of this test see.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.local.supervisor import connect
from tools.scratch_clone import PORT_OFFSET, ScratchClone

DISK = "1g"
SECONDS = 600


@dataclass(frozen=True)
class SmallDisk:
    """A clone whose `.state` is small, and the process that holds the file system."""

    clone: ScratchClone
    holder: subprocess.Popen[bytes]

    def run(self, *command: str, plain: bool = False) -> subprocess.CompletedProcess[str]:
        inside = ("nsenter", "--target", str(self.holder.pid), "--user", "--mount")
        # where the mount is known, the path leads to it
        there = ("sh", "-c", 'cd "$0" && exec "$@"', str(self.clone.root))
        return self.clone.run(
            *(*inside, "--preserve-credentials", *there),
            *self.clone.command(*command, plain=plain),
            plain=True,
        )

    def fill(self) -> None:
        self.run("sh", "-c", "cat /dev/zero > .state/filler; printf x > .state/last", plain=True)

    def free(self) -> None:
        self.run("rm", "-f", ".state/filler", ".state/last", plain=True)


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    clone = ScratchClone.make_at(
        Path(tmp_path_factory.mktemp("small")) / "falaj", port_offset=PORT_OFFSET + 300
    )
    state = clone.root / ".state"
    state.mkdir()
    script = f'mount -t tmpfs -o size={DISK},mode=700 none "$0" && echo mounted && exec cat'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, str(state)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"mounted\n"
    disk = SmallDisk(clone, holder)
    try:
        yield disk
    finally:
        disk.free()
        disk.run("make", "down", plain=True)
        holder.kill()
        holder.wait()


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(1)


def kill_every_part(socket: str) -> None:
    daemon = connect(socket)
    for process in daemon.getAllProcessInfo():
        if process["statename"] == "RUNNING":
            daemon.signalProcess(process["name"], "KILL")


def test_a_full_disk_is_said_in_one_line_and_nothing_is_lost_or_half_done(small: SmallDisk) -> None:
    up = small.run("make", "up", plain=True)
    assert up.returncode == 0, up.stdout[-4000:]
    outputs = small.run("pulumi", "stack", "output", "local", "--json", "-s", "local").stdout
    small.fill()

    assert small.run("falaj", "predict", "credit-risk").returncode == 0
    ran = small.run("falaj", "run", "credit-risk", "--force")
    assert ran.returncode == 1, ran.stdout
    assert "Traceback" not in ran.stdout
    assert "the disk is full" in ran.stdout
    up = small.run("make", "up", plain=True)
    assert up.returncode != 0
    assert "no space left on device" in up.stdout.lower(), up.stdout[-3000:]
    kill_every_part(json.loads(outputs)["socket"])
    # what only reads comes back by itself
    eventually(lambda: small.run("falaj", "predict", "credit-risk").returncode == 0, "predictions")

    small.free()
    up = small.run("make", "up", plain=True)
    assert up.returncode == 0, up.stdout[-4000:]
    again = small.run("falaj", "run", "credit-risk", "--force")
    assert again.returncode == 2, (
        again.stdout
    )  # every part has written; an equal model gains nothing
    runs = small.run("falaj", "runs", "credit-risk", "--json").stdout
    assert len(json.loads(runs[runs.index("[") :])) == 2, runs
    assert small.run("find", ".state", "-name", ".*.json.*", plain=True).stdout == ""
    assert small.run("falaj", "predict", "credit-risk").returncode == 0
