"""Fixtures that more than one folder of tests uses."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import ipaddress
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pulumi
import pytest
from hypothesis import HealthCheck, settings
from pulumi.runtime import mocks

from components.contract import SECRET_FIELDS, PlatformOutputs
from components.local import sweep
from stacks.environment import ROOT
from stacks.offline import Offline, offline
from stacks.plan import held_to
from tools.scratch_clone import ScratchClone

# a machine that is busy with something else is no fault of what is tried
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

MASKED = "[secret]"

# the stand-in providers are programs, not a package, and so are helpers beside this file
sys.path.append(str(ROOT / "tools" / "providers"))
sys.path.append(str(ROOT / "tests"))

# the order of the tests, and which process runs which
pytest_plugins = ["side_by_side"]


# --- components, on mocks -------------------------------------------------------------------------


@dataclass(frozen=True)
class Recorded:
    """A resource that a program registered."""

    type: str
    name: str
    inputs: dict[str, Any]
    provider: str
    """Reference to its provider, empty where it has none."""


COMPUTED: dict[str, dict[str, Any]] = {
    "aws:elasticache/replicationGroup:ReplicationGroup": {
        "primaryEndpointAddress": "cache.example",
        "readerEndpointAddress": "replica.cache.example",
    },
    "aws:s3/accessPoint:AccessPoint": {"alias": "door-s3alias"},
    "aws:msk/cluster:Cluster": {"bootstrapBrokersSaslIam": "b-1.example:9098,b-2.example:9098"},
    "aws:msk/configuration:Configuration": {"latestRevision": 1},
    "aws:rds/instance:Instance": {
        "address": "database.example",
        "masterUserSecrets": [{"secretArn": "arn:aws:secretsmanager:administrator"}],
        "resourceId": "db-ABC",
    },
}
"""Type → what AWS computes of it and a component reads."""


class Recorder(mocks.Mocks):
    """Answers every resource with its inputs, an ARN and an id made of its name."""

    def __init__(self) -> None:
        self.resources: list[Recorded] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        """Remembers the resource."""
        self.resources.append(Recorded(args.typ, args.name, args.inputs, args.provider or ""))
        made_up: dict[str, Any] = {
            "arn": f"arn:{args.name}",
            "keyId": f"key:{args.name}",
            "latestVersion": 7,
        }
        if args.typ.endswith(":VpcEndpoint"):
            made_up["dnsEntries"] = [{"dnsName": f"dns:{args.name}", "hostedZoneId": "Z0"}]
        made_up |= COMPUTED.get(args.typ, {})
        if "subnetMappings" in args.inputs:  # a firewall has an endpoint in each
            subnets = [mapping["subnetId"] for mapping in args.inputs["subnetMappings"]]
            attached = [{"endpointId": f"vpce:{one}", "subnetId": one} for one in subnets]
            made_up["firewallStatuses"] = [{"syncStates": [{"attachments": attached}]}]
        if args.typ == "aws:eks/cluster:Cluster":  # says where it is, whatever was asked
            found = {**args.inputs["vpcConfig"], "clusterSecurityGroupId": f"sg:{args.name}"}
            return f"id:{args.name}", {
                **made_up,
                **args.inputs,
                "vpcConfig": found,
                "endpoint": "https://made-up.eks.amazonaws.com",
                "certificateAuthority": {"data": "bWFkZSB1cA=="},
                "identities": [{"oidcs": [{"issuer": "https://oidc.example/id/1"}]}],
            }
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
        try:
            asyncio.get_event_loop()
        except RuntimeError:  # whoever ran one in this thread before took it away
            asyncio.set_event_loop(asyncio.new_event_loop())
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
    """The environment `dev`, deployed with its teams and the policy packs; only to be read."""
    held = held_to("dev")
    with offline("dev") as stack:
        succeed(
            stack.pulumi(
                "config", "set", "--secret", "falaj:kubeconfig", standard_input="apiVersion: v1\n"
            )
        )
        up = succeed(stack.pulumi("up", "--yes", "--skip-preview", *held))
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


WORKLOAD = "credit-risk"


@dataclass(frozen=True)
class Journey:
    """A scratch clone after `make up`, and what that printed."""

    clone: ScratchClone
    printed: str
    requests_per_second: ClassVar[int] = 20
    applicant: ClassVar[dict[str, Any]] = {
        "Seniority": 9, "Home": "rent", "Time": 60, "Records": "no", "Job": "freelance",
        "Expenses": 73, "Income": 129, "Assets": 0, "Debt": 0, "Amount": 800, "Price": 846,
    }  # fmt: skip

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

    def standing(self) -> dict[str, Any]:
        """Champion, versions and traffic of the workload, as `falaj status` says."""
        (workload,) = [w for w in self.status()["workloads"] if w["workload"] == WORKLOAD]
        return dict(workload)

    def ask(self, record: Any, *, entity: str = "") -> tuple[int, dict[str, Any], str]:
        """Status, body and slot of one prediction through the gateway."""
        body = json.dumps({"jsonData": {"records": [record]}}).encode()
        return self.post(body, headers={"x-falaj-entity": entity} if entity else {})

    def post(
        self, body: bytes, *, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any], str]:
        """The same of any body."""
        request = urllib.request.Request(  # noqa: S310 our own gateway
            f"{self.variables['FALAJ_ENDPOINT']}/api/v1.0/predictions",
            data=body,
            headers={"Content-Type": kind, **(headers or {})},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                return answer.status, json.load(answer), answer.headers.get("x-falaj-slot", "")
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers.get("x-falaj-slot", "")

    @contextlib.contextmanager
    def steady_requests(self) -> Iterator[list[tuple[int, str]]]:
        """Asks at a fixed rate while the block runs; gives status and version of each answer."""
        answers: list[tuple[int, str]] = []
        done = threading.Event()

        def loop() -> None:
            number = 0
            while not done.wait(1 / self.requests_per_second):
                number += 1
                try:
                    entity = f"applicant-{number % 97}"
                    status, body, _ = self.ask(self.applicant, entity=entity)
                    tags = body.get("meta", {}).get("tags", {})
                    answers.append((status, str(tags.get("version"))))
                except (OSError, http.client.HTTPException) as error:
                    answers.append((0, repr(error)))

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield answers
        finally:
            done.set()
            thread.join()

    def listeners(self) -> list[tuple[str, int, str]]:
        """Address, port and part of every socket that a process of the clone listens on."""
        found = []
        for process in sweep.marked(sweep.mark(str(self.clone.root / ".state"), "")):
            with contextlib.suppress(psutil.Error):
                part = process.environ().get(sweep.MARK, "").rpartition("#")[2]
                found += [
                    (connection.laddr.ip, connection.laddr.port, part)
                    for connection in process.net_connections("inet")
                    if connection.status == psutil.CONN_LISTEN
                ]
        return found


@pytest.fixture(scope="session")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    clone = ScratchClone.make_at(Path(tmp_path_factory.mktemp("journey")) / "falaj")
    try:
        up = clone.make("up")
        assert up.returncode == 0, up.stdout[-6000:]
        yield Journey(clone, up.stdout)
    finally:
        clone.make("down", seconds=300)


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
