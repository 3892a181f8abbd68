"""A file that a workload adds to a part that already runs, and how the part takes notice.

Owns the file. The part must exist before it and is never restarted by it.
"""

from __future__ import annotations

import xmlrpc.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from components.local import files, gateway, orchestration_files
from components.local.provider import LocalProvider
from components.local.supervisor import connect


class PartDownError(Exception):
    """The part that should take notice does not run."""


Reaction = Callable[[dict[str, Any]], None]


def _reload_gateway(props: dict[str, Any]) -> None:
    """Renders the routes anew; the workers finish what they serve while new ones take over."""
    gateway.render_to(Path(props["state_directory"]) / "gateway")
    _signal(props, "gateway", "USR2")


def _reload_monitoring(props: dict[str, Any]) -> None:
    """Prometheus reads its rules again; target files it watches by itself."""
    _signal(props, "monitoring", "HUP")


def _reload_orchestration(props: dict[str, Any]) -> None:
    """The webserver loads the workspace again; the daemon does so once a minute."""
    orchestration_files.assemble(Path(props["state_directory"]) / "orchestration")
    orchestration_files.reload(props["address"])


def _signal(props: dict[str, Any], program: str, name: str) -> None:
    try:
        connect(props["socket"]).signalProcessGroup(program, name)
    except (OSError, xmlrpc.client.Fault) as error:
        raise PartDownError(
            f"{program} does not run ({error}): bring the platform up first, with "
            "`pulumi up --refresh` of its stack or `make up`"
        ) from error


REACTIONS: dict[str, Reaction] = {
    "gateway": _reload_gateway,
    "monitoring": _reload_monitoring,
    "orchestration": _reload_orchestration,
}


class DropInProvider(LocalProvider):
    """Writes the file and lets the part react."""

    replacing = frozenset({"path"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Replaces a file of that name."""
        files.write(props["path"], props["content"])
        REACTIONS[props["part"]](props)
        return dynamic.CreateResult(props["path"], dict(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.UpdateResult:
        """Writes the new content; the part reacts once."""
        return dynamic.UpdateResult(self.create(news).outs)

    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        """A file that somebody removed or changed is gone: the next `up` writes it again."""
        path = Path(props["path"])
        same = path.exists() and path.read_text() == props["content"]
        return dynamic.ReadResult(id_ if same else "", dict(props))

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Removes the file; a part that is gone needs no notice."""
        Path(props["path"]).unlink(missing_ok=True)
        try:
            REACTIONS[props["part"]](props)
        except Exception as error:  # noqa: BLE001 the part may be gone: destroying must go on
            pulumi.log.debug(f"{props['part']} took no notice: {error}")


@dataclass(frozen=True, kw_only=True)
class DropInArgs:
    """The file at `path` (absolute) for `part`, one of `REACTIONS`; `address` is the part's URL."""

    part: str
    path: pulumi.Input[str]
    content: pulumi.Input[str]
    state_directory: pulumi.Input[str]
    socket: pulumi.Input[str]
    address: pulumi.Input[str] = ""


class DropIn(dynamic.Resource, module="local", name="DropIn"):
    """A file in a directory that a part reads."""

    path: pulumi.Output[str]

    def __init__(
        self, name: str, args: DropInArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """See `DropInArgs`."""
        super().__init__(
            DropInProvider(),
            name,
            {
                "part": args.part,
                "path": args.path,
                "content": args.content,
                "state_directory": args.state_directory,
                "socket": args.socket,
                "address": args.address,
            },
            opts,
        )
