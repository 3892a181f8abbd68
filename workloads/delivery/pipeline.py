"""The whole chain for one workload: from its source of data to a version in service.

Owns the order of the steps, what is skipped because it is done, and the guard that one run of a
workload goes at a time. A run may be interrupted or killed anywhere: the next one ends what is left
over of it and goes on from the last thing that was finished.
"""

from __future__ import annotations

import datetime
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from workloads.delivery import approve as approving
from workloads.delivery import evaluate, fingerprint, ingest, registry, replay, validate
from workloads.delivery import gate as gating
from workloads.delivery import register as registering
from workloads.delivery import train as training
from workloads.delivery.connection import Connection
from workloads.delivery.errors import BusyError
from workloads.delivery.files import read_json, write_json
from workloads.delivery.spec import Workload
from workloads.delivery.train import Origin

JOURNAL = "run.json"
LOCK = "run.lock"
AUTOMATIC = "the environment's setting auto_approve"
"""The approver where no person is asked."""

STEPS = ("ingest", "validate", "train", "evaluate", "register", "gate", "approve", "release")
"""The chain, in its order."""

Status = Literal[
    "released", "approved", "unchanged", "withdrawn", "waiting", "failed", "taken_back"
]


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    status: Status
    """`released`: in service now; `approved`: may be released; `unchanged`: was in service already;
    `withdrawn`: made before, and taken out of service since; `waiting`: for a person's approval;
    `failed`: missed a gate, the champion stays; `taken_back`: passed a limit in its canary, the
    champion has all traffic again.
    """
    workload: str
    version: int
    data_version: int
    fingerprint: str
    trained: bool
    """A model was trained, not taken up from an earlier run."""
    gates: tuple[gating.Row, ...]
    figures: dict[str, float]
    seconds: dict[str, float] = field(default_factory=dict)
    """Step → how long it took."""

    @property
    def passed(self) -> bool:
        return self.status not in ("failed", "taken_back")


class Watch(Protocol):
    """Is told what a run does."""

    def begin(self, step: str) -> None:
        """A step starts."""

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        """Something happens within the step; `done` of `total` where that is known."""

    def end(self, step: str, text: str, seconds: float) -> None:
        """The step is done; `text` says what came out."""


class Silent:
    """Watches a run and says nothing."""

    def begin(self, step: str) -> None:
        return

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        return

    def end(self, step: str, text: str, seconds: float) -> None:
        return


def run(
    connection: Connection,
    workload: Workload,
    *,
    force: bool = False,
    until: str = STEPS[-1],
    watch: Watch | None = None,
) -> Outcome | None:
    """Runs every step that is not done yet. `force` trains again from unchanged data and code.

    `until` names the last of `STEPS` to run; a run that ends before there is a version to judge
    gives `None`. Raises `BusyError` while another run of the workload goes, `DeliveryError` when a
    step cannot go on. A missed gate is an outcome, not an error.
    """
    registry.require_up(connection)
    with registry.told(connection), exclusive(connection) as run_id:
        steps = _Steps(connection, run_id, watch or Silent())
        with steps.step("ingest") as say:
            ingested = ingest.ingest(connection, workload)
            known = "the same as before" if ingested.reused else "new"
            say(f"{ingested.rows:,} rows, data version {ingested.version} ({known})")
        _end_leftovers(connection)
        if until == "ingest":
            return None
        _tell_registry(connection, steps)
        mark = fingerprint.fingerprint(workload, ingested.source_sha256)
        origin = Origin(ingested.version, fingerprint.code_commit(workload), mark, run_id)
        found = None if force else registering.version_of(connection, mark)
        if found is None:
            made = _make(connection, workload, origin, steps, until)
            if made is None:
                return None
            version = made
        else:
            settled = _settled(connection, found)
            if settled is not None:
                return _outcome(connection, settled, found, steps)
            version = int(found.version)
            steps.note(f"version {version} was made from the same data and code: taking it up")
            registering.register(connection, found.run_id, origin)
        if until == "register":
            return None
        status = _judge(connection, workload, version, steps, until)
        if status == "approved" and until == "release":
            status = _release(connection, workload, version, steps)
        judged = registry.version(connection, version)
        return _outcome(connection, status, judged, steps, trained=found is None)


def _tell_registry(connection: Connection, steps: _Steps) -> None:
    """Lets the registry know of a rollback first: else it names a champion that serves nobody."""
    from workloads.delivery import release as releasing

    if releasing.unrecorded(connection):
        with suppress(BusyError):
            releasing.settle(connection, steps.note)


def _release(connection: Connection, workload: Workload, version: int, steps: _Steps) -> Status:
    """Takes `version` into service, step by step where there is a champion."""
    from workloads.delivery import release as releasing

    with steps.step("release") as say:
        try:
            record = releasing.release(
                connection,
                version,
                steps.tell,
                rollout=workload.spec.rollout,
                synthetic=replay.wanted(connection, workload),
            )
        except releasing.TakenBackError as error:
            say(str(error))
            return "taken_back"
        say(f"version {version} answers in slot {record.slot}")
    return "released"


def _make(
    connection: Connection, workload: Workload, origin: Origin, steps: _Steps, until: str
) -> int | None:
    """Validates, trains, evaluates and registers; returns the new version if it got that far."""
    with steps.step("validate") as say:
        report = validate.validate(connection, workload, origin.data_version)
        say(f"{report.rows:,} rows fit the schema")
    if until == "validate":
        return None
    with steps.step("train") as say:
        trained = training.train(connection, workload, origin, steps.tell_trials)
        best = trained.finalists[0]
        say(f"{trained.trials} trials, best {best.family} with AUC {best.cv_auc:.4f}")
    if until == "train":
        return None
    with steps.step("evaluate") as say:
        first, *_ = evaluate.evaluate(connection, workload.spec, trained)
        auc, brier = first.figures[evaluate.AUC], first.figures[evaluate.BRIER]
        say(f"AUC {auc:.4f}, Brier score {brier:.4f} on {first.rows:,} hold-out rows")
    if until == "evaluate":
        return None
    with steps.step("register") as say:
        registered = registering.register(connection, first.run_id, origin)
        say(f"version {registered.version}, alias {registry.CANDIDATE}")
    return registered.version


def _judge(
    connection: Connection, workload: Workload, version: int, steps: _Steps, until: str
) -> Status:
    """Takes `version` through the gates and, where the environment may, approves it."""
    with steps.step("gate") as say:
        gated = gating.gate(connection, workload.spec, version)
        missed = sum(not row.passed for row in gated.rows)
        say(f"{missed} of {len(gated.rows)} missed" if missed else f"all {len(gated.rows)} passed")
    if not gated.passed:
        return "failed"
    if until == "gate":
        return "waiting"
    with steps.step("approve") as say:
        approval = approving.approval_of(connection, version)
        if approval is None and connection.auto_approve:
            approval = approving.approve(connection, version, AUTOMATIC, automatic=True)
        say("waits for a person" if approval is None else f"by {approval.approver}")
    return "waiting" if approval is None else "approved"


@contextmanager
def exclusive(connection: Connection) -> Iterator[str]:
    """Holds the workload's lock, which dies with its process; gives the run's name.

    Raises `BusyError` when another process holds it.
    """
    from filelock import FileLock, Timeout

    journal = connection.state / JOURNAL
    try:
        lock = FileLock(connection.state / LOCK, timeout=0, mode=0o600)
        lock.acquire()
    except Timeout as error:
        other = read_json(journal) or {}
        raise BusyError(
            f"another run of {connection.workload} is going on (process {other.get('process')}, "
            f"since {other.get('started_at')}): wait for it, or end it and run again"
        ) from error
    try:
        run_id = uuid.uuid4().hex[:12]
        earlier = read_json(journal) or {}
        entry = {
            "run": run_id,
            "status": "running",
            "process": os.getpid(),
            "started_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "steps": {},
            "left_over": _left_over(earlier),
        }
        write_json(journal, entry)
        try:
            yield run_id
        except BaseException as error:
            _update(connection, status="ended", reason=f"{type(error).__name__}: {error}")
            raise
        _update(connection, status="done")
    finally:
        lock.release()


class _Steps:
    """Times the steps, tells the watch and writes the journal."""

    def __init__(self, connection: Connection, run_id: str, watch: Watch) -> None:
        self._connection, self._watch, self.run_id = connection, watch, run_id
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Any]:
        said: list[str] = []
        start = time.monotonic()
        self._watch.begin(name)
        yield said.append
        self.seconds[name] = round(time.monotonic() - start, 2)
        _update(self._connection, steps=self.seconds)
        self._watch.end(name, said[-1] if said else "", self.seconds[name])

    def note(self, text: str) -> None:
        self._watch.end("resume", text, 0.0)

    def tell(self, text: str) -> None:
        self._watch.tell(text)

    def tell_trials(self, done: int, total: int, text: str) -> None:
        self._watch.tell(text, done, total)


def _settled(connection: Connection, found: Any) -> Status | None:
    """What is to be said of a version that has been in service, `None` when it never was."""
    champion = registry.version_at(connection, registry.CHAMPION)
    if champion is not None and champion.version == found.version:
        return "unchanged"
    # it was taken out of service, or back in its canary: no run brings it back unasked
    gone = {registry.TAG_RELEASED, registry.TAG_ROLLED_BACK} & set(found.tags)
    return "withdrawn" if gone else None


def _outcome(
    connection: Connection, status: Status, version: Any, steps: _Steps, trained: bool = False
) -> Outcome:
    gated = gating.gates_of(connection, int(version.version))
    return Outcome(
        status=status,
        workload=connection.workload,
        version=int(version.version),
        data_version=int(version.tags[registry.TAG_DATA_VERSION]),
        fingerprint=version.tags[registry.TAG_FINGERPRINT],
        trained=trained,
        gates=gated.rows if gated else (),
        figures=evaluate.evaluation_of(connection, version.run_id).figures,
        seconds=dict(steps.seconds),
    )


def _left_over(earlier: dict[str, Any]) -> list[str]:
    """Runs that were killed and whose trainings nobody has ended yet."""
    killed = [earlier["run"]] if earlier.get("status") == "running" else []
    return [*earlier.get("left_over", []), *killed]


def _end_leftovers(connection: Connection) -> None:
    journal = read_json(connection.state / JOURNAL) or {}
    for run_id in journal.get("left_over", []):
        training.close_stale(connection, run_id)
    _update(connection, left_over=[])


def _update(connection: Connection, **fields: Any) -> None:
    path = connection.state / JOURNAL
    write_json(path, {**(read_json(path) or {}), **fields})
