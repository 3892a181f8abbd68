"""HTTP for a model server whose answers leave in one piece.

Owns how bytes go to the socket. uvicorn writes the head of an answer and its body one after the
other: a server killed between the two leaves the gateway with half an answer, which it cannot ask
for again elsewhere, since the head has gone to the client.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class WholeAnswers(HttpToolsProtocol):
    """uvicorn's protocol; what it writes in one turn of the event loop is one write."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Puts the joining of writes between uvicorn and the socket."""
        super().connection_made(cast("asyncio.Transport", _Joined(transport, self.loop)))


class _Joined:
    """A transport that holds what is written until the loop's turn ends; else its own."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = b"".join(self._held), []
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
