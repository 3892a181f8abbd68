"""Which version answers: releases it into the free slot, moves the traffic, and takes it back.

Owns the registry's aliases `slot-a`, `slot-b` and `champion` and the traffic's weights, and nothing
else writes them. One release or rollback of a workload runs at a time. What a version does with its
share of the traffic is judged by `workloads.delivery.judge`; a version that is judged badly, or not
at all in time, is taken back.

The order of writes makes a kill at any point harmless. One sentence holds at every moment: the
version with the alias `champion` is the one that should have all traffic, any weight elsewhere is a
release that has not ended, and a rollback that stands in the journal without its end is stronger
than both.

    release   slot alias → the slot loads it → weights, step by step → `champion`
    rollback  journal → weights → `champion` → the version that leaves loses its slot alias →
              it is unloaded → journal

A release that was killed before `champion` moved is thus still undone by `rollback`, which gives
all traffic back to the champion, and goes on when it is asked for again: at the step that it had
reached, which is judged anew, since nobody watched meanwhile. A rollback moves the traffic before
anything else, so that it needs no registry; where it was killed, or the registry was down, the
journal says so, and the next rollback or release ends it first. A version that was taken back
leaves its slot, so that no fault brings it into service again and a second `rollback` finds nothing
to go to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from workloads.delivery import registry, servers
from workloads.delivery.connection import Connection
from workloads.delivery.errors import BusyError, DeliveryError, NotUpError
from workloads.delivery.judge import Judge, PrometheusJudge, Seat, Verdict
from workloads.delivery.ledger import me
from workloads.delivery.mesh import ClusterDownError
from workloads.delivery.place import ledger_of, servers_of, traffic_of
from workloads.delivery.replay import Applications, Replay
from workloads.delivery.slot import alias_of
from workloads.delivery.spec import Rollout
from workloads.delivery.traffic import WHOLE, GatewayDownError, TrafficSplit

Progress = Callable[[str], None]

_STOP_SECONDS = 30
_PROBE_SECONDS = 2.0
_UNREADY_SECONDS = 5.0
"""How long a candidate may be without one of its workers: longer than one takes to start again."""
_PAUSE_SECONDS = 0.05
_JUDGE_SECONDS = 0.5

Judges = Callable[[Connection, Rollout, Seat, Seat], Judge]
"""Makes the judge of a candidate, named before the champion."""


class TakenBackError(DeliveryError):
    """The version had part of the traffic and was taken back; the champion has all of it."""


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
    recorded: bool = True
    """The registry knows; else the next release or rollback tells it."""


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
    rollout: Rollout,
    synthetic: Applications | None = None,
    traffic: TrafficSplit | None = None,
    judges: Judges = PrometheusJudge,
) -> ReleaseRecord:
    """Puts `version`, by default the candidate, into service and returns when it has all traffic.

    Beside a champion it gets the steps of `rollout` one after the other, each judged; `synthetic`
    is replayed meanwhile where given. Without a champion it gets all at once.

    Raises `DeliveryError` when the version is unknown, not approved or altered since, or does not
    load, `TakenBackError` when it was judged badly; the champion then serves as before. Raises
    `BusyError` while another release runs.
    """
    with ledger_of(connection).exclusive():
        ledger_of(connection).forget_asked()
        split = traffic or traffic_of(connection)
        _end_rollback(connection, split, progress)
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
            servers_of(connection).unload(target, progress)
            raise
        if now.champion in (None, number):
            if split.weights()[target] < WHOLE:
                split.set_weights({target: WHOLE, other: 0})
                journal.note("moved", slot=target, weights=dict(split.weights()))
                progress(f"version {number} in slot {target} has all of the traffic")
        else:
            candidate, champion = Seat(target, number), Seat(other, now.champion)
            way = _Way(
                connection=connection,
                split=split,
                candidate=candidate,
                champion=champion,
                rollout=rollout,
                judge=judges(connection, rollout, candidate, champion),
                journal=journal,
                progress=progress,
            )
            _climb(way, synthetic)
        if now.champion != number:
            # before the alias: a champion without the tag could never be gone back to
            _untag(connection, number, registry.TAG_ROLLED_BACK)
            _tag(connection, number, registry.TAG_RELEASED)
            _set_alias(connection, registry.CHAMPION, number)
        return journal.finish(slot=target, weights=dict(split.weights()))


def rollback(
    connection: Connection, progress: Progress, *, traffic: TrafficSplit | None = None
) -> ReleaseRecord:
    """Gives all traffic back to the version that had it before the last release.

    A release that has not ended is undone; one that runs is told to do so itself. Works while the
    registry is down, which then is told later (`recorded`). Raises `DeliveryError` when there is
    nothing to go back to, `BusyError` while a release loads a version that has no traffic yet.
    """
    split = traffic or traffic_of(connection)
    ledger = ledger_of(connection)
    try:
        with ledger.exclusive():
            return _roll_back(connection, split, progress)
    except BusyError:
        ledger.ask_back()
        progress("a release is running: asking it to take its version back")
    with ledger.exclusive(_STOP_SECONDS):
        if ledger.asked() is None:  # it was heard, and done
            return _end_rollback(connection, split, progress) or _last_rollback(connection)
        ledger.forget_asked()
        return _roll_back(connection, split, progress)


def settle(connection: Connection, progress: Progress) -> None:
    """Ends a rollback that moved the traffic and could not tell the registry, if there is one."""
    with ledger_of(connection).exclusive():
        _end_rollback(connection, traffic_of(connection), progress)


def unrecorded(connection: Connection) -> dict[str, Any] | None:
    """The journal's line of a rollback that was begun and not ended, `None` when there is none."""
    begun = None
    for line in history(connection):
        if line["action"] == "rollback" and line["phase"] in ("started", "finished", "failed"):
            begun = line if line["phase"] == "started" else None
    return begun


def history(connection: Connection) -> list[dict[str, Any]]:
    """The journal's lines, oldest first; a line that a kill cut short is left out."""
    return ledger_of(connection).lines()


@dataclass(frozen=True, kw_only=True)
class _Way:
    """A candidate's way up beside a champion."""

    connection: Connection
    split: TrafficSplit
    candidate: Seat
    champion: Seat
    rollout: Rollout
    judge: Judge
    journal: _Journal
    progress: Progress

    @property
    def name(self) -> str:
        return f"version {self.candidate.version}"


def _climb(way: _Way, synthetic: Applications | None) -> None:
    """Takes the candidate up step by step. Raises `TakenBackError` after it was taken back."""
    steps = _ahead(way.rollout.steps, way.split.weights()[way.candidate.slot])
    records = synthetic() if synthetic else ()
    limit_seconds = 2 * len(steps) * way.rollout.timeout_seconds
    rate = way.connection.synthetic_per_second
    replay = Replay(way.connection.endpoint, records, rate, limit_seconds) if records else None
    failed: Verdict | None = None
    with replay or nullcontext():
        for percent in steps:
            verdict = _prepared(way, percent) or _judged(way, percent)
            way.journal.note("judged", step=percent, **verdict.record())
            way.progress(f"{way.name} at {percent} %: {verdict.reason}")
            if verdict.decision != "promote":
                failed = verdict
                # while the replay still asks: it shows that nothing is lost on the way back
                _take_back(way, verdict.reason)
                break
    if replay:
        way.journal.note("replayed", **replay.record())
        way.progress(str(replay))
    if failed:
        raise TakenBackError(
            f"{way.connection.workload} {way.name} was taken back: {failed.reason}; "
            f"version {way.champion.version} has all of the traffic"
        )


def _take_back(way: _Way, reason: str) -> None:
    keeper, leaver = way.champion, way.candidate
    plan = _Plan(keeper.slot, keeper.version, leaver.slot, leaver.version, reason)
    _move_back(way.connection, way.split, plan, way.progress)


def _ahead(steps: tuple[int, ...], reached: int) -> tuple[int, ...]:
    """The steps from the one that was reached, which is judged again: nobody watched meanwhile.

    From 100 % it goes down one step, where there is one: only there can versions be compared.
    """
    begin = max((step for step in steps if step <= min(reached, WHOLE - 1)), default=steps[0])
    return tuple(step for step in steps if step >= begin)


def _prepared(way: _Way, percent: int) -> Verdict | None:
    """Waits until the judge can judge; a verdict when it never can, or when it was told to stop."""
    deadline = time.monotonic() + way.rollout.timeout_seconds
    while missing := way.judge.prepared(percent):
        if time.monotonic() > deadline:
            return Verdict("back", f"nobody can judge it: {missing}")
        if asked := _asked_to_stop(way.connection):
            return asked
        way.progress(f"{way.name} waits: {missing}")
        time.sleep(_JUDGE_SECONDS)
    return _asked_to_stop(way.connection)


def _judged(way: _Way, percent: int) -> Verdict:
    """Gives the candidate its share and waits until that is judged one way or the other."""
    way.split.set_weights({way.candidate.slot: percent, way.champion.slot: WHOLE - percent})
    began = was_ready = time.monotonic()
    limit = way.rollout.timeout_seconds
    way.journal.note("moved", slot=way.candidate.slot, weights=dict(way.split.weights()))
    while True:
        seconds = time.monotonic() - began
        if _is_ready(way):
            was_ready = time.monotonic()
        verdict = _asked_to_stop(way.connection) or way.judge.verdict(percent, seconds)
        if verdict.decision == "wait" and time.monotonic() - was_ready > _UNREADY_SECONDS:
            # who answers nothing has no figures to be judged by
            reason = f"not all of its workers have been ready for {_UNREADY_SECONDS:g} s"
            verdict = Verdict("back", reason, verdict.candidate, verdict.champion)
        if verdict.decision == "wait" and seconds > limit:
            reason = f"no verdict within {limit} s: {verdict.reason}"
            verdict = Verdict("back", reason, verdict.candidate, verdict.champion)
        shown = {"at": _now(), "version": way.candidate.version, "step": percent}
        ledger_of(way.connection).show(shown | verdict.record())
        if verdict.decision != "wait":
            return verdict
        way.progress(f"{way.name} at {percent} %: {verdict.reason}")
        time.sleep(_JUDGE_SECONDS)


def _is_ready(way: _Way) -> bool:
    """Whether the candidate is ready, as far as a gateway or cluster that is up can say."""
    try:
        return way.split.ready().get(way.candidate.slot, False)
    except (GatewayDownError, ClusterDownError):
        return True


def _asked_to_stop(connection: Connection) -> Verdict | None:
    asked = ledger_of(connection).asked()
    if asked is None:
        return None
    return Verdict("back", f"{asked.get('by', 'somebody')} asked for a rollback")


@dataclass(frozen=True)
class _Plan:
    """A way back: who gets all traffic, and who leaves."""

    keeper: str
    """A slot."""
    number: int
    leaver: str
    leaving: int | None
    reason: str = ""


def _roll_back(connection: Connection, split: TrafficSplit, progress: Progress) -> ReleaseRecord:
    ended = _end_rollback(connection, split, progress)
    if ended:
        return ended
    if not _registry_answers(connection):
        return _move_back(connection, split, _plan_of_journal(connection, split), progress)
    now = standing(connection, split)
    if now.champion is None:
        raise DeliveryError(f"no version of {connection.workload} is in service yet")
    if now.weights[now.free] > 0:
        plan = _Plan(now.live, now.champion, now.free, now.slots[now.free])
    else:
        plan = _Plan(now.free, _previous(connection, now), now.live, now.champion)
    return _move_back(connection, split, plan, progress)


def _end_rollback(
    connection: Connection, split: TrafficSplit, progress: Progress
) -> ReleaseRecord | None:
    """Ends a rollback that a kill or a dead registry left half done; `None` without one."""
    begun = unrecorded(connection)
    if begun is None:
        return None
    other = next(slot for slot in sorted(connection.slots) if slot != begun["slot"])
    progress(f"a rollback to version {begun['version']} was not ended: ending it")
    plan = _Plan(begun["slot"], begun["version"], other, begun["previous"], begun["reason"])
    return _move_back(connection, split, plan, progress)


def _move_back(
    connection: Connection, split: TrafficSplit, plan: _Plan, progress: Progress
) -> ReleaseRecord:
    """Traffic first, which needs no registry; what is left is told when it answers."""
    journal = _Journal(connection, "rollback", plan.number, plan.leaving)
    journal.note("started", slot=plan.keeper, reason=plan.reason)
    if not servers_of(connection).serves(plan.keeper, plan.number):
        try:
            _load(connection, split, plan.keeper, plan.number, progress)
        except DeliveryError as error:
            journal.note("failed", slot=plan.keeper, reason=str(error))
            raise
    try:
        split.set_weights({plan.keeper: WHOLE})
    except GatewayDownError as error:
        progress(str(error))  # it starts with the new split
    journal.note("moved", slot=plan.keeper, weights=dict(split.weights()))
    progress(f"version {plan.number} in slot {plan.keeper} has all traffic again")
    ledger_of(connection).forget_asked()
    if not _registry_answers(connection):
        progress("the registry does not answer; the next rollback or release tells it")
        return journal.record(plan.keeper, dict(split.weights()), recorded=False)
    _set_alias(connection, registry.CHAMPION, plan.number)
    if plan.leaving is not None:
        _tag(connection, plan.leaving, registry.TAG_ROLLED_BACK)
    _point(connection, plan.leaver, None)
    servers_of(connection).unload(plan.leaver, progress)
    return journal.finish(slot=plan.keeper, weights=dict(split.weights()))


def _plan_of_journal(connection: Connection, split: TrafficSplit) -> _Plan:
    """What to go back to while the registry cannot say: what the journal and the slots know."""
    down = f"the registry at {connection.tracking_uri} does not answer"
    lines = history(connection)
    ended = [place for place, line in enumerate(lines) if line["phase"] == "finished"]
    if not ended:
        raise NotUpError(f"{down}, and no release stands in the journal")
    last = lines[ended[-1]]
    slot, other = last["slot"], next(s for s in sorted(connection.slots) if s != last["slot"])
    begun = [line for line in lines[ended[-1] :] if line["phase"] == "started"]
    if split.weights().get(other, 0) > 0:
        plan = _Plan(slot, last["version"], other, begun[-1]["version"] if begun else None)
    elif last["action"] == "release" and last["previous"] is not None:
        plan = _Plan(other, last["previous"], slot, last["version"])
    else:
        raise NotUpError(f"{down}, and the journal knows nothing to go back to")
    if not servers_of(connection).serves(plan.keeper, plan.number):
        raise NotUpError(f"{down}, and slot {plan.keeper} does not hold version {plan.number}")
    return plan


def _registry_answers(connection: Connection) -> bool:
    """Whether it can be told something, found out in `_PROBE_SECONDS`, without MLflow's retries."""
    import httpx

    if not connection.tracking_uri.startswith("http"):
        return True
    try:
        url = f"{connection.tracking_uri}/health"
        return httpx.get(url, timeout=_PROBE_SECONDS).status_code == 200
    except httpx.HTTPError:
        return False


def _last_rollback(connection: Connection) -> ReleaseRecord:
    for line in reversed(history(connection)):
        if line["phase"] == "finished" and line["action"] == "rollback":
            return ReleaseRecord(**{k: v for k, v in line.items() if k not in ("phase", "at")})
    raise DeliveryError(f"{connection.workload} has had no rollback")


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
    """Returns when all of `slot` answer with version `number` and the gateway knows."""
    _point(connection, slot, number)
    progress(f"loading version {number} into slot {slot}")
    servers_of(connection).load(slot, number)
    deadline = time.monotonic() + servers.READY_SECONDS
    while not split.ready().get(slot):
        if time.monotonic() > deadline:
            raise DeliveryError(f"the gateway does not find slot {slot} ready")
        time.sleep(_PAUSE_SECONDS)


def _previous(connection: Connection, now: Standing) -> int:
    """The version to go back to: in the free slot, once in service and not taken back since."""
    number = now.slots[now.free]
    tags = registry.version(connection, number).tags if number is not None else {}
    # the tags' presence says it, not their times: a clock may be set back
    gone = registry.TAG_RELEASED not in tags or registry.TAG_ROLLED_BACK in tags
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
            model = registry.client(connection).get_registered_model(connection.registered_name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {str(alias): int(version) for alias, version in model.aliases.items()}


def _set_alias(connection: Connection, alias: str, number: int) -> None:
    with _registry(connection):
        client = registry.client(connection)
        client.set_registered_model_alias(connection.registered_name, alias, str(number))


def _point(connection: Connection, slot: str, number: int | None) -> None:
    """Makes the registry say what sits in `slot`."""
    if number is not None:
        _set_alias(connection, alias_of(slot), number)
        return
    with _registry(connection):
        registry.client(connection).delete_registered_model_alias(
            connection.registered_name, alias_of(slot)
        )


def _tag(connection: Connection, number: int, name: str) -> None:
    with _registry(connection):
        registry.client(connection).set_model_version_tag(
            connection.registered_name, str(number), name, _now()
        )


def _untag(connection: Connection, number: int, name: str) -> None:
    with _registry(connection):
        if name in registry.version(connection, number).tags:
            registry.client(connection).delete_model_version_tag(
                connection.registered_name, str(number), name
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
        self._ledger = ledger_of(connection)
        self._started = _now()
        self._connection = connection
        self._action = action
        self._version = version
        self._previous = previous if previous != version else None

    def note(self, phase: str, **details: Any) -> None:
        self._append({"phase": phase, "at": _now(), **self._who(), **details})

    def finish(self, slot: str, weights: dict[str, int]) -> ReleaseRecord:
        record = self.record(slot, weights)
        self._append({"phase": "finished", "at": record.finished_at, **asdict(record)})
        return record

    def record(self, slot: str, weights: dict[str, int], *, recorded: bool = True) -> ReleaseRecord:
        return ReleaseRecord(
            **self._who(),
            slot=slot,
            weights=weights,
            by=me(),
            started_at=self._started,
            finished_at=_now(),
            recorded=recorded,
        )

    def _who(self) -> dict[str, Any]:
        return {
            "action": self._action,
            "workload": self._connection.workload,
            "environment": self._connection.environment,
            "version": self._version,
            "previous": self._previous,
        }

    def _append(self, line: Mapping[str, Any]) -> None:
        self._ledger.append(line)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
