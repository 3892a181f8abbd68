"""The stand-in for the `kubernetes` provider applies: against a real server, through the engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from applied import KUBECONFIG, Program
from kubernetes_api import Api, Object

HEAD = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
inside = "applying"
"""

SPACE = """
space = kubernetes.core.v1.Namespace("space", metadata={"name": "applying-too"}, opts=opts)
inside = space.metadata.name
"""

SETTINGS = """
kubernetes.core.v1.ConfigMap(
    "settings",
    metadata={"name": "settings", "namespace": inside, "labels": {"one": "1"}},
    data={"replicas": "2"},
    opts=opts,
)
"""

DEPLOYMENT = """
kubernetes.apps.v1.Deployment(
    "app",
    metadata={"name": "app", "namespace": inside},
    spec={
        "replicas": 2,
        "selector": {"match_labels": {"app": "one"}},
        "template": {
            "metadata": {"labels": {"app": "one"}},
            "spec": {"containers": [{"name": "one", "image": "registry.example/one:1"}]},
        },
    },
    opts=opts,
)
"""


@pytest.fixture(scope="module", autouse=True)
def namespace(api: Api) -> None:
    """Where most of these tests apply; it stays, since emptying a namespace takes seconds."""
    api.apply(named("Namespace", "applying", namespace=""), manager="tests")


def named(kind: str, name: str, api_version: str = "v1", *, namespace: str = "applying") -> Object:
    """What names an object."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def test_objects_are_made_changed_and_gone(
    api: Api, program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    it = program(HEAD + SPACE + SETTINGS + DEPLOYMENT)
    succeed(it.up())
    made = api.get(named("ConfigMap", "settings", namespace="applying-too"))
    assert made is not None
    assert made["data"] == {"replicas": "2"}
    (manager,) = {entry["manager"] for entry in made["metadata"]["managedFields"]}
    assert manager.startswith("pulumi-kubernetes-")
    deployment = api.get(named("Deployment", "app", "apps/v1", namespace="applying-too"))
    assert deployment is not None
    assert deployment["spec"]["replicas"] == 2

    succeed(it.preview("--expect-no-changes"))
    succeed(it.up("--expect-no-changes", "--refresh"))

    it.write(HEAD + SPACE + SETTINGS.replace('"replicas": "2"', '"limit": "5"') + DEPLOYMENT)
    succeed(it.up())
    changed = api.get(named("ConfigMap", "settings", namespace="applying-too"))
    assert changed is not None
    assert changed["data"] == {"limit": "5"}, "what is no longer asked for goes"
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]

    succeed(it.destroy())
    assert api.get(named("Namespace", "applying-too", namespace="")) is None


def test_a_fixed_field_makes_a_new_object(
    api: Api, program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    it = program(HEAD + DEPLOYMENT)
    succeed(it.up())
    before = api.get(named("Deployment", "app", "apps/v1"))
    it.write(HEAD + DEPLOYMENT.replace('"app": "one"', '"app": "two"'))
    succeed(it.up())
    after = api.get(named("Deployment", "app", "apps/v1"))
    assert before is not None
    assert after is not None
    assert after["spec"]["selector"]["matchLabels"] == {"app": "two"}
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_what_somebody_changed_is_seen_and_set_right(
    api: Api, program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    it = program(HEAD + SETTINGS)
    succeed(it.up())
    strange = named("ConfigMap", "settings") | {"data": {"replicas": "9"}}
    api.apply(strange, manager="somebody", force=True)
    refused = it.up("--refresh")
    assert refused.returncode != 0
    assert "conflict" in refused.stdout, "what somebody else owns is not taken back in silence"

    api.delete(named("ConfigMap", "settings"), seconds=60)
    succeed(it.up("--refresh"))
    made = api.get(named("ConfigMap", "settings"))
    assert made is not None
    assert made["data"] == {"replicas": "2"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (SETTINGS.replace('"name": "settings"', '"name": "Settings"'), "RFC 1123"),
        (DEPLOYMENT.replace('"replicas": 2', '"replicas": -2'), "greater than or equal to 0"),
        (DEPLOYMENT.replace('{"app": "one"}}', '{"app": "two"}}', 1), "does not match template"),
    ],
)
def test_what_the_server_has_against_it_is_said_at_preview(
    program: Callable[..., Program], wrong: str, said: str
) -> None:
    looked = program(HEAD + wrong).preview()
    assert looked.returncode != 0
    assert said in looked.stdout


def test_a_deletion_waits_for_finalizers(
    api: Api, program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    held = SETTINGS.replace('"labels": {"one": "1"}', '"finalizers": ["falaj.test/held"]').replace(
        "opts=opts,", "opts=pulumi.ResourceOptions(provider=here, custom_timeouts=soon),"
    )
    it = program(HEAD + 'soon = pulumi.CustomTimeouts(delete="2s")\n' + held)
    succeed(it.up())
    refused = it.destroy()
    assert refused.returncode != 0
    assert "falaj.test/held" in refused.stdout
    released = api.get(named("ConfigMap", "settings"))
    assert released is not None
    released["metadata"]["finalizers"] = []
    api.request("PUT", api.path_of(released), json=released)


def test_what_a_controller_makes_anew_counts_as_deleted(api: Api) -> None:
    account = named("ServiceAccount", "default")
    for seen in api.watch(account, seconds=60):
        if seen is not None:
            break
    before = api.get(account)
    api.delete(account, seconds=30)
    for seen in api.watch(account, seconds=60):
        if seen is not None:
            assert before is not None
            assert seen["metadata"]["uid"] != before["metadata"]["uid"]
            return
    pytest.fail("nobody made it anew, so this shows nothing")


def test_a_secret_is_masked_in_the_state(
    program: Callable[..., Program], succeed: Callable[..., Any]
) -> None:
    it = program(
        HEAD
        + """
kubernetes.core.v1.Secret(
    "key",
    metadata={"name": "key", "namespace": inside},
    string_data={"value": pulumi.Output.secret("do not show")},
    opts=opts,
)
"""
    )
    succeed(it.up())
    state = succeed(it.stack.pulumi("stack", "export")).stdout
    assert "do not show" not in state
    assert "ZG8gbm90IHNob3c=" not in state
    assert any(
        resource["type"] == "kubernetes:core/v1:Secret"
        for resource in json.loads(state)["deployment"]["resources"]
    )


def test_kinds_of_others_are_judged_by_their_own_schema(
    api: Api,
    define: Callable[..., list[str]],
    program: Callable[..., Program],
    succeed: Callable[..., Any],
) -> None:
    define("prometheus-operator")
    monitor = """
kubernetes.apiextensions.CustomResource(
    "monitor",
    api_version="monitoring.coreos.com/v1",
    kind="ServiceMonitor",
    metadata={"name": "monitor", "namespace": inside},
    spec={"selector": {"matchLabels": {"app": "one"}}, "endpoints": [{"port": "metrics"}]},
    opts=opts,
)
"""
    it = program(HEAD + monitor)
    succeed(it.up())
    assert api.get(named("ServiceMonitor", "monitor", "monitoring.coreos.com/v1")) is not None
    succeed(it.up("--expect-no-changes", "--refresh"))
    it.write(HEAD + monitor.replace('"endpoints"', '"endpoint"'))
    looked = it.preview()
    assert looked.returncode != 0
    assert "endpoint" in looked.stdout


def test_a_kind_without_its_definition_is_named(program: Callable[..., Program]) -> None:
    it = program(
        HEAD
        + """
kubernetes.apiextensions.CustomResource(
    "nothing",
    api_version="nobody.example.com/v1",
    kind="Nothing",
    metadata={"name": "nothing", "namespace": inside},
    opts=opts,
)
"""
    )
    refused = it.up()
    assert refused.returncode != 0
    assert "knows no kind Nothing in nobody.example.com/v1: is its CRD there?" in refused.stdout


@pytest.mark.parametrize(
    ("kubeconfig", "said"),
    [
        ("'no: kubeconfig'", "the kubeconfig has no current-context"),
        ("None", "the provider has no kubeconfig"),
        (
            f'os.environ["{KUBECONFIG}"].replace("127.0.0.1", "cluster.example")',
            "is not on this machine",
        ),
        (
            f'__import__("re").sub("127.0.0.1:[0-9]+", "127.0.0.1:1", os.environ["{KUBECONFIG}"])',
            "does not answer",
        ),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_is_told(
    program: Callable[..., Program], kubeconfig: str, said: str
) -> None:
    given = f'pulumi.Output.secret(os.environ["{KUBECONFIG}"])'
    refused = program(HEAD.replace(given, kubeconfig) + SETTINGS).up()
    assert refused.returncode != 0
    assert said in refused.stdout
