"""A few neighbouring ports for one workload, out of the range that the platform offers.

Owns the claim: a file a block under `.state/workloads/ports`, so that two workloads never get the
same one and a workload keeps its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pulumi
from pulumi import dynamic

from components.local.provider import LocalProvider

SIZE = 8


class NoPortError(Exception):
    """Every block of the range is claimed."""


class PortBlockProvider(LocalProvider):
    """Claims the first free block."""

    replacing = frozenset({"claims", "first", "last", "owner"})
    outputs = frozenset({"port"})

    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        """Adopts the owner's block when there is one. Raises `NoPortError`."""
        claims = Path(props["claims"])
        claims.mkdir(mode=0o700, parents=True, exist_ok=True)
        first, last = int(props["first"]), int(props["last"])
        candidates = [(port, claims / str(port)) for port in range(first, last - SIZE + 2, SIZE)]
        for port, claim in candidates:
            if claim.exists() and claim.read_text() == props["owner"]:
                return _result(props, port)
        for port, claim in candidates:
            try:
                descriptor = os.open(claim, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(descriptor, "w") as file:
                file.write(props["owner"])
            return _result(props, port)
        raise NoPortError(
            f"the range {first}–{last} has no room for another workload: widen "
            "falaj:local.ports.workloads_first and workloads_last, or remove a workload"
        )

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        """Gives the block back."""
        (Path(props["claims"]) / str(int(props["port"]))).unlink(missing_ok=True)


def _result(props: dict[str, Any], port: int) -> dynamic.CreateResult:
    return dynamic.CreateResult(str(port), {**props, "port": port})


class PortBlock(dynamic.Resource, module="local", name="PortBlock"):
    """`SIZE` neighbouring ports; `port` is the first."""

    port: pulumi.Output[int]

    def __init__(
        self,
        name: str,
        *,
        owner: str,
        claims: str,
        first: int,
        last: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """A block between `first` and `last` for `owner`; `claims` is a directory."""
        super().__init__(
            PortBlockProvider(),
            name,
            {"owner": owner, "claims": claims, "first": first, "last": last, "port": None},
            opts,
        )
