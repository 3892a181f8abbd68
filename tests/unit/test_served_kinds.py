"""What a cluster must serve before anything is applied to it, and how it is asked."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import certifi
import pytest

from components.kubernetes.operator_table import OPERATORS
from components.kubernetes.operators_settings import Needs, OperatorsSettings
from components.kubernetes.served_kinds import (
    Cluster,
    ClusterProblem,
    Wanted,
    cluster_of,
    problems_of_cluster,
    read_cluster,
    wanted_kinds,
)

BANK = OperatorsSettings.model_validate(
    {"installed": {"kueue": "the bank's platform team", "cert-manager": "the bank's platform team"}}
)
NEEDED = list(wanted_kinds(BANK, "prod", Needs()))


def cluster(*, without: str = "", as_version: str = "", bare: bool = False) -> Cluster:
    """One that serves all that is needed of what is installed."""
    served: dict[str, frozenset[str]] = {}
    for one in NEEDED if not bare else ():
        for api_version, kind in one.kinds if one.installed else ():
            group, _, there = api_version.rpartition("/")
            if kind != without or as_version:
                here = as_version if kind == without else there
                served[f"{kind}.{group}"] = frozenset({here})
    return Cluster(kinds=served)


def test_a_cluster_that_serves_what_is_needed_has_no_problem() -> None:
    assert problems_of_cluster(cluster(), NEEDED) == []


def test_kinds_that_a_chart_brings_are_not_asked_after() -> None:
    assert {one.operator for one in NEEDED if not one.installed} >= {"kuberay-operator", "kyverno"}
    made = [one for one in NEEDED if not one.installed]
    assert problems_of_cluster(cluster(bare=True), made) == []


def test_a_missing_kind_is_told_with_its_version_and_the_setting() -> None:
    (problem,) = problems_of_cluster(cluster(without="ClusterQueue"), NEEDED)
    assert problem.startswith("operators.installed.kueue: ClusterQueue in kueue.x-k8s.io/v1beta2")
    assert "the bank's platform team" in problem
    assert "take kueue out of operators.installed" in problem


def test_a_kind_of_another_version_is_told_with_the_version_that_is_there() -> None:
    there = cluster(without="LocalQueue", as_version="v1beta1")
    (problem,) = problems_of_cluster(there, NEEDED)
    assert "the cluster serves it as kueue.x-k8s.io/v1beta1 alone" in problem
    assert "a version of kueue that serves kueue.x-k8s.io/v1beta2" in problem


def test_all_that_is_missing_is_told_at_once() -> None:
    installed = [one for one in NEEDED if one.installed]
    expected = sum(len(one.kinds) for one in installed)
    assert len(problems_of_cluster(cluster(bare=True), NEEDED)) == expected > 4


def test_each_operator_with_kinds_is_asked_after() -> None:
    needs = Needs(seldon=True, gpus=True, elastic_nodes=True, load_balancer=True)
    asked = {one.operator for one in wanted_kinds(OperatorsSettings(), "prod", needs)}
    assert asked == {name for name, operator in OPERATORS.items() if operator.kinds}


def test_discovery_is_read_without_versions_whose_server_is_gone() -> None:
    def group(name: str, version: str, kind: str, **more: str) -> dict[str, Any]:
        served = {"version": version, "resources": [{"responseKind": {"kind": kind}}], **more}
        return {"metadata": {"name": name}, "versions": [served]}

    said = cluster_of(
        [
            {"items": [{"versions": [{"version": "v1", "resources": [
                {"responseKind": {"kind": "Pod"}}, {"resource": "pods/exec"}
            ]}]}]},
            {"items": [
                group("ray.io", "v1", "RayCluster", freshness="Current"),
                group("gone.example", "v1", "Gone", freshness="Stale"),
            ]},
        ],
    )  # fmt: skip
    assert said.kinds == {"Pod.": frozenset({"v1"}), "RayCluster.ray.io": frozenset({"v1"})}


# --- the kubeconfig -------------------------------------------------------------------------------


def kubeconfig(user: dict[str, Any], server: str = "https://127.0.0.1:9") -> str:
    authority = base64.b64encode(Path(certifi.where()).read_bytes()).decode()
    return json.dumps(
        {
            "current-context": "one",
            "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}],
            "clusters": [
                {
                    "name": "one",
                    "cluster": {"server": server, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": "one", "user": user}],
        }
    )


def test_a_cluster_that_does_not_answer_is_told_with_its_address() -> None:
    with pytest.raises(ClusterProblem, match=r"https://127\.0\.0\.1:9 does not answer"):
        read_cluster(kubeconfig({"token": "one"}))


def test_a_command_that_gives_no_token_is_told_with_what_it_said() -> None:
    asked = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", "import sys; sys.exit('log in first')"],
    }
    with pytest.raises(ClusterProblem, match="gives no token: log in first"):
        read_cluster(kubeconfig({"exec": asked}))


def test_wanted_says_who_brings_an_operator() -> None:
    (kueue,) = [one for one in NEEDED if one.operator == "kueue"]
    assert kueue == Wanted(
        operator="kueue", kinds=OPERATORS["kueue"].kinds, installed="the bank's platform team"
    )
