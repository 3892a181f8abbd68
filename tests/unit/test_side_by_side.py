"""How tests are dealt out to processes: what goes together, when it begins, what a run prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import side_by_side
from side_by_side import FIRST, SHARED, group, place

from stacks.environment import ROOT


@pytest.mark.parametrize(
    ("nodeid", "expected"),
    [
        ("tests/local/test_faults.py::test_one[a]", "journey"),
        ("tests/browser/test_pages.py::test_one", "journey"),
        ("tests/cluster/test_place.py::test_one", "cluster"),
        ("tests/engine/test_life.py::test_one[prod]", "tests/engine/test_life.py[prod]"),
        ("tests/engine/test_life.py::test_one[prod-smb]", "tests/engine/test_life.py[prod]"),
        ("tests/unit/test_images.py::test_one[a::b]", "tests/unit/test_images.py"),
    ],
)
def test_what_is_shared_stays_in_one_process(nodeid: str, expected: str) -> None:
    assert group(nodeid) == expected


def test_the_longest_begin_first() -> None:
    begun = sorted(
        ["tests/unit/test_images.py", "tests/cluster/test_place.py", "tests/local/test_faults.py"],
        key=place,
    )
    assert [group(one) for one in begun] == ["journey", "cluster", "tests/unit/test_images.py"]


def test_every_file_that_is_named_is_there() -> None:
    named = [*FIRST, *(start for starts in SHARED.values() for start in starts)]
    assert [one for one in named if "/" in one and not (ROOT / one).exists()] == []
    assert {one for one in FIRST if "/" not in one} <= SHARED.keys()


@pytest.mark.parametrize(("processors", "expected"), [(None, 2), (1, 2), (2, 3), (64, 4)])
def test_processes_follow_the_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int | None, expected: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    assert side_by_side.processes() == expected


def run(folder: Path, text: str) -> str:
    """What a run of two processes prints of a folder with one file of tests."""
    (folder / "tests").mkdir()
    (folder / "tests" / "test_tiny.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "side_by_side", "-n", "2"),
            *("-p", "no:schemathesis", "-p", "no:hypothesispytest"),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_a_run_names_each_file_that_is_done_and_what_hangs_fails_alone(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "import signal, pytest\n\n"
        "@pytest.mark.timeout(1)\ndef test_hangs():\n    signal.pause()\n\n"
        "def test_goes_on():\n    pass\n",
    )
    assert re.search(r"^tests/test_tiny\.py: 2 in \d+ s$", printed, re.MULTILINE), printed
    assert "Failed: Timeout (>1.0s)" in printed
    assert re.search(r"^=+ 1 failed, 1 passed in .* =+$", printed, re.MULTILINE), printed


def test_a_stranger_to_a_shared_thing_is_told_where_to_be_named(tmp_path: Path) -> None:
    printed = run(
        tmp_path,
        "import pytest\n\n@pytest.fixture(scope='session')\ndef dev():\n    pass\n\n"
        "def test_it(dev):\n    pass\n",
    )
    assert "tests/test_tiny.py::test_it asks for dev" in printed
    assert "name its file under dev of SHARED" in printed
