"""The Python language host of a Pulumi CLI that is built from its Go module.

The official one is not part of that module. This one serves what the engine asks of it over gRPC:
`Run` (the program, in this process) and `RunPlugin` (policy packs and providers, in a child). It
uses the interpreter that started it; toolchain options of a project have no meaning here.
"""

from __future__ import annotations

import asyncio
import os
import queue
import runpy
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent import futures
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import grpc
import pulumi
from pulumi.automation._server import LanguageServer
from pulumi.errors import RunError
from pulumi.runtime import stack
from pulumi.runtime._grpc_settings import _GRPC_CHANNEL_OPTIONS
from pulumi.runtime.proto import language_pb2, language_pb2_grpc

PARENT_CHECK_SECONDS = 1.0
CHUNK_BYTES = 65536
WITHOUT_DEBUG_MESSAGES = "FALAJ_WITHOUT_DEBUG_MESSAGES"
"""Environment variable: what the SDK says for `pulumi --debug` is kept back, some ten calls of the
engine a resource."""
_OUTSIDE = (__file__, "<frozen runpy>")


class LanguageHost(LanguageServer):
    """Runs programs and plugins for the engine at `engine_address`."""

    def __init__(self, engine_address: str) -> None:
        super().__init__(lambda: None)
        self.engine_address = engine_address
        self.children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Tells where the engine is; newer engines say so here instead of on the command line."""
        self.engine_address = request.engine_address or self.engine_address
        return language_pb2.LanguageHandshakeResponse()

    def Run(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs the program; an error of its own is already shown, so the engine only bails."""
        directory = Path(request.info.program_directory)
        os.chdir(directory)
        sys.path.insert(0, str(directory))
        request.args[:] = [self.engine_address]
        entry = str(directory / request.info.entry_point)

        def program() -> None:
            try:
                runpy.run_path(entry, run_name="__main__")
            except RunError:
                raise
            except Exception as error:
                raise RunError(_explain(error)) from error

        self.program = program
        response = super().Run(request, context)  # type: ignore[no-untyped-call]
        if response.error:
            return language_pb2.RunResponse(bail=True)
        return response

    def RunPlugin(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Runs a plugin and streams its output, then its exit code."""
        directory = request.info.program_directory
        if request.kind == "analyzer":
            command, folder = ["-m", "pulumi.policy", *request.args, directory], directory
        else:
            command, folder = [directory, *request.args], request.pwd
        child = subprocess.Popen(
            [sys.executable, "-u", *command],
            cwd=folder,
            env=os.environ | dict(pair.split("=", 1) for pair in request.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.children.add(child)
        context.add_callback(child.terminate)
        chunks: queue.Queue[tuple[str, bytes]] = queue.Queue()
        streams = {"stdout": child.stdout, "stderr": child.stderr}
        for name, stream in streams.items():
            threading.Thread(target=_forward, args=(name, stream, chunks), daemon=True).start()
        open_streams = len(streams)
        while open_streams:
            name, chunk = chunks.get()
            if not chunk:
                open_streams -= 1
            elif name == "stdout":
                yield language_pb2.RunPluginResponse(stdout=chunk)
            else:
                yield language_pb2.RunPluginResponse(stderr=chunk)
        yield language_pb2.RunPluginResponse(exitcode=child.wait())
        self.children.discard(child)


def _explain(error: Exception) -> str:
    """The program's own traceback, without the frames that led to it."""
    frame = error.__traceback__
    while frame and frame.tb_next and frame.tb_frame.f_code.co_filename in _OUTSIDE:
        frame = frame.tb_next
    lines = traceback.format_exception(type(error), error, frame)
    return "the program failed with an unhandled exception:\n" + "".join(lines)


def _forward(name: str, stream: IO[bytes], chunks: queue.Queue[tuple[str, bytes]]) -> None:
    while chunk := os.read(stream.fileno(), CHUNK_BYTES):
        chunks.put((name, chunk))
    chunks.put((name, b""))


def relieve(sdk: Any = stack) -> None:
    """Has the SDK wait for its outputs together, all of them or the first that fails.

    It waits for the first to be done, then for the first of the rest, and so on: time with the
    square of their number, a third of the program's where there are hundreds of resources.
    """

    async def wait(tasks: Iterable[asyncio.Future[Any]], **_: Any) -> Any:
        return await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)

    sdk.asyncio = SimpleNamespace(**{**vars(asyncio), "wait": wait})
    if os.environ.get(WITHOUT_DEBUG_MESSAGES):
        pulumi.log.debug = lambda *_, **__: None


def main() -> None:
    """Serves until the engine interrupts us or is gone."""
    parent = os.getppid()  # before anybody can know that we are here, and be killed
    addresses = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    host = LanguageHost(addresses[0] if addresses else "")
    relieve()
    server = grpc.server(futures.ThreadPoolExecutor(), options=_GRPC_CHANNEL_OPTIONS)
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()

    def leave(*_: object) -> None:
        for child in list(host.children):
            child.terminate()
        os._exit(0)  # a program's threads may still wait for an engine that has gone

    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    leave()


if __name__ == "__main__":
    main()
