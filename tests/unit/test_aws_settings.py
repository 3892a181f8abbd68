"""What may be asked of cluster and nodes: what cannot be is said at once, with what can."""

from __future__ import annotations

import json
from typing import Any

import certifi
import pytest
from cryptography import x509

from components.aws.instance_types import instance_types, most_gpus, most_vcpus
from components.aws.regions import RegionData, region_data
from components.aws.services import services_of
from components.aws.settings.aws import SKIP, AwsSettings, system_pool_of
from components.aws.settings.cluster import ClusterSettings, add_ons_of, version_of
from components.aws.settings.node_pool import NodePoolSettings
from components.aws.versions import Operator, newest, problems_of_add_ons, versions
from components.images import read_catalogue
from components.kubernetes.operator_table import OPERATORS
from stacks.settings import Settings, SettingsError, parse, read_file

SYSTEM = {"kind": "cpu", "instance_types": ["m6i.large"], "min_nodes": 2, "max_nodes": 3}
GPU = {"kind": "gpu", "instance_types": ["g5.xlarge"], "max_nodes": 2}
SOUND: dict[str, Any] = {
    "account_id": "123456789012",
    "identity": {
        "ci": [{"kind": "github", "repository": "bank/falaj", "environment": "prod"}],
    },
    "network": {},
    "node_pools": {"system": SYSTEM},
    "elastic_nodes": {
        "image": "al2023@v20260904",
        "pools": {"train": GPU | {"purpose": "training"}},
    },
    "gpu_budget": {"total": 2, "per_team": 1},
}

OFF = {"mode": "off", "reason": "not here"}
EXISTING_DATABASE = {
    "address": "database.bank.example",
    "administrator_arn": "arn:aws:secretsmanager:me-central-1:123456789012:secret:x",
}

PAGES = {
    "host": "pages.prod.falaj.internal",
    "issuer": "https://sign-in.bank.example",
    "client_id": "falaj",
}


def prod(aws: dict[str, Any], **more: Any) -> Settings:
    keys = {"aws": aws, **more}
    return parse("prod", {f"falaj:{name}": json.dumps(value) for name, value in keys.items()})


def problems(aws: dict[str, Any], **more: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        prod(aws, **more)
    return caught.value.problems


def changed(path: str, value: Any) -> dict[str, Any]:
    """The sound settings with `value` at the dotted `path`."""
    copy: dict[str, Any] = json.loads(json.dumps(SOUND))
    inner = copy
    *parents, last = path.split(".")
    for key in parents:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return copy


def test_the_settings_that_the_others_are_changed_from_are_sound() -> None:
    assert prod(SOUND).aws is not None


def test_a_feature_store_is_refused_where_nothing_stands_under_it() -> None:
    asked = {"teams": {"credit": {}}, "feature_store": {"teams": {"credit": {}}}}

    found = problems(SOUND | {"cache": {"kind": "none"}}, **asked)
    assert any(one.startswith("falaj:aws.cache.kind: is 'none'") for one in found), found
    assert not any("authorities" in one for one in found)


def test_a_database_made_here_is_known_by_the_root_of_its_region() -> None:
    made = AwsSettings.model_validate(SOUND)
    (root,) = x509.load_pem_x509_certificates((made.database_authorities or "").encode())
    assert root.subject == root.issuer
    assert "Amazon RDS me-central-1 Root CA RSA4096 G1" in root.subject.rfc4514_string()
    own = AwsSettings.model_validate(changed("database.authorities", certifi.contents()))
    assert own.database_authorities == certifi.contents()


@pytest.mark.parametrize(
    "database",
    [{"certificate_authority": "rds-ca-ecc384-g1"}, {"existing": EXISTING_DATABASE}],
)
def test_whoever_signs_a_database_that_nobody_here_knows_is_asked_for(
    database: dict[str, Any],
) -> None:
    """In one place, for every part that signs in to it."""
    parts: dict[str, Any] = {
        "teams": {"credit": {"groups": {"viewer": ["auditors"]}}},
        "operators": {},
        "tracking": read_file("prod").model_dump(mode="json")["tracking"],
        "orchestration": {"pages": PAGES, "teams": {"credit": {"locations": ["one"]}}},
        "signatures": {"signers": {"pipeline": {"public_key": "PEM"}}},
    }
    aws = changed("database", database)
    (found,) = (one for one in problems(aws, **parts) if "authorities" in one)
    assert found.startswith(
        "falaj:aws.database.authorities: is missing, and tracking, orchestration.teams.credit "
    )
    aws["database"] |= {"authorities": certifi.contents()}
    assert not [one for one in _problems_of(aws, **parts) if "authorities" in one]


def _problems_of(aws: dict[str, Any], **more: Any) -> list[str]:
    """Those that there are, if any."""
    try:
        prod(aws, **more)
    except SettingsError as error:
        return error.problems
    return []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("node_pools.gpu", GPU | {"instance_types": ["p4d.24xlarge"]}, "p4d.24xlarge"),
        ("elastic_nodes.pools.train.zones", ["me-central-1d"],
         "aws: elastic_nodes.pools.train.zones: me-central-1d is no zone of me-central-1"),
        ("elastic_nodes.pools.train.zones", ["me-central-1b"], "(mec1-az2) is impaired"),
        ("node_pools.system.instance_types", ["m9z.large"], "hardware of m9z.large is not known"),
        ("node_pools.system.instance_types", ["g5.xlarge"], "has GPUs (A10G), but kind is cpu"),
        ("elastic_nodes.pools.train.instance_types", ["m6i.large"], "m6i.large has no GPU"),
        ("node_pools.system.min_nodes", 1,
         "aws: node_pools.system.min_nodes: is 1, but elastic_nodes.replicas is 2"),
        ("node_pools.system.kind", "gpu", "m6i.large has no GPU, but kind is gpu"),
        ("node_pools", {}, "aws: node_pools: what runs the cluster needs a group of kind cpu"),
        ("node_pools.system.spot_percent", 50, "a managed group is all spot (100) or none"),
        ("node_pools.train", SYSTEM, "aws: elastic_nodes.pools.train: is a name of node_pools"),
        ("gpu_budget.total", 1, "may hold 2 GPUs: elastic_nodes.pools.train (2)"),
        ("gpu_budget.per_team", 3, "aws: gpu_budget.per_team: is 3, more than total, 2"),
        ("elastic_nodes.image", "al2023@latest", "falaj:aws.elastic_nodes.image"),
        ("elastic_nodes.pools", {}, "falaj:aws.elastic_nodes.pools"),
        ("cluster.version", "1.30", "aws: cluster.version: 1.30 has no standard support"),
        ("cluster.version", "1.36", "is not supported by seldon-core-operator 1.19.0"),
        ("cluster.version", "1.34", "no version of aws-ebs-csi-driver, coredns"),
        ("cluster.add_ons", {"kube-proxy": "v1.36.0-eksbuild.9"}, "newer than the cluster, 1.35"),
        ("cluster.log_retention_days", 90, "log_retention_days: CloudWatch keeps logs"),
        ("cluster.api_cidrs", ["8.8.8.0/24"], "8.8.8.0/24 is no private network"),
        ("cluster.administrators", ["somebody"], "falaj:aws.cluster.administrators"),
        ("existing_cluster", {"subnet_ids": {"me-central-1a": "subnet-0a"}}, "without name"),
        ("existing_cluster", {"name": "theirs"}, "takes a cluster that is made here"),
        ("network.zones", ["me-central-1a", "me-central-1d"], "me-central-1d is no zone"),
        ("existing_cluster", {}, "aws: existing_cluster.name: is missing; node pools join"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_key_and_the_reason(
    path: str, value: Any, said: str
) -> None:
    assert any(said in problem for problem in problems(changed(path, value)))


SERVICES = {
    "cluster": {
        "existing_cluster": {"name": "theirs", "subnet_ids": {"me-central-1a": "subnet-0a"}}
    },
    "elastic_nodes": {"elastic_nodes": None},
    "network": {"existing_cluster": {"name": "theirs"}, "network": None},
    "network.egress": {"network": {}},
    "runner": {"runner": None},
    "database": {"database": {"existing": EXISTING_DATABASE}},
    "cache": {"cache": {"kind": "none"}},
    "stream": {"stream": {"kind": "none"}},
    "image_registry.scanning": {"image_registry": {"scanning": "basic"}},
    "audit.trail": {"audit": {"trail": OFF}},
    "audit.recorder": {"audit": {"recorder": OFF, "posture": OFF}},
    "audit.threats": {"audit": {"threats": OFF}},
    "audit.posture": {"audit": {"posture": OFF}},
    "audit.access_analyzer": {"audit": {"access_analyzer": OFF}},
    "backup": {"backup": OFF},
    "logs": {"logs": OFF},
}
"""Part → the settings by which an environment does without."""
EVERYTHING = SOUND | {
    "network": {"egress": "allow-list", "allowed_domains": [".amazonaws.com"]},
    "runner": {},
    "cache": {"kind": "elasticache"},
    "stream": {"kind": "msk"},
}


def lacking(monkeypatch: pytest.MonkeyPatch, *services: str) -> None:
    """The region has none of `services` from now on."""
    data = region_data("me-central-1")
    assert data is not None
    poorer = data.model_copy(
        update={"missing_services": dict.fromkeys(services, "one of your own on the cluster")}
    )
    monkeypatch.setattr("components.aws.settings.aws.region_data", lambda _: poorer)


@pytest.mark.parametrize("part", SERVICES)
def test_a_part_whose_service_the_region_lacks_is_refused_with_what_to_use_instead(
    monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    everything = AwsSettings.model_validate(EVERYTHING)
    service = services_of(everything)[part][0]
    without = AwsSettings.model_validate(EVERYTHING | SERVICES[part], context={SKIP: True})
    lacking(monkeypatch, service)

    said = [one for one in problems(EVERYTHING) if f"aws: {part}: " in one]
    assert len(said) == 1
    assert f"has no {service}; instead: one of your own on the cluster" in said[0]
    assert part not in services_of(without)


def test_every_service_that_is_missing_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking(monkeypatch, "kafka", "elasticache", "s3")

    said = " ".join(problems(EVERYTHING))
    for path in ("aws: stream: ", "aws: cache: ", "aws: storage: ", "aws: network: "):
        assert path in said


def test_a_made_cluster_has_no_meaning_beside_an_existing_one() -> None:
    subnets = {"name": "theirs", "subnet_ids": {"me-central-1a": "subnet-0a"}}
    both = changed("existing_cluster", subnets) | {"cluster": {"suffix": "blue"}}
    assert any("cluster: has no meaning beside existing_cluster" in one for one in problems(both))
    elsewhere = changed("node_pools.system.zones", ["me-central-1c"])
    said = problems(elsewhere | {"existing_cluster": subnets})
    assert any("me-central-1c has no subnet for nodes" in one for one in said)
    nowhere = {name: value for name, value in SOUND.items() if name != "network"}
    said = problems(nowhere | {"existing_cluster": {"name": "theirs"}})
    assert any("existing_cluster.subnet_ids: is empty, and no network" in one for one in said)


def test_a_team_may_not_hold_more_gpus_than_its_budget() -> None:
    said = problems(SOUND, teams={"credit": {"gpu_quota": 2}, "retail": {"gpu_quota": 1}})
    assert said == ["falaj:teams.credit.gpu_quota: is 2; aws.gpu_budget.per_team is 1"]


def test_everything_that_is_wrong_with_the_nodes_is_said_at_once() -> None:
    wrong = changed("node_pools.gpu", GPU | {"zones": ["me-central-1d"], "max_nodes": 9})
    said = problems(wrong | {"cluster": {"version": "1.36", "api_cidrs": ["1.1.1.0/24"]}})
    for part in ("me-central-1d", "may hold 11 GPUs", "1.1.1.0/24", "seldon-core-operator"):
        assert any(part in one for one in said), part


def test_the_cluster_runs_on_the_group_called_system_or_the_largest_that_is_always_there() -> None:
    def pools(**sizes: int) -> dict[str, NodePoolSettings]:
        return {
            name: NodePoolSettings(
                kind="cpu", instance_types=("m6i.large",), min_nodes=size, max_nodes=9
            )
            for name, size in sizes.items()
        }

    gpu = NodePoolSettings(kind="gpu", instance_types=("g5.xlarge",), min_nodes=8, max_nodes=8)
    assert system_pool_of(pools(large=5, system=1)) == "system"
    assert system_pool_of(pools(general=1, large=5) | {"gpu": gpu}) == "large"
    assert system_pool_of(pools(b=2, a=2)) == system_pool_of(pools(a=2, b=2)) == "a"
    assert system_pool_of(pools(idle=0)) is None


# --- versions -------------------------------------------------------------------------------------


@pytest.fixture
def uae() -> RegionData:
    data = region_data("me-central-1")
    assert data is not None
    return data


def test_the_cluster_gets_the_newest_version_that_region_and_operators_have(
    uae: RegionData,
) -> None:
    version = version_of(ClusterSettings(), uae)
    assert version in uae.kubernetes_versions
    assert all(one.supports(version) for one in versions().operators.values())
    newer = [one for one in uae.kubernetes_versions if one > version]
    assert all(
        not all(each.supports(one) for each in versions().operators.values()) for one in newer
    )
    assert set(add_ons_of(ClusterSettings(), version)) >= {"vpc-cni", "coredns", "kube-proxy"}
    assert version_of(ClusterSettings(version="1.34"), uae) == "1.34"


def test_every_operator_that_is_made_says_which_kubernetes_it_is_for() -> None:
    """In the version that is made; charts of one project that go together are told of once."""
    charts = read_catalogue().charts
    told = {name: one.version for name, one in versions().operators.items()}
    with_another = {"istio-base": "istiod", "istio-cni": "istiod", "ztunnel": "istiod"}
    with_another["karpenter-crd"] = "karpenter"

    for name, operator in OPERATORS.items():
        assert told[with_another.get(name, name)] == charts[operator.chart].version, name
    assert told.keys() <= OPERATORS.keys()


def test_an_operator_holds_the_version_back() -> None:
    operators = {
        "old": Operator(version="1", first="1.23", last="1.34", source="x"),
        "open": Operator(version="1", first="1.30", source="x"),
    }
    assert newest(["1.29", "1.33", "1.34", "1.35", "1.9"], operators) == "1.34"
    assert newest(["1.36"], operators) is None
    assert newest(["1.9", "1.10"], {}) == "1.10"


def test_a_proxy_may_be_older_than_the_cluster_but_not_newer() -> None:
    assert list(problems_of_add_ons("1.35", {"kube-proxy": "v1.34.1-eksbuild.2"})) == []
    assert list(problems_of_add_ons("1.35", {"kube-proxy": "v1.36.0-eksbuild.2"}))


def test_the_hardware_that_budgets_count_in_is_known() -> None:
    assert most_gpus(["g5.xlarge", "g5.12xlarge", "m6i.large", "unknown"]) == 4
    assert most_vcpus(["m6i.large", "m6i.4xlarge"]) == 16
    for name, one in instance_types().items():
        assert (one.gpus > 0) == name.startswith("g"), name
        assert one.pods >= 17
