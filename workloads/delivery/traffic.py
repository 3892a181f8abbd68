"""How live traffic is shared between the slots of a workload.

`TrafficSplit` is all that a release knows of a gateway. `GatewayTrafficSplit` is the one for the
local gateway; `workloads.delivery.mesh` has the one for a cluster. Which version sits in a slot is
no concern of these modules.
"""

from __future__ import annotations

import csv
import json
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from workloads.delivery import files
from workloads.delivery.errors import DeliveryError, NotUpError

WHOLE = 100
_TIMEOUT_SECONDS = 2.0
_UP_STATES = {"2", "3"}  # srv_op_state: running, or running and about to stop


class TrafficError(DeliveryError):
    """The traffic is not, or not known to be, split as was asked."""


class GatewayDownError(TrafficError, NotUpError):
    """The split is written down but the gateway is not there to take it; it will at its start."""


class TrafficSplit(Protocol):
    """Percent of the live traffic that each slot answers.

    A canary raises one slot step by step, blue/green sets it to 100 at once. A shadow stays at 0,
    since none of its answers reaches a client, and is fed copies at its own address.

    Promises, held by one suite of tests for every implementation: requests with the same
    `x-falaj-entity` header meet the same slot as long as the split is the same; raising a slot
    takes no entity away from it; a split outlives the gateway's process.
    """

    def weights(self) -> Mapping[str, int]:
        """Slot → percent, for every slot; the sum is 100."""
        ...

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """Returns when new requests are split like this; a slot that is not named gets 0.

        Raises `ValueError` and changes nothing when the slots are unknown or the sum is not 100,
        `TrafficError` when the gateway did not take it.
        """
        ...

    def ready(self) -> Mapping[str, bool]:
        """Slot → whether the gateway sends it requests as soon as it has a share."""
        ...


class _Worker(NamedTuple):
    """A server of the gateway."""

    name: str
    weight: int
    is_up: bool


class GatewayTrafficSplit:
    """The split of one backend of the local gateway.

    The file is the truth: it is replaced first, and the gateway starts from it. A running gateway
    is told through its run-time socket, without a reload.
    """

    def __init__(self, weights_file: Path, socket_path: Path, backend: str) -> None:
        """`weights_file` may not exist yet; then the first slot of the gateway has all."""
        self._file = weights_file
        self._socket = socket_path
        self._backend = backend

    def weights(self) -> dict[str, int]:
        """The split as written down; before the first, as the running gateway has it."""
        try:
            return _read(self._file)
        except FileNotFoundError:
            return self.running_weights()

    def running_weights(self) -> dict[str, int]:
        """The split as the running gateway has it. Raises `GatewayDownError`."""
        # while a split is being set, one worker of a slot may be ahead of another
        return {
            slot: round(sum(worker.weight for worker in workers) / len(workers))
            for slot, workers in self._workers().items()
        }

    def ready(self) -> dict[str, bool]:
        """See `TrafficSplit`. Raises `GatewayDownError`."""
        return {
            slot: all(worker.is_up for worker in workers)
            for slot, workers in self._workers().items()
        }

    def set_weights(self, weights: Mapping[str, int]) -> None:
        """See `TrafficSplit`. Raises `GatewayDownError` when the file alone could be written."""
        split = self._whole(weights)
        files.write_json(self._file, split)
        # a slot that grows does so before the other shrinks: at no moment has nobody any weight
        workers = self._workers()
        for slot, weight in sorted(split.items(), key=lambda item: -item[1]):
            for worker in workers.get(slot, ()):
                answer = self._ask(f"set weight {self._backend}/{worker.name} {weight}").strip()
                if answer:
                    raise TrafficError(f"the gateway refused {weight} for {worker.name}: {answer}")
        running = {
            slot: sorted({worker.weight for worker in workers})
            for slot, workers in self._workers().items()
        }
        if running != {slot: [weight] for slot, weight in split.items()}:
            raise TrafficError(f"the gateway runs {running} although it was told {split}")

    def _whole(self, weights: Mapping[str, int]) -> dict[str, int]:
        try:
            known = set(_read(self._file))
        except FileNotFoundError:
            known = set(self.running_weights())
        return whole_split(weights, known)

    def _workers(self) -> dict[str, list[_Worker]]:
        """Slot → its servers, named `x-1`, `x-2`; spares, those named `x-1-spare`, left out."""
        lines = self._ask(f"show servers state {self._backend}").splitlines()
        header = next((line for line in lines if line.startswith("# ")), None)
        if header is None:
            raise TrafficError(
                f"the gateway knows no route {self._backend}: {' '.join(lines).strip()}"
            )
        rows = csv.DictReader(
            [header.removeprefix("# "), *(line for line in lines if line[:1].isdigit())],
            delimiter=" ",
        )
        workers: dict[str, list[_Worker]] = {}
        for row in rows:
            slot, _, rest = str(row.get("srv_name")).partition("-")
            if rest.isdigit():
                is_up = row["srv_op_state"] in _UP_STATES
                worker = _Worker(row["srv_name"], int(row["srv_uweight"]), is_up)
                workers.setdefault(slot, []).append(worker)
        return workers

    def _ask(self, command: str) -> str:
        """One command to the gateway's run-time socket; returns its answer."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_TIMEOUT_SECONDS)
                connection.connect(str(self._socket))
                connection.sendall(f"{command}\n".encode())
                answer = bytearray()
                while chunk := connection.recv(65536):
                    answer += chunk
        except OSError as error:
            standing = (
                f"its split stands in {self._file}" if self._file.exists() else "it has no split"
            )
            raise GatewayDownError(
                f"the gateway does not answer at {self._socket} ({error}); {standing}, and the "
                "gateway takes that when it starts"
            ) from error
        return answer.decode(errors="replace")


def whole_split(weights: Mapping[str, int], known: Collection[str]) -> dict[str, int]:
    """`weights` for every slot of `known`, a slot that is not named at 0. Raises `ValueError`."""
    if not set(weights) <= set(known):
        raise ValueError(f"slots {sorted(weights)}, known are {sorted(known)}")
    split = {slot: weights.get(slot, 0) for slot in sorted(known)}
    _check(split)
    return split


def _check(split: Mapping[str, int]) -> None:
    if any(type(share) is not int or not 0 <= share <= WHOLE for share in split.values()):
        raise ValueError(f"{dict(split)} are not whole percents")
    if sum(split.values()) != WHOLE:
        raise ValueError(f"{dict(split)} sum to {sum(split.values())}, not to {WHOLE}")


def _read(path: Path) -> dict[str, int]:
    text = path.read_text()
    try:
        split = json.loads(text)
        _check(split)
    except (ValueError, AttributeError, TypeError) as error:
        raise TrafficError(
            f'{path} holds no split ({error}); write one such as {{"a": 100, "b": 0}}'
        ) from error
    return {str(slot): int(share) for slot, share in sorted(split.items())}
