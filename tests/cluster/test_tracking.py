"""MLflow as the API server sees it, and what it lets pods of two teams do with the server's tokens.

The server runs here with the variables of the applied Deployment, on SQLite. That it signs in to
RDS by IAM, and people at an identity provider, is for an environment to show (ADR 0018).
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest
import tenacity
from applied import KUBECONFIG, Program
from control_plane import ControlPlane
from kubernetes_api import Api

from components.kubernetes.tracking_client import AUDIENCE, VARIABLES

AUTHORITY = re.findall(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n",
    Path(certifi.where()).read_text(encoding="utf-8"),
    re.DOTALL,
)[0]

PROGRAM = f"""
import os
import pulumi
import pulumi_kubernetes as kubernetes
from components.kubernetes.admission import Admission, AdmissionArgs
from components.kubernetes.flows import Addresses
from components.kubernetes.priorities import Priorities
from components.kubernetes.settings import AdmissionSettings, TeamGroups, TeamQuota
from components.kubernetes.tenancy import Team, TeamArgs
from components.kubernetes.serving import Door
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.tracking import Tracking, TrackingArgs
from components.kubernetes.tracking_settings import SignIn, TrackingSettings

here = kubernetes.Provider("here", kubeconfig=pulumi.Output.secret(os.environ["{KUBECONFIG}"]))
opts = pulumi.ResourceOptions(provider=here)
addresses = Addresses(services=["10.64.0.0/16"], api_server=["10.96.0.1/32"])
teams = {{
    team: TeamQuota(groups=TeamGroups(developer=(f"{{team}}-makers",)))
    for team in ("tracked", "tracked-too")
}}
for team, quota in teams.items():
    Team(team, TeamArgs(team=team, quota=quota, addresses=addresses), opts)
priorities = Priorities("priorities", opts)
admission = Admission(
    "admission",
    AdmissionArgs(settings=AdmissionSettings(digests=True), registry="registry.ae.example/prod"),
    opts,
)
Tracking(
    "tracking",
    TrackingArgs(
        settings=TrackingSettings(
            image="registry.ae.example/prod/mlflow:3.17.2@sha256:{"0" * 64}",
            sign_in=SignIn(
                issuer="https://sign-in.example.ae",
                discovery_url="https://sign-in.example.ae/.well-known/openid-configuration",
                client_id="mlflow",
                audience="mlflow",
                administrators=("platform",),
            ),
            hosts=("mlflow.example.ae",),
        ),
        keep=True,
        database_uri="postgresql://tracking@db.example:5432/tracking?sslmode=verify-full",
        users_uri="postgresql://tracking@db.example:5432/tracking_users?sslmode=verify-full",
        database_authorities={AUTHORITY!r},
        bucket_uri="s3://falaj-artifacts",
        issuer="ISSUER",
        database_region="me-central-1",
        secret_source=SecretSource(
            store="aws", keys={{"session-key": "a/session-key", "client-secret": "a/client-secret"}}
        ),
        door=Door(
            namespace="default",
            gateway="default/models",
            hosts=["mlflow.example.ae"],
            service="gateway",
            service_account="gateway",
        ),
        teams=teams,
        addresses=addresses,
        monitored=True,
        mesh=True,
        after=[*priorities.ready, *admission.ready],
    ),
    opts,
)
"""

HOST = "mlflow.tracking.svc:5000"


@pytest.fixture(scope="module")
def issuer(api: Api) -> str:
    """As the API server names itself in tokens."""
    found = api.request("GET", "/.well-known/openid-configuration")
    return str(found["issuer"])


@pytest.fixture(scope="module", autouse=True)
def layer(
    lasting_program: Callable[..., Program],
    succeed: Callable[..., Any],
    define: Callable[..., list[str]],
    issuer: str,
) -> Program:
    """MLflow and two teams, applied."""
    define("prometheus-operator", "external-secrets", "istio")
    program = lasting_program(PROGRAM.replace("ISSUER", issuer))
    succeed(program.up())
    return program


# --- two teams ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """A server of MLflow, and who asks it."""

    address: str
    tokens: dict[str, str]

    def ask(self, namespace: str | None, method: str, path: str, **more: Any) -> httpx.Response:
        """What a pod of `namespace` gets; without one, nobody asks."""
        headers = {"Host": HOST, **more.pop("headers", {})}
        if namespace is not None:
            headers["Authorization"] = f"Bearer {self.tokens[namespace]}"
        return httpx.request(method, f"{self.address}{path}", headers=headers, timeout=60, **more)


def token(api: Api, namespace: str, account: str, audience: str = AUDIENCE) -> str:
    """A token of a service account, as the kubelet would bring it to a pod."""
    thing = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": account, "namespace": namespace},
    }
    asked = api.request(
        "POST", f"{api.path_of(thing)}/token", json={"spec": {"audiences": [audience]}}
    )
    return str(asked["status"]["token"])


def variables(thing: Any) -> dict[str, str]:
    """The variables of an applied object's container, but those from secrets."""
    (container,) = thing["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for one in container["env"] if "valueFrom" not in one}


@pytest.fixture(scope="module")
def server(
    cluster: ControlPlane,
    api: Api,
    layer: Program,
    issuer: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """The server of the applied Deployment, after its Job."""
    folder = tmp_path_factory.mktemp("mlflow")
    (job,) = api.list("batch/v1", "Job", "tracking")
    (deployment,) = api.list("apps/v1", "Deployment", "tracking")
    (provider,) = (
        one for one in json.loads(variables(deployment)["AUTH_PROVIDERS"]) if one["id"] == "pods"
    )
    del provider["in_cluster"]  # from a pod it asks the API server for the same
    # by the rights of its own account
    own = token(api, "tracking", "tracking", issuer)
    with cluster.api(cluster.kubeconfig_with(own)) as inside:
        provider["jwks_inline"] = inside.request("GET", "/openid/v1/jwks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for_here = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/runs.db",
        "OIDC_USERS_DB_URI": f"sqlite:///{folder}/users.db",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
        "AUTH_PROVIDERS": json.dumps([provider]),
        "SECRET_KEY": base64.b64encode(os.urandom(32)).decode(),
        "FALAJ_DATABASE_REGION": "",
        "FALAJ_METRICS_PORT": "",
        # a client of MLflow's cannot be told to call it by another name
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(
            [variables(deployment)["MLFLOW_SERVER_ALLOWED_HOSTS"], f"127.0.0.1:{port}"]
        ),
        "HOME": str(folder),
    }
    kept = {"PATH": os.environ["PATH"]}
    subprocess.run(
        [sys.executable, "-m", "components.mlflow_server.prepare"],
        env=kept | variables(job) | for_here,
        check=True,
        timeout=400,
    )
    command = variables_command(deployment)
    command[command.index("--port") + 1] = str(port)
    command[command.index("--host") + 1] = "127.0.0.1"
    with ExitStack() as stack:
        log = stack.enter_context((folder / "log").open("w"))
        process = subprocess.Popen(
            [sys.executable, *command[1:]],
            env=kept | variables(deployment) | for_here,
            stdout=log,
            stderr=log,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        address = f"http://127.0.0.1:{port}"
        for pause in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.5), stop=tenacity.stop_after_delay(240), reraise=True
        ):
            with pause:
                assert process.poll() is None, (folder / "log").read_text()
                assert httpx.get(f"{address}/health").status_code == 200
        yield Server(
            address=address,
            tokens={
                **{team: token(api, team, "workload") for team in ("tracked", "tracked-too")},
                "default": token(api, "default", "default"),
                "for somebody else": token(api, "tracked", "workload", "vault"),
            },
        )


def variables_command(deployment: Any) -> list[str]:
    """What the server's container runs."""
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    return list(container["command"])


MODELS = "/api/2.0/mlflow/registered-models"
VERSIONS = "/api/2.0/mlflow/model-versions"
EXPERIMENTS = "/api/2.0/mlflow/experiments"
FILES = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass(frozen=True)
class Model:
    """What the team `tracked` has registered."""

    experiment: str
    run: str
    name: str = "tracked.default"

    @property
    def folder(self) -> str:
        """Where its files are."""
        return f"{self.experiment}/{self.run}/artifacts/model"


@pytest.fixture(scope="module")
def model(server: Server) -> Model:
    """A version with a file and the alias `champion`."""

    def done(answer: httpx.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ask(path: str, body: Any) -> Any:
        return done(server.ask("tracked", "POST", path, json=body))

    experiment = ask(f"{EXPERIMENTS}/create", {"name": "tracked.trials"})["experiment_id"]
    run = ask("/api/2.0/mlflow/runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
    made = Model(experiment=experiment, run=run)
    done(server.ask("tracked", "PUT", f"{FILES}/{made.folder}/weights", content=b"weights"))
    ask(f"{MODELS}/create", {"name": made.name})
    source = f"mlflow-artifacts:/{made.folder}"
    ask(f"{VERSIONS}/create", {"name": made.name, "source": source, "run_id": run})
    ask(f"{MODELS}/alias", {"name": made.name, "alias": "champion", "version": "1"})
    return made


def test_a_team_reads_back_what_it_registered(server: Server, model: Model) -> None:
    asked = {"name": model.name, "alias": "champion"}
    found = server.ask("tracked", "GET", f"{MODELS}/alias", params=asked)
    assert found.json()["model_version"]["version"] == "1"
    kept = server.ask("tracked", "GET", f"{FILES}/{model.folder}/weights")
    assert kept.content == b"weights"


def test_clients_sign_in_with_the_token_that_is_in_the_file_at_the_time(
    server: Server, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient, MlflowException

    file = tmp_path / "token"
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FALAJ_TRACKING_TOKEN_FILE", str(file))
    client = MlflowClient(tracking_uri=server.address, registry_uri=server.address)
    file.write_text(server.tokens["tracked"])
    assert client.get_model_version_by_alias(model.name, "champion").version == "1"
    file.write_text(server.tokens["tracked-too"])
    with pytest.raises(MlflowException, match="Permission denied"):
        client.get_model_version_by_alias(model.name, "champion")
    with pytest.raises(MlflowException, match="Permission denied"):
        client.set_registered_model_alias(model.name, "champion", "1")


def test_another_team_neither_reads_nor_aliases_it(server: Server, model: Model) -> None:
    own = {"name": model.name}
    alias = own | {"alias": "champion"}
    source = {"name": "tracked-too.mine", "source": f"mlflow-artifacts:/{model.folder}"}
    made = server.ask("tracked-too", "POST", f"{MODELS}/create", json={"name": source["name"]})
    assert made.status_code == 200, made.text
    for method, path, more in (
        ("GET", f"{MODELS}/get", {"params": own}),
        ("GET", f"{MODELS}/alias", {"params": alias}),
        ("POST", f"{MODELS}/alias", {"json": alias | {"version": "1"}}),
        ("DELETE", f"{MODELS}/alias", {"json": alias}),
        ("DELETE", f"{MODELS}/delete", {"json": own}),
        ("GET", f"{VERSIONS}/get", {"params": own | {"version": "1"}}),
        ("GET", f"{VERSIONS}/get-download-uri", {"params": own | {"version": "1"}}),
        ("GET", "/api/2.0/mlflow/runs/get", {"params": {"run_id": model.run}}),
        ("GET", f"{FILES}/{model.folder}/weights", {}),
        ("PUT", f"{FILES}/{model.folder}/weights", {"content": b"others"}),
        ("GET", "/get-artifact", {"params": {"run_id": model.run, "path": "model/weights"}}),
        # as the source of a version of its own
        ("POST", f"{VERSIONS}/create", {"json": source}),
        ("POST", f"{VERSIONS}/create", {"json": source | {"run_id": model.run}}),
    ):
        for door in (path, path.replace("/api/", "/ajax-api/")):
            answer = server.ask("tracked-too", method, door, **more)
            assert answer.status_code == 403, (method, door, answer.status_code, answer.text)
    for path in (f"{MODELS}/search", f"{VERSIONS}/search"):
        assert model.name not in server.ask("tracked-too", "GET", path).text
    assert server.ask("tracked", "GET", f"{FILES}/{model.folder}/weights").content == b"weights"


def test_nothing_is_made_under_another_teams_name(server: Server) -> None:
    for name in ("tracked.other", "no-team", "tracked"):
        answer = server.ask("tracked-too", "POST", f"{MODELS}/create", json={"name": name})
        assert answer.status_code == 403, (name, answer.text)
        answer = server.ask("tracked-too", "POST", f"{EXPERIMENTS}/create", json={"name": name})
        assert answer.status_code == 403, (name, answer.text)


@pytest.mark.parametrize("who", [None, "default", "for somebody else"])
def test_whoever_has_no_right_to_sign_in_gets_nothing(server: Server, who: str | None) -> None:
    assert server.ask(who, "GET", f"{MODELS}/search").status_code in (401, 403)


def test_another_host_and_the_assistant_are_refused(server: Server) -> None:
    foreign = {"headers": {"Host": "elsewhere.example"}}
    assert server.ask("tracked", "GET", f"{MODELS}/search", **foreign).status_code == 403
    asked = server.ask("tracked", "GET", "/ajax-api/3.0/mlflow/assistant/config")
    assert asked.status_code == 404
    page = server.ask("tracked", "GET", "/")
    assert "<style>[data-assistant-ui]" in page.text


# --- what the cluster made of it ------------------------------------------------------------------


def pods(api: Api, component: str) -> list[Any]:
    """The pods that the server's controllers made."""
    return [
        one
        for one in api.list("v1", "Pod", "tracking")
        if one["metadata"]["labels"].get("app.kubernetes.io/component") == component
    ]


@pytest.mark.parametrize(("component", "number"), [("server", 2), ("prepare", 1)])
def test_pods_pass_pod_security_admission_and_quota(api: Api, component: str, number: int) -> None:
    for pause in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.5), stop=tenacity.stop_after_delay(240)
    ):
        with pause:
            assert len(pods(api, component)) == number
    for one in pods(api, component):
        assert one["spec"]["serviceAccountName"] == "tracking"
        assert one["spec"]["priorityClassName"] == "falaj-platform"


def test_the_operator_of_prometheus_would_find_the_servers(api: Api) -> None:
    (monitor,) = api.list("monitoring.coreos.com/v1", "ServiceMonitor", "tracking")
    (service,) = api.list("v1", "Service", "tracking")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()
    named = {one["name"] for one in service["spec"]["ports"]}
    assert {one["port"] for one in monitor["spec"]["endpoints"]} <= named


# --- the engine -----------------------------------------------------------------------------------


def test_a_second_update_changes_nothing(layer: Program, succeed: Callable[..., Any]) -> None:
    succeed(layer.up("--expect-no-changes", "--refresh"))


def test_no_server_starts_before_its_databases_are_prepared(
    layer: Program, succeed: Callable[..., Any]
) -> None:
    state = json.loads(succeed(layer.stack.pulumi("stack", "export")).stdout)
    after = {
        one["urn"].rpartition("::")[2]: {
            urn.rpartition("::")[2] for urn in one.get("dependencies", [])
        }
        for one in state["deployment"]["resources"]
    }
    assert "tracking-prepare" in after["tracking-server"]
    for pods_of in ("tracking-server", "tracking-prepare"):
        # flows, quota, account, secret, certificates
        leans_on = {
            *("tracking-space-deny-all", "tracking-space-to-services", "tracking-space-quota"),
            *("tracking-account", "tracking-secret", "tracking-authorities"),
        }
        assert leans_on <= after[pods_of]


def test_another_image_is_prepared_for_by_another_job(
    layer: Program, succeed: Callable[..., Any], api: Api
) -> None:
    """What a Job's pods are made of cannot change."""
    (before,) = api.list("batch/v1", "Job", "tracking")
    program = (layer.stack.directory / "__main__.py").read_text()
    layer.write(program.replace("mlflow:3.17.2@", "mlflow:3.17.3@"))
    succeed(layer.up())
    (after,) = (
        one
        for one in api.list("batch/v1", "Job", "tracking")
        if "deletionTimestamp" not in one["metadata"]
    )
    assert after["metadata"]["name"] != before["metadata"]["name"]
    (deployment,) = api.list("apps/v1", "Deployment", "tracking")
    for thing in (after, deployment):
        (container,) = thing["spec"]["template"]["spec"]["containers"]
        assert ":3.17.3@" in container["image"]


def test_a_destroy_leaves_nothing(layer: Program, succeed: Callable[..., Any], api: Api) -> None:
    succeed(layer.destroy())
    names = {one["metadata"]["name"] for one in api.list("v1", "Namespace")}
    assert not {"tracking", "tracked", "tracked-too"} & names
