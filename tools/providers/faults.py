"""What a stand-in is told to do wrong, to see whether the platform recovers.

The environment variable `FALAJ_STANDIN_FAULTS` holds a JSON list, or names a file that does. Each
entry is a fault:

    [{"what": "kill-engine", "on": "create", "number": 7},
     {"what": "throttle", "on": "*", "type": "aws:kms/*", "name": "*artifacts*", "times": 2}]

| key | means |
|---|---|
| `what` | `fail`: an error of the service; `throttle`: the error of one called too often; `time-out`: an error after `seconds`; `lose`: done, and then gone as if somebody else had deleted it; `kill-provider`, `kill-engine`: the process dies, as by SIGKILL |
| `on` | `create`, `update`, `delete`, `read`, or `*` for any but `read` (the default) |
| `type`, `name` | patterns (`*`, `?`) of the type token and of the resource's name in the program |
| `number` | at which of the operations that match it happens first, from 1 (the default) |
| `times` | how many operations in a row it happens to, 1 by default |
| `when` | `before` (the default) or `after` the thing is made, changed or deleted: the answer is lost |
| `seconds` | of `time-out`, 1 by default |

Operations are counted in the world's file where there is one (`world.py`), over all runs: after a
`throttle` of two `times` the third try works. Without a world each process counts for itself.
Nothing happens at preview.
"""  # noqa: E501

from __future__ import annotations

import collections
import fnmatch
import json
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from world import World

VARIABLE = "FALAJ_STANDIN_FAULTS"

What = Literal["fail", "throttle", "time-out", "lose", "kill-provider", "kill-engine"]
Operation = Literal["create", "update", "delete", "read"]
When = Literal["before", "after"]


class Refused(Exception):  # noqa: N818 - what a service answers, not what is wrong with the stand-in
    """The service refuses; the engine shows the message."""


class FaultError(Exception):
    """A fault is described wrongly."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing to do wrong; see the module's text."""

    what: What
    on: str = "*"
    type: str = "*"
    name: str = "*"
    number: int = 1
    times: int = 1
    when: When = "before"
    seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuses what would never happen."""
        for key, value, allowed in (
            ("what", self.what, get_args(What)),
            ("on", self.on, ("*", *get_args(Operation))),
            ("when", self.when, get_args(When)),
        ):
            if value not in allowed:
                raise FaultError(f"{key} is {value!r}; allowed: {', '.join(allowed)}")

    def is_about(self, operation: Operation, urn: str) -> bool:
        """Whether the fault concerns an operation on the resource `urn`."""
        on = operation != "read" if self.on == "*" else operation == self.on
        token, name = urn.split("::")[2].rpartition("$")[2], urn.rpartition("::")[2]
        return on and fnmatch.fnmatch(token, self.type) and fnmatch.fnmatch(name, self.name)


def read(text: str) -> list[Fault]:
    """The faults that `text` describes, or the file that it names. Raises `FaultError`."""
    try:
        described = json.loads(text if text.lstrip().startswith("[") else Path(text).read_text())
        return [Fault(**one) for one in described]
    except (OSError, TypeError, ValueError) as error:
        raise FaultError(f"{VARIABLE}: {error}") from error


class Faults:
    """The faults of a provider's process."""

    def __init__(self, faults: list[Fault], world: World | None) -> None:
        self._faults = faults
        self._world = world
        self._counts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    @classmethod
    def of_environment(cls, world: World | None) -> Faults:
        """Those that the environment variable tells, none without it. Raises `FaultError`."""
        return cls(read(os.environ.get(VARIABLE) or "[]"), world)

    def due(self, operation: Operation, urn: str) -> list[Fault]:
        """Counts an operation; gives the faults that happen to it."""
        return [
            fault
            for fault in self._faults
            if fault.is_about(operation, urn)
            and fault.number <= self._count(repr(fault)) < fault.number + fault.times
        ]

    def _count(self, what: str) -> int:
        if self._world is not None:
            return self._world.count(what)
        with self._lock:
            self._counts[what] += 1
            return self._counts[what]


def happen(due: list[Fault], when: When, subject: str) -> None:
    """Lets happen what is due now. Raises `Refused`, or does not return.

    `lose` is left to the caller, who knows what was made.
    """
    for fault in due:
        if fault.when == when:
            _happen(fault, subject)


def _happen(fault: Fault, subject: str) -> None:
    refusals: dict[str, Any] = {
        "fail": f"InternalFailure: the service failed at {subject} (a fault that was asked for)",
        "throttle": f"ThrottlingException: Rate exceeded at {subject} (a fault that was asked for)",
        "time-out": f"RequestTimeout: no answer in {fault.seconds:g} s at {subject}",
    }
    match fault.what:
        case "kill-provider":
            os._exit(137)
        case "kill-engine":
            # the engine starts its providers itself
            os.kill(os.getppid(), signal.SIGKILL)
            os._exit(137)
        case "time-out":
            time.sleep(fault.seconds)
    if fault.what in refusals:
        raise Refused(refusals[fault.what])
