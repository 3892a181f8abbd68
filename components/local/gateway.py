"""The serving gateway's configuration: from a folder of small files to an `haproxy.cfg`.

Owns what HAProxy is told: routes, slots, weights, time-outs, limits, error bodies. The folder is
the whole input, so that a gateway that was killed comes back with the split it had:

    gateway.json                            listen ports and run-time socket (`write_settings`)
    routes/<namespace>.<deployment>.json    one deployment and its slots (`write_route`)
    weights/<namespace>.<deployment>.json   slot → percent; written by releases, never from here
    haproxy.cfg                             rendered from these (`render_to`)

`python -m components.local.gateway <folder>` renders and becomes HAProxy in the foreground, as a
supervisor expects of a process. Whoever changes a route calls `render_to` and then sends SIGUSR2
to the process: the master starts a worker on the new file and lets the old one finish.

Needs HAProxy 2.4 or later. Imports nothing but the standard library: it is on the path of every
restart.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.local import files

ENTITY_HEADER = "x-falaj-entity"
"""Requests that carry the same value meet the same slot at a given split."""
SLOT_HEADER = "x-falaj-slot"
"""On each answer: the slot that gave it."""

MAX_BODY_BYTES = 1024 * 1024
MAX_CONNECTIONS = 2000
_BUFFER_BYTES = 32 * 1024
"""A request that fits is sent again when its server dies, a longer one is not."""
_SOCKET_PATH_BYTES = 96
"""A unix socket's path ends at 107 bytes, and HAProxy appends its process id while it binds."""

_NAME = re.compile(r"^[a-z][a-z0-9-]{0,61}[a-z0-9]$")
_SLOT = re.compile(r"^[a-z]$")
_HOST_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$")

_ERRORS = {
    400: ("BAD_REQUEST", "the request is not valid HTTP"),
    408: ("REQUEST_TIMEOUT", "the request did not arrive in time"),
    413: ("PAYLOAD_TOO_LARGE", f"the body exceeds {MAX_BODY_BYTES} bytes"),
    500: ("GATEWAY_ERROR", "the gateway failed"),
    502: ("BAD_GATEWAY", "the model server gave no valid answer"),
    503: ("NO_MODEL_SERVER", "no model server is ready; try again in a few seconds"),
    504: ("GATEWAY_TIMEOUT", "the model server did not answer in time"),
}


@dataclass(frozen=True, kw_only=True)
class Route:
    """A deployment that the gateway serves under `/seldon/<namespace>/<deployment>/`."""

    namespace: str
    deployment: str
    slots: Mapping[str, Sequence[tuple[str, int]]]
    """Slot, a single letter → host and port of each of its workers."""

    def __post_init__(self) -> None:
        """Raises `ValueError` naming what cannot stand in a configuration."""
        for field in ("namespace", "deployment"):
            if not _NAME.match(getattr(self, field)):
                raise ValueError(
                    f"{field} {getattr(self, field)!r}: lower-case letters, digits and hyphens, "
                    "2 to 63 of them, a letter first"
                )
        if not self.slots:
            raise ValueError(f"{self.backend} has no slot")
        if len({len(workers) for workers in self.slots.values()}) > 1:
            raise ValueError(f"{self.backend}: its slots have different numbers of workers")
        for slot, workers in self.slots.items():
            if not _SLOT.match(slot):
                raise ValueError(f"{self.backend}: slot {slot!r} is not one lower-case letter")
            if not workers:
                raise ValueError(f"{self.backend}: slot {slot} has no worker")
        for slot, host, port in self._workers():
            if not _is_host(host):
                raise ValueError(f"{self.backend}: slot {slot} is on {host!r}, which is no host")
            if not isinstance(port, int) or not 0 < port <= 65535:
                raise ValueError(f"{self.backend}: slot {slot} is on port {port!r}")

    def _workers(self) -> Iterator[tuple[str, str, int]]:
        for slot, workers in self.slots.items():
            for host, port in workers:
                yield slot, host, port

    @property
    def backend(self) -> str:
        """The backend's name in HAProxy: `<namespace>.<deployment>`."""
        return f"{self.namespace}.{self.deployment}"

    @property
    def path(self) -> str:
        """Where clients find it, without a slash at the end."""
        return f"/seldon/{self.namespace}/{self.deployment}"


def render(
    routes: Sequence[Route],
    weights: Mapping[str, Mapping[str, int]],
    *,
    port: int,
    metrics_port: int,
    socket_path: Path,
) -> str:
    """The `haproxy.cfg` that serves `routes` on 127.0.0.1:`port`.

    `weights` maps a backend to slot → percent; a backend that it lacks gives its first slot all.
    Raises `ValueError` for weights that do not belong to the route or do not sum to 100.
    """
    if re.search(r"[\s'\"\\#$]", str(socket_path)):
        raise ValueError(f"{socket_path}: HAProxy's socket cannot lie in a path with such letters")
    if len(os.fsencode(socket_path)) > _SOCKET_PATH_BYTES:
        raise ValueError(
            f"{socket_path}: longer than {_SOCKET_PATH_BYTES} bytes, too long for a unix socket"
        )
    ordered = sorted(routes, key=lambda route: route.backend)
    sections = [
        _HEAD.format(
            socket=socket_path,
            max_connections=MAX_CONNECTIONS,
            buffer=_BUFFER_BYTES,
            errors="\n".join(
                f"    http-error status {status} content-type application/json "
                f"string '{_error(status, reason, info)}'"
                for status, (reason, info) in _ERRORS.items()
            ),
        ),
        _METRICS.format(port=metrics_port),
        _FRONTEND.format(
            port=port,
            max_body=MAX_BODY_BYTES,
            # nothing but the protocol of predictions leaves through the gateway: reload and
            # metrics of a model server are for this machine alone
            acls="\n".join(
                f"    acl served path_beg {route.path}/api/\n"
                f"    acl served path {route.path}/openapi.json"
                for route in ordered
            )
            or "    acl served always_false",
            not_found=_error(404, "NOT_FOUND", "no model is served at this path"),
            uses="\n".join(
                f"    use_backend {route.backend} if {{ path_beg {route.path}/ }}"
                for route in ordered
            ),
        ),
        *(
            _BACKEND.format(
                backend=route.backend,
                path=route.path,
                entity=ENTITY_HEADER,
                slot=SLOT_HEADER,
                retries=2 * sum(len(workers) for workers in route.slots.values()),
                servers=_servers(route, check_weights(route, weights.get(route.backend))),
            )
            for route in ordered
        ),
    ]
    return "\n".join(sections)


def check_weights(route: Route, weights: object) -> dict[str, int]:
    """`weights` for every slot of `route`, a slot that is not named at 0. Raises `ValueError`."""
    if weights is None:
        return {slot: 100 if place == 0 else 0 for place, slot in enumerate(route.slots)}
    if not isinstance(weights, Mapping) or not set(weights) <= set(route.slots):
        raise ValueError(f"{route.backend}: weights {weights!r}, slots {sorted(route.slots)}")
    split = {slot: weights.get(slot, 0) for slot in route.slots}
    if any(type(share) is not int or not 0 <= share <= 100 for share in split.values()):
        raise ValueError(f"{route.backend}: weights {weights!r} are not whole percents")
    if sum(split.values()) != 100:
        raise ValueError(f"{route.backend}: weights {weights!r} sum to {sum(split.values())}")
    return split


def weights_path(directory: Path, backend: str) -> Path:
    """The file that holds the split of `backend`."""
    return directory / "weights" / f"{backend}.json"


def settings_text(*, port: int, metrics_port: int, socket_path: str | Path) -> str:
    """The content of `gateway.json`: where the gateway listens."""
    settings = {"port": port, "metrics_port": metrics_port, "socket": str(socket_path)}
    return json.dumps(settings, indent=2)


def write_settings(directory: Path, *, port: int, metrics_port: int, socket_path: Path) -> None:
    """Says where the gateway of `directory` listens."""
    text = settings_text(port=port, metrics_port=metrics_port, socket_path=socket_path)
    files.write(directory / "gateway.json", text)


def write_route(directory: Path, route: Route) -> None:
    """Adds `route`, or replaces the one of its name; `render_to` brings it into the configuration.

    Makes the folder of the weights, but no weights: these belong to releases.
    """
    weights_path(directory, route.backend).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(route_path(directory, route.namespace, route.deployment), route_text(route))


def route_text(route: Route) -> str:
    """The content of a route's file."""
    entry = {
        "namespace": route.namespace,
        "deployment": route.deployment,
        "slots": {slot: [list(worker) for worker in route.slots[slot]] for slot in route.slots},
    }
    return json.dumps(entry, indent=2)


def remove_route(directory: Path, namespace: str, deployment: str) -> None:
    """Removes a route, if there is one. Its weights stay."""
    route_path(directory, namespace, deployment).unlink(missing_ok=True)


def render_to(directory: Path) -> Path:
    """Renders the configuration of `directory` and returns its path.

    Raises `ValueError` naming the file that is wrong; the configuration is then left as it was.
    """
    settings = _read(directory / "gateway.json")
    routes = []
    weights = {}
    for path in sorted((directory / "routes").glob("*.json")):
        entry = _read(path)
        try:
            route = Route(
                namespace=entry["namespace"],
                deployment=entry["deployment"],
                slots={
                    slot: [(host, port) for host, port in workers]
                    for slot, workers in entry["slots"].items()
                },
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        routes.append(route)
        split = weights_path(directory, route.backend)
        if split.exists():
            try:
                weights[route.backend] = check_weights(route, _read(split))
            except ValueError as error:
                raise ValueError(f"{split}: {error}") from error
    target = directory / "haproxy.cfg"
    text = render(
        routes,
        weights,
        port=settings["port"],
        metrics_port=settings["metrics_port"],
        socket_path=Path(settings["socket"]),
    )
    files.write(target, text)
    return target


def main(arguments: Sequence[str]) -> None:
    """Renders the configuration of the folder in `arguments` and becomes HAProxy."""
    if len(arguments) != 1:
        raise SystemExit("usage: python -m components.local.gateway <folder>")
    # Debian installs it where a user's PATH does not look
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin")
    if found is None:
        raise SystemExit("haproxy is not installed: run `make setup`")
    try:
        configuration = render_to(Path(arguments[0]))
    except (OSError, ValueError) as error:
        raise SystemExit(f"the gateway cannot start: {error}") from error
    os.execv(found, [found, "-W", "-f", str(configuration)])  # noqa: S606


def _servers(route: Route, weights: Mapping[str, int]) -> str:
    """One server a worker, and one more each that serves only while no weighted one is up.

    Without the latter the version that is kept warm could not help: HAProxy gives nothing to a
    server of weight 0. Every worker has its slot's percent for a weight, and every slot has as many
    workers, so that the slots' shares are the percents.
    """
    workers = [
        (slot, f"{slot}-{number}", _address(host, port))
        for slot, addresses in route.slots.items()
        for number, (host, port) in enumerate(addresses, 1)
    ]
    servers = [
        f"    server {name} {address} weight {weights[slot]}" for slot, name, address in workers
    ]
    spares = [
        f"    server {name}-spare {address} no-check track {name} backup"
        for _, name, address in workers
    ]
    return "\n".join(servers + spares)


def _address(host: str, port: int) -> str:
    return f"{host}:{port}"


def _is_host(host: object) -> bool:
    if not isinstance(host, str):
        return False
    try:
        return ipaddress.ip_address(host).version == 4
    except ValueError:
        return bool(_HOST_NAME.match(host))


def _error(status: int, reason: str, info: str) -> str:
    """An error in the form of the Seldon protocol."""
    body = {"status": {"code": status, "info": info, "reason": reason, "status": "FAILURE"}}
    return json.dumps(body)


def route_path(directory: Path, namespace: str, deployment: str) -> Path:
    """The file of a route."""
    return directory / "routes" / f"{namespace}.{deployment}.json"


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


_HEAD = """\
# rendered by components.local.gateway: changes made here are lost
global
    log stdout format raw local0 notice
    stats socket {socket} mode 600 level admin expose-fd listeners
    stats timeout 10s
    maxconn {max_connections}
    hard-stop-after 60s
    tune.bufsize {buffer}

defaults
    mode http
    log global
    # a request, head and body, must arrive within http-request: slow clients hold a connection
    # here and never a model server
    option http-buffer-request
    # a reload answers once more on each idle connection before it closes it: a client that writes
    # as it closes would lose a request
    option idle-close-on-response
    timeout http-request 5s
    timeout http-keep-alive 30s
    timeout client 15s
    timeout connect 1s
    timeout queue 5s
    timeout server 15s
    timeout check 2s
{errors}
"""

_METRICS = """\
frontend metrics
    bind 127.0.0.1:{port}
    monitor-uri /health
    http-request use-service prometheus-exporter if {{ path /metrics }}
    http-request return status 404
"""

_FRONTEND = """\
frontend gateway
    bind 127.0.0.1:{port}
    monitor-uri /health
{acls}
    http-request return status 404 content-type application/json string '{not_found}' if !served
    # a chunked body has no size yet: the model server refuses that one
    http-request deny deny_status 413 if {{ req.body_size gt {max_body} }}
{uses}
"""

_BACKEND = """\
backend {backend}
    balance hdr({entity})
    hash-type consistent
    # a prediction changes nothing, so it may be asked again when a server dies over it, holds no
    # model or hangs; feedback counts, so it is sent once unless it never left. Each worker may fail
    # one try by dying and a second one by refusing, which takes it out; each idle connection to a
    # server that died would fail a try more
    retries {retries}
    option redispatch 1
    http-reuse never
    retry-on conn-failure empty-response response-timeout 503 504
    http-request disable-l7-retry if {{ path_end /feedback }}
    http-request replace-path ^{path}(/.*)$ \\1
    http-response set-header {slot} %[srv_name,field(1,-)]
    option httpchk
    http-check send meth GET uri /ready ver HTTP/1.1 hdr Host gateway
    http-check expect status 200
    # the first refused connection takes a server out, the first good check brings it back
    default-server check inter 500ms fastinter 250ms downinter 250ms rise 1 fall 3 \
observe layer4 error-limit 1 on-error mark-down
{servers}
"""

if __name__ == "__main__":
    main(sys.argv[1:])
