"""Which locks of Pulumi's state are cleared, and which hold."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stacks import locks

NOW = datetime.datetime.now(datetime.UTC)


def lock(root: Path, **more: object) -> Path:
    """A lock as Pulumi writes it: of this very process, made now."""
    path = root / ".state/pulumi/.pulumi/locks/organization/falaj/local/1234.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "pid": os.getpid(),
        "username": "somebody",
        "hostname": socket.gethostname(),
        "timestamp": NOW.isoformat().replace("+00:00", "Z"),
    }
    path.write_text(json.dumps(content | more))
    return path


def ended() -> int:
    """The id of a process that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_lock_of_a_run_that_is_gone_is_cleared(tmp_path: Path) -> None:
    path = lock(tmp_path, pid=ended())
    stale, held = locks.clear(tmp_path)
    assert [found.stack for found in stale] == ["falaj/local"]
    assert held == []
    assert not path.exists()


def test_the_lock_of_a_living_run_holds_and_says_whose_it_is(tmp_path: Path) -> None:
    path = lock(tmp_path)
    stale, (held,) = locks.clear(tmp_path)
    assert stale == []
    assert path.exists()
    assert f"process {os.getpid()} of somebody" in held.describe()
    assert "falaj/local" in held.describe()


def test_a_lock_older_than_the_process_with_its_number_is_cleared(tmp_path: Path) -> None:
    long_ago = NOW - datetime.timedelta(days=30)
    path = lock(tmp_path, timestamp=long_ago.isoformat())
    assert [found.process for found in locks.clear(tmp_path)[0]] == [os.getpid()]
    assert not path.exists()


def test_a_clock_that_was_set_forward_does_not_clear_the_lock_of_a_living_run(
    tmp_path: Path,
) -> None:
    pulumi = shutil.copy("/bin/sleep", tmp_path / "pulumi")
    with subprocess.Popen([pulumi, "600"]) as running:
        try:
            long_ago = NOW - datetime.timedelta(days=30)
            path = lock(tmp_path, pid=running.pid, timestamp=long_ago.isoformat())
            stale, (held,) = locks.clear(tmp_path)
            assert (stale, held.process) == ([], running.pid)
            assert path.exists()
        finally:
            running.kill()


def test_the_lock_of_another_machine_holds_and_says_how_to_clear_it(tmp_path: Path) -> None:
    path = lock(tmp_path, pid=ended(), hostname="elsewhere")
    _, (held,) = locks.clear(tmp_path)
    assert path.exists()
    assert "elsewhere" in held.describe()
    assert "pulumi cancel" in held.describe()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1}'])
def test_a_lock_that_cannot_be_read_is_left_to_pulumi(tmp_path: Path, content: str) -> None:
    path = lock(tmp_path)
    path.write_text(content)
    assert locks.clear(tmp_path) == ([], [])
    assert path.exists()


def test_go_writes_more_digits_than_a_microsecond_has(tmp_path: Path) -> None:
    lock(tmp_path, timestamp="2026-11-21T08:22:45.123456789+04:00")
    (found,) = locks.locks(tmp_path)
    assert found.since.utcoffset() == datetime.timedelta(hours=4)


def test_a_clone_without_state_has_no_locks(tmp_path: Path) -> None:
    assert locks.clear(tmp_path) == ([], [])


@pytest.mark.parametrize("name", ["1234.json", "1234.json.18ea0c7d.tmp"])
def test_what_never_became_a_lock_is_removed_once_nobody_writes_it(
    tmp_path: Path, name: str
) -> None:
    path = lock(tmp_path).with_name(name)
    path.write_text('{"pid": 1')
    locks.clear(tmp_path)
    assert path.exists(), "a run may be writing it at this moment"
    long_ago = NOW.timestamp() - 60
    os.utime(path, (long_ago, long_ago))
    assert locks.clear(tmp_path)[0] == []
    assert not path.exists()


def test_attributes_of_the_state_that_were_cut_short_go_and_whole_ones_stay(tmp_path: Path) -> None:
    stacks = tmp_path / ".state/pulumi/.pulumi/stacks/falaj"
    stacks.mkdir(parents=True)
    for name, text in {
        "local.json.attrs": "",
        "local.json.bak.attrs": "{}",
        "local.json": "",
    }.items():
        (stacks / name).write_text(text)
        os.utime(stacks / name, (0, 0))

    locks.clear(tmp_path)

    assert sorted(path.name for path in stacks.iterdir()) == ["local.json", "local.json.bak.attrs"]


def test_attributes_that_somebody_may_be_writing_stay(tmp_path: Path) -> None:
    path = tmp_path / ".state/pulumi/.pulumi/stacks/falaj/local.json.attrs"
    path.parent.mkdir(parents=True)
    path.write_text("")

    locks.clear(tmp_path)

    assert path.exists()
