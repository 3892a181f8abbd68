"""The state of an environment and its workloads at one moment, as plain data.

Everything that can be down is asked side by side with a short time-out, and what does not answer is
part of the picture, never an exception. `falaj status` draws it; `--json` prints it as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from workloads.delivery import judge, registry
from workloads.delivery.connection import Connection, Part, connect
from workloads.delivery.errors import DeliveryError
from workloads.delivery.pages import serving
from workloads.delivery.place import ledger_of, servers_of, traffic_of
from workloads.delivery.release import unrecorded
from workloads.delivery.slot import alias_of
from workloads.delivery.traffic import GatewayTrafficSplit

if TYPE_CHECKING:
    import httpx

WATCH_SECONDS = 15
"""What the figures of the live view are taken over."""
_TIMEOUT_SECONDS = 2.0
_WELL = {200, 401}
"""A part that asks for its token is well."""

Picture = dict[str, Any]


def picture(environment: str, workloads: Sequence[str]) -> Picture:
    """The environment's parts and each of `workloads`.

    Keys: `environment`, `up`, `parts` (`name`, `healthy`, `detail`, `url`), `workloads` (see
    `workload_picture`) and `problems`, one line each.
    """
    import httpx

    connections: list[Connection] = []
    problems: list[str] = []
    for name in workloads:
        try:
            connections.append(connect(name, environment))
        except DeliveryError as error:
            problems.append(str(error) if len(workloads) == 1 else f"{name}: {error}")
    seen = {part.name: part for connection in connections for part in connection.parts}
    with ThreadPoolExecutor(max_workers=16) as pool:
        client = httpx.Client(timeout=_TIMEOUT_SECONDS)
        asked = [pool.submit(_probe, client, part) for part in seen.values()]
        drawn = [workload_picture(connection, pool, client) for connection in connections]
        parts = [answer.result() for answer in asked]
    return {
        "environment": environment,
        "up": bool(connections),
        "parts": parts,
        "workloads": drawn,
        "problems": problems + [f"{p['name']}: {p['detail']}" for p in parts if not p["healthy"]],
    }


def workload_picture(
    connection: Connection, pool: ThreadPoolExecutor, client: httpx.Client
) -> Picture:
    """One workload.

    Keys: `workload`, `endpoint`, `page` (shows serving at a glance), `registry_answers`, `slots`
    (slot → `version`, `ready`, `problem`, `url`), `traffic` (slot → percent, or `None`), `champion`
    and `candidate` (`version`, `figures`, approval, data and code, or `None`), `gates` (the
    candidate's table, else the champion's), `verdict` (what the judge of the last release said
    last, or `None`) and `problems`.
    """
    problems: list[str] = []
    connection.require_releases()
    asked = {
        slot: pool.submit(slot_picture, connection, slot, client)
        for slot in sorted(connection.slots)
    }
    traffic = _or_none(lambda: _weights(connection, problems), problems)
    answered = _or_none(lambda: _versions(connection, client), problems)
    known = answered or {}
    champion, candidate = known.get(registry.CHAMPION), known.get(registry.CANDIDATE)
    slots = {slot: answer.result() for slot, answer in asked.items()}
    for slot, answer in slots.items():
        named = known.get(alias_of(slot), {}).get("version")
        if answer["problem"] and (named or answered is None):
            problems.append(f"slot {slot}: {answer['problem']}")
    if begun := _or_none(lambda: unrecorded(connection), problems):
        problems.append(
            f"a rollback to version {begun['version']} is not ended: "
            f"falaj rollback {connection.workload}"
        )
    judged = candidate or champion
    return {
        "workload": connection.workload,
        "endpoint": connection.endpoint,
        "page": serving(connection),
        "registry_answers": answered is not None,
        "slots": slots,
        "traffic": traffic,
        "champion": champion,
        "candidate": candidate,
        "gates": judged and judged.pop("gates"),
        "verdict": _or_none(lambda: ledger_of(connection).shown(), problems),
        "problems": list(dict.fromkeys(problems)),
    }


def live_picture(connection: Connection, client: httpx.Client) -> Picture:
    """What changes during a release, asked of gateway, slots and Prometheus alone.

    Keys: `workload`, `slots` (slot → `version`, `percent`, `figures` over `WATCH_SECONDS` as in
    `judge.Figures.record`, or `None`), `verdict` and `problems`.
    """
    problems: list[str] = []
    traffic = _or_none(lambda: dict(traffic_of(connection).weights()), problems) or {}
    slots: dict[str, Picture] = {}
    for slot in sorted(connection.slots):
        version = slot_picture(connection, slot, client)["version"]
        ask = partial(judge.figures, connection.metrics_url, connection.series)
        seat = judge.Seat(slot, version)
        figures = version and _or_none(partial(ask, seat, WATCH_SECONDS), problems)
        slots[slot] = {"version": version, "percent": traffic.get(slot)}
        slots[slot]["figures"] = figures and figures.record()
    return {
        "workload": connection.workload,
        "slots": slots,
        "verdict": _or_none(lambda: ledger_of(connection).shown(), problems),
        "problems": sorted(set(problems)),
    }


def slot_picture(connection: Connection, slot: str, client: httpx.Client) -> Picture:
    """What the servers of `slot` say of themselves, as one: `Servers.picture`."""
    try:
        return servers_of(connection).picture(slot, client)
    except DeliveryError as error:
        return {"version": None, "ready": False, "problem": str(error), "url": ""}


def _weights(connection: Connection, problems: list[str]) -> dict[str, int]:
    """The split; where the local gateway runs another one than is written down, a problem more."""
    split = traffic_of(connection)
    written = dict(split.weights())
    if isinstance(split, GatewayTrafficSplit):
        running = _or_none(split.running_weights, problems)
        if running is not None and running != written:
            problems.append(f"the gateway runs {running}, {connection.traffic_weights} says other")
    return written


def _or_none[T](ask: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return ask()
    except DeliveryError as error:
        problems.append(str(error))
        return None


def _probe(client: httpx.Client, part: Part) -> Picture:
    import httpx

    began = time.perf_counter()
    try:
        code = client.get(part.health).status_code
        healthy, detail = code in _WELL, f"answers {code}"
    except httpx.HTTPError as error:
        healthy, detail = False, f"does not answer ({type(error).__name__})"
    return {
        "name": part.name,
        "healthy": healthy,
        "detail": detail,
        "url": part.url,
        "milliseconds": round((time.perf_counter() - began) * 1000, 1),
    }


def _versions(connection: Connection, client: httpx.Client) -> dict[str, Picture]:
    """Alias → its version; `champion` and `candidate` with what is recorded about them."""
    import httpx

    if connection.tracking_uri.startswith("http"):
        try:
            client.get(f"{connection.tracking_uri}/health")
        except httpx.HTTPError as error:
            raise DeliveryError(
                f"the registry at {connection.tracking_uri} does not answer "
                f"({type(error).__name__}): champion and candidate are not known"
            ) from error
    with registry.told(connection):
        found = {
            alias: registry.version_at(connection, alias)
            for alias in (registry.CHAMPION, registry.CANDIDATE, *map(alias_of, connection.slots))
        }
        described: dict[int, Picture] = {}
        result: dict[str, Picture] = {}
        for alias, version in found.items():
            if version is None:
                continue
            number = int(version.version)
            if alias in (registry.CHAMPION, registry.CANDIDATE):
                if number not in described:
                    described[number] = _describe(connection, version)
                result[alias] = dict(described[number])
            else:
                result[alias] = {"version": number}
    return result


def _describe(connection: Connection, version: Any) -> Picture:
    read = registry.read_json
    gates = read(connection, version.run_id, registry.GATES)
    evaluation = read(connection, version.run_id, registry.EVALUATION) or {}
    approval = read(connection, version.run_id, registry.APPROVAL)
    tags: Mapping[str, str] = version.tags
    return {
        "version": int(version.version),
        "family": evaluation.get("family"),
        "figures": evaluation.get("figures", {}),
        "gates_passed": None if gates is None else gates["passed"],
        "approved_by": approval and approval["approver"],
        "approved_at": approval and approval["approved_at"],
        "released_at": tags.get(registry.TAG_RELEASED),
        "rolled_back_at": tags.get(registry.TAG_ROLLED_BACK),
        "data_version": tags.get(registry.TAG_DATA_VERSION),
        "code_commit": tags.get(registry.TAG_CODE_COMMIT),
        "gates": gates and {"version": int(version.version), **gates},
    }
