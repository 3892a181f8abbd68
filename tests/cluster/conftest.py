"""A real API server, others' kinds on it, and programs applied to it by the engine."""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import kubernetes_live
import pytest
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane, control_plane
from kubernetes_api import Api, Object

from stacks.offline import Offline, offline

_ESTABLISHED_SECONDS = 60.0


@pytest.fixture(scope="session")
def cluster() -> Iterator[ControlPlane]:
    """One control plane for all tests."""
    # no folder of pytest's, which are kept: it holds keys
    with (
        tempfile.TemporaryDirectory(prefix="falaj-cluster-") as folder,
        control_plane(Path(folder)) as plane,
    ):
        yield plane


@pytest.fixture(scope="session")
def api(cluster: ControlPlane) -> Iterator[Api]:
    """The administrator's way in."""
    with cluster.api() as api:
        yield api


# --- kinds of others ------------------------------------------------------------------------------


class _Loader(yaml.CSafeLoader):
    """Takes `=` for a text, as Kubernetes does."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


@dataclass(frozen=True)
class Definitions:
    """The definitions of one project's kinds, as its Go module holds them."""

    module: str
    version: str
    sum: str
    files: str

    def read(self) -> list[Object]:
        """From Go's module cache, where they are fetched to if need be."""
        fetched = subprocess.run(
            ["go", "mod", "download", "-json", f"{self.module}@{self.version}"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"GOFLAGS": "-mod=mod"},
        )
        assert fetched.returncode == 0, fetched.stdout + fetched.stderr
        found = json.loads(fetched.stdout)
        assert found["Sum"] == self.sum, f"{self.module} {self.version} is not what it was"
        texts = [path.read_text() for path in sorted(Path(found["Dir"]).glob(self.files))]
        return [
            document
            for text in texts
            for document in yaml.load_all(text, Loader=_Loader)
            if document and document["kind"] == "CustomResourceDefinition"
        ]


@pytest.fixture(scope="session")
def define(api: Api) -> Callable[..., list[str]]:
    """Defines the kinds of projects in crds.ini, once; gives the names of the definitions."""
    listed = configparser.ConfigParser(interpolation=None)
    listed.read(Path(__file__).with_name("crds.ini"))
    known: dict[str, list[str]] = {}

    def of(project: str) -> list[str]:
        definitions = Definitions(**listed[project]).read()
        assert definitions, f"no file of {project} defines a kind"
        for definition in definitions:
            api.create(definition)
        for definition in definitions:
            _wait_until_established(api, definition)
        return [definition["metadata"]["name"] for definition in definitions]

    def define(*projects: str) -> list[str]:
        for project in projects:
            if project not in known:
                known[project] = of(project)
        return [name for project in projects for name in known[project]]

    return define


def _wait_until_established(api: Api, definition: Object) -> None:
    conditions: dict[str, Any] = {}
    for seen in api.watch(definition, seconds=_ESTABLISHED_SECONDS):
        assert seen is not None, f"{definition['metadata']['name']} is gone"
        conditions = {
            condition["type"]: condition
            for condition in seen.get("status", {}).get("conditions") or []
        }
        if conditions.get("Established", {}).get("status") == "True":
            return
    pytest.fail(f"{definition['metadata']['name']} is not established: {conditions}")


# --- programs on the engine -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def surroundings(cluster: ControlPlane) -> Iterator[Offline]:
    """An engine whose `kubernetes` provider applies."""
    with offline("dev") as stack:
        yield replace(
            stack,
            variables=stack.variables
            | {
                KUBECONFIG: cluster.kubeconfig(),
                kubernetes_live.VARIABLE: kubernetes_live.APPLY,
            },
        )


Make = Callable[..., Program]


@contextlib.contextmanager
def _programs(surroundings: Offline, folder: Path) -> Iterator[Make]:
    made: list[Program] = []

    def make(text: str) -> Program:
        name = f"someone-{uuid.uuid4().hex[:8]}"
        directory = folder / name
        directory.mkdir()
        (directory / "Pulumi.yaml").write_text(f"name: {name}\nruntime: python\n")
        program = Program(replace(surroundings, directory=directory, environment="test"))
        initialised = program.stack.pulumi("stack", "init")
        assert initialised.returncode == 0, initialised.stderr
        program.write(text)
        made.append(program)
        return program

    yield make
    for program in made:
        gone = program.destroy()
        assert gone.returncode == 0, gone.stdout + gone.stderr


@pytest.fixture
def program(surroundings: Offline, tmp_path: Path) -> Iterator[Make]:
    """Makes a program and a stack of its own, destroyed after the test."""
    with _programs(surroundings, tmp_path) as make:
        yield make


@pytest.fixture(scope="module")
def lasting_program(
    surroundings: Offline, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Make]:
    """The same for all tests of a module."""
    with _programs(surroundings, tmp_path_factory.mktemp("program")) as make:
        yield make
