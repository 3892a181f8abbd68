"""One prediction, asked in every way, on the local environment that is up; and memory per part.

    python tests/benchmarks/serving.py          run inside `make shell`, with a model in service

All servers answer one record a request with the champion's model, on loopback, with the clients on
the same machine. What keeping predictions costs is measured on servers that stand side by side and
are asked in turn. Nothing fails on a time.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import machine
import psutil
from rich.console import Console
from rich.table import Table

from components.local import sweep
from workloads.delivery import capture, compiled, registry, spec
from workloads.delivery.connection import Connection, connect
from workloads.delivery.release import standing, traffic_of
from workloads.delivery.request import Schema
from workloads.delivery.slot import METADATA

WORKLOAD = "credit-risk"
CLIENTS = 8
SECONDS = 5.0
WARM_UP = 50
ROUNDS = 3
PROMISED_PERCENT = 5
"""Of the requests a second, that keeping predictions may cost at most."""
START_SECONDS = 120
HERE = Path(__file__).resolve().parent
PREDICTIONS = "/api/v1.0/predictions"
KEPT = "our server, keeping "


@dataclass(frozen=True)
class Row:
    """One way to ask."""

    name: str
    seconds: Sequence[float]
    """Of each request of the one client."""
    per_second: float
    """With `CLIENTS` clients; in this process with one caller."""
    megabytes: float | None = None
    failed: int = 0


class AskError(Exception):
    """The server closed the connection, or answered something else than 200."""


class Client:
    """One connection that sends the same request again and again, cheaply."""

    def __init__(self, url: str, body: bytes) -> None:
        """`url` is http on loopback, `body` JSON."""
        parts = urlsplit(url)
        self._address = (str(parts.hostname), int(parts.port or 80))
        head = (
            f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(self._address, timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self) -> float:
        """Seconds until the answer was there as a whole. Raises `AskError`."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        answer = self._more(b"")
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer = self._more(answer)
        head = answer[:end].lower()
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        while len(answer) < end + 4 + length:
            answer = self._more(answer)
        took = time.perf_counter() - began
        if not head.startswith(b"http/1.1 200"):
            raise AskError(answer[:300].decode(errors="replace"))
        if b"connection: close" in head:
            self._connect()
        return took

    def _more(self, answer: bytes) -> bytes:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise AskError("the connection was closed")
        return answer + chunk


def main() -> None:
    """Measures and prints the two tables."""
    console = Console(log_path=False)
    console.width = max(console.width, 110)
    # a row gives two threads nothing to share, and their waiting for each other would be measured;
    # the servers below inherit it, XGBoost reads it when it is loaded
    os.environ["OMP_NUM_THREADS"] = "1"
    connection = connect(WORKLOAD)
    with tempfile.TemporaryDirectory(prefix="falaj-bench-") as scratch:
        rows, missing = measure(connection, Path(scratch), console)
    table = Table(title=f"One prediction · {machine.description()}", title_justify="left")
    table.add_column("asked", no_wrap=True)
    for column in ("p50 ms", "p95 ms", "p99 ms", "requests/s", "memory MB", "failed"):
        table.add_column(column, justify="right")
    for row in rows:
        marks = statistics.quantiles(row.seconds, n=100)
        memory = "" if row.megabytes is None else f"{row.megabytes:.0f}"
        shown = [f"{marks[place] * 1000:.3f}" for place in (49, 94, 98)]
        table.add_row(row.name, *shown, f"{row.per_second:.0f}", memory, str(row.failed))
    for name, reason in missing.items():
        table.add_row(name, f"not installed: {reason}")
    console.print(table)
    console.print(
        f"p50, p95, p99 with one client; requests/s with {CLIENTS}, in this process with one caller"
    )
    console.print(_cost_of_capture(rows))
    _memory(console)


def _cost_of_capture(rows: Sequence[Row]) -> str:
    off, *kept = (row for row in rows if row.name.startswith(KEPT))
    costs = (
        f"{row.name.removeprefix(KEPT)}: {100 * (1 - row.per_second / off.per_second):.1f} %"
        for row in kept
    )
    return (
        f"of the requests a second keeping predictions costs, {'; '.join(costs)} "
        f"(at most {PROMISED_PERCENT} % is promised of the declared share)"
    )


def measure(
    connection: Connection, scratch: Path, console: Console
) -> tuple[list[Row], dict[str, str]]:
    """A row for each way, and the ways that are not installed with the reason."""
    now = standing(connection, traffic_of(connection))
    version = registry.version(connection, int(now.champion or 0))
    folder = registry.download_model(connection, version.run_id, scratch)
    from mlflow.models import Model

    schema = Schema.from_metadata(Model.load(str(folder)).metadata[METADATA])
    pipeline = registry.load_model(folder)
    records = [record for record in compiled.sample(schema, 50) if None not in record.values()][:1]
    message = json.dumps({"jsonData": {"records": records}}).encode()
    rows: list[Row] = []

    def add(row: Row) -> None:
        rows.append(row)
        console.log(f"{row.name}: done")

    add(
        _called(
            "in process, the training pipeline",
            compiled.pipeline_scorer(pipeline, schema.names),
            records,
        )
    )
    add(_called("in process, compiled", compiled.compile_pipeline(pipeline), records))
    workers = connection.slots[now.live]
    ours = [_listening(url) for url in workers]
    gateway = [p for p in psutil.process_iter() if "haproxy" in p.name() and _is_ours(p)]
    add(_asked("our server, one worker, direct", f"{workers[0]}{PREDICTIONS}", message, ours[:1]))
    with _without(connection, now.live, range(2, len(workers) + 1)):
        add(
            _asked(
                "gateway, one worker",
                f"{connection.endpoint}{PREDICTIONS}",
                message,
                [*ours[:1], *gateway],
            )
        )
    add(
        _asked(
            f"gateway, {len(workers)} workers",
            f"{connection.endpoint}{PREDICTIONS}",
            message,
            [*ours, *gateway],
        )
    )
    for row in _captured(connection, now.live, scratch, message):
        add(row)
    for is_compiled in (False, True):
        kind = "compiled" if is_compiled else "training pipeline"
        with _started(_fastapi(folder, is_compiled)) as (url, process):
            add(
                _asked(
                    f"bare FastAPI, {kind}",
                    f"{url}/predict",
                    json.dumps(records).encode(),
                    _tree(process),
                )
            )
    with _started(_seldon(connection, now.live, scratch)) as (url, process):
        add(
            _asked(
                "seldon-core-microservice, compiled", f"{url}{PREDICTIONS}", message, _tree(process)
            )
        )
    missing: dict[str, str] = {}
    python = _mlserver_environment(scratch)
    if isinstance(python, str):
        missing["MLServer"] = python
        return rows, missing
    texts = [json.dumps(record) for record in records]
    entry = {"name": "records", "shape": [1], "datatype": "BYTES", "data": texts}
    for is_compiled in (False, True):
        kind = "compiled" if is_compiled else "training pipeline"
        with _started(_mlserver(python, folder, scratch, is_compiled)) as (url, process):
            body = json.dumps({"inputs": [entry]}).encode()
            add(_asked(f"MLServer, {kind}", f"{url}/v2/models/bare/infer", body, _tree(process)))
    return rows, missing


def _captured(connection: Connection, slot: str, scratch: Path, message: bytes) -> list[Row]:
    """Servers that keep nothing, the share that the workload declares, and everything.

    They are asked one after the other, several times over: what else the machine does falls on all.
    """
    declared = spec.load(connection.workload).spec.capture
    kinds = {f"{KEPT}none": 0.0, f"{KEPT}{declared.share:.0%}": declared.share, f"{KEPT}all": 1.0}
    (scratch / "capture.key").write_text("the key of a benchmark, no secret")
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(_started(_keeping(connection, slot, scratch, share)))
            for name, share in kinds.items()
        }
        asked: dict[str, list[Row]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, (url, process) in servers.items():
                asked[name].append(_asked(name, f"{url}{PREDICTIONS}", message, _tree(process)))
    return [
        Row(
            name,
            [second for row in rows for second in row.seconds],
            statistics.median(row.per_second for row in rows),
            rows[-1].megabytes,
            sum(row.failed for row in rows),
        )
        for name, rows in asked.items()
    ]


def _keeping(connection: Connection, slot: str, scratch: Path, share: float) -> Command:
    """Our server of `slot`, with what is declared but the share; 0 keeps nothing."""
    port = _free_port()
    command = [sys.executable, "-m", "workloads.delivery.server", "--slot", slot]
    command += ["--workload", connection.workload, "--port", str(port)]
    declared = spec.load(connection.workload).spec.capture
    asked = declared.model_copy(update={"enabled": share > 0, "share": share or declared.share})
    variables = {
        capture.SETTINGS: asked.model_dump_json(),
        capture.URI: f"{scratch.as_uri()}/capture",
        capture.KEY_FILE: str(scratch / "capture.key"),
        "FALAJ_STATE": str(scratch / f"state-{share}"),
    }
    return command, variables, "/ready", port


def _called(name: str, score: compiled.Scorer, records: Any) -> Row:
    seconds = []
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        began = time.perf_counter()
        score(records)
        seconds.append(time.perf_counter() - began)
    return Row(name, seconds, len(seconds) / sum(seconds))


def _asked(name: str, url: str, body: bytes, processes: Sequence[psutil.Process]) -> Row:
    alone, failed = hammer((url, body, SECONDS))
    with multiprocessing.get_context("fork").Pool(CLIENTS) as pool:
        together = pool.map(hammer, [(url, body, SECONDS)] * CLIENTS)
    answered = sum(len(seconds) for seconds, _ in together)
    return Row(
        name,
        alone,
        answered / SECONDS,
        machine.megabytes(processes),
        failed + sum(number for _, number in together),
    )


def hammer(given: tuple[str, bytes, float]) -> tuple[list[float], int]:
    """Asks `url` with `body` for some seconds; returns each answer's seconds, and the failures."""
    url, body, seconds = given
    client = Client(url, body)
    times: list[float] = []
    failed = 0
    for _ in range(WARM_UP):
        client.ask()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            times.append(client.ask())
        except (AskError, OSError):
            failed += 1
            client = Client(url, body)
    return times, failed


Command = tuple[list[str], dict[str, str], str, int]
"""Command, its environment, the path that answers 200 when it is ready, and its port."""


@contextlib.contextmanager
def _started(command: Command) -> Iterator[tuple[str, psutil.Process]]:
    """Runs a server while the context lasts."""
    arguments, variables, ready, port = command
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            arguments, env=os.environ | variables, stdout=log, stderr=log, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _answers(f"http://127.0.0.1:{port}{ready}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"{arguments} did not start:\n{log.read().decode()[-3000:]}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
        finally:
            left = _tree(psutil.Process(process.pid)) if process.poll() is None else []
            for one in left:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            process.wait()


def _fastapi(folder: Path, is_compiled: bool) -> Command:
    port = _free_port()
    command = [sys.executable, str(HERE / "contenders.py"), "--model", str(folder)]
    command += ["--port", str(port), *(["--compiled"] if is_compiled else [])]
    return command, {}, "/openapi.json", port


def _seldon(connection: Connection, slot: str, scratch: Path) -> Command:
    """Seldon's own application with our component; its command would listen to the network."""
    port = _free_port()
    script = scratch / "seldon_application.py"
    script.write_text(
        "from seldon_core.metrics import SeldonMetrics\n"
        "from seldon_core.wrapper import get_rest_microservice\n"
        "from workloads.delivery.server import component_of\n"
        f"component = component_of({connection.workload!r})\n"
        "component.load()\n"
        "application = get_rest_microservice(component, SeldonMetrics())\n"
    )
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    command += ["--threads", "2", "--keep-alive", "60", "--log-level", "error"]
    command += ["--chdir", str(scratch), "seldon_application:application"]
    variables = {
        "FALAJ_SLOT": slot,
        "FALAJ_WORKLOAD": connection.workload,
        "FALAJ_STATE": str(scratch / "state"),
        "PYTHONPATH": str(HERE.parents[1]),
    }
    return command, variables, "/health/ping", port


def _mlserver_environment(scratch: Path) -> Path | str:
    """An environment of MLServer, which does not fit into ours; else the reason why not."""
    uv = shutil.which("uv")
    if uv is None:
        return "there is no uv"
    home = scratch / "mlserver"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(home)],
        [uv, "pip", "install", "--quiet", "--compile-bytecode",
         "--python", str(home / "bin/python"),
         "--requirements", str(HERE / "mlserver-requirements.txt")],
    ):  # fmt: skip
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            return (ran.stderr.strip().splitlines() or ["uv failed"])[-1][:200]
    return home / "bin/python"


def _mlserver(python: Path, folder: Path, scratch: Path, is_compiled: bool) -> Command:
    home = scratch / "bare"
    home.mkdir(exist_ok=True)
    ports = [_free_port() for _ in range(3)]
    settings = {
        "host": "127.0.0.1",
        **dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True)),
        "parallel_workers": 0,
    }
    (home / "settings.json").write_text(json.dumps(settings))
    (home / "model-settings.json").write_text(
        json.dumps({"name": "bare", "implementation": "contenders.Bare"})
    )
    variables = {
        "FALAJ_BENCH_MODEL": str(folder),
        "FALAJ_BENCH_COMPILED": "1" if is_compiled else "",
        "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[1]}",
    }
    command = [str(python.parent / "mlserver"), "start", str(home)]
    return command, variables, "/v2/models/bare/ready", ports[0]


@contextlib.contextmanager
def _without(connection: Connection, slot: str, workers: Sequence[int]) -> Iterator[None]:
    """Takes workers of a slot out of the gateway while the context lasts."""

    def tell(state: str) -> None:
        for worker in workers:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as told:
                told.connect(str(connection.traffic_socket))
                server = f"{connection.traffic_backend}/{slot}-{worker}"
                told.sendall(f"set server {server} state {state}\n".encode())
                while told.recv(4096):
                    pass

    tell("maint")
    try:
        yield
    finally:
        tell("ready")
        deadline = time.monotonic() + START_SECONDS
        while not traffic_of(connection).ready()[slot] and time.monotonic() < deadline:
            time.sleep(0.1)


def _memory(console: Console) -> None:
    """Memory per part, from the marks that the parts' processes carry."""
    parts: dict[str, list[psutil.Process]] = {}
    own = sweep.mark(_state(), "")
    for process in sweep.marked(own):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            # a child that renamed itself has lost its mark; its group leader has it
            leader = psutil.Process(os.getpgid(process.pid))
            part = (process.environ() | leader.environ()).get(sweep.MARK, own)
            parts.setdefault(part.removeprefix(own), []).append(process)
    table = Table(title="Memory per part", title_justify="left")
    table.add_column("part")
    table.add_column("processes", justify="right")
    table.add_column("memory MB", justify="right")
    sizes = {part: machine.megabytes(processes) for part, processes in parts.items()}
    for part, size in sorted(sizes.items(), key=lambda item: -item[1]):
        table.add_row(part, str(len(parts[part])), f"{size:.0f}")
    table.add_row("all", str(sum(map(len, parts.values()))), f"{sum(sizes.values()):.0f}")
    console.print(table)


def _state() -> Path:
    return HERE.parents[1] / ".state"


def _is_ours(process: psutil.Process) -> bool:
    try:
        mark: Mapping[str, str] = process.environ()
    except psutil.Error:
        return False
    return mark.get(sweep.MARK, "").startswith(sweep.mark(_state(), ""))


def _listening(url: str) -> psutil.Process:
    port = urlsplit(url).port
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return process
    sys.exit(f"nothing listens at {url}")


def _tree(process: psutil.Process) -> list[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        return [process, *process.children(recursive=True)]
    return []


def _answers(url: str) -> bool:
    import httpx

    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
