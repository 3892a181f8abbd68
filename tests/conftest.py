"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from components.contract import SECRET_FIELDS, PlatformOutputs
from stacks.environment import ROOT
from stacks.offline import Offline, offline
from tools.scratch_clone import ScratchClone

PACK = ROOT / "policies" / "residency"
MASKED = "[secret]"

# the stand-in providers are programs, not a package
sys.path.append(str(ROOT / "tools" / "providers"))


# --- components, on mocks -------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A resource that a program registered."""

    type: str
    name: str
    inputs: dict[str, Any]
    provider: str
    """Reference to its provider, empty where it has none."""


class Recorder(mocks.Mocks):
    """Answers every resource with its inputs, an ARN and an id made of its name."""

    def __init__(self) -> None:
        self.resources: list[Recorded] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Remembers the resource."""
        self.resources.append(Recorded(args.typ, args.name, args.inputs, args.provider or ""))
        made_up = {"arn": f"arn:{args.name}", "keyId": f"key:{args.name}", "latestVersion": 7}
        return f"id:{args.name}", {"name": args.name, **made_up, **args.inputs}

    def call(self, args: mocks.MockCallArgs) -> Any:
        """No component looks anything up."""
        raise AssertionError(f"a component calls {args.token}")


@dataclass
class Recording:
    """Everything that a built component registered."""

    resources: list[Recorded] = field(default_factory=list)

    def of(self, kind: str) -> list[Recorded]:
        """The resources whose type ends in `kind`, such as ``BucketPolicy``."""
        return [one for one in self.resources if one.type.rpartition(":")[2] == kind]

    def the(self, kind: str, name: str = "") -> Recorded:
        """The one resource of `kind` whose name contains `name`."""
        (found,) = (one for one in self.of(kind) if name in one.name)
        return found


@pytest.fixture
def record() -> Callable[[Callable[[], object]], Recording]:
    """Builds components on mocks, waits until all is registered, and gives what was."""

    def build(function: Callable[[], object]) -> Recording:
        recorder = Recorder()
        mocks.set_mocks(recorder, project="falaj", stack="test", preview=False)

        @pulumi.runtime.test
        def drain() -> None:
            function()

        drain()
        return Recording(recorder.resources)

    return build


# --- environments, on the real engine -------------------------------------------------------------


@dataclass(frozen=True)
class Deployed:
    """An environment after `up` on the real engine with the stand-in providers."""

    stack: Offline
    up: subprocess.CompletedProcess[str]
    state: str
    """As exported."""
    outputs: dict[str, Any]
    """With secrets masked."""
    shown_outputs: dict[str, Any]
    """With secrets in plain."""


@pytest.fixture(scope="session")
def dev() -> Iterator[Deployed]:
    """The environment `dev`, deployed with its teams and the policy pack; only to be read."""
    with offline("dev") as stack:
        succeed(
            stack.pulumi(
                "config", "set", "--secret", "falaj:kubeconfig", standard_input="apiVersion: v1\n"
            )
        )
        up = succeed(stack.pulumi("up", "--yes", "--skip-preview", "--policy-pack", str(PACK)))
        yield Deployed(
            stack=stack,
            up=up,
            state=succeed(stack.pulumi("stack", "export")).stdout,
            outputs=json.loads(succeed(stack.pulumi("stack", "output", "--json")).stdout),
            shown_outputs=json.loads(
                succeed(stack.pulumi("stack", "output", "--json", "--show-secrets")).stdout
            ),
        )


def succeed(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """`done`, which must have exited with 0."""
    assert done.returncode == 0, f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(name="succeed", scope="session")
def _succeed() -> Callable[..., subprocess.CompletedProcess[str]]:
    return succeed


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Callable[[str], Offline]]:
    """A Pulumi project of its own with the program given, on the stand-in providers."""
    with offline("dev") as surroundings:

        def make(program: str) -> Offline:
            (tmp_path / "Pulumi.yaml").write_text("name: someone\nruntime: python\n")
            (tmp_path / "__main__.py").write_text(program)
            made = Offline(directory=tmp_path, environment="test", variables=surroundings.variables)
            succeed(made.pulumi("stack", "init"))
            return made

        yield make


# --- the main job, once for every test that looks at what it made ---------------------------------


@dataclass(frozen=True)
class Journey:
    """A scratch clone after `make up`, and what that printed."""

    clone: ScratchClone
    printed: str

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The platform's stack outputs, secrets shown."""
        return self.json("pulumi", "stack", "output", "--json", "--show-secrets", "-s", "local")

    @cached_property
    def variables(self) -> dict[str, str]:
        """The environment variables of the workload's code."""
        answer = self.json(
            *("pulumi", "-C", "workloads", "stack", "output", "--json", "--show-secrets"),
            *("-s", "credit-risk.local"),
        )
        return dict(answer["variables"])

    def json(self, *command: str) -> Any:
        """What a command prints, read as JSON; fails the test when the command fails."""
        ran = self.clone.run(*command)
        assert ran.returncode == 0, ran.stdout
        return json.loads(ran.stdout[ran.stdout.index("{") :])

    def status(self) -> dict[str, Any]:
        """`falaj status --json`."""
        return dict(self.json("falaj", "status", "--json"))


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    clone = ScratchClone.make_at(Path(tmp_path_factory.mktemp("journey")) / "falaj")
    try:
        up = clone.make("up")
        assert up.returncode == 0, up.stdout[-6000:]
        yield Journey(clone, up.stdout)
    finally:
        clone.make("down", seconds=300)


# --- order ----------------------------------------------------------------------------------------


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What ends the one environment comes after all that looks at it."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


# --- the contract ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def assert_keeps_contract() -> Callable[[dict[str, Any], dict[str, Any]], PlatformOutputs]:
    """What must hold of the stack outputs of every place: (secrets masked, secrets in plain)."""
    return keeps_contract


def keeps_contract(masked: dict[str, Any], shown: dict[str, Any]) -> PlatformOutputs:
    """Asserts it and gives the parsed contract."""
    strangers = shown.keys() - PlatformOutputs.model_fields.keys()
    assert not strangers, f"outputs outside the contract: {strangers}"
    outputs = PlatformOutputs.parse(shown)

    for name, value in shown.items():
        if name in SECRET_FIELDS:
            assert masked[name] == MASKED, f"{name} is exported in plain"
            assert value, f"{name} is an empty secret"
            assert json.dumps(value)[1:-1] not in json.dumps(masked), f"{name} is repeated in plain"

    for name in (one for one in PlatformOutputs.model_fields if one.endswith("_uri")):
        if name != "tracking_uri" and (value := getattr(outputs, name)) is not None:
            parts = urllib.parse.urlsplit(value)
            assert (parts.scheme, bool(parts.netloc)) == ("s3", True), f"{name} is {value}"
    urls = ("tracking_uri", "ray_address", "object_store_endpoint")
    for name in (*urls, *(one for one in PlatformOutputs.model_fields if one.endswith("_url"))):
        if (value := getattr(outputs, name)) is not None:
            _assert_is_url(name, value, outputs)

    if outputs.region is not None:
        assert outputs.region in outputs.allowed_regions
    else:
        assert outputs.place != "aws"
    if outputs.artifact_uri is not None:
        assert outputs.object_store_region in outputs.allowed_regions
    for domain, key in outputs.encryption_keys.items():
        _, _, service, region, _, resource = key.split(":", maxsplit=5)
        assert (service, region) == ("kms", outputs.region), f"key of {domain}: {key}"
        assert resource.startswith("key/")
    for name, pool in (outputs.node_pools or {}).items():
        assert 0 <= pool.min_nodes <= pool.max_nodes, name
    for name, team in (outputs.teams or {}).items():
        assert team.namespace, name
        assert team.cpu_quota > 0
        assert team.memory_quota_gib > 0
    return outputs


def _assert_is_url(name: str, value: str, outputs: PlatformOutputs) -> None:
    parts = urllib.parse.urlsplit(value)
    assert parts.scheme in ("http", "https"), f"{name} is {value}"
    assert parts.hostname, f"{name} is {value}"
    assert parts.username is None, f"{name} holds credentials"
    if outputs.place == "local":
        assert ipaddress.ip_address(parts.hostname).is_loopback, f"{name} leaves the machine"
    else:
        assert parts.scheme == "https" or parts.hostname.endswith((".svc", ".svc.cluster.local"))
