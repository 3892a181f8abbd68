"""A process of the local environment, kept alive by supervisord.

Owns one program: its configuration section, the private files that it reads, and its start until it
is healthy. Its data and its log stay in `.state` when it is deleted. A `Supervisor` must exist
before it.
"""

from __future__ import annotations

import json
import shlex
import socket
import sys
import xmlrpc.client
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pulumi
from pulumi import dynamic
from supervisor.xmlrpc import Faults
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from components.local import files, sweep, watchdog
from components.local.health import is_healthy
from components.local.provider import LocalProvider
from components.local.supervisor import connect, programs_directory

MINIMUM_STOP_SECONDS = 10


class ProcessError(Exception):
    """A part cannot be started or did not become healthy; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """What a healthy process answers.

    `url` is `http://…`, answered with status 200 and a body in which `expect` (a regular
    expression) is found, or `tcp://host:port`, which accepts connections. A `body` makes the
    request a POST of JSON. `alive_url` is what the watchdog asks in place of `url`, where one tells
    that a part is up and the other that it is ready.
    """

    url: pulumi.Input[str]
    expect: str = ""
    body: str | None = None
    headers: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    alive_url: pulumi.Input[str] | None = None

    def inputs(self) -> dict[str, Any]:
        """As inputs of a resource."""
        return {
            "url": self.url,
            "expect": self.expect,
            "body": self.body,
            "headers": dict(self.headers),
            "alive_url": self.alive_url,
        }


@dataclass(frozen=True, kw_only=True)
class ProcessArgs:
    """One supervised program.

    `program` is its name in supervisord and of its log; `directories` are made (0700) and `files`
    (absolute path → content, 0600) written before it starts; `ports` maps the name of a setting to
    the port that must be free; `stop_seconds` is how long it may take to end after SIGTERM.
    """

    program: str
    state_directory: pulumi.Input[str]
    socket: pulumi.Input[str]
    command: Sequence[pulumi.Input[str]]
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    directories: Sequence[str] = ()
    files: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    ports: Mapping[str, pulumi.Input[int]] = field(default_factory=dict)
    health: Health | None = None
    health_seconds: int = 180
    stop_seconds: int = MINIMUM_STOP_SECONDS


class SupervisedProcessProvider(LocalProvider):
    """Makes supervisord run what the inputs say."""

    replacing = frozenset({"program", "socket", "state_directory"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Adopts, starts or replaces whatever runs under this name. Raises `ProcessError`."""
        _ensure(props, changed_files=_write_files(props))
        return dynamic.CreateResult(props["program"], dict(props))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Restarts the program with its new inputs, or leaves the old ones running.

        Raises `ProcessError`.
        """
        try:
            _ensure(news, changed_files=_write_files(news))
        except ProcessError:
            _restore(olds)
            raise
        for stale in set(olds.get("files") or {}) - set(news.get("files") or {}):
            Path(stale).unlink(missing_ok=True)
        return dynamic.UpdateResult(dict(news))

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """A program that is not running is gone: the next `up` brings it back."""
        state = _state(props)
        return dynamic.ReadResult(id_ if state in {"RUNNING", "STARTING"} else "", dict(props))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Stops the program and forgets its section; data and log stay."""
        _remove(props)
        _section_path(props).unlink(missing_ok=True)
        _watched_path(props).unlink(missing_ok=True)
        for path in props.get("files") or {}:
            Path(path).unlink(missing_ok=True)
        sweep.end(_mark(props))


def _mark(props: Mapping[str, Any]) -> str:
    return sweep.mark(props["state_directory"], props["program"])


def _section_path(props: Mapping[str, Any]) -> Path:
    return programs_directory(props["state_directory"]) / f"{props['program']}.conf"


def _watched_path(props: Mapping[str, Any]) -> Path:
    return watchdog.path(programs_directory(props["state_directory"]), props["program"])


def _watch(props: Mapping[str, Any]) -> None:
    """Tells the watchdog how this program is asked; one without a health is left alone."""
    if props.get("health"):
        watched = {"health": props["health"], "start_seconds": int(props["health_seconds"])}
        files.write(_watched_path(props), json.dumps(watched))
    else:
        _watched_path(props).unlink(missing_ok=True)


def _log_path(props: Mapping[str, Any]) -> Path:
    return Path(props["state_directory"]) / "logs" / f"{props['program']}.log"


def _write_files(props: Mapping[str, Any]) -> bool:
    """Writes the program's files; says whether any of them changed."""
    changed = False
    for directory in props.get("directories") or ():
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, content in (props.get("files") or {}).items():
        existing = Path(path)
        if not existing.exists() or existing.read_text() != content:
            files.write(path, content)
            changed = True
    return changed


def section(props: Mapping[str, Any]) -> str:
    """The program's part of supervisord's configuration.

    Raises `ProcessError` for a value that supervisord's syntax cannot carry.
    """
    program = props["program"]
    environment = {
        **(props.get("environment") or {}),
        sweep.MARK: _mark(props),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "components.local.sweep", "--part", program, "--"]
    command += [str(part) for part in props["command"]]
    pairs = ",".join(
        f"{name}={_quoted(program, name, value)}" for name, value in sorted(environment.items())
    )
    if any("\n" in part for part in command):
        raise ProcessError(f"{program}: an argument holds a line break")
    stop_seconds = int(props["stop_seconds"])
    return "\n".join(
        [
            f"[program:{program}]",
            f"command={shlex.join(command).replace('%', '%%')}",
            f"directory={props['state_directory']}",
            f"environment={pairs}",
            "autostart=true",
            "autorestart=true",
            "startsecs=1",
            "startretries=3",
            f"stopwaitsecs={stop_seconds}",
            "stopasgroup=true",
            "killasgroup=true",
            "redirect_stderr=true",
            f"stdout_logfile={_log_path(props)}",
            "stdout_logfile_maxbytes=10MB",
            "stdout_logfile_backups=2",
            "",
        ]
    )


def _quoted(program: str, name: str, value: str) -> str:
    """supervisord strips one kind of quotes and knows no escape but `%%`."""
    quote = "'" if '"' in value else '"'
    if quote in value or "\n" in value or " ;" in value or (value[:1] in "'\"" and value):
        raise ProcessError(f"{program}: {name} holds a character that supervisord cannot carry")
    return quote + value.replace("%", "%%") + quote


def _state(props: Mapping[str, Any]) -> str:
    try:
        return str(connect(props["socket"]).getProcessInfo(props["program"])["statename"])
    except xmlrpc.client.Fault as fault:
        if fault.faultCode == Faults.BAD_NAME:
            return "ABSENT"
        raise
    except OSError:
        return "UNSUPERVISED"


def _remove(props: Mapping[str, Any]) -> None:
    """Stops the program and takes it out of the running supervisord."""
    if _state(props) == "UNSUPERVISED":
        return
    daemon = connect(props["socket"])
    for call in (daemon.stopProcessGroup, daemon.removeProcessGroup):
        try:
            call(props["program"])
        except xmlrpc.client.Fault as fault:
            if fault.faultCode not in {Faults.BAD_NAME, Faults.NOT_RUNNING}:
                raise


def _ensure(props: Mapping[str, Any], *, changed_files: bool) -> None:
    """Leaves the program running with exactly these inputs, and healthy."""
    program, path = props["program"], _section_path(props)
    wanted = section(props)
    _watch(props)
    as_wanted = path.exists() and path.read_text() == wanted and not changed_files
    if not (as_wanted and _state(props) in {"RUNNING", "STARTING"}):
        _remove(props)
        sweep.end(_mark(props))
        _refuse_taken_ports(props)
        _log_path(props).unlink(missing_ok=True)
        files.write(path, wanted)
        daemon = connect(props["socket"])
        daemon.reloadConfig()
        daemon.addProcessGroup(program)
    _wait_until_healthy(props)


def _restore(props: Mapping[str, Any]) -> None:
    """Brings back what the state says is running, as far as it can be."""
    try:
        _write_files(props)
        _ensure(props, changed_files=True)
    except ProcessError as error:
        pulumi.log.debug(f"{props['program']} could not be brought back: {error}")


def _refuse_taken_ports(props: Mapping[str, Any]) -> None:
    taken = []
    for setting, port in (props.get("ports") or {}).items():
        owner = owner_of(int(port))
        if owner is not None:
            taken.append(
                f"port {int(port)} ({setting}) is in use by {owner}: stop it, or set another port"
            )
    if taken:
        raise ProcessError(f"{props['program']} cannot start: " + "; ".join(taken))


def owner_of(port: int) -> str | None:
    """Who listens on `port` of this machine, in words; `None` when nobody does."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            pass
        else:
            return None
    for process in psutil.process_iter():
        try:
            listens = any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
                for connection in process.net_connections("tcp")
            )
            if listens:
                return f"{process.name()} (process {process.pid}, user {process.username()})"
        except psutil.Error:
            continue
    return "a process of another user"


def _wait_until_healthy(props: Mapping[str, Any]) -> None:
    seconds = int(props["health_seconds"])

    def settled() -> str | None:
        state = _state(props)
        if state in {"FATAL", "EXITED", "ABSENT", "UNSUPERVISED"}:
            return f"stopped ({state.lower()})"
        if state == "RUNNING" and is_healthy(props.get("health")):
            return "healthy"
        return None

    try:
        outcome = Retrying(
            stop=stop_after_delay(seconds),
            wait=wait_exponential(multiplier=0.05, max=0.5),
            retry=retry_if_result(lambda result: result is None),
        )(settled)
    except RetryError:
        outcome = f"was not healthy within {seconds} s (falaj:local.health_seconds)"
    if outcome != "healthy":
        raise ProcessError(
            f"{props['program']} {outcome}. The last lines of {_log_path(props)}:\n"
            f"{files.tail(_log_path(props))}"
        )


class SupervisedProcess(dynamic.Resource, module="local", name="SupervisedProcess"):
    """A program that supervisord keeps running."""

    program: pulumi.Output[str]

    def __init__(
        self, name: str, args: ProcessArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `ProcessArgs`."""
        super().__init__(
            SupervisedProcessProvider(),
            name,
            {
                "program": args.program,
                "state_directory": args.state_directory,
                "socket": args.socket,
                "command": list(args.command),
                "environment": dict(args.environment),
                "directories": list(args.directories),
                "files": dict(args.files),
                "ports": dict(args.ports),
                "health": args.health.inputs() if args.health else None,
                "health_seconds": args.health_seconds,
                "stop_seconds": args.stop_seconds,
            },
            opts,
        )
