"""A supervised process on a real supervisord: started, adopted, changed, lost, brought back."""

from __future__ import annotations

import json
import signal
import socket
import stat
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from components.local import sweep, watchdog
from components.local.process import (
    ProcessError,
    SupervisedProcessProvider,
    is_healthy,
    owner_of,
    section,
)
from components.local.supervisor import SupervisorProvider, answers, connect

PROVIDER = SupervisedProcessProvider()

SERVER = """\
import http.server, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ.get("GREETING", "").encode()
        self.send_response(200); self.end_headers(); self.wfile.write(body)
    def log_message(self, *arguments): pass
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="falaj-test-") as short:
        props = {"state_directory": str(tmp_path), "socket": f"{short}/s.sock"}
        SupervisorProvider().create(props)
        try:
            yield props
        finally:
            SupervisorProvider().delete(props["socket"], props)


@pytest.fixture
def program(supervisor: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    script, port = tmp_path / "server.py", free_port()
    script.write_text(SERVER)
    return {
        **supervisor,
        "program": "greeter",
        "command": [sys.executable, str(script), str(port)],
        "environment": {"GREETING": "marhaba, 100% {'}"},
        "directories": [str(tmp_path / "data")],
        "files": {str(tmp_path / "conf" / "secret"): "s3cret"},
        "ports": {"falaj:local.ports.greeter": port},
        "health": {"url": f"http://127.0.0.1:{port}", "expect": "", "body": None, "headers": {}},
        "health_seconds": 60,
        "stop_seconds": 10,
    }


def greeting(program: dict[str, Any]) -> str:
    with urllib.request.urlopen(program["health"]["url"], timeout=10) as answer:  # noqa: S310
        return str(answer.read().decode())


def pid(program: dict[str, Any]) -> int:
    return int(connect(program["socket"]).getProcessInfo("greeter")["pid"])


def leftovers(program: dict[str, Any]) -> list[psutil.Process]:
    return list(sweep.marked(sweep.mark(program["state_directory"], "greeter")))


def eventually(condition: Any) -> None:
    Retrying(
        stop=stop_after_delay(60),
        wait=wait_fixed(0.05),
        retry=retry_if_result(lambda outcome: not outcome),
    )(condition)


def test_a_created_process_is_healthy_and_reads_private_files(program: dict[str, Any]) -> None:
    assert PROVIDER.create(program).id == "greeter"
    assert greeting(program) == program["environment"]["GREETING"]
    (path,) = program["files"]
    section_file = Path(program["state_directory"]) / "supervisor" / "programs" / "greeter.conf"
    for private in (Path(path), section_file):
        assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_a_second_create_adopts_what_runs(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    first = pid(program)
    PROVIDER.create(program)
    assert pid(program) == first


def test_an_update_restarts_with_the_new_inputs(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    changed = program | {"environment": {"GREETING": "ahlan"}}
    assert PROVIDER.diff("greeter", program, changed).changes
    PROVIDER.update("greeter", program, changed)
    assert greeting(changed) == "ahlan"


def test_equal_inputs_are_no_change(program: dict[str, Any]) -> None:
    assert not PROVIDER.diff("greeter", program, json.loads(json.dumps(program))).changes


def test_an_update_that_cannot_start_leaves_the_old_process(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    broken = program | {"command": [sys.executable, "-c", "raise SystemExit('no such model')"]}
    with pytest.raises(ProcessError, match="no such model"):
        PROVIDER.update("greeter", program, broken)
    assert greeting(program) == program["environment"]["GREETING"]


def test_a_process_that_cannot_start_shows_the_end_of_its_log(program: dict[str, Any]) -> None:
    broken = program | {"command": [sys.executable, "-c", "raise SystemExit('no such database')"]}
    with pytest.raises(ProcessError) as caught:
        PROVIDER.create(broken)
    assert "no such database" in str(caught.value)
    assert "greeter.log" in str(caught.value)


def test_a_process_that_is_never_healthy_is_given_up_after_its_limit(
    program: dict[str, Any],
) -> None:
    slow = program | {
        "health": program["health"] | {"expect": "never said"},
        "health_seconds": 1,
    }
    with pytest.raises(ProcessError, match=r"was not healthy within 1 s"):
        PROVIDER.create(slow)


def test_a_taken_port_is_named_with_its_owner_and_setting(program: dict[str, Any]) -> None:
    (port,) = program["ports"].values()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert str(psutil.Process().pid) in str(owner_of(port))
        with pytest.raises(ProcessError) as caught:
            PROVIDER.create(program)
    message = str(caught.value)
    assert f"port {port} (falaj:local.ports.greeter) is in use by" in message
    assert f"process {psutil.Process().pid}" in message


def test_refresh_sees_a_stopped_process_and_create_brings_it_back(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    assert PROVIDER.read("greeter", program).id == "greeter"
    connect(program["socket"]).stopProcessGroup("greeter")
    assert PROVIDER.read("greeter", program).id == ""
    PROVIDER.create(program)
    assert is_healthy(program["health"])


def test_a_killed_process_comes_back_by_itself_without_its_old_children(
    program: dict[str, Any],
) -> None:
    PROVIDER.create(program)
    before = {process.pid for process in leftovers(program)}
    assert len(before) == 2  # the server and its child
    psutil.Process(pid(program)).send_signal(signal.SIGKILL)
    eventually(
        lambda: (
            is_healthy(program["health"])
            and not before & {process.pid for process in leftovers(program)}
        )
    )


def test_delete_ends_the_whole_family_and_keeps_data_and_log(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    (Path(program["directories"][0]) / "row").write_text("kept")
    PROVIDER.delete("greeter", program)
    assert leftovers(program) == []
    assert owner_of(*program["ports"].values()) is None
    assert (Path(program["directories"][0]) / "row").read_text() == "kept"
    assert (Path(program["state_directory"]) / "logs" / "greeter.log").exists()
    assert not any(Path(path).exists() for path in program["files"])


def test_a_killed_supervisor_is_gone_on_refresh_and_create_recovers_everything(
    program: dict[str, Any],
) -> None:
    PROVIDER.create(program)
    daemon = psutil.Process(connect(program["socket"]).getPID())
    daemon.kill()
    eventually(lambda: not answers(program["socket"]))
    assert SupervisorProvider().read("s", program).id == ""
    assert PROVIDER.read("greeter", program).id == ""
    SupervisorProvider().create(program)
    PROVIDER.create(program)
    assert greeting(program) == program["environment"]["GREETING"]
    assert len(leftovers(program)) == 2


def test_the_environment_of_whoever_runs_pulumi_does_not_reach_a_part(
    program: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    SupervisorProvider().delete("s", program)
    monkeypatch.setenv("BANK_VPN_TOKEN", "t0ken")
    SupervisorProvider().create(program)
    PROVIDER.create(program)
    assert "BANK_VPN_TOKEN" not in psutil.Process(pid(program)).environ()


@pytest.mark.parametrize("value", ["two\nlines", "both ' and \"", "cut ; here", "'quoted'"])
def test_a_value_that_supervisord_cannot_carry_is_refused(
    program: dict[str, Any], value: str
) -> None:
    with pytest.raises(ProcessError, match="GREETING"):
        section(program | {"environment": {"GREETING": value}})


def test_no_secret_stands_in_the_arguments(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    secret = program["environment"]["GREETING"]
    assert not any(secret in " ".join(process.cmdline()) for process in leftovers(program))


def test_a_program_that_hangs_is_started_anew(program: dict[str, Any]) -> None:
    PROVIDER.create(program)
    programs = Path(program["state_directory"]) / "supervisor" / "programs"
    assert stat.S_IMODE(watchdog.path(programs, "greeter").stat().st_mode) == 0o600
    first, daemon = pid(program), connect(program["socket"])
    dog = watchdog.Watchdog(programs, silent_seconds=30)
    assert dog.look(daemon, now=100.0) == []
    psutil.Process(first).suspend()
    assert dog.look(daemon, now=129.0) == []
    assert dog.look(daemon, now=131.0) == ["greeter"]
    eventually(lambda: is_healthy(program["health"]))
    assert pid(program) != first
    assert dog.look(daemon, now=200.0) == []


def test_a_program_that_loads_for_long_is_left_alone_while_it_says_that_it_is_alive(
    program: dict[str, Any],
) -> None:
    PROVIDER.create(program)
    programs = Path(program["state_directory"]) / "supervisor" / "programs"
    alive = {"url": "http://127.0.0.1:1", "alive_url": program["health"]["url"]}
    watchdog.path(programs, "greeter").write_text(
        json.dumps({"health": alive, "start_seconds": 60})
    )
    dog = watchdog.Watchdog(programs, silent_seconds=30)
    daemon = connect(program["socket"])
    assert [dog.look(daemon, now=now) for now in (0.0, 100.0, 200.0)] == [[], [], []]


def test_supervisord_runs_the_watchdog(supervisor: dict[str, Any]) -> None:
    daemon = connect(supervisor["socket"])
    eventually(lambda: daemon.getProcessInfo("watchdog")["statename"] == "RUNNING")


def test_a_child_that_has_lost_its_mark_is_swept_with_its_part(program: dict[str, Any]) -> None:
    script = Path(program["command"][1])
    script.write_text(
        SERVER.replace("child =", 'subprocess.Popen(["/bin/sleep", "600"], env={})\nchild =')
    )
    PROVIDER.create(program)
    first = psutil.Process(pid(program))
    eventually(lambda: len(first.children()) == 2)
    children = first.children()
    assert [sweep.MARK in child.environ() for child in children] == [False, True]
    first.kill()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
    eventually(lambda: is_healthy(program["health"]))
