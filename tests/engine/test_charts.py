"""Charts on the stand-in: rendered where they are on this machine, told where they are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_charts
import pytest
import yaml
from faults import Refused
from google.protobuf import json_format
from pulumi.runtime import rpc
from standin import struct

from stacks.offline import Offline
from stacks.plan import held_to

FILES = {
    "Chart.yaml": "apiVersion: v2\nname: engine\nversion: 1.2.3\n",
    "values.yaml": "replicas: 1\nresources: {}\nimage:\n  tag: a\n  digest:\n",
    "crds/engines.yaml": """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: engines.works.example, creationTimestamp: null}
spec:
  group: works.example
  scope: Namespaced
  names: {kind: Engine, plural: engines}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
status: {conditions: []}
""",
    "templates/engine.yaml": """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  replicas: {{ .Values.replicas | quote }}
  image: "engine:{{ .Values.image.tag }}"
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {{ .Release.Name }}
  annotations: {helm.sh/resource-policy: keep}
rules: []
---
apiVersion: batch/v1
kind: Job
metadata:
  name: hook
  annotations: {helm.sh/hook: pre-install}
""",
}

PROGRAM = """
import os
import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_kubernetes.helm.v4 import Chart
from components.kubernetes.operators import keep_definitions

here = kubernetes.Provider("here", kubeconfig="apiVersion: v1")
by = pulumi.ResourceOptions(provider=here)
space = kubernetes.core.v1.Namespace("space", metadata={"name": "works"}, opts=by)
chart = Chart(
    "engine",
    name="engine",
    chart="oci://registry.ae.example/charts/engine",
    version="1.2.3",
    namespace=space.metadata.name.apply(str),
    values=VALUES,
    opts=pulumi.ResourceOptions(provider=here, transforms=[keep_definitions]),
)
kubernetes.core.v1.Secret(
    "token",
    metadata={"name": "token", "namespace": "works"},
    string_data={"token": pulumi.Output.secret("nobody may read this")},
    opts=by,
)
kubernetes.apiextensions.CustomResource(
    "one",
    api_version="works.example/v1",
    kind="Engine",
    metadata={"name": "one", "namespace": "works"},
    opts=pulumi.ResourceOptions(provider=here, depends_on=[chart]),
)
"""


@pytest.fixture
def charts(tmp_path: Path) -> Path:
    """A folder with the chart `engine`."""
    folder = tmp_path / "charts"
    for name, text in FILES.items():
        (folder / "engine" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "engine" / name).write_text(text)
    return folder


def program(values: str = "{'replicas': 3}") -> str:
    return PROGRAM.replace("VALUES", values)


def with_charts(made: Offline, folder: Path) -> Offline:
    return replace(made, variables=made.variables | {kubernetes_charts.VARIABLE: str(folder)})


def resources(made: Offline, succeed: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    """Name → resource, as the state has them, in which no secret stands in plain."""
    state = succeed(made.pulumi("stack", "export")).stdout
    assert "nobody may read this" not in state
    exported = json.loads(state)
    found = exported["deployment"].get("resources", [])
    return {one["urn"].rpartition("::")[2]: one for one in found}


def test_a_chart_that_is_not_here_stands_in_the_plan_and_is_told_of(
    project: Callable[[str], Offline], succeed: Callable[..., Any]
) -> None:
    made = project(program())
    held = held_to("test")
    up = succeed(made.pulumi("up", "--yes", "--skip-preview", *held))
    assert "charts are not rendered" in up.stdout + up.stderr
    chart = resources(made, succeed)["engine"]
    assert chart["type"] == kubernetes_charts.CHART
    assert chart["inputs"]["version"] == "1.2.3"
    again = succeed(made.pulumi("preview", "--expect-no-changes"))
    assert "unchanged" in again.stdout
    succeed(made.pulumi("destroy", "--yes", "--skip-preview"))


def test_the_objects_of_a_chart_that_is_here_stand_under_it(
    project: Callable[[str], Offline], succeed: Callable[..., Any], charts: Path
) -> None:
    made = with_charts(project(program()), charts)
    succeed(made.pulumi("up", "--yes", "--skip-preview"))
    found = resources(made, succeed)
    config = found["engine:works/engine"]
    assert config["parent"] == found["engine"]["urn"]
    assert config["inputs"]["data"] == {"replicas": "3", "image": "engine:a"}
    assert found["engine:engine"]["retainOnDelete"] is True, "helm.sh/resource-policy: keep"
    assert "engine:works/hook" not in found
    definition = found["engine:engines.works.example"]
    assert definition["retainOnDelete"] is True
    assert definition["urn"] in config["dependencies"]
    succeed(made.pulumi("preview", "--expect-no-changes"))

    gone = succeed(made.pulumi("destroy", "--yes", "--skip-preview")).stdout
    lines = [line for line in gone.splitlines() if "deleted" in line or "delet" in line]
    order = [
        next(number for number, line in enumerate(lines) if name in line and kind in line)
        for kind, name in (
            ("works.example/v1:Engine", " one "),
            ("ConfigMap", "engine:works/engine"),
            ("Namespace", " space "),
        )
    ]
    assert order == sorted(order), "an object of the kind, its operator, their namespace"


def test_a_value_that_a_chart_does_not_know_is_refused(
    project: Callable[[str], Offline], charts: Path
) -> None:
    made = with_charts(project(program("{'replica': 3, 'image': {'tags': 'b'}}")), charts)
    refused = made.pulumi("preview")
    assert refused.returncode != 0
    assert "engine knows no value image.tags, replica" in refused.stdout + refused.stderr


def test_what_was_asked_as_a_secret_is_answered_as_one() -> None:
    secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": "x"}
    asked = {"data": {"a": secret, "b": "y"}, "list": [secret, "z"]}
    answer = {"data": {"a": "x", "b": "y"}, "list": ["x", "z"], "id": "1"}
    kept = json_format.MessageToDict(kubernetes_charts.covered(struct(answer), struct(asked)))
    assert kept == {**asked, "id": "1"}
    longer = {"list": ["x", "z", "w"]}
    (whole,) = json_format.MessageToDict(
        kubernetes_charts.covered(struct(longer), struct(asked))
    ).values()
    assert whole == {**secret, "value": ["x", "z", "w"]}


@pytest.mark.parametrize(
    ("values", "unknown"),
    [
        ({"replicas": 2, "resources": {"limits": {"memory": "1Gi"}}}, []),
        ({"image": {"digest": "sha256:1"}}, []),
        ({"image": {"tags": "b"}}, ["image.tags"]),
        ({"image": "b"}, ["image (of this type)"]),
        ({"replicaCount": 2}, ["replicaCount"]),
    ],
)
def test_a_value_is_known_where_the_defaults_have_its_key(
    values: dict[str, Any], unknown: list[str]
) -> None:
    defaults = yaml.safe_load(FILES["values.yaml"])
    assert list(kubernetes_charts.unknown_values(values, defaults)) == unknown


def test_another_version_of_a_chart_is_not_taken(
    charts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kubernetes_charts.VARIABLE, str(charts))
    asked = {"chart": "oci://registry.ae.example/charts/engine", "version": "1.2.3"}
    assert kubernetes_charts.find(asked) == charts / "engine"
    assert kubernetes_charts.find(asked | {"chart": "oci://registry.ae.example/other"}) is None
    with pytest.raises(Refused, match=r"engine 2\.0\.0 is asked for, and .* holds 1\.2\.3"):
        kubernetes_charts.find(asked | {"version": "2.0.0"})
