"""How the tests are dealt out to processes that run side by side: pytest-xdist, by ``-n``.

What one costly thing serves stays in one process: a local environment, a control plane, an
environment on the engine. All else goes file by file. The longest come first, so that none of them
is left over when the other processes have nothing more to do. In one process (without ``-n``) the
order is the same.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

MOST = 4
NICENESS = 5
SHARED = {
    "journey": (
        "tests/browser/test_pages.py",
        "tests/local/test_journey.py",
        "tests/local/test_faults.py",
    ),
    "cluster": ("tests/cluster/",),
    "database": ("tests/unit/delivery/",),
    "dev": (
        "tests/contract/test_contract.py",
        "tests/engine/test_dev.py",
        "tests/engine/test_documents.py",
        "tests/engine/test_policy_pack.py",
    ),
}
"""Fixture of the session → the files or folders whose tests share it."""
IN_PARTS = re.compile(r"(tests/engine/test_life\.py)::\w+\[(\w+)")
"""A file of which each environment is a part of its own, since nothing is shared by them."""
FIRST = (
    "journey",
    "cluster",
    "tests/engine/test_life.py",
    "tests/local/test_full_disk.py",
    "tests/engine/test_interrupted.py",
    "dev",
    "database",
    "tests/unit/test_repository.py",
    "tests/unit/policies/test_policies_cases.py",
    "tests/engine/",
    "tests/local/",
    "tests/unit/serving/",
)
"""Starts of groups' names, the longest group first: a change of what they take needs no change
here, as long as no long one is missing."""


# --- what goes together, and when -----------------------------------------------------------------


def processes() -> int:
    """One more than there are processors, since much of a run is waiting, but four at most."""
    return min(MOST, (os.cpu_count() or 1) + 1)


def group(nodeid: str) -> str:
    """What a test goes with: the thing that is shared, or the file."""
    file = nodeid.partition("::")[0]
    for name, starts in SHARED.items():
        if file.startswith(starts):
            return name
    part = IN_PARTS.match(nodeid)
    return f"{part[1]}[{part[2]}]" if part else file


def place(nodeid: str) -> int:
    """When a test's group is begun: smaller is earlier."""
    name = group(nodeid)
    return next((at for at, start in enumerate(FIRST) if name.startswith(start)), len(FIRST))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the tests in their order."""
    items.sort(
        key=lambda item: (
            place(item.nodeid),
            # what ends the one environment comes after all that looks at it; and faults need what
            # the journey leaves: a champion, and a version that is kept warm
            item.get_closest_marker("last") is not None,
            item.path.stem == "test_faults",
        )
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Function) -> None:
    """Fails a test that would make a shared thing again, for itself alone."""
    found = item._fixtureinfo.name2fixturedefs
    for name in found.keys() & SHARED.keys() - {group(item.nodeid)}:
        if found[name][-1].scope in ("package", "session"):
            pytest.fail(
                f"{item.nodeid} asks for {name}, which its process would make for it alone: "
                f"name its file under {name} of SHARED in tests/side_by_side.py"
            )


# --- asked by pytest-xdist ------------------------------------------------------------------------


class ByGroup(LoadScopeScheduling):
    """Hands out whole groups, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


def pytest_xdist_auto_num_workers() -> int:
    """The processes of ``-n auto``."""
    return processes()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGroup:
    """Deals groups out, whatever ``--dist`` says."""
    config.option.loadscopereorder = False
    return ByGroup(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Adds what belongs to one kind of process."""
    if hasattr(config, "workerinput"):
        config.pluginmanager.register(Manners())
    elif config.getoption("numprocesses", None):
        config.pluginmanager.register(Progress(config))


class Manners:
    """In a process that runs tests: leaves the processor to the one that runs the environment.

    There faults are timed and requests may not fail, which is no statement about a machine that is
    busy with something else.
    """

    def __init__(self) -> None:
        self._has_begun = False

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Decides by the first test."""
        if not self._has_begun and group(nodeid) != "journey":
            os.nice(NICENESS)
        self._has_begun = True


class Progress:
    """In the process that reports: names each group that is done, which dots do not."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._left: Counter[str] = Counter()
        self._tests: Counter[str] = Counter()
        self._seconds: Counter[str] = Counter()

    def pytest_xdist_node_collection_finished(
        self, node: WorkerController, ids: Sequence[str]
    ) -> None:
        """Knows from the first process what there is; all others find the same."""
        if not self._tests:
            self._tests = Counter(map(group, ids))
            self._left = self._tests.copy()

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Counts what is done."""
        name = group(report.nodeid)
        self._seconds[name] += report.duration
        if report.when != "teardown":
            return
        self._left[name] -= 1
        if self._left[name] == 0:
            writer = self._config.get_terminal_writer()
            if writer.width_of_current_line:
                writer.line()
            writer.line(f"{name}: {self._tests[name]} in {self._seconds[name]:.0f} s")
