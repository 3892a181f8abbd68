"""A real API server, others' kinds on it, and programs applied to it by the engine."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import definitions
import kubernetes_live
import pytest
import tenacity
import yaml
from applied import KUBECONFIG, Program
from control_plane import ControlPlane, control_plane
from kubernetes_api import Api, ApiError, Object

from components.images import read_catalogue
from stacks.offline import Offline, offline


@pytest.fixture(scope="package")
def cluster() -> Iterator[ControlPlane]:
    """One control plane for all tests of the folder, stopped after the last of them."""
    # no folder of pytest's, which are kept: it holds keys
    with (
        tempfile.TemporaryDirectory(prefix="falaj-cluster-") as folder,
        control_plane(Path(folder)) as plane,
    ):
        yield plane


@pytest.fixture(scope="package")
def api(cluster: ControlPlane) -> Iterator[Api]:
    """The administrator's way in."""
    with cluster.api() as api:
        yield api


# --- kinds of others ------------------------------------------------------------------------------


@pytest.fixture(scope="package")
def define(api: Api) -> Callable[..., list[str]]:
    """Defines the kinds of projects in crds.ini, once; gives the names of the definitions."""
    known: dict[str, list[str]] = {}

    def define(*projects: str) -> list[str]:
        for project in projects:
            if project not in known:
                known[project] = definitions.define(api, project)
        return [name for project in projects for name in known[project]]

    return define


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the charts of charts.ini, each as the version that images.yaml names.

    A release packs charts of others into its archive, which a module does not hold: they are taken
    out of the list of dependencies.
    """
    pinned, folder = read_catalogue().charts, tmp_path_factory.mktemp("charts")
    for name, module in definitions.modules("charts.ini").items():
        shutil.copytree(module.folder() / module.files, folder / name)
        subprocess.run(["chmod", "-R", "u+w", folder / name], check=True)
        about = folder / name / "Chart.yaml"
        said = yaml.safe_load(about.read_text())
        packed = [path.name for path in (folder / name / "charts").glob("*")]
        said["dependencies"] = [
            one
            for one in said.get("dependencies", [])
            if any(path.startswith(one["name"]) for path in packed)
        ]
        about.write_text(yaml.safe_dump(said | {"version": pinned[name].version}))
        (folder / name / "Chart.lock").unlink(missing_ok=True)
    return folder


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
    surroundings: Offline, api: Api, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Make]:
    """The same for all tests of a module."""
    with _programs(surroundings, tmp_path_factory.mktemp("program")) as make:
        yield make
    until_nothing_is_judged(api)


ANYTHING: tuple[Object, ...] = (
    {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "any"},
        "spec": {"containers": [{"name": "any", "image": "any.example/any:1"}]},
    },
    {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "any"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "any",
        },
    },
)
"""What each policy of ours refuses."""


@pytest.fixture(name="until_nothing_is_judged", scope="session")
def _until_nothing_is_judged() -> Callable[[Api], None]:
    return until_nothing_is_judged


def until_nothing_is_judged(api: Api) -> None:
    """Waits for the server to forget policies that are gone, which takes it seconds."""
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2),
        stop=tenacity.stop_after_delay(120),
        retry=tenacity.retry_if_exception_type(ApiError),
        reraise=True,
    ):
        with pause:
            for thing in ANYTHING:
                api.create(thing, dry_run=True)
