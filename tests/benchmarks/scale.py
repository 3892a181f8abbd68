"""How a cluster of many teams takes it: thousands of pods and Ray clusters on a real control plane.

    python tests/benchmarks/scale.py [--pods 5000] [--teams 200] [--clusters 1000] [--nodes 100]

The API server, etcd, controllers, scheduler and, where it was built, the operator of Ray are real;
no machine stands behind the nodes (`kubelets`). Nothing fails on a time. Without the operator
(`python3 -m tools.setup --with-scale` builds it) its clusters are objects that nobody acts upon,
and their pods are made here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx
import machine
from rich.console import Console
from rich.table import Table

from components.kubernetes.flows import TEAM, TENANCY, Addresses, policies
from components.kubernetes.pools import Pool
from components.kubernetes.priorities import PRIORITIES
from components.kubernetes.ray_pods import (
    API_VERSION,
    HEAD_ACCOUNT,
    WORKER_ACCOUNT,
    RayPlace,
    cluster_spec,
)
from components.kubernetes.settings import TeamQuota
from components.kubernetes.tenancy import hard
from components.kubernetes.training_settings import RayHead, RayWorkers, SharedRay
from stacks.environment import ROOT

sys.path += [str(ROOT / "tests"), str(ROOT / "tools" / "providers")]

import definitions
from control_plane import ControlPlane, control_plane, free_ports, running
from kubelets import Kubelets
from kubernetes_api import Api, ApiError, Object

OPERATOR = "kuberay-operator"
PUBLISHED = {1000: 258.0, 5000: 1213.0}
"""RayClusters → seconds until all were ready, on a cluster of many machines. Source: KubeRay,
"Memory and scalability benchmark"."""
LEFT_OUT = (
    "Left out here: starting containers and pulling images, health checks by kubelets, volumes, "
    "traffic between pods, Kueue, webhooks of operators, etcd on disks of its own and in three "
    "copies. Added here: one machine does the work of all, the client that asks included."
)
NODE = {"cpu": "64", "memory": "256Gi", "ephemeral-storage": "500Gi", "pods": "110"}
# what a large managed control plane allows itself; Kubernetes' own defaults are 20 to 50 a second
_RATES = ("--kube-api-qps=500", "--kube-api-burst=1000")
_HANDS = 8
_READY = "RayClusters ready"
_PLACE = RayPlace(
    pools={
        "general": Pool(
            kind="cpu",
            labels={"falaj/pool": "general", "falaj/kind": "cpu"},
            cpus=64,
            memory_gib=256,
            max_nodes=1000,
        )
    },
    images={"cpu": "registry.example/ray@sha256:" + "0" * 64, "gpu": ""},
    storage_class="none",
    mesh=True,
)

console = Console()


class Scale:
    """One run."""

    def __init__(
        self, api: Api, kubelets: Kubelets, arguments: argparse.Namespace, *, operated: bool
    ) -> None:
        self._api, self._kubelets = api, kubelets
        self._asked, self._operated = arguments, operated
        self.rows: list[tuple[str, int, float]] = []
        """What, how many, seconds."""

    def run(self) -> None:
        """Teams, then clusters with their pods, each timed."""
        asked = self._asked
        teams = [f"team-{number}" for number in range(asked.teams)]
        self._timed("teams made: namespace, quota, flows, account", len(teams), self._teams(teams))
        began = time.monotonic()
        each = asked.pods // asked.clusters - 1
        clusters = [
            ray_cluster(f"ray-{number}", teams[number % len(teams)], each)
            for number in range(asked.clusters)
        ]
        self._timed("RayClusters created", len(clusters), clusters)
        if not self._operated:
            self._timed("their pods created", asked.pods, pods_of(clusters))
        marks: dict[str, Callable[[], int]] = {
            "pods scheduled": lambda: self._kubelets.bound,
            "pods running": lambda: self._kubelets.running,
        }
        if self._operated:
            marks[_READY] = self._ready
        wanted = dict.fromkeys(marks, asked.pods) | {_READY: asked.clusters}
        for name, count in marks.items():
            self._until(count, wanted[name], name)
            self.rows.append((name, wanted[name], time.monotonic() - began))

    def _teams(self, teams: Iterable[str]) -> Iterator[Object]:
        for team in teams:
            yield from team_objects(team)

    def _timed(self, what: str, count: int, objects: Iterable[Object]) -> None:
        began = time.monotonic()
        with futures.ThreadPoolExecutor(_HANDS) as hands:
            for _ in hands.map(self._create, objects):
                pass
        self.rows.append((what, count, time.monotonic() - began))

    def _create(self, thing: Object) -> None:
        try:
            self._api.create(thing)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def _ready(self) -> int:
        return sum(
            one.get("status", {}).get("state") == "ready"
            for one in self._api.list(API_VERSION, "RayCluster")
        )

    def _until(self, count: Callable[[], int], wanted: int, what: str) -> None:
        """Raises `SystemExit` where it takes longer than was asked."""
        deadline = time.monotonic() + self._asked.minutes * 60
        with console.status(what) as status:
            while (found := count()) < wanted:
                status.update(f"{what}: {found} of {wanted}")
                if time.monotonic() > deadline:
                    sys.exit(f"{what}: {found} of {wanted} after {self._asked.minutes} minutes")
                time.sleep(1)


def team_objects(team: str) -> Iterator[Object]:
    """What a team has, from the same functions that its component uses."""
    quota = TeamQuota(cpu_quota=2000, memory_quota_gib=8000, pod_quota=5000)
    labels = {TENANCY: "team", "falaj/team": team}
    yield {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": team, "labels": labels},
    }
    for account in (HEAD_ACCOUNT, WORKER_ACCOUNT):
        yield _inside(team, "v1", "ServiceAccount", account)
    yield _inside(team, "v1", "ResourceQuota", "team", spec={"hard": hard(quota)})
    addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
    for name, spec in policies(TEAM, addresses).items():
        yield _inside(team, "networking.k8s.io/v1", "NetworkPolicy", name, spec=spec)


def ray_cluster(name: str, team: str, workers: int) -> Object:
    """A shared cluster of `team` that begins with `workers` workers, without volumes."""
    shape = SharedRay(
        head=RayHead(pool="general", cpus=1, memory_gib=4),
        workers={
            "cpu": RayWorkers(
                pool="general", cpus=1, memory_gib=2, min_workers=workers, max_workers=workers or 1
            )
        },
    )
    spec = cluster_spec(shape, _PLACE)
    (group,) = spec["workerGroupSpecs"]
    group["replicas"] = workers
    for template in (spec["headGroupSpec"]["template"], group["template"]):
        pod = template["spec"]
        pod["volumes"] = [one for one in pod["volumes"] if one["name"] != "spill"]
        (container,) = pod["containers"]
        container["volumeMounts"] = [
            one for one in container["volumeMounts"] if one["name"] != "spill"
        ]
    return _inside(team, API_VERSION, "RayCluster", name, spec=spec)


def pods_of(clusters: Iterable[Object]) -> Iterator[Object]:
    """Their pods, as the operator would make them."""
    for cluster in clusters:
        metadata = cluster["metadata"]
        (group,) = cluster["spec"]["workerGroupSpecs"]
        head = cluster["spec"]["headGroupSpec"]["template"]
        for number, template in enumerate((head, *[group["template"]] * group["replicas"])):
            pod = _inside(metadata["namespace"], "v1", "Pod", f"{metadata['name']}-{number}")
            pod["metadata"]["labels"] = template["metadata"]["labels"]
            yield {**pod, "spec": template["spec"]}


def _inside(namespace: str, api_version: str, kind: str, name: str, **more: Any) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


@contextlib.contextmanager
def operator(plane: ControlPlane) -> Iterator[bool]:
    """The operator of Ray beside the control plane; whether there is one."""
    found = shutil.which(OPERATOR)
    if found is None:
        yield False
        return
    config = plane.folder / f"{OPERATOR}.kubeconfig"
    config.touch(mode=0o600)
    config.write_text(plane.kubeconfig())
    (port,) = free_ports(1)
    command = [
        found,
        f"--health-probe-bind-address=127.0.0.1:{port}",
        "--metrics-addr=0",
        "--enable-leader-election=false",
    ]
    log = plane.folder / f"{OPERATOR}.log"
    with running(command, log, env=os.environ | {"KUBECONFIG": str(config)}) as process:
        while not _answers(f"http://127.0.0.1:{port}/healthz"):
            if process.poll() is not None:
                sys.exit(f"{OPERATOR} ended: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield True


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).is_success
    except httpx.TransportError:
        return False


def main(arguments: argparse.Namespace) -> None:
    """Prints the table."""
    more = {"kube-scheduler": _RATES, "kube-controller-manager": _RATES}
    with (
        tempfile.TemporaryDirectory(prefix="falaj-scale-") as folder,
        control_plane(Path(folder), more) as plane,
        plane.api() as api,
    ):
        definitions.define(api, "kuberay")
        for name, priority in PRIORITIES.items():
            api.create(
                {
                    "apiVersion": "scheduling.k8s.io/v1",
                    "kind": "PriorityClass",
                    "metadata": {"name": name},
                    "value": priority.value,
                }
            )
        with Kubelets(plane.kubeconfig(), hands=_HANDS).working() as kubelets:
            for number in range(arguments.nodes):
                labels = _PLACE.pools["general"].labels
                kubelets.join(f"general-{number}", NODE, labels=labels)
            with operator(plane) as operated:
                run = Scale(api, kubelets, arguments, operated=operated)
                run.run()
    show(run.rows, arguments, operated=operated)


def show(rows: list[tuple[str, int, float]], asked: argparse.Namespace, *, operated: bool) -> None:
    """Prints what was measured, beside what others published."""
    table = Table(
        title=f"{asked.teams} teams, {asked.clusters} RayClusters, {asked.pods} pods on "
        f"{asked.nodes} nodes, {'with' if operated else 'WITHOUT'} the operator of Ray"
    )
    for heading in ("what", "count", "seconds", "published (s)"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for what, count, seconds in rows:
        others = PUBLISHED.get(count) if what == _READY else None
        table.add_row(what, f"{count}", f"{seconds:.1f}", f"{others:.0f}" if others else "")
    console.print(table)
    console.print(
        "Published: " + ", ".join(f"{count} in {taken:.0f} s" for count, taken in PUBLISHED.items())
    )
    console.print(LEFT_OUT)
    console.print(machine.description())


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line. Ends the program where the sizes cannot be."""
    parser = argparse.ArgumentParser(description="Measures a cluster of many teams.")
    for name, usual in (("pods", 5000), ("teams", 200), ("clusters", 1000), ("nodes", 100)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--minutes", type=int, default=60, help="after which it is given up")
    asked = parser.parse_args(arguments)
    if asked.pods % asked.clusters or asked.pods > asked.nodes * 100:
        parser.error("--pods is a multiple of --clusters, and at most 100 for each of --nodes")
    return asked


if __name__ == "__main__":
    main(parse(sys.argv[1:]))
