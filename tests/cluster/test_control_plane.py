"""The ground of the tests beside: what the control plane is, and that it tells who asks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from control_plane import ControlPlane
from kubernetes_api import Api, ApiError, Object


def review(api: Api) -> Object:
    """Who the server takes a client for."""
    answer = api.create({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
    return dict(answer["status"]["userInfo"])


def test_it_is_of_the_version_that_the_tools_name(api: Api) -> None:
    version = api.request("GET", "/version")
    assert version["gitVersion"].startswith("v1.36.")


def test_a_person_comes_with_the_groups_of_the_identity_provider(cluster: ControlPlane) -> None:
    with cluster.api(cluster.kubeconfig_for("mariam", ["risk-developers"])) as mariam:
        who = review(mariam)
    assert who["username"] == "mariam"
    assert set(who["groups"]) == {"risk-developers", "system:authenticated"}


def test_a_person_without_a_role_may_do_nothing(cluster: ControlPlane) -> None:
    with (
        cluster.api(cluster.kubeconfig_for("mariam", ["risk-developers"])) as mariam,
        pytest.raises(ApiError, match="cannot list resource") as refused,
    ):
        mariam.list("v1", "Pod", "default")
    assert refused.value.status == 403


def test_a_token_that_somebody_else_signed_is_refused(cluster: ControlPlane) -> None:
    token = cluster.token_for("mariam", ["system:masters"])
    forged = token[:-8] + ("A" * 8 if token[-8:] != "A" * 8 else "B" * 8)
    with cluster.api(cluster.kubeconfig_with(forged)) as stranger, pytest.raises(ApiError) as told:
        stranger.list("v1", "Pod")
    assert told.value.status == 401


def test_its_data_is_served_to_certificates_alone(cluster: ControlPlane) -> None:
    assert all(process.poll() is None for process in cluster.processes.values())
    assert set(cluster.processes) == {
        "etcd",
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    }


def test_a_pod_waits_for_a_node(api: Api) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "waits", "namespace": "default"},
        "spec": {"containers": [{"name": "one", "image": "registry.example/one:1"}]},
    }
    api.create(pod)
    try:
        for seen in api.watch(pod, seconds=60):
            assert seen is not None
            conditions = seen.get("status", {}).get("conditions", [])
            if any(condition.get("reason") == "Unschedulable" for condition in conditions):
                break
        else:
            pytest.fail("the scheduler says nothing of the pod")
    finally:
        api.delete(pod, seconds=60)


@pytest.mark.parametrize(
    ("project", "definition"),
    [
        ("karpenter", "nodepools.karpenter.sh"),
        ("kuberay", "rayclusters.ray.io"),
        ("kueue", "clusterqueues.kueue.x-k8s.io"),
        ("kyverno", "imagevalidatingpolicies.policies.kyverno.io"),
        ("istio", "virtualservices.networking.istio.io"),
        ("prometheus-operator", "servicemonitors.monitoring.coreos.com"),
    ],
)
def test_the_kinds_of_others_are_there(
    define: Callable[..., list[str]], project: str, definition: str
) -> None:
    assert definition in define(project)
