"""An environment on a cluster that somebody else keeps: what is asked, checked and made."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from pulumi.runtime import rpc
from pydantic import ValidationError

from components.images import Lock, made_up
from components.kubernetes import owner
from components.kubernetes.kubeconfig import Kubeconfig, KubeconfigError
from components.kubernetes.layer_settings import LayerError, LayerSettings, problems_of_layer
from components.kubernetes.place import KubernetesPlace, KubernetesPlaceArgs
from components.kubernetes.place_settings import KubernetesSettings
from components.kubernetes.pools import GPU, placing
from stacks import cluster_access
from stacks.cluster_access import ClusterAccessError
from stacks.environment import ROOT
from stacks.settings import SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recording

    from stacks.settings import Settings

Record = Callable[[Callable[[], object]], "Recording"]

EXAMPLE = ROOT / "docs" / "examples" / "existing-cluster" / "Pulumi.site.yaml"
CLUSTER: dict[str, Any] = {
    "registry": "harbor.bank.example",
    "pools": {
        "general": {"kind": "cpu", "cpus": 14, "memory_gib": 56, "max_nodes": 6},
        "accelerated": {
            "kind": "gpu", "cpus": 30, "memory_gib": 200, "gpus": 4, "gpu_models": ["A100"],
            "max_nodes": 2, "team": "credit",
        },
    },
    "services": ["10.20.0.0/16"],
    "api_server": ["10.20.1.10/32", "10.96.0.1/32"],
}  # fmt: skip
TEAMS = {"credit": {"cpu_quota": 16, "memory_quota_gib": 64, "gpu_quota": 2}}


def kubeconfig(*, cluster: dict[str, Any] | None = None, **changes: Any) -> str:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    content = {
        "current-context": "site",
        "contexts": [{"name": "site", "context": {"cluster": "site", "user": "falaj"}}],
        "clusters": [
            {
                "name": "site",
                "cluster": {
                    "server": "https://10.20.1.10:6443",
                    "certificate-authority-data": encoded("authority"),
                    **(cluster or {}),
                },
            }
        ],
        "users": [{"name": "falaj", "user": {"token": "a-token"}}],
    }
    return yaml.safe_dump(content | changes)


def settings(
    text: str | None = None, *, cluster: dict[str, Any] | None = None, **more: Any
) -> Settings:
    config = {"place": "kubernetes", "kubernetes": CLUSTER | (cluster or {}), "teams": TEAMS} | more
    written = {
        f"falaj:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in config.items()
    }
    given = {"falaj:kubeconfig": text} if text is not None else {}
    return parse("site", written | given, list(given))


# --- settings -------------------------------------------------------------------------------------


def test_a_cluster_of_somebody_else_is_described_in_a_section() -> None:
    read = settings(kubeconfig())

    assert read.kubernetes is not None
    pools = read.kubernetes.pools_for_pods()
    assert pools["accelerated"].labels == {
        "falaj/pool": "accelerated", "falaj/kind": "gpu", "falaj/team": "credit",
    }  # fmt: skip
    tolerated = [one["key"] for one in placing(pools["accelerated"])["tolerations"]]
    assert tolerated == [GPU, "falaj/team"]
    assert "tolerations" not in placing(pools["general"])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"storage_classes": {"default": "fast"}}, "existing does not say what encrypts it"),
        ({"cluster": {"services": ["0.0.0.0/0"]}}, "every address there is"),
        ({"cluster": {"registry": "https://harbor/x"}}, "falaj:kubernetes.registry"),
        (
            {"cluster": {"pools": {"one": CLUSTER["pools"]["general"] | {"gpus": 1}}}},
            "gpus: is 1, and kind is cpu",
        ),
        ({"teams": {"tracking": {}}}, "falaj:teams.tracking: is the name of a namespace"),
        ({"local": {}}, "falaj:local: has no meaning where place is kubernetes"),
    ],
    ids=["unencrypted", "anywhere", "no host", "gpu on cpu", "reserved", "other place"],
)
def test_what_cannot_be_is_said_before_anything_is_made(
    changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem.replace(".", r"\.")):
        settings(kubeconfig(), **changes)


def test_training_is_held_to_the_pools_that_are_there() -> None:
    shared = {
        "head": {"pool": "general"},
        "workers": {"gpu": {"pool": "fast", "cpus": 4, "memory_gib": 8, "max_workers": 1}},
    }
    with pytest.raises(SettingsError, match="fast is no pool; there are accelerated, general"):
        settings(kubeconfig(), training={"clusters": {"credit": shared}})


# --- the kubeconfig -------------------------------------------------------------------------------


def test_a_kubeconfig_says_where_the_cluster_is_and_who_asks() -> None:
    read = Kubeconfig.of(kubeconfig())

    assert (read.host, read.port, read.authority, read.token) == (
        "10.20.1.10", 6443, "authority", "a-token",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("{", "is no YAML"),
        ("- a", "is no mapping"),
        (kubeconfig(**{"current-context": ""}), "no current-context; write it with: kubectl"),
        (kubeconfig(**{"current-context": "other"}), "no context 'other'; there are: site"),
        (kubeconfig(users=[]), "no user 'falaj'; there are: none"),
        (kubeconfig(cluster={"server": "http://10.0.0.1"}), "no https://"),
        (kubeconfig(cluster={"insecure-skip-tls-verify": True}), "insecure-skip-tls-verify"),
        (kubeconfig(cluster={"certificate-authority": "/etc/ca"}), "names a file of one machine"),
        (kubeconfig(cluster={"certificate-authority-data": "%"}), "is no base64"),
    ],
    ids=[
        *("empty", "no yaml", "a list", "no context", "unknown context", "no user", "plain"),
        *("unverified", "a file", "no base64"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_says_why(text: str, problem: str) -> None:
    with pytest.raises(KubeconfigError, match=problem):
        Kubeconfig.of(text)


# --- before anything is applied -------------------------------------------------------------------


def resolved(*addresses: str) -> Callable[[str, int], list[str]]:
    return lambda host, port: list(addresses)


def test_without_a_kubeconfig_nothing_is_begun_and_the_command_is_named() -> None:
    with pytest.raises(ClusterAccessError, match="kubeconfig is missing") as caught:
        cluster_access.require(settings(), {})
    assert "pulumi config set --secret -s site falaj:kubeconfig" in str(caught.value)


def test_a_plan_that_reaches_nothing_needs_no_cluster() -> None:
    cluster_access.require(settings(), {"FALAJ_RUNNER": "offline"})


def test_a_public_cluster_is_refused_where_a_private_one_is_wanted() -> None:
    somewhere = kubeconfig(cluster={"server": "https://cluster.example"})
    with pytest.raises(ClusterAccessError, match=r"answers at 8\.8\.8\.8, an address"):
        cluster_access.require(settings(somewhere), {}, resolved("10.0.0.1", "8.8.8.8"))


def test_a_public_cluster_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_access, "version", lambda access: "v1.35.1")
    monkeypatch.setattr(owner, "of_namespaces", lambda kubeconfig: {owner.mine(): ["credit"]})
    read = settings(kubeconfig(), public_cluster=True)

    cluster_access.require(read, {}, resolved("8.8.8.8"))


def test_a_cluster_with_another_stacks_platform_is_refused_with_the_ways_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_access, "version", lambda access: "v1.35.1")
    there = {owner.mine(): ["serving"], "organization/falaj/other": ["fraud", "credit"]}
    monkeypatch.setattr(owner, "of_namespaces", lambda kubeconfig: there)

    with pytest.raises(ClusterAccessError) as told:
        cluster_access.require(settings(kubeconfig()), {}, resolved("10.0.0.1"))

    assert "organization/falaj/other (namespaces credit, fraud)" in str(told.value)
    assert f"and {owner.mine()} would take it over" in str(told.value)
    assert "kubectl annotate namespace credit fraud falaj/owner-" in str(told.value)


def test_a_cluster_without_an_address_is_told() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("Name or service not known")

    with pytest.raises(ClusterAccessError, match="has no address here: Name or service"):
        cluster_access.require(settings(kubeconfig()), {}, unknown)


@pytest.mark.parametrize("told", ["v1.30.9", "v1.37.0", "v1.24.17-eks-1"])
def test_a_version_that_the_objects_are_not_written_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.setattr(cluster_access, "version", lambda access: told)
    with pytest.raises(ClusterAccessError, match=rf"is Kubernetes {told}; the platform is for"):
        cluster_access.require(settings(kubeconfig()), {}, resolved("10.0.0.1"))


# --- what is made ---------------------------------------------------------------------------------


@pytest.fixture
def place(record: Record) -> Recording:
    args = KubernetesPlaceArgs(
        environment="site",
        kubernetes=KubernetesSettings.model_validate(CLUSTER),
        layer=LayerSettings.model_validate({"teams": TEAMS}),
        kubeconfig=kubeconfig(),
        lock=made_up(Lock()),
    )
    return record(lambda: KubernetesPlace("site", args))


def test_everything_goes_to_the_cluster_that_the_kubeconfig_names(place: Recording) -> None:
    provider = place.the("kubernetes")
    on_it = [one for one in place.resources if one.type.startswith("kubernetes:")]

    assert provider.inputs["kubeconfig"][rpc._special_sig_key] == rpc._special_secret_sig
    assert yaml.safe_load(provider.inputs["kubeconfig"]["value"])["current-context"] == "site"
    assert on_it
    assert {one.provider.rpartition("::")[0].rpartition("::")[2] for one in on_it} == {
        provider.name
    }


def test_nothing_of_a_cloud_is_made(place: Recording) -> None:
    assert not [one.type for one in place.resources if one.type.startswith("aws:")]


def test_pods_reach_the_services_of_the_site_and_no_agent_of_a_cloud(place: Recording) -> None:
    blocks = {
        peer["ipBlock"]["cidr"]
        for policy in place.of("NetworkPolicy")
        for rule in policy.inputs["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    }
    assert blocks == {*CLUSTER["services"], *CLUSTER["api_server"]}


def test_controllers_reach_the_api_server_of_the_site_at_its_own_port(record: Record) -> None:
    """Behind the Service `kubernetes` on 443 it listens elsewhere, kubeadm's on 6443."""

    def opened(**change: Any) -> set[int]:
        args = KubernetesPlaceArgs(
            environment="site",
            kubernetes=KubernetesSettings.model_validate(CLUSTER | change),
            layer=LayerSettings.model_validate({"teams": TEAMS}),
            kubeconfig=kubeconfig(),
            lock=made_up(Lock()),
        )
        made = record(lambda: KubernetesPlace("site", args))
        policy = made.the("NetworkPolicy", "ray-head-to-api-server")
        return {int(one["port"]) for one in policy.inputs["spec"]["egress"][0]["ports"]}

    assert opened() == {443, 6443}
    assert opened(api_server_port=16443) == {443, 16443}


def test_images_come_from_the_registry_of_the_site(place: Recording) -> None:
    policy = place.the("ValidatingAdmissionPolicy", "images")

    assert CLUSTER["registry"] in json.dumps(policy.inputs)


def test_alerts_get_out_to_the_organisation_alone(record: Record) -> None:
    layer = {"teams": TEAMS, "organisation": ["10.80.1.0/24"], "monitoring": {}, "operators": {}}
    layer["storage_classes"] = {
        "default": "local",
        "existing": {"local": "LUKS on every node, keys in the bank's HSM"},
    }
    args = KubernetesPlaceArgs(
        environment="dev",
        kubernetes=KubernetesSettings.model_validate(CLUSTER),
        layer=LayerSettings.model_validate(layer),
        kubeconfig=kubeconfig(),
        lock=made_up(Lock()),
    )
    made = record(lambda: KubernetesPlace("site", args))
    reached = {
        peer["ipBlock"]["cidr"]
        for policy in made.of("NetworkPolicy")
        if "to-organisation" in policy.name
        for rule in policy.inputs["spec"]["egress"]
        for peer in rule["to"]
    }
    assert reached == {"10.80.1.0/24"}


# --- feature stores of teams ----------------------------------------------------------------------

GIVEN: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["config"]
LAYER: dict[str, Any] = {
    "teams": TEAMS | {"fraud": TEAMS["credit"]},
    "operators": {"installed": {"metrics-server": "comes with the distribution"}},
    "storage_classes": GIVEN["falaj:storage_classes"],
    "training": {"encryption": "none"},
    "feature_store": {"teams": {"credit": {}}},
}


def with_features(record: Record, layer: dict[str, Any] = LAYER) -> Recording:
    given = {"features": GIVEN["falaj:kubernetes"]["features"]}
    args = KubernetesPlaceArgs(
        environment="dev",
        kubernetes=KubernetesSettings.model_validate(CLUSTER | given),
        layer=LayerSettings.model_validate(layer),
        kubeconfig=kubeconfig(),
        lock=made_up(Lock()),
    )
    return record(lambda: KubernetesPlace("site", args))


def test_the_team_that_asks_has_a_feature_store_on_what_the_site_gives_it(record: Record) -> None:
    made = with_features(record)
    (server,) = [one for one in made.of("Deployment") if "features" in one.name]
    files = made.the("ConfigMap", "site-features-credit-files").inputs["data"]
    said = yaml.safe_load(files["feature_store.yaml"])
    (container,) = server.inputs["spec"]["template"]["spec"]["containers"]
    keys = {
        one["valueFrom"]["secretKeyRef"]["key"] for one in container["env"] if "valueFrom" in one
    }

    assert server.inputs["metadata"]["namespace"] == "credit"
    assert container["image"].startswith("harbor.bank.example/falaj/")
    assert said["registry"]["path"].startswith(
        "postgresql+psycopg://features_credit@db.bank.example:5432/features_credit?"
    )
    assert said["online_store"]["connection_string"].startswith("cache.bank.example:6379,ssl=true")
    assert {"database.pem", "online.pem"} <= files.keys()
    # somebody else puts the Secret there
    assert not made.of("ExternalSecret")
    assert keys == {"registry-password", "online-password", "access-key-id", "secret-access-key"}


def test_nobody_has_a_feature_store_who_asks_for_none(record: Record) -> None:
    made = with_features(record, LAYER | {"feature_store": {}})
    assert not [one.name for one in made.resources if "features" in one.name]


def test_a_team_that_the_site_has_nothing_for_is_told(record: Record) -> None:
    with pytest.raises(LayerError, match=r"fraud: this place names no database .*features\.<team>"):
        with_features(record, LAYER | {"feature_store": {"teams": {"fraud": {}}}})


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        ({"feature_store": {"teams": {"dates": {}}}}, "feature_store.teams.dates: is no team"),
        (
            {"feature_store": {"teams": {"credit": {"max_replicas": 40}}}},
            "feature_store.teams.credit.max_replicas: 40 need 20 of teams.credit.cpu_quota",
        ),
        (
            {"feature_store": {"teams": {"credit": {}}}, "operators": None},
            "feature_store: needs the operators of others: add operators: {}",
        ),
    ],
)
def test_a_feature_store_that_cannot_be_is_told_before_anything_is_made(
    layer: dict[str, Any], problem: str
) -> None:
    found = list(problems_of_layer("dev", LayerSettings.model_validate(LAYER | layer)))
    assert [one for one in found if one.startswith(problem)], found


def test_one_that_can_be_has_no_problem() -> None:
    assert list(problems_of_layer("dev", LayerSettings.model_validate(LAYER))) == []


@pytest.mark.parametrize(
    ("noun", "change", "problem"),
    [
        ("registry_uri", {"online_user": "features-fraud"}, "is the database of credit too"),
        ("online_user", {"registry_uri": "postgresql://f@db.bank.example/f"}, "is the user of"),
    ],
)
def test_two_teams_share_no_database_and_no_user(
    noun: str, change: dict[str, Any], problem: str
) -> None:
    credit = GIVEN["falaj:kubernetes"]["features"]["credit"]
    apart = {"online_user": "f", "registry_uri": "postgresql://f@db.bank.example/f"}

    def given(fraud: dict[str, Any]) -> KubernetesSettings:
        features = {"credit": credit, "fraud": credit | fraud}
        return KubernetesSettings.model_validate(CLUSTER | {"features": features})

    assert given(apart).features["fraud"].online_port == 6379
    with pytest.raises(ValidationError, match=rf"features\.fraud\.{noun}: .* {problem}"):
        given(change)


@pytest.mark.parametrize(
    ("noun", "value"),
    [
        ("registry_uri", "postgresql://features:secret@db.bank.example/features"),
        ("registry_uri", "postgresql://features@db.bank.example/features?sslmode=disable"),
        ("endpoint", "http://s3.bank.example"),
        ("authorities", "bank.pem"),
        ("online_user", "a,password=b"),
    ],
)
def test_a_store_that_is_said_wrong_is_refused(noun: str, value: str) -> None:
    credit = GIVEN["falaj:kubernetes"]["features"]["credit"] | {noun: value}
    with pytest.raises(ValidationError, match=noun):
        KubernetesSettings.model_validate(CLUSTER | {"features": {"credit": credit}})
