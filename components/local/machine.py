"""What every part of the local environment is told about the machine that it runs on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi

from components.local.process import Health, ProcessArgs, SupervisedProcess
from components.local.supervisor import Supervisor

LOOPBACK = "127.0.0.1"


class MissingToolError(Exception):
    """A program that a part consists of is not installed."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The supervisor, `.state`, the port of each setting, and how long a part may take to start.

    `supervisor` is `None` in a stack that only adds programs to the daemon of another.
    """

    supervisor: Supervisor | None
    state_directory: str
    socket: str
    runtime_directory: str
    ports: Mapping[str, int]
    health_seconds: int

    def url(self, port: str) -> str:
        """The address of the part that listens on the port called `port`."""
        return f"http://{LOOPBACK}:{self.ports[port]}"

    def directory(self, name: str) -> str:
        """Where the part `name` keeps its data."""
        return str(Path(self.state_directory) / name)

    def process(
        self,
        resource: pulumi.Resource,
        name: str,
        *,
        program: str,
        command: list[pulumi.Input[str]],
        health: Health | None,
        environment: Mapping[str, pulumi.Input[str]] | None = None,
        directories: tuple[str, ...] = (),
        files: Mapping[str, pulumi.Input[str]] | None = None,
        ports: tuple[str, ...] = (),
        more_ports: Mapping[str, pulumi.Input[int]] | None = None,
        stop_seconds: int = 10,
        after: tuple[pulumi.Resource, ...] = (),
    ) -> SupervisedProcess:
        """The process `name` as a child of `resource`, started when `after` is there."""
        return SupervisedProcess(
            name,
            ProcessArgs(
                program=program,
                state_directory=self.state_directory,
                socket=self.socket,
                command=command,
                environment=environment or {},
                directories=directories,
                files=files or {},
                ports={f"falaj:local.ports.{port}": self.ports[port] for port in ports}
                | dict(more_ports or {}),
                health=health,
                health_seconds=self.health_seconds,
                stop_seconds=stop_seconds,
            ),
            pulumi.ResourceOptions(
                parent=resource,
                # the daemon must be up, and outlive its programs when all is destroyed
                depends_on=[*([self.supervisor] if self.supervisor else []), *after],
                # a refresh that finds the daemon dead must not ask it about each program
                deleted_with=self.supervisor,
            ),
        )


def executable(name: str) -> str:
    """The absolute path of the program `name`. Raises `MissingToolError`."""
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(f"{name} is not installed: run `make setup`")
    return found


def python(*arguments: str) -> list[pulumi.Input[str]]:
    """A command of this clone's Python."""
    return [sys.executable, *arguments]
