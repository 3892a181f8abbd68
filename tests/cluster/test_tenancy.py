"""Teams and admission as the API server sees them: accepted, asked with real tokens, refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tenacity
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from guard_cases import (
    DIGEST,
    FOREIGN,
    IMAGE,
    PODS,
    REGISTRY,
    Spoil,
    container,
    deployment,
    pod,
    refusing,
    spec,
    template,
)
from kubernetes_api import Api, ApiError, Object

from components.kubernetes.roles import ROLES
from policies.common.configuration import configured
from policies.declared import RULES, pod_rules
from policies.guards.admission import manifests
from policies.guards.pods import checks
from policies.packs import CONFIGURATIONS
from policies.packs import RULES as PACKS

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamGroups, TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
for team in ("credit", "fraud"):
    groups = {{role: (f"{{team}}-{{role}}",) for role in TeamGroups.model_fields}}
    Team(
        team,
        TeamArgs(
            team=team,
            quota=TeamQuota(gpu_quota=2, groups=TeamGroups(**groups)),
            addresses=Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"]),
        ),
        opts,
    )
Priorities("priorities", opts)
Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
"""


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program], succeed: Callable[..., Any], api: Api
) -> Program:
    """Two teams, the priorities and the policies, applied."""
    api.create(older())
    program = lasting_program(PROGRAM)
    succeed(program.up())
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60)
    ):
        with pause:  # the server takes a new policy up within seconds
            assert is_judged(api)
    return program


def is_judged(api: Api) -> bool:
    """Whether a pod that offends against every policy hears of each, one after the other."""
    for spoil in (FOREIGN, BY_TAG, UNLABELLED, TOO_IMPORTANT):
        if said(api, pod(spoil)) is None:
            return False
    return all(said(api, deployment(spoil)) is not None for spoil in (WITHOUT_LIMITS, PRIVILEGED))


# --- pods and what makes them ---------------------------------------------------------------------


def cron_job(spoil: Spoil | None = None) -> Object:
    """The same pod by way of a CronJob."""
    made = template()
    made["spec"]["restartPolicy"] = "Never"
    if spoil is not None:
        spoil(made)
    spec = {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": made}}}
    metadata = {"name": "one", "namespace": "credit"}
    return {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}


OTHER = f"docker.io/one:1{DIGEST}"
LOOKALIKE = container(image=f"registry.ae.example/production/one:1{DIGEST}")
BY_TAG = container(image="registry.ae.example/prod/one:1")
WITHOUT_LIMITS = container(resources={"requests": {"cpu": "1", "memory": "1Gi"}})
WITHOUT_RESOURCES = container(resources={})
FILLED_IN = {"without resources", "without a request of cpu"}
"""Pods of a team that its limit range makes whole before they are judged; of a template it says
nothing."""
LATER = {
    "which may become privileged": {"container-is-not-privileged"},
    "at a port of the host": {"pod-does-not-share-host"},
}
"""What a template may have that none of its pods may, by Pod Security."""
PRIVILEGED = container(securityContext={"privileged": True})
ON_THE_HOST = spec(hostNetwork=True)
WITH_FILES_OF_THE_HOST = spec(volumes=[{"name": "host", "hostPath": {"path": "/"}}])
TOO_IMPORTANT = spec(priorityClassName="falaj-platform")
FOREIGN_AT_THE_START = spec(
    initContainers=[
        copy.deepcopy(template()["spec"]["containers"][0]) | {"name": "first", "image": OTHER}
    ]
)


def UNLABELLED(made: Object) -> None:  # noqa: N802 one of a list of constants
    """Takes the labels away."""
    made["metadata"]["labels"] = {}


def older() -> Object:
    """What would be refused today, and was there before the policies."""
    made = deployment(BY_TAG)
    made["metadata"] |= {"namespace": "default", "finalizers": ["falaj.test/held"]}
    return made


def merge(api: Api, path: str, change: Object, kind: str = "merge", **parameters: str) -> None:
    """Patches an object."""
    api.request(
        "PATCH",
        path,
        content=json.dumps(change),
        headers={"Content-Type": f"application/{kind}-patch+json"},
        params=parameters,
    )


def said(api: Api, thing: Object) -> str | None:
    """Why the server refuses `thing`, `None` where it would take it."""
    try:
        api.create(thing, dry_run=True)
    except ApiError as error:
        if error.status not in (403, 422):
            raise
        return str(error)
    return None


@pytest.mark.parametrize("form", [pod, deployment, cron_job])
def test_a_pod_as_it_should_be_is_taken(api: Api, form: Callable[..., Object]) -> None:
    assert said(api, form()) is None


@pytest.mark.parametrize(
    ("form", "spoil", "message"),
    [
        (pod, FOREIGN, "the image docker.io/library/one:1@sha256:00"),
        (pod, FOREIGN, "(falaj images plan) and name it registry.ae.example/prod/"),
        (pod, LOOKALIKE, "is not from the registry in the country"),
        (pod, FOREIGN_AT_THE_START, f"the image {OTHER} is not from the registry"),
        (deployment, FOREIGN, "is not from the registry in the country"),
        (cron_job, FOREIGN, "is not from the registry in the country"),
        (pod, BY_TAG, "one:1 is named by a tag, which can be moved to another: add its digest"),
        (deployment, BY_TAG, "falaj images lock"),
        (deployment, WITHOUT_LIMITS, "one lacks requests of cpu and memory or a limit"),
        (deployment, WITHOUT_RESOURCES, "the container one lacks requests"),
        (cron_job, WITHOUT_LIMITS, "the container one lacks requests"),
        (pod, PRIVILEGED, 'violates PodSecurity "restricted:latest": privileged'),
        (deployment, PRIVILEGED, "take securityContext.privileged, hostNetwork"),
        (deployment, ON_THE_HOST, "a privileged container, the network, processes or files"),
        (deployment, WITH_FILES_OF_THE_HOST, "volumes of hostPath out"),
        (pod, UNLABELLED, "a pod needs the labels app.kubernetes.io/name"),
        (pod, TOO_IMPORTANT, "falaj-platform is not for teams, who have falaj-serving"),
    ],
)  # fmt: skip
def test_what_should_not_come_in_is_told_why(
    api: Api, form: Callable[..., Object], spoil: Spoil, message: str
) -> None:
    refused = said(api, form(spoil))
    assert refused is not None
    assert message in refused


def disagreeing(api: Api, form: Callable[..., Object], registries: list[str]) -> set[str]:
    """Of which pods the server says otherwise than the packs' rules."""
    return {
        name
        for name, spoil in PODS.items()
        if (said(api, form(spoil)) is None) is bool(refusing(form(spoil), registries))
    }


def test_the_server_refuses_the_pods_that_the_packs_refuse_and_no_others(api: Api) -> None:
    assert disagreeing(api, pod, [REGISTRY]) == FILLED_IN


def test_a_registry_that_the_rules_alone_know_is_noticed(api: Api) -> None:
    found = disagreeing(api, pod, [REGISTRY, "docker.io/library/"])
    assert found == FILLED_IN | {"from another registry"}


def test_whoever_applies_a_template_hears_of_what_admission_asks(api: Api) -> None:
    """What Pod Security asks is asked of the pods that it makes."""
    asked = [name for names in RULES.values() for name in names]
    for name, spoil in PODS.items():
        thing = deployment(spoil)
        if refusing(thing, [REGISTRY], asked) - LATER.get(name, set()):
            assert said(api, thing) is not None, name
        else:
            assert said(api, thing) is None, name


def test_what_the_command_prints_is_taken_by_the_server(api: Api) -> None:
    """Whoever uses nothing else of Falaj applies it as it is."""
    configuration = configured(PACKS, json.loads((CONFIGURATIONS / "dev.json").read_text()))
    rules = pod_rules(configuration, account="123456789012", labels=["app.kubernetes.io/name"])
    for thing in manifests(checks(rules))["items"]:
        thing["metadata"]["name"] += "-printed"
        api.create(thing, dry_run=True)


# --- as whom --------------------------------------------------------------------------------------


def ray(kind: str, account: str, field: str = "serviceAccountName") -> Object:
    """A cluster of Ray, or a job with one, whose head runs as `account`."""
    pod_spec = {"containers": [template()["spec"]["containers"][0]], field: account}
    cluster = {
        "rayVersion": "2.60.0",
        "headGroupSpec": {"rayStartParams": {}, "template": {"spec": pod_spec}},
    }
    spec = cluster if kind == "RayCluster" else {"rayClusterSpec": cluster}
    metadata = {"name": "one", "namespace": "credit"}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def job(account: str) -> Object:
    """A Job whose pod runs as `account`."""
    made = template()
    made["spec"] |= {"restartPolicy": "Never", "serviceAccountName": account}
    metadata = {"name": "one", "namespace": "credit"}
    spec = {"template": made}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


RELEASE = "credit-risk-release"
AS_A_RELEASE = [
    job(RELEASE),
    ray("RayJob", RELEASE),
    ray("RayCluster", RELEASE),
    ray("RayCluster", RELEASE, "serviceAccount"),
]


@pytest.fixture
def mariam(define: Callable[..., list[str]], cluster: ControlPlane, api: Api) -> Iterator[Api]:
    """A developer of `credit`, once the server judges as whom she starts what."""
    define("kuberay")
    with cluster.api(cluster.kubeconfig_for("mariam", ["credit-developer"])) as mariam:
        for pause in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60)
        ):
            with pause:
                assert all(said(mariam, thing) is not None for thing in AS_A_RELEASE)
        yield mariam


def test_a_developer_starts_nothing_as_a_release(mariam: Api, api: Api) -> None:
    """Else whoever may try something out could give a version its traffic."""
    for thing in AS_A_RELEASE:
        refused = said(mariam, thing)
        assert refused is not None
        assert f"the account {RELEASE} has rights of its own" in refused
        assert "take workload, or leave serviceAccountName out" in refused
        assert said(api, thing) is None, "who may act as the account may start pods as it"
    for account in ("workload", "default"):
        assert said(mariam, job(account)) is None
        assert said(mariam, ray("RayCluster", account)) is None


def test_what_runs_as_another_may_still_be_changed_and_not_be_made_to(
    cluster: ControlPlane, mariam: Api, api: Api
) -> None:
    owned, timed = api.create(ray("RayCluster", RELEASE)), api.create(cron_job())
    template = {"spec": {"serviceAccountName": RELEASE}}
    change = {"spec": {"jobTemplate": {"spec": {"template": template}}}}
    try:
        merge(mariam, api.path_of(owned), {"spec": {"suspend": True}})
        with (
            cluster.api(cluster.kubeconfig_for("salem", ["credit-operator"])) as salem,
            pytest.raises(ApiError, match=f"the account {RELEASE} has rights"),
        ):
            merge(salem, api.path_of(timed), change)
    finally:
        for one in (owned, timed):
            api.delete(one, seconds=60)


def test_a_debugger_cannot_bring_a_foreign_image(api: Api) -> None:
    made = api.create(pod())
    path = f"{api.path_of(made)}/ephemeralcontainers"
    debugger = made["spec"]["containers"][0] | {"name": "debugger", "resources": {}}

    def add(image: str) -> None:
        added = {"spec": {"ephemeralContainers": [debugger | {"image": image}]}}
        merge(api, path, added, "strategic-merge", dryRun="All")

    try:
        with pytest.raises(ApiError, match="is not from the registry in the country"):
            add(OTHER)
        add(IMAGE)
    finally:
        api.delete(made, seconds=60)


def test_what_came_in_before_may_still_go(api: Api) -> None:
    """A policy that came later must not hold an object's last finalizer."""
    path = api.path_of(older())
    with pytest.raises(ApiError, match="named by a tag"):
        merge(api, path, {"spec": {"template": {"metadata": {"labels": {"one": "1"}}}}})
    merge(api, path, {"metadata": {"labels": {"one": "1"}, "finalizers": []}})
    api.delete(older(), seconds=60)


def test_a_container_that_says_nothing_gets_the_teams_defaults(api: Api) -> None:
    made = api.create(pod(WITHOUT_RESOURCES), dry_run=True)
    assert made["spec"]["containers"][0]["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"memory": "512Mi"},
    }


def test_no_pod_gets_a_graphics_processor_unasked(api: Api) -> None:
    made = api.create(pod(WITHOUT_RESOURCES), dry_run=True)
    assert "nvidia.com/gpu" not in str(made["spec"])


@pytest.mark.parametrize("account", ["default", "workload"])
def test_no_pod_gets_a_token(api: Api, account: str) -> None:
    made = api.create(pod(spec(serviceAccountName=account)), dry_run=True)
    assert "volumes" not in made["spec"], "nothing is mounted"


def test_a_team_gets_no_more_graphics_processors_than_its_quota(api: Api) -> None:
    greedy = {"limits": {"memory": "64Mi", "nvidia.com/gpu": "3"}, "requests": {"cpu": "1"}}
    refused = said(api, pod(container(resources=greedy)))
    assert refused is not None
    assert "exceeded quota: team, requested: requests.nvidia.com/gpu=3" in refused


# --- people ---------------------------------------------------------------------------------------

VIEW, RAY, SERVE = ("viewer", "developer", "operator", "approver"), ("developer",), ("operator",)
NOBODY: tuple[str, ...] = ()

QUESTIONS: list[tuple[str, str, str, tuple[str, ...]]] = [
    # verb, group, resource, who may
    ("list", "", "pods", VIEW),
    ("get", "", "pods/log", VIEW),
    ("list", "ray.io", "rayclusters", VIEW),
    ("list", "machinelearning.seldon.io", "seldondeployments", VIEW),
    ("get", "networking.istio.io", "virtualservices", VIEW),
    ("create", "ray.io", "rayjobs", RAY),
    ("create", "batch", "jobs", RAY),
    ("delete", "ray.io", "rayclusters", RAY + SERVE),
    ("delete", "", "pods", RAY + SERVE),
    ("create", "", "pods/portforward", RAY + SERVE),
    ("patch", "apps", "deployments", SERVE),
    ("update", "apps", "deployments/scale", SERVE),
    ("patch", "machinelearning.seldon.io", "seldondeployments", SERVE),
    ("create", "", "pods/eviction", SERVE),
    ("create", "", "pods", NOBODY),
    ("create", "", "pods/exec", NOBODY),
    ("create", "apps", "deployments", NOBODY),
    ("patch", "networking.istio.io", "virtualservices", NOBODY),
    ("get", "", "secrets", NOBODY),
    ("list", "", "secrets", NOBODY),
    ("create", "", "serviceaccounts/token", NOBODY),
    ("update", "", "resourcequotas", NOBODY),
    ("delete", "networking.k8s.io", "networkpolicies", NOBODY),
    ("create", "rbac.authorization.k8s.io", "rolebindings", NOBODY),
    ("impersonate", "", "users", NOBODY),
]


def may(api: Api, verb: str, group: str, resource: str, namespace: str) -> bool:
    """What the server says to whoever holds the client."""
    noun, _, part = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": noun, "subresource": part}
    answer = api.create(
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked | {"namespace": namespace}},
        }
    )
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_the_table_says_and_in_its_own_team_alone(
    cluster: ControlPlane, role: str
) -> None:
    with cluster.api(cluster.kubeconfig_for("mariam", [f"credit-{role}"])) as mariam:
        own = {
            (verb, resource): may(mariam, verb, group, resource, "credit")
            for verb, group, resource, _ in QUESTIONS
        }
        others = [
            (verb, resource)
            for verb, group, resource, _ in QUESTIONS
            if may(mariam, verb, group, resource, "fraud")
        ]
    assert own == {(verb, resource): role in who for verb, _, resource, who in QUESTIONS}
    assert others == []


def test_a_person_sees_the_own_teams_pods_and_not_the_others(
    api: Api, cluster: ControlPlane
) -> None:
    made = [api.create(pod(namespace=team)) for team in ("credit", "fraud")]
    try:
        with cluster.api(cluster.kubeconfig_for("mariam", ["credit-viewer"])) as mariam:
            assert [one["metadata"]["name"] for one in mariam.list("v1", "Pod", "credit")] == [
                "one"
            ]
            for namespace in ("fraud", ""):
                with pytest.raises(ApiError, match="is forbidden"):
                    mariam.list("v1", "Pod", namespace)
    finally:
        for one in made:
            api.delete(one, seconds=60)


def test_a_teams_pods_may_ask_the_server_for_nothing(api: Api, cluster: ControlPlane) -> None:
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "workload", "namespace": "credit"},
    }
    asked = api.request("POST", f"{api.path_of(account)}/token", json={"spec": {}})
    with cluster.api(cluster.kubeconfig_with(asked["status"]["token"])) as inside:
        assert not any(
            may(inside, verb, group, resource, "credit") for verb, group, resource, _ in QUESTIONS
        )


# --- the engine -----------------------------------------------------------------------------------


def test_a_second_update_changes_nothing(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes", "--refresh"))


def test_a_destroy_leaves_nothing(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    names = {
        kind: {thing["metadata"]["name"] for thing in api.list(version, kind)}
        for version, kind in (
            ("v1", "Namespace"),
            ("scheduling.k8s.io/v1", "PriorityClass"),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"),
            ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"),
        )
    }
    assert not {"credit", "fraud"} & names["Namespace"]
    assert not [name for found in names.values() for name in found if name.startswith("falaj-")]
