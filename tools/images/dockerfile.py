"""Reads the Dockerfiles of this repository: as much of the language as they use, and no more.

Two stages: `laid` runs one command in the base, the last takes over the files and says how the
image runs. Anything else is refused: what is made without an engine is what an engine makes.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class DockerfileError(Exception):
    """A Dockerfile says what is not known here; the message names the line."""


@dataclass(frozen=True)
class Image:
    """What a Dockerfile says."""

    arguments: tuple[str, ...]
    """That the command of the first stage is told."""
    command: tuple[str, ...]
    """Of the first stage."""
    mounts: tuple[Mapping[str, str], ...]
    user: str
    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    entry: tuple[str, ...] = ()
    default: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """As an OCI image's configuration writes it."""
        return {
            "User": self.user,
            "WorkingDir": self.folder,
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "Labels": dict(self.labels),
            "ExposedPorts": {f"{port}/tcp": {} for port in self.ports},
            **({"Entrypoint": list(self.entry)} if self.entry else {}),
            **({"Cmd": list(self.default)} if self.default else {}),
        }


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction with the rest of its line; lines that go on are one."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", kept).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield name.upper(), rest.strip()


def read(path: Path, given: Mapping[str, str]) -> Image:
    """What the Dockerfile at `path` says with the arguments `given`. Raises `DockerfileError`."""
    found = list(instructions(path.read_text(encoding="utf-8")))
    starts = [place for place, (name, _) in enumerate(found) if name == "FROM"]
    stages = [
        found[start:end] for start, end in zip(starts, [*starts[1:], len(found)], strict=True)
    ]
    wanted = [("FROM", "${BASE} AS laid")], [("FROM", "scratch")]
    if found[0] != ("ARG", "BASE") or [[stage[0]] for stage in stages] != list(wanted):
        raise DockerfileError(f"{path}: expected ARG BASE and the stages laid and scratch")
    laid, last = stages
    _refuse(path, laid[1:], {"ARG", "RUN"})
    known = {"ARG", "COPY", "LABEL", "ENV", "WORKDIR", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    _refuse(path, last[1:], known)
    if _all(last, "COPY") != ["--from=laid / /"]:
        raise DockerfileError(f"{path}: the last stage takes all of laid over, and nothing else")
    (run,) = _all(laid, "RUN") or [""]
    flags, _, command = run.partition("[")
    values = {name: given.get(name, "") for name in _all(last, "ARG")}
    return Image(
        arguments=tuple(_all(laid, "ARG")),
        command=_exec(path, f"[{command}"),
        mounts=tuple(
            dict(part.partition("=")[::2] for part in flag.removeprefix("--mount=").split(","))
            for flag in flags.split()
        ),
        user=_last(last, "USER", path),
        folder=_last(last, "WORKDIR", path),
        environment=_pairs(_all(last, "ENV"), values),
        labels=_pairs(_all(last, "LABEL"), values),
        entry=_exec(path, *_all(last, "ENTRYPOINT")),
        default=_exec(path, *_all(last, "CMD")),
        ports=tuple(port for line in _all(last, "EXPOSE") for port in line.split()),
    )


def _refuse(path: Path, stage: list[tuple[str, str]], known: set[str]) -> None:
    for name, rest in stage:
        if name not in known:
            raise DockerfileError(f"{path}: {name} {rest[:40]}: is not known here")


def _all(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for found, rest in stage if found == name]


def _last(stage: list[tuple[str, str]], name: str, path: Path) -> str:
    if not (found := _all(stage, name)):
        raise DockerfileError(f"{path}: has no {name}")
    return found[-1]


def _exec(path: Path, *lines: str) -> tuple[str, ...]:
    """The words of a command, which no shell reads."""
    if not lines:
        return ()
    try:
        return tuple(json.loads(lines[-1]))
    except ValueError as error:
        raise DockerfileError(f"{path}: {lines[-1][:60]}: expected a list of words") from error


def _pairs(lines: list[str], values: Mapping[str, str]) -> dict[str, str]:
    def filled(text: str) -> str:
        return re.sub(r"\$\{(\w+)\}", lambda match: values[match[1]], text)

    words = [word for line in lines for word in shlex.split(line)]
    return {name: filled(value) for name, _, value in (word.partition("=") for word in words)}
