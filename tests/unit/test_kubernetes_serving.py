"""The servers of models as the program registers them, and the settings behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from components.kubernetes.model_pods import ENGINES, METRICS_PORT, PORT
from components.kubernetes.serving import Door, Serving, ServingArgs
from components.kubernetes.serving_settings import ModelSettings, ServingSettings
from workloads.delivery.mesh import MeshRoute

Record = Callable[[Callable[[], object]], Any]

DOOR = Door(
    namespace="serving",
    gateway="serving/models",
    hosts=["models.example.ae"],
    service="gateway",
    service_account="gateway",
)
LICENCE = "SLD-2026-7"


def args(
    engine: str = "mlserver",
    licence: str | None = LICENCE,
    environment: str = "prod",
    team: str = "lending",
    workload: str = "credit",
    **model: Any,
) -> ServingArgs:
    return ServingArgs(
        environment=environment,
        settings=ServingSettings.model_validate(
            {"engine": engine, "seldon_licence_reference": licence}
        ),
        workload=workload,
        team=team,
        image="registry.ae.example/prod/credit:1",
        tracking_uri="http://mlflow.tracking:5000",
        door=DOOR,
        model=ModelSettings(**model),
    )


def templates(made: Any) -> dict[str, Any]:
    """Slot → labels and spec of its pods, of either engine."""
    found = [one.inputs["spec"]["template"] for one in made.of("Deployment")]
    for one in made.of("SeldonDeployment"):
        (predictor,) = one.inputs["spec"]["predictors"]
        found += predictor["componentSpecs"]
    return {one["metadata"]["labels"]["falaj/slot"]: one for one in found}


@pytest.mark.parametrize("engine", ENGINES)
class TestServing:
    """What holds of both engines."""

    @pytest.fixture
    def made(self, engine: str, record: Record) -> Any:
        return record(lambda: Serving("credit", args(engine)))

    def test_two_slots_run_the_same_and_differ_in_their_name_alone(self, made: Any) -> None:
        pods = templates(made)
        assert set(pods) == {"a", "b"}
        said = {slot: _variables(pod) for slot, pod in pods.items()}
        assert {slot: one.pop("FALAJ_SLOT") for slot, one in said.items()} == {"a": "a", "b": "b"}
        assert said["a"] == said["b"]
        assert said["a"]["MLFLOW_TRACKING_URI"] == "http://mlflow.tracking:5000"

    def test_pods_are_as_restricted_as_they_can_be(self, made: Any) -> None:
        for pod in templates(made).values():
            spec = pod["spec"]
            (container,) = spec["containers"]
            assert spec["automountServiceAccountToken"] is False
            assert spec["serviceAccountName"] == "workload"
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"] == "2048Mi"

    def test_an_empty_slot_lives_and_is_not_ready(self, made: Any, engine: str) -> None:
        for pod in templates(made).values():
            (container,) = pod["spec"]["containers"]
            asked = {
                noun: container[f"{noun}Probe"]["httpGet"]["path"]
                for noun in ("startup", "liveness", "readiness")
            }
            shape = ENGINES[engine]
            assert asked == {
                "startup": shape.live,
                "liveness": shape.live,
                "readiness": shape.ready,
            }
            assert container["startupProbe"]["failureThreshold"] * 5 >= 300
        # the engine would wait for a slot that only a release fills
        for kind in ("Deployment", "SeldonDeployment", "Service"):
            for one in made.of(kind):
                assert one.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"

    def test_the_network_lets_the_gateway_to_their_ports(self, made: Any) -> None:
        for service in made.of("Service"):
            assert service.inputs["spec"]["type"] == "ClusterIP"
            ports = [one["port"] for one in service.inputs["spec"]["ports"]]
            assert ports == [PORT, METRICS_PORT]
        assert {pod["metadata"]["labels"]["falaj/part"] for pod in templates(made).values()} == {
            "model"
        }

    def test_no_request_is_logged(self, made: Any) -> None:
        assert "logger" not in str([one.inputs for one in made.resources])

    def test_no_object_holds_a_weight(self, made: Any) -> None:
        said = str([one.inputs for one in made.resources])
        assert "'weight': 50" not in said
        assert "'traffic'" not in said
        names = [one.inputs["metadata"]["name"] for one in made.of("VirtualService")]
        assert names == ["lending.credit"]

    def test_the_route_leaves_the_slot_to_the_release_and_else_takes_the_first(
        self, made: Any
    ) -> None:
        rules = made.the("VirtualService").inputs["spec"]["http"]
        assert len(rules) % 2 == 0
        for to_release, to_first in zip(rules[::2], rules[1::2], strict=True):
            assert to_release["match"] == to_first["match"]
            assert to_release["delegate"] == {"namespace": "lending", "name": "credit-split"}
            (target,) = to_first["route"]
            assert target["destination"]["host"] == "credit-a.lending.svc.cluster.local"

    def test_servers_speak_mutual_tls_with_whom_they_know(self, made: Any) -> None:
        assert made.the("PeerAuthentication").inputs["spec"]["mtls"] == {"mode": "STRICT"}
        for rule in made.of("DestinationRule"):
            assert "tls" not in rule.inputs["spec"]["trafficPolicy"], "the mesh finds its own way"
        allowed = made.the("AuthorizationPolicy").inputs["spec"]
        assert allowed["action"] == "ALLOW"
        sources = [one["from"][0]["source"] for one in allowed["rules"]]
        assert sources == [
            {"principals": ["cluster.local/ns/serving/sa/gateway"]},
            {"principals": ["cluster.local/ns/lending/sa/credit-release"]},
            {"namespaces": ["monitoring"]},
        ]
        from_gateway = allowed["rules"][0]["to"][0]["operation"]["paths"]
        assert "/reload" not in from_gateway

    def test_pods_without_a_gpu_bear_no_gpu_node(self, made: Any) -> None:
        for pod in templates(made).values():
            assert not {"tolerations", "nodeSelector"} & set(pod["spec"])


def test_what_two_teams_put_beside_the_gateway_never_has_one_name(record: Record) -> None:
    """The teams `a-b` and `a` may have the workloads `c` and `b-c`."""

    def names(team: str, workload: str) -> set[str]:
        made = record(lambda: Serving("it", args(team=team, workload=workload)))
        objects = [one.inputs["metadata"] for one in made.resources if "metadata" in one.inputs]
        return {one["name"] for one in objects if one.get("namespace") == DOOR.namespace}

    first, second = names("a-b", "c"), names("a", "b-c")
    assert first
    assert not first & second


def test_a_gpu_is_asked_for_whole_and_found_by_its_pool(record: Record) -> None:
    made = record(lambda: Serving("credit", args(gpus=1, node_pool="gpu")))
    for pod in templates(made).values():
        resources = pod["spec"]["containers"][0]["resources"]
        assert {resources[part]["nvidia.com/gpu"] for part in ("requests", "limits")} == {"1"}
        assert pod["spec"]["nodeSelector"] == {"falaj/pool": "gpu", "falaj/kind": "gpu"}
        assert pod["spec"]["tolerations"][0]["key"] == "nvidia.com/gpu"


def test_a_model_may_go_to_the_nodes_of_its_own_team_where_its_pool_is_named(
    record: Record,
) -> None:
    """Such nodes have a taint: without bearing it the model would wait for ever."""

    def borne(**model: Any) -> list[dict[str, str]]:
        made = record(lambda: Serving("credit", args(**model)))
        return list(templates(made)["a"]["spec"].get("tolerations", ()))

    own = {"key": "falaj/team", "operator": "Equal", "value": "lending", "effect": "NoSchedule"}
    assert borne(node_pool="lenders") == [own]
    assert own in borne(gpus=1, node_pool="lenders-gpu")
    assert borne() == []


def test_how_many_servers_there_are_is_the_scalers_alone(record: Record) -> None:
    plain = record(lambda: Serving("credit", args()))
    for one in plain.of("Deployment"):
        assert "replicas" not in one.inputs["spec"]
    seldon = record(lambda: Serving("credit", args("seldon")))
    for one in seldon.of("SeldonDeployment"):
        (predictor,) = one.inputs["spec"]["predictors"]
        assert not {"replicas"} & (set(one.inputs["spec"]) | set(predictor))
        assert predictor["componentSpecs"][0]["hpaSpec"]["minReplicas"] == 2
        assert predictor["componentSpecs"][0]["pdbSpec"] == {"maxUnavailable": 1}


def test_feedback_is_sent_again_only_where_it_never_left(record: Record) -> None:
    made = record(lambda: Serving("credit", args("seldon")))
    retried = {
        rule["match"][0]["uri"]["exact"].rpartition("/")[2]: rule["retries"]["retryOn"]
        for rule in made.the("VirtualService").inputs["spec"]["http"]
    }
    assert retried["feedback"] == "connect-failure,refused-stream"
    assert "503" in retried["predictions"]


def test_a_release_finds_its_split_by_what_the_component_says(record: Record) -> None:
    built: list[Serving] = []
    record(lambda: built.append(Serving("credit", args())))
    route = MeshRoute(**built[0].split)
    assert route.host("b") == "credit-b.lending.svc.cluster.local"
    assert built[0].path == "/seldon/lending/credit"


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_seldon_without_a_licence_is_refused_and_the_way_out_named(environment: str) -> None:
    args("seldon", environment=environment)
    args("mlserver", None, environment)
    with pytest.raises(ValueError, match=r"serving\.seldon_licence_reference: .*engine: mlserver"):
        args("seldon", None, environment)


@pytest.mark.parametrize("environment", ["dev", "test"])
def test_seldon_needs_no_licence_to_be_tried(environment: str) -> None:
    args("seldon", None, environment)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_replicas": 4, "max_replicas": 3}, "max_replicas: 3 is below min_replicas 4"),
        ({"gpus": 1}, "node_pool: is missing"),
        ({"replicas": 3}, "Extra inputs"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ModelSettings(**wrong)


def test_a_slot_in_prod_has_two_servers() -> None:
    args(environment="dev", min_replicas=1)
    with pytest.raises(ValueError, match="two at least"):
        args(min_replicas=1)


def test_which_engine_is_said_and_never_assumed() -> None:
    with pytest.raises(ValidationError, match="engine"):
        ServingSettings.model_validate({})


def _variables(pod: Any) -> dict[str, str]:
    (container,) = pod["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"]}
