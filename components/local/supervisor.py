"""supervisord: starts, restarts and stops the processes of the local environment.

Owns the daemon, its socket and its configuration. Which programs it runs is left to
`components/local/process.py`, whose resources depend on this one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pulumi
from pulumi import dynamic
from supervisor.xmlrpc import SupervisorTransport
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.local import files, sweep
from components.local.provider import LocalProvider

START_SECONDS = 30.0
STOP_SECONDS = 25.0

_INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "NO_PROXY", "PATH", "TMPDIR", "TZ", "USER")
"""What the parts see of the environment of whoever ran `pulumi up`; nothing else leaks to them."""

_CONFIGURATION = """\
; made by Falaj: do not edit
[supervisord]
nodaemon=false
identifier=falaj
directory={directory}
logfile={logs}/supervisord.log
logfile_maxbytes=10MB
logfile_backups=2
childlogdir={logs}
pidfile={directory}/supervisord.pid
umask=077

[unix_http_server]
file={socket}
chmod=0600

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:watchdog]
command={watchdog}
events=TICK_5
environment={mark}
autorestart=true
stdout_logfile=NONE
stderr_logfile={logs}/watchdog.log
stderr_logfile_maxbytes=1MB
stderr_logfile_backups=1

[include]
files={programs}/*.conf
"""


class SupervisorDownError(Exception):
    """supervisord does not answer on its socket."""


def connect(socket: str) -> Any:
    """The `supervisor` namespace of the XML-RPC interface behind a unix socket."""
    transport = SupervisorTransport(None, None, f"unix://{socket}")
    return xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport).supervisor


def answers(socket: str) -> bool:
    """Whether a supervisord is running behind `socket`."""
    try:
        return bool(connect(socket).getState()["statename"] == "RUNNING")
    except (OSError, xmlrpc.client.Error, ValueError):
        return False


def programs_directory(state_directory: str) -> Path:
    """Where each program's section is kept, one file a program."""
    return Path(state_directory) / "supervisor" / "programs"


class SupervisorProvider(LocalProvider):
    """Adopts a running supervisord or starts one."""

    replacing = frozenset({"socket", "state_directory"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Raises `SupervisorDownError` with the log's end when it does not come up."""
        socket = props["socket"]
        if not answers(socket):
            _start(props["state_directory"], socket)
        return dynamic.CreateResult(socket, dict(props))

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """A dead daemon is gone: the next `up` starts it again."""
        return dynamic.ReadResult(id_ if answers(props["socket"]) else "", dict(props))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Stops the daemon and whatever of this clone still runs."""
        socket = props["socket"]
        if answers(socket):
            daemon = psutil.Process(connect(socket).getPID())
            connect(socket).shutdown()
            psutil.wait_procs([daemon], timeout=STOP_SECONDS)
        sweep.end(sweep.mark(props["state_directory"], ""))
        for section in programs_directory(props["state_directory"]).glob("*"):
            section.unlink()


def _start(state_directory: str, socket: str) -> None:
    directory = Path(state_directory) / "supervisor"
    logs = Path(state_directory) / "logs"
    programs = programs_directory(state_directory)
    for folder in (directory, logs, programs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    Path(socket).unlink(missing_ok=True)
    configuration = directory / "supervisord.conf"
    files.write(
        configuration,
        _CONFIGURATION.format(
            directory=directory,
            logs=logs,
            socket=socket,
            programs=programs,
            watchdog=_escaped(
                shlex.join([sys.executable, "-m", "components.local.watchdog", str(programs)])
            ),
            mark=_escaped(f'{sweep.MARK}="{sweep.mark(state_directory, "watchdog")}"'),
        ),
    )
    environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    environment["no_proxy"] = environment.get("NO_PROXY", "")
    started = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)],
        env=environment,
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        Retrying(
            stop=stop_after_delay(START_SECONDS),
            wait=wait_fixed(0.05),
            retry=retry_if_result(lambda up: not up),
        )(answers, socket)
    except RetryError:
        last = files.tail(logs / "supervisord.log")
        raise SupervisorDownError(
            f"supervisord did not start:\n{started.stdout}{started.stderr}{last}"
        ) from None


def _escaped(value: str) -> str:
    """supervisord gives `%` a meaning."""
    return value.replace("%", "%%")


@dataclass(frozen=True, kw_only=True)
class SupervisorArgs:
    """Absolute path of `.state`, and of the socket (at most 107 bytes long)."""

    state_directory: str
    socket: str


class Supervisor(dynamic.Resource, module="local", name="Supervisor"):
    """The daemon on which every process of the local environment depends."""

    socket: pulumi.Output[str]
    state_directory: pulumi.Output[str]

    def __init__(
        self, name: str, args: SupervisorArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `SupervisorArgs`."""
        super().__init__(
            SupervisorProvider(),
            name,
            {"state_directory": args.state_directory, "socket": args.socket},
            opts,
        )
