"""The launchers that stand in for the parts of Pulumi that its Go module leaves out.

They run on whatever CLI the clone uses: being first on PATH they are preferred to its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf import empty_pb2
from pulumi.runtime.proto import analyzer_pb2_grpc, language_pb2_grpc

from stacks import environment

LAUNCHERS = environment.ROOT / "tools" / "pulumi" / "launchers"
SECONDS = 240

PROGRAM = """
import os
import pulumi
from pulumi.dynamic import CreateResult, Resource, ResourceProvider


class Counter(ResourceProvider):
    def create(self, props):
        return CreateResult("one", {"count": props["count"] + 1})


class Counted(Resource):
    count: pulumi.Output[int]

    def __init__(self, name, count):
        super().__init__(Counter(), name, {"count": count})


if pulumi.Config().get("fail"):
    raise ValueError("this program is broken")
pulumi.export("count", Counted("counted", 41).count)
pulumi.export("folder", os.getcwd())
pulumi.export("secret", pulumi.Config().get_secret("word"))
"""
PACK = """
from pulumi_policy import EnforcementLevel, PolicyPack, ResourceValidationPolicy


def refuse(args, report):
    if args.props.get("count") == 41:
        report(f"{args.name} begins at 41")


PolicyPack(
    "tiny",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[ResourceValidationPolicy("no-41", "41 is not a beginning", refuse)],
)
"""

Pulumi = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose program lies in a folder, and a policy pack beside it."""
    root = tmp_path_factory.mktemp("launchers")
    (root / "project" / "program").mkdir(parents=True)
    (root / "project" / "Pulumi.yaml").write_text("name: tiny\nruntime: python\nmain: program/\n")
    (root / "project" / "program" / "__main__.py").write_text(PROGRAM)
    (root / "pack").mkdir()
    (root / "pack" / "PulumiPolicy.yaml").write_text("runtime: python\n")
    (root / "pack" / "__main__.py").write_text(PACK)
    return root


@pytest.fixture(scope="module")
def pulumi(project: Path) -> Pulumi:
    """Runs the clone's CLI on the project, with our launchers and a state of its own."""
    (project / "state").mkdir()
    (project / "passphrase").write_text("for a test only")
    variables = environment.variables()
    variables |= {
        "PATH": f"{LAUNCHERS}{os.pathsep}{variables['PATH']}",
        "PULUMI_BACKEND_URL": f"file://{project / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE_FILE": str(project / "passphrase"),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["pulumi", "--non-interactive", *arguments],
            cwd=project / "project",
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    assert run("stack", "init", "test").returncode == 0
    return run


def test_a_program_with_a_dynamic_resource_runs_on_the_real_engine(
    pulumi: Pulumi, project: Path
) -> None:
    assert pulumi("config", "set", "--secret", "word", "falcon").returncode == 0
    up = pulumi("up", "--yes", "--skip-preview")
    assert up.returncode == 0, up.stdout + up.stderr
    outputs = json.loads(pulumi("stack", "output", "--json").stdout)
    assert outputs == {
        "count": 42,
        "folder": str(project / "project" / "program"),
        "secret": "[secret]",
    }
    again = pulumi("preview", "--expect-no-changes")
    assert again.returncode == 0, again.stdout + again.stderr


def test_a_broken_program_shows_its_own_lines_once(pulumi: Pulumi) -> None:
    assert pulumi("config", "set", "fail", "yes").returncode == 0
    try:
        preview = pulumi("preview")
    finally:
        pulumi("config", "rm", "fail")
    assert preview.returncode != 0
    (_, shown) = preview.stdout.split("Diagnostics:")
    assert shown.count("ValueError: this program is broken") == 1
    assert "program/__main__.py" in shown
    assert "runpy" not in shown


def test_a_policy_pack_refuses_what_a_program_asks_for(pulumi: Pulumi, project: Path) -> None:
    preview = pulumi("preview", "--policy-pack", str(project / "pack"))
    assert preview.returncode != 0
    assert "counted begins at 41" in preview.stdout


@pytest.fixture
def launched() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a launcher as the engine does; ended with the test."""
    children: list[subprocess.Popen[str]] = []

    def launch(name: str, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [str(LAUNCHERS / name), *arguments],
            cwd=cwd,
            env=environment.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield launch
    for child in children:
        child.kill()
        child.communicate()


def port(child: subprocess.Popen[str]) -> str:
    """The address that a plugin prints first."""
    assert child.stdout is not None
    return f"127.0.0.1:{int(child.stdout.readline())}"


def test_the_policy_launcher_serves_the_packs_rules(
    launched: Callable[..., subprocess.Popen[str]], project: Path
) -> None:
    child = launched("pulumi-analyzer-policy-python", "127.0.0.1:1", ".", cwd=project / "pack")
    with grpc.insecure_channel(port(child)) as channel:
        info = analyzer_pb2_grpc.AnalyzerStub(channel).GetAnalyzerInfo(
            empty_pb2.Empty(), timeout=SECONDS, wait_for_ready=True
        )
    assert [policy.name for policy in info.policies] == ["no-41"]


def test_the_language_host_has_the_sdk_wait_for_all_outputs_or_the_first_error() -> None:
    relieve = runpy.run_path(str(LAUNCHERS / "language_host.py"))["relieve"]
    sdk: Any = SimpleNamespace(asyncio=asyncio)
    relieve(sdk)

    async def soon() -> None: ...

    async def broken() -> None:
        raise ValueError("broken")

    async def waited(*coroutines: Any) -> tuple[int, int]:
        tasks = [asyncio.ensure_future(one) for one in coroutines]
        done, left = await sdk.asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()
        return len(done), len(left)

    assert asyncio.run(waited(soon(), soon(), soon())) == (3, 0)
    assert asyncio.run(waited(broken(), asyncio.Event().wait())) == (1, 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_language_host_ends_quietly_when_interrupted(
    launched: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    child = launched("pulumi-language-python", "127.0.0.1:1")
    with grpc.insecure_channel(port(child)) as channel:
        language_pb2_grpc.LanguageRuntimeStub(channel).GetPluginInfo(
            empty_pb2.Empty(), timeout=SECONDS, wait_for_ready=True
        )
    child.send_signal(number)
    out, err = child.communicate(timeout=SECONDS)
    assert (child.returncode, out, err) == (0, "", "")


def test_the_language_host_ends_with_the_engine_that_was_killed() -> None:
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([{str(LAUNCHERS / 'pulumi-language-python')!r}, 'x:1'],\n"
        "                         stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline(); print(child.pid, flush=True); sys.stdin.read()\n"
    )
    engine = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment.variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert engine.stdout is not None
    host = int(engine.stdout.readline())
    remaining = psutil.Process(host)
    engine.kill()
    engine.communicate()
    remaining.wait(SECONDS)
