"""The bootstrap on the real engine, and the environment that stands on what it made."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from stacks.bootstrap import BUNDLE, command
from stacks.bootstrap.command import PASSPHRASE, Backend, Bootstrap, BootstrapError
from stacks.offline import Offline, offline

Succeed = Callable[[subprocess.CompletedProcess[str]], subprocess.CompletedProcess[str]]
LAST = {
    "backend_url": "s3://falaj-dev-state-123456789012?region=me-central-1",
    "secrets_provider": "awskms://alias/falaj/dev/state?region=me-central-1",
}


@dataclass
class Ground:
    """The settings of `dev` with a runner, and the two places of the bootstrap's state."""

    stack: Offline
    settings: Path
    folder: Path

    def without_runner(self) -> None:
        """Leaves the bucket and the key, which is quicker."""
        content = yaml.safe_load(self.stack.stack_file.read_text())
        del content["config"]["falaj:aws"]["runner"]
        self.stack.stack_file.write_text(yaml.safe_dump(content))

    def state(self, backend: str) -> dict[str, Any]:
        """The bootstrap's state in a backend, empty where it is not there."""
        file = self.folder / backend / ".pulumi" / "stacks" / "falaj-bootstrap" / "dev.json"
        if not file.is_file():
            return {}
        return {
            one["urn"].rpartition("::")[2]: one
            for one in json.loads(file.read_text())["checkpoint"]["latest"].get("resources", [])
        }

    def bucket_exists(self) -> bool:
        return any("dev-state-store-bucket" in self.state(where) for where in ("first", "last"))

    def run(self, bundle: Path | None = None) -> dict[str, Any]:
        with command.project("dev", self.settings) as directory:
            return Bootstrap(
                settings=command.read("dev", self.settings),
                first=self.backend("first"),
                last=self.backend("last"),
                bucket_exists=self.bucket_exists,
                variables=self.stack.variables | ({BUNDLE: str(bundle)} if bundle else {}),
                directory=directory,
            ).run()

    def backend(self, name: str) -> Backend:
        (self.folder / name).mkdir(exist_ok=True)
        return Backend(url=f"file://{self.folder / name}", secrets_provider=PASSPHRASE)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with offline("dev") as stack:
        content = yaml.safe_load(stack.stack_file.read_text())
        section = content["config"]["falaj:aws"]
        section["existing_cluster"].pop("subnet_ids", None)
        section |= {"network": {}, "runner": {"proxy": "http://proxy.bank.ae:3128"}}
        stack.stack_file.write_text(yaml.safe_dump(content))
        yield Ground(stack=stack, settings=stack.stack_file.parent, folder=tmp_path)


def test_the_environment_stands_on_what_the_bootstrap_made(
    ground: Ground, succeed: Succeed
) -> None:
    outputs = ground.run()
    made = ground.state("last")

    assert outputs.items() >= LAST.items()
    assert ground.state("first") == {}, "the state moved"
    assert made["dev-state-store-bucket"]["protect"]
    assert (
        made["dev-runner-instance"]["inputs"]["subnetId"]
        in outputs["network"]["private_subnet_ids"].values()
    )

    # a second run, from wherever, finds the state and changes nothing
    assert ground.run() == outputs
    assert ground.state("last").keys() == made.keys()

    inside = replace(
        ground.stack,
        variables={
            **ground.stack.variables,
            "PULUMI_BACKEND_URL": ground.backend("last").url,
            "FALAJ_RUNNER": "dev",
        },
    )
    succeed(inside.pulumi("stack", "init"))
    succeed(inside.pulumi("up", "--yes", "--skip-preview"))
    state = json.loads(succeed(inside.pulumi("stack", "export")).stdout)
    resources = state["deployment"]["resources"]
    groups = [one for one in resources if one["type"] == "aws:eks/nodeGroup:NodeGroup"]
    private = set(outputs["network"]["private_subnet_ids"].values())

    assert {one for group in groups for one in group["inputs"]["subnetIds"]} == private
    assert not [one for one in resources if one["type"].startswith("aws:ec2/vpc")]


def test_another_bundle_reaches_the_runner_that_is_there(ground: Ground) -> None:
    bundles = [ground.folder / name for name in ("one.tar.gz", "two.tar.gz")]
    states = []
    for bundle in bundles:
        bundle.write_text(bundle.name)
        ground.run(bundle)
        states.append(ground.state("last"))
    before, after = states
    keys = [f"bundles/{hashlib.sha256(one.read_bytes()).hexdigest()}.tar.gz" for one in bundles]

    assert [state["dev-bundle-object"]["inputs"]["key"] for state in states] == keys
    assert before["dev-bundle-object"]["id"] != after["dev-bundle-object"]["id"]
    assert {name: one.get("id") for name, one in after.items() if name != "dev-bundle-object"} == {
        name: one.get("id") for name, one in before.items() if name != "dev-bundle-object"
    }, "nothing else was replaced"
    told = after["dev-bundle-association"]["inputs"]["parameters"]["digest"]
    assert told in keys[1]


@pytest.mark.parametrize("step", ["export", "import", "rm"])
def test_a_bootstrap_that_was_cut_short_goes_on_where_it_was(
    ground: Ground, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Bootstrap._pulumi

    def cut(bootstrap: Bootstrap, backend: Backend, *arguments: str, quiet: bool = False) -> str:
        if step in arguments:
            raise BootstrapError("the line was cut")
        return whole(bootstrap, backend, *arguments, quiet=quiet)

    ground.without_runner()
    with monkeypatch.context() as patch:
        patch.setattr(Bootstrap, "_pulumi", cut)
        with pytest.raises(BootstrapError, match="cut"):
            ground.run()
    begun = {name: one.get("id") for name, one in ground.state("first").items()}
    outputs = ground.run()
    made = {name: one.get("id") for name, one in ground.state("last").items()}

    assert outputs.items() >= LAST.items()
    assert made.items() >= begun.items(), "nothing was made twice"


def test_from_another_machine_the_preview_fails_and_says_what_to_do(ground: Ground) -> None:
    del ground.stack.variables["FALAJ_RUNNER"]
    preview = ground.stack.pulumi("preview")
    message = preview.stdout + preview.stderr

    assert preview.returncode != 0
    assert "dev is deployed from its runner" in message
    assert "make bootstrap ENV=dev" in message
    assert "aws ssm start-session" in message
    assert "Traceback" not in message


def test_a_plan_without_a_cloud_shows_the_network_too(ground: Ground, succeed: Succeed) -> None:
    preview = json.loads(succeed(ground.stack.pulumi("preview", "--json")).stdout)
    planned = [step["newState"]["type"] for step in preview["steps"]]

    assert "aws:ec2/vpc:Vpc" in planned
