"""MLflow on a cluster as the program registers it, and who may do what in it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import certifi
import pulumi
import pytest
from pydantic import ValidationError

from components.aws.access import IDENTITIES
from components.kubernetes.flows import AMBIENT, FLOWS, policies
from components.kubernetes.quantities import mib
from components.kubernetes.secret_source import SecretSource
from components.kubernetes.serving import Door
from components.kubernetes.settings import TeamGroups, TeamQuota
from components.kubernetes.tracking import (
    ARTIFACTS,
    COPIES,
    PART,
    S3Endpoint,
    Tracking,
    TrackingArgs,
)
from components.kubernetes.tracking_pods import ACCOUNT, METRICS_PORT, PORT
from components.kubernetes.tracking_settings import SignIn, TrackingSettings
from components.mlflow_server.grants import grants, pattern_of, read, written

Record = Callable[[Callable[[], object]], Any]

AUTHORITY = re.findall(
    r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?",
    Path(certifi.where()).read_text(encoding="utf-8"),
    re.DOTALL,
)[0]
SETTINGS = TrackingSettings(
    image=f"registry.ae.example/prod/mlflow:3.17.2@sha256:{'0' * 64}",
    sign_in=SignIn(
        issuer="https://sign-in.example.ae",
        discovery_url="https://sign-in.example.ae/.well-known/openid-configuration",
        client_id="mlflow",
        audience="mlflow",
        administrators=("platform",),
    ),
    hosts=("mlflow.prod.falaj.internal",),
)
TEAMS = {
    "credit": TeamQuota(groups=TeamGroups(viewer=("audit",), developer=("credit-makers",))),
    "credit-risk": TeamQuota(groups=TeamGroups(operator=("risk-operators",))),
}
ARGS = TrackingArgs(
    settings=SETTINGS,
    keep=True,
    database_uri="postgresql://tracking@database.example:5432/tracking?sslmode=verify-full",
    users_uri="postgresql://tracking@database.example:5432/tracking_users?sslmode=verify-full",
    database_authorities=AUTHORITY,
    bucket_uri="s3://falaj-artifacts",
    issuer="https://oidc.example/id/1",
    database_region="me-central-1",
    secret_source=SecretSource(
        store="aws",
        keys={
            "session-key": "falaj/prod/tracking/session-key",
            "client-secret": "falaj/prod/tracking/client-secret",
        },
    ),
    teams=TEAMS,
    monitored=True,
)

ELSEWHERE = replace(
    ARGS,
    database_region=None,
    endpoint=S3Endpoint(address="https://s3.bank.example.ae", region="uae"),
    secret_source=None,
)
"""The same on a cluster of somebody's own, with a database and a bucket of theirs."""
DOOR = Door(
    namespace="serving",
    gateway="serving/models",
    hosts=["models.example.ae", "mlflow.prod.falaj.internal"],
    service="gateway",
    service_account="gateway",
)


def built(record: Record, args: TrackingArgs = ARGS) -> Any:
    """What `args` register."""
    return record(lambda: Tracking("tracking", args))


def environment(made: Any, kind: str = "Deployment") -> dict[str, str]:
    """The variables of the container of `kind`."""
    (container,) = made.the(kind).inputs["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one["value"] for one in container["env"] if "value" in one}


def test_its_account_is_the_one_that_the_identity_is_bound_to(record: Record) -> None:
    identity = IDENTITIES["tracking"]
    assert (identity.namespace, identity.service_account) == (PART, ACCOUNT)
    made = built(record)
    server = made.the("Deployment")
    assert server.inputs["metadata"]["namespace"] == identity.namespace
    assert server.inputs["spec"]["template"]["spec"]["serviceAccountName"] == ACCOUNT
    assert made.the("ServiceAccount", "tracking-account").inputs["metadata"]["name"] == ACCOUNT
    # what the identity may write is what the server is told to use
    folders = [one.path for one in identity.prefixes if one.bucket == "artifacts"]
    assert folders == ["mlflow/"]
    told = environment(made)["_MLFLOW_SERVER_ARTIFACT_DESTINATION"]
    assert told == f"s3://falaj-artifacts/{ARTIFACTS}"
    assert ARTIFACTS.startswith("mlflow/")


def test_copies_of_databases_go_where_the_server_hands_nothing_out(record: Record) -> None:
    made = built(record)
    assert environment(made, "Job")["FALAJ_DATABASE_COPIES"] == f"s3://falaj-artifacts/{COPIES}"
    assert "FALAJ_DATABASE_COPIES" not in environment(made)
    assert COPIES.startswith("mlflow/")
    assert not COPIES.startswith(ARTIFACTS)
    without = SETTINGS.model_copy(update={"copy_before_upgrade": False})
    bare = environment(built(record, replace(ARGS, settings=without)), "Job")
    assert "FALAJ_DATABASE_COPIES" not in bare


def test_the_databases_are_those_of_its_role(record: Record) -> None:
    told = environment(built(record))
    assert f"//{IDENTITIES['tracking'].database_user}@" in told["_MLFLOW_SERVER_FILE_STORE"]
    assert told["_MLFLOW_SERVER_FILE_STORE"] != told["OIDC_USERS_DB_URI"]


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_no_variable_holds_a_secret(record: Record, kind: str) -> None:
    (container,) = built(record).the(kind).inputs["spec"]["template"]["spec"]["containers"]
    from_elsewhere = {one["name"] for one in container["env"] if "valueFrom" in one}
    assert from_elsewhere == {"SECRET_KEY", "OIDC_CLIENT_SECRET_PEOPLE"}
    assert not re.search(r"//\w+:[^@/]+@", json.dumps(container["env"]))


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_outside_of_aws_passwords_and_keys_come_from_the_secret(record: Record, kind: str) -> None:
    made = built(record, ELSEWHERE)
    (container,) = made.the(kind).inputs["spec"]["template"]["spec"]["containers"]
    from_secret = {
        one["name"]: one["valueFrom"]["secretKeyRef"]
        for one in container["env"]
        if "valueFrom" in one
    }
    assert {name: where["key"] for name, where in from_secret.items()} == {
        "SECRET_KEY": "session-key",
        "OIDC_CLIENT_SECRET_PEOPLE": "client-secret",
        "PGPASSWORD": "database-password",
        "AWS_ACCESS_KEY_ID": "access-key-id",
        "AWS_SECRET_ACCESS_KEY": "secret-access-key",
    }
    assert {where["name"] for where in from_secret.values()} == {"tracking"}
    told = environment(made, kind)
    assert told["MLFLOW_S3_ENDPOINT_URL"] == "https://s3.bank.example.ae"
    assert told["AWS_REGION"] == "uae"
    assert "FALAJ_DATABASE_REGION" not in told
    assert made.of("ExternalSecret") == []


@pytest.mark.parametrize("args", [ARGS, ELSEWHERE], ids=["aws", "elsewhere"])
def test_the_secret_is_filled_with_every_key_that_pods_ask_for(
    record: Record, args: TrackingArgs
) -> None:
    keys = {key: f"there/{key}" for key in args.secret_keys.values()}
    made = built(record, replace(args, secret_source=SecretSource(store="vault", keys=keys)))
    secret = made.the("ExternalSecret").inputs
    (container,) = made.the("Deployment").inputs["spec"]["template"]["spec"]["containers"]
    asked = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "valueFrom" in one]
    assert {one["name"] for one in asked} == {secret["spec"]["target"]["name"]}
    filled = {one["secretKey"]: one["remoteRef"]["key"] for one in secret["spec"]["data"]}
    assert filled == {one["key"]: f"there/{one['key']}" for one in asked}
    assert secret["spec"]["secretStoreRef"] == {"name": "vault", "kind": "ClusterSecretStore"}


def test_a_secret_that_nobody_would_fill_is_refused() -> None:
    source = SecretSource(store="vault", keys={"session-key": "one"})
    with pytest.raises(ValueError, match=r"lacks client-secret; say under which name vault has"):
        replace(ARGS, secret_source=source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"database_uri": "postgresql://tracking@db.example:6543/tracking"},
            "database_uri: port 6543",
        ),
        (
            {"endpoint": S3Endpoint(address="https://s3.example:9000", region="uae")},
            "endpoint.address: port 9000",
        ),
    ],
)
def test_a_service_on_a_port_that_flows_keep_shut_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"{message};.* on 443, 5432, .* one of these"):
        replace(ELSEWHERE, **change)


@pytest.mark.parametrize("administrator", [True, False])
def test_a_group_that_would_be_taken_for_two_is_refused(administrator: bool) -> None:
    name = "cn=makers,ou=people"
    sign_in = SETTINGS.sign_in.model_copy(update={"administrators": (name,)})
    change: dict[str, Any] = (
        {"settings": SETTINGS.model_copy(update={"sign_in": sign_in})}
        if administrator
        else {"teams": {"credit": TeamQuota(groups=TeamGroups(developer=(name,)))}}
    )
    with pytest.raises(ValueError, match=rf"the group '{name}': .* a name without one"):
        replace(ARGS, **change)


def test_its_account_can_be_bound_to_an_identity_by_an_annotation(record: Record) -> None:
    bound = {"eks.amazonaws.com/role-arn": "arn:aws:iam::111111111111:role/tracking"}
    made = built(record, replace(ARGS, account_annotations=bound))
    account = made.the("ServiceAccount", "tracking-account").inputs["metadata"]
    assert account["annotations"] == bound
    bare = built(record).the("ServiceAccount", "tracking-account").inputs["metadata"]
    assert "annotations" not in bare


def test_authorities_of_ones_own_are_trusted_in_place_of_all_others(record: Record) -> None:
    own = SETTINGS.model_copy(update={"other_authorities": AUTHORITY})
    made = built(record, replace(ELSEWHERE, settings=own))
    (file,) = {
        environment(made)[name] for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE")
    }
    folder, _, name = file.rpartition("/")
    assert made.the("ConfigMap").inputs["data"][name] == AUTHORITY
    (container,) = made.the("Deployment").inputs["spec"]["template"]["spec"]["containers"]
    assert folder in [one["mountPath"] for one in container["volumeMounts"]]
    assert "AWS_CA_BUNDLE" not in environment(built(record, ELSEWHERE))


def test_a_large_artifact_gets_through(record: Record) -> None:
    """It lies on the server's disk on its way, and nobody ends a request that takes long."""
    made = built(record, replace(ARGS, door=DOOR))
    largest = SETTINGS.largest_artifact_gib
    for kind in ("Deployment", "Job"):
        pod = made.the(kind).inputs["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        (disk,) = (one["emptyDir"] for one in pod["volumes"] if "emptyDir" in one)
        (mount,) = (one for one in container["volumeMounts"] if one["name"] == "temporary")
        assert mount["mountPath"] == "/tmp"  # noqa: S108 the pod's own
        assert disk == {"sizeLimit": f"{2 * largest}Gi"}
        assert container["resources"]["limits"]["ephemeral-storage"] == f"{2 * largest + 1}Gi"
    (server,) = made.the("Deployment").inputs["spec"]["template"]["spec"]["containers"]
    # uvicorn has no limit of its own to a request; gunicorn's workers, killed after 30 s, are none
    assert "uvicorn" in server["command"]
    for limit in ("--timeout", "--limit-max-requests", "--h11-max-incomplete-event-size"):
        assert not [one for one in server["command"] if one.partition("=")[0] == limit]
    (rule,) = made.the("VirtualService").inputs["spec"]["http"]
    assert "timeout" not in rule  # Istio ends none where nothing is said
    assert "retries" not in rule


def test_people_come_by_the_gateway_under_the_names_that_it_answers_for(record: Record) -> None:
    route = built(record, replace(ARGS, door=DOOR)).the("VirtualService").inputs
    assert route["metadata"]["namespace"] == DOOR.namespace
    assert route["spec"]["hosts"] == ["mlflow.prod.falaj.internal"]
    assert route["spec"]["gateways"] == [DOOR.gateway]
    ((way,),) = (one["route"] for one in route["spec"]["http"])
    assert way["destination"]["port"]["number"] == PORT
    assert way["destination"]["host"] == "mlflow.tracking.svc.cluster.local"
    # the flow that the way takes
    assert any(
        (flow.source, flow.destination) == (DOOR.namespace, PART) and PORT in flow.ports
        for flow in FLOWS
    )
    assert built(record).of("VirtualService") == []


def test_in_the_mesh_teams_reach_the_servers_and_only_monitoring_the_figures(
    record: Record,
) -> None:
    made = built(record, replace(ARGS, mesh=True))
    labels = made.the("Namespace", "tracking-space-namespace").inputs["metadata"]["labels"]
    assert AMBIENT.items() <= labels.items()
    reached: dict[str, set[str]] = {}
    for one in made.of("AuthorizationPolicy"):
        for rule in one.inputs["spec"].get("rules", ()):
            for port in rule["to"][0]["operation"]["ports"]:
                reached.setdefault(port, set()).update(rule["from"][0]["source"]["namespaces"])
    assert {"credit", "credit-risk", "serving"} <= reached[str(PORT)]
    assert reached[str(METRICS_PORT)] == {"monitoring"}
    assert built(record).of("AuthorizationPolicy") == []


def test_a_name_that_the_gateway_does_not_answer_for_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the gateway answers for models\.example\.ae alone"):
        replace(ARGS, door=replace(DOOR, hosts=["models.example.ae"]))


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_its_pods_have_no_rights_on_the_node_and_write_nowhere_but_on_their_disk(
    record: Record, kind: str
) -> None:
    pod = built(record).the(kind).inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    writable = {one["mountPath"] for one in container["volumeMounts"] if not one.get("readOnly")}
    assert writable == {"/tmp"}  # noqa: S108 the pod's own
    # what comes for the bucket lies here on its way
    assert container["resources"]["limits"]["ephemeral-storage"] == "11Gi"


def test_servers_are_asked_how_they_are_and_never_all_replaced_at_once(record: Record) -> None:
    spec = built(record).the("Deployment").inputs["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    named = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert named == {"http": PORT, "metrics": METRICS_PORT}
    probes = {kind: container[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    for probe in probes.values():
        # the one path that answers whatever a client calls the server
        assert probe["httpGet"] == {"path": "/health", "port": "http"}
    started = probes["startup"]
    assert started["periodSeconds"] * started["failureThreshold"] >= 300
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    ends = int(container["command"][container["command"].index("--timeout-graceful-shutdown") + 1])
    assert waits + ends < pod["terminationGracePeriodSeconds"]


@pytest.mark.parametrize(("keep", "least"), [(True, 2), (False, 1)])
def test_one_server_is_never_all_there_is_where_data_is_kept(
    record: Record, keep: bool, least: int
) -> None:
    few = SETTINGS.model_copy(update={"min_replicas": 1, "max_replicas": 1})
    made = built(record, replace(ARGS, keep=keep, settings=few))
    scale = made.the("HorizontalPodAutoscaler").inputs["spec"]
    assert (scale["minReplicas"], scale["maxReplicas"]) == (least, least)
    assert "replicas" not in made.the("Deployment").inputs["spec"]
    assert made.the("PodDisruptionBudget").inputs["spec"]["maxUnavailable"] == 1


def test_everything_that_selects_the_servers_selects_them_and_not_the_job(record: Record) -> None:
    made = built(record)
    server = made.the("Deployment").inputs["spec"]
    labels = server["template"]["metadata"]["labels"]
    other = made.the("Job").inputs["spec"]["template"]["metadata"]["labels"]
    spread = server["template"]["spec"]["topologySpreadConstraints"]
    for selector in (
        server["selector"]["matchLabels"],
        made.the("Service").inputs["spec"]["selector"],
        made.the("PodDisruptionBudget").inputs["spec"]["selector"]["matchLabels"],
        *(one["labelSelector"]["matchLabels"] for one in spread),
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= other.items()
    assert spread[0]["topologyKey"] == "topology.kubernetes.io/zone"


def test_the_databases_are_prepared_anew_for_another_image_or_grant(record: Record) -> None:
    def name(args: TrackingArgs) -> str:
        return str(built(record, args).the("Job").inputs["metadata"]["name"])

    newer = SETTINGS.model_copy(update={"image": SETTINGS.image.replace("3.17.2", "3.18.0")})
    fewer = {team: quota for team, quota in TEAMS.items() if team == "credit"}
    names = [name(ARGS), name(replace(ARGS, settings=newer)), name(replace(ARGS, teams=fewer))]
    assert len(set(names)) == 3
    assert name(ARGS) == names[0]


def test_ports_are_those_that_the_flows_let_through(record: Record) -> None:
    reached = {flow.source: flow.ports for flow in FLOWS if flow.destination == PART}
    assert PORT in reached["team"]
    assert METRICS_PORT in reached["monitoring"]
    # to ask for the keys of pods' tokens
    assert "to-api-server" in policies(PART, replace(ARGS.addresses, api_server=["10.0.0.1/32"]))
    monitor = built(record).the("ServiceMonitor").inputs["spec"]
    assert [one["port"] for one in monitor["endpoints"]] == ["metrics"]


def test_without_monitoring_there_is_no_object_of_its_kind(record: Record) -> None:
    assert built(record, replace(ARGS, monitored=False)).of("ServiceMonitor") == []


def test_it_answers_to_all_its_names_and_to_its_own_pages(record: Record) -> None:
    told = environment(built(record))
    hosts = told["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert hosts == [
        "mlflow.tracking:5000",
        "mlflow.tracking.svc:5000",
        "mlflow.tracking.svc.cluster.local:5000",
        "mlflow.prod.falaj.internal",
    ]
    assert told["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.prod.falaj.internal"
    assert told["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"

    async def check(uri: str) -> None:
        assert uri.removeprefix("http://") in hosts

    def program() -> pulumi.Output[Any]:
        return Tracking("tracking", ARGS).uri.apply(check)

    record(program)


def test_pods_of_teams_and_of_callers_may_sign_in_and_no_others(record: Record) -> None:
    people, pods = json.loads(environment(built(record))["AUTH_PROVIDERS"])
    assert people["discovery_url"] == SETTINGS.sign_in.discovery_url
    assert pods["namespace_allowlist"] == ["credit", "credit-risk", "serving"]
    told = environment(built(record))
    assert told["OIDC_GROUP_NAME"] == "audit,credit-makers,platform,risk-operators"
    assert told["DEFAULT_MLFLOW_PERMISSION"] == "NO_PERMISSIONS"
    assert told["RESTRICT_RESOURCE_CREATION"] == "true"


def test_a_grant_covers_the_names_of_one_team_alone(record: Record) -> None:
    made = read(environment(built(record), "Job")["FALAJ_GRANTS"])
    by_group = {grant.group: grant for grant in made}
    assert by_group["audit"].permission == "READ"
    assert by_group["credit-makers"].permission == "EDIT"
    assert by_group["k8s:serving"].permission == "READ"
    # runs record as their team; the platform's own pods write nothing for any
    assert [grant.group for grant in made if grant.pattern == by_group["k8s:serving"].pattern] == [
        "k8s:serving"
    ]
    own = re.compile(by_group["k8s:credit"].pattern)
    assert own.match("credit.default")
    for other in ("credit-risk.default", "creditXdefault", "my-credit.default", "credit"):
        assert not own.match(other)


def test_a_group_with_two_roles_has_the_larger() -> None:
    for roles in (("viewer", "developer"), ("developer", "viewer")):
        made = grants({"credit": {role: ["all"] for role in roles}})
        assert {one.group: one.permission for one in made}["all"] == "EDIT"
        assert read(written(made)) == made
    assert pattern_of("credit") == r"^credit\."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "registry.ae.example/prod/mlflow:3.17.2"}, "image"),
        ({"min_replicas": 3, "max_replicas": 2}, "max_replicas: 2 is less than min_replicas 3"),
        ({"other_authorities": "nothing"}, "holds no certificates as PEM"),
        ({"hosts": ["https://mlflow.example.ae"]}, "hosts"),
        ({"memory_mib": 256}, "greater than or equal to 768"),
    ],
)
def test_settings_that_could_not_work_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        TrackingSettings.model_validate(SETTINGS.model_dump() | change)


@pytest.mark.parametrize(
    ("cores", "mib", "requests"),
    [(0.5, 1536, {"cpu": "500m", "memory": "1536Mi"}), (1, 2048, {"cpu": "1", "memory": "2Gi"})],
)
def test_quantities_are_as_kubernetes_writes_them_back(
    record: Record, cores: float, mib: int, requests: dict[str, str]
) -> None:
    larger = SETTINGS.model_copy(update={"cores": cores, "memory_mib": mib})
    made = built(record, replace(ARGS, settings=larger))
    (container,) = made.the("Deployment").inputs["spec"]["template"]["spec"]["containers"]
    assert requests.items() <= container["resources"]["requests"].items()


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "1Mi"), (1536, "1536Mi"), (2048, "2Gi"), (1024**2, "1Ti"), (1024**3, "1024Ti")],
)
def test_amounts_of_memory_are_in_the_largest_unit_that_fits(amount: int, text: str) -> None:
    assert mib(amount) == text


def test_the_quota_holds_all_replicas_a_roll_out_and_the_upgrade() -> None:
    quota = SETTINGS.quota(keep=True)
    assert quota.memory_quota_gib * 1024 >= (SETTINGS.max_replicas + 2) * SETTINGS.memory_mib
    assert quota.cpu_quota >= (SETTINGS.max_replicas + 2) * SETTINGS.cores
