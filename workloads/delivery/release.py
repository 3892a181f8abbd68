"""Which version answers: releases it into the free slot, moves the traffic, and takes it back.

Owns the registry's aliases `slot-a`, `slot-b` and `champion` and the traffic's weights, and nothing
else writes them. One release or rollback of a workload runs at a time.

The order of writes makes a kill at any point harmless. One sentence holds at every moment: the
version with the alias `champion` is the one that should have all traffic, and any weight elsewhere
is a release that has not ended.

    release   slot alias → the slot loads it → weights, step by step → `champion`
    rollback  `champion` → the version that leaves loses its slot alias → weights → it is unloaded

A release that was killed before `champion` moved is thus still undone by `rollback`, which gives
all traffic back to the champion, and goes on where it stood when it is asked for again. A rollback
that was killed after `champion` moved looks like such a release: asked for again it ends the same
way. A version that was taken back leaves its slot, so that no fault brings it into service again
and a second `rollback` finds nothing to go to.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from workloads.delivery import registry
from workloads.delivery.connection import Connection
from workloads.delivery.errors import BusyError, DeliveryError, NotUpError
from workloads.delivery.slot import alias_of
from workloads.delivery.traffic import WHOLE, GatewayTrafficSplit, TrafficSplit

Progress = Callable[[str], None]

TAG_ROLLED_BACK = "falaj.rolled_back_at"
JOURNAL = "releases.jsonl"
AT_ONCE = (WHOLE,)

_LOAD_SECONDS = 120
_READY_SECONDS = 60
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class ReleaseRecord:
    """What a release or a rollback did; a line of the journal."""

    action: Literal["release", "rollback"]
    workload: str
    environment: str
    version: int
    """Has all traffic now."""
    previous: int | None
    """Had it before."""
    slot: str
    weights: dict[str, int]
    by: str
    started_at: str
    """ISO 8601, UTC."""
    finished_at: str


@dataclass(frozen=True)
class Standing:
    """Which version is where."""

    champion: int | None
    slots: dict[str, int | None]
    """Slot → version that the registry puts there."""
    weights: dict[str, int]

    @property
    def live(self) -> str:
        """The champion's slot; without one the slot that most traffic would meet."""
        for slot, version in self.slots.items():
            if version is not None and version == self.champion:
                return slot
        return max(self.weights, key=lambda slot: self.weights[slot])

    @property
    def free(self) -> str:
        """The other slot."""
        return next(slot for slot in sorted(self.slots) if slot != self.live)


def traffic_of(connection: Connection) -> GatewayTrafficSplit:
    """The split of the workload's live traffic."""
    return GatewayTrafficSplit(
        connection.traffic_weights, connection.traffic_socket, connection.traffic_backend
    )


def standing(connection: Connection, traffic: TrafficSplit) -> Standing:
    """Which version is where now. Raises `NotUpError` when registry or gateway cannot say."""
    aliases = _aliases(connection)
    return Standing(
        champion=aliases.get(registry.CHAMPION),
        slots={slot: aliases.get(alias_of(slot)) for slot in sorted(connection.slots)},
        weights=dict(traffic.weights()),
    )


def release(
    connection: Connection,
    version: int | None,
    progress: Progress,
    *,
    traffic: TrafficSplit | None = None,
    steps: Sequence[int] = AT_ONCE,
) -> ReleaseRecord:
    """Puts `version`, by default the candidate, into service and returns when it has all traffic.

    `steps` are the percents that it is given one after the other; the last is 100. Raises
    `DeliveryError` when the version is unknown, not approved or altered since, or does not load;
    the champion then serves as before. Raises `BusyError` while another release runs.
    """
    if list(steps) != sorted(set(steps)) or not steps or steps[-1] != WHOLE or steps[0] <= 0:
        raise ValueError(f"steps {list(steps)} do not rise from above 0 to {WHOLE}")
    with _exclusive(connection):
        split = traffic or traffic_of(connection)
        now = standing(connection, split)
        number = version if version is not None else _candidate(connection)
        _require_approval(connection, number)
        journal = _Journal(connection, "release", number, now.champion)

        target = _target(now, number)
        other = next(slot for slot in sorted(now.slots) if slot != target)
        if now.champion not in (None, number) and now.slots[target] != number:
            _take_off(split, now, target, progress)
        journal.note("started", slot=target)
        try:
            _load(connection, split, target, number, progress)
        except (DeliveryError, KeyboardInterrupt) as error:
            _point(connection, target, now.slots[target])
            journal.note("failed", slot=target, reason=str(error))
            # one worker may have loaded what another could not
            _unload(connection, target, progress)
            raise
        reached = split.weights()[target]
        for percent in steps if now.champion is not None else AT_ONCE:
            if percent > reached:
                split.set_weights({target: percent, other: WHOLE - percent})
                journal.note("moved", slot=target, weights=dict(split.weights()))
                progress(f"version {number} in slot {target} has {percent} % of the traffic")
        if now.champion != number:
            # before the alias: a champion without the tag could never be gone back to
            _tag(connection, number, registry.TAG_RELEASED)
            _set_alias(connection, registry.CHAMPION, number)
        return journal.finish(slot=target, weights=dict(split.weights()))


def rollback(
    connection: Connection, progress: Progress, *, traffic: TrafficSplit | None = None
) -> ReleaseRecord:
    """Gives all traffic back to the version that had it before the last release.

    A release that has not ended is undone. Raises `DeliveryError` when there is nothing to go back
    to, `BusyError` while a release runs.
    """
    with _exclusive(connection):
        split = traffic or traffic_of(connection)
        now = standing(connection, split)
        if now.champion is None:
            raise DeliveryError(f"no version of {connection.workload} is in service yet")
        if now.weights[now.free] > 0:
            keeper, leaver = now.live, now.free
        else:
            keeper, leaver = now.free, now.live
        number = _previous(connection, now) if keeper == now.free else now.champion
        leaving = now.slots[leaver] if leaver == now.free else now.champion
        journal = _Journal(connection, "rollback", number, leaving)
        journal.note("started", slot=keeper)
        _load(connection, split, keeper, number, progress)
        _set_alias(connection, registry.CHAMPION, number)
        if leaving is not None:
            _tag(connection, leaving, TAG_ROLLED_BACK)
        _point(connection, leaver, None)
        split.set_weights({keeper: WHOLE})
        progress(f"version {number} in slot {keeper} has all traffic again")
        _unload(connection, leaver, progress)
        return journal.finish(slot=keeper, weights=dict(split.weights()))


def history(connection: Connection) -> list[dict[str, Any]]:
    """The journal's lines, oldest first; a line that a kill cut short is left out."""
    path = connection.state / JOURNAL
    if not path.exists():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


@contextmanager
def _exclusive(connection: Connection) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(connection.state / "release.lock", timeout=0):
            yield
    except Timeout as error:
        raise BusyError(
            f"another release or rollback of {connection.workload} is running; see `falaj status`"
        ) from error


def _candidate(connection: Connection) -> int:
    found = _aliases(connection).get(registry.CANDIDATE)
    if found is None:
        raise DeliveryError(
            f"{connection.workload} has no candidate: make one with `falaj run "
            f"{connection.workload}` or name a version with --version"
        )
    return found


def _require_approval(connection: Connection, number: int) -> None:
    from workloads.delivery.approve import approval_of

    model = registry.version(connection, number)
    approval = approval_of(connection, number)
    if approval is None:
        raise DeliveryError(
            f"{connection.workload} version {number} is not approved: "
            f"`falaj approve {connection.workload} --version {number}`"
        )
    digest = model.tags.get(registry.TAG_DIGEST)
    if approval.model_digest != digest:
        raise DeliveryError(
            f"{connection.workload} version {number} is not the model that was approved: its "
            f"digest is {str(digest)[:12]}…, approved was {approval.model_digest[:12]}…"
        )


def _target(now: Standing, number: int) -> str:
    """The slot to release into: the free one, unless it would be a second copy."""
    if now.champion in (None, number):
        for slot, version in now.slots.items():
            if version == number:
                return slot
    return now.free


def _take_off(split: TrafficSplit, now: Standing, slot: str, progress: Progress) -> None:
    """Ends an unfinished release of another version before its slot is used anew."""
    if now.weights[slot] > 0:
        progress(f"slot {slot} has traffic of an unfinished release: giving it to the champion")
        split.set_weights({now.live: WHOLE})


def _load(
    connection: Connection, split: TrafficSplit, slot: str, number: int, progress: Progress
) -> None:
    """Returns when every worker of `slot` answers with version `number` and the gateway knows."""
    _point(connection, slot, number)
    progress(f"loading version {number} into slot {slot}")
    deadline = time.monotonic() + _READY_SECONDS
    for url in connection.slots[slot]:
        _reload(url, slot, number, deadline)
    while not split.ready().get(slot):
        if time.monotonic() > deadline:
            raise DeliveryError(f"the gateway does not find slot {slot} ready")
        time.sleep(_PAUSE_SECONDS)


def _reload(url: str, slot: str, number: int, deadline: float) -> None:
    """Returns when the worker of `slot` at `url` answers with version `number`."""
    import httpx

    answer: Mapping[str, Any] = {}
    refusal = "it has not answered"
    while time.monotonic() < deadline:
        try:
            reply = httpx.post(f"{url}/reload", timeout=_LOAD_SECONDS)
            answer = reply.json()
            if reply.status_code != 200:
                raise DeliveryError(
                    f"slot {slot} did not load version {number}: "
                    f"{answer.get('status', {}).get('info', reply.text[:200])}"
                )
            break
        except (httpx.TransportError, ValueError) as error:  # starting, or starting again
            refusal = f"{type(error).__name__}: {error}"
        time.sleep(_PAUSE_SECONDS)
    else:
        raise NotUpError(f"the model server of slot {slot} at {url} does not answer ({refusal})")
    if answer.get("version") != str(number):
        raise DeliveryError(f"slot {slot} serves version {answer.get('version')}, not {number}")


def _unload(connection: Connection, slot: str, progress: Progress) -> None:
    """Lets a slot without traffic follow the registry; nothing depends on its success."""
    import httpx

    for url in connection.slots[slot]:
        try:
            httpx.post(f"{url}/reload", timeout=10).raise_for_status()
        except httpx.HTTPError as error:
            progress(
                f"{url} did not follow the registry ({type(error).__name__}); it has no traffic"
            )


def _previous(connection: Connection, now: Standing) -> int:
    """The version to go back to: in the free slot, once in service and not taken back since."""
    number = now.slots[now.free]
    tags = registry.version(connection, number).tags if number is not None else {}
    released = tags.get(registry.TAG_RELEASED, "")
    gone = not released or tags.get(TAG_ROLLED_BACK, "") >= released
    if number is None or number == now.champion or gone:
        what = "nothing" if number is None else f"version {number}, which is not in service"
        raise DeliveryError(
            f"there is nothing to go back to: version {now.champion} has all traffic and slot "
            f"{now.free} holds {what}; `falaj release {connection.workload} --version N` puts "
            "another version into service"
        )
    return number


def _aliases(connection: Connection) -> dict[str, int]:
    with _registry(connection):
        from mlflow.exceptions import MlflowException

        try:
            model = registry.client(connection).get_registered_model(connection.workload)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {str(alias): int(version) for alias, version in model.aliases.items()}


def _set_alias(connection: Connection, alias: str, number: int) -> None:
    with _registry(connection):
        client = registry.client(connection)
        client.set_registered_model_alias(connection.workload, alias, str(number))


def _point(connection: Connection, slot: str, number: int | None) -> None:
    """Makes the registry say what sits in `slot`."""
    if number is not None:
        _set_alias(connection, alias_of(slot), number)
        return
    with _registry(connection):
        registry.client(connection).delete_registered_model_alias(
            connection.workload, alias_of(slot)
        )


def _tag(connection: Connection, number: int, name: str) -> None:
    with _registry(connection):
        registry.client(connection).set_model_version_tag(
            connection.workload, str(number), name, _now()
        )


@contextmanager
def _registry(connection: Connection) -> Iterator[None]:
    """Says plainly that the registry is down, if it is."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"):
            raise
        first = (str(error).splitlines() or [""])[0][:200]
        raise NotUpError(
            f"the registry at {connection.tracking_uri} does not answer: {first}"
        ) from error


class _Journal:
    """Writes what happens as it happens, a JSON line each."""

    def __init__(
        self,
        connection: Connection,
        action: Literal["release", "rollback"],
        version: int,
        previous: int | None,
    ) -> None:
        self._path = connection.state / JOURNAL
        self._started = _now()
        self._connection = connection
        self._action = action
        self._version = version
        self._previous = previous if previous != version else None

    def note(self, phase: str, **details: Any) -> None:
        self._append({"phase": phase, "at": _now(), **self._who(), **details})

    def finish(self, slot: str, weights: dict[str, int]) -> ReleaseRecord:
        record = ReleaseRecord(
            **self._who(),
            slot=slot,
            weights=weights,
            by=getpass.getuser(),
            started_at=self._started,
            finished_at=_now(),
        )
        self._append({"phase": "finished", "at": record.finished_at, **asdict(record)})
        return record

    def _who(self) -> dict[str, Any]:
        return {
            "action": self._action,
            "workload": self._connection.workload,
            "environment": self._connection.environment,
            "version": self._version,
            "previous": self._previous,
        }

    def _append(self, line: Mapping[str, Any]) -> None:
        # one write at the end of the file is whole or not there
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, (json.dumps(line) + "\n").encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
