"""The settings of an environment: what is accepted, and how everything wrong is said at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.local.settings import Ports
from stacks.settings import CONFIG_DIRECTORY, Settings, SettingsError, parse, read_file

AWS = {
    "account_id": "123456789012",
    "existing_cluster": {"name": "falaj-dev", "subnet_ids": {"me-central-1a": "subnet-0a1b2c3d"}},
    "node_pools": {"system": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}},
}


def dev(**changes: Any) -> Settings:
    config = {"falaj:aws": json.dumps(AWS | changes.pop("aws", {}))}
    config |= {
        f"falaj:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in changes.items()
    }
    return parse("dev", config)


def problems_of(environment: str, config: dict[str, str], secret: tuple[str, ...] = ()) -> str:
    with pytest.raises(SettingsError) as caught:
        parse(environment, config, secret)
    return str(caught.value)


def stack_files() -> list[Path]:
    return sorted(
        path for path in CONFIG_DIRECTORY.rglob("Pulumi.*.yaml") if path.name != "Pulumi.yaml"
    )


@pytest.mark.parametrize("path", stack_files(), ids=lambda path: path.name)
def test_every_stack_file_of_the_repository_parses(path: Path) -> None:
    environment = path.name.split(".")[1]
    assert read_file(environment, path.parent).environment == environment


def test_an_encrypted_value_of_a_file_is_a_secret_that_stays_encrypted(tmp_path: Path) -> None:
    content = {"config": {"falaj:aws": AWS, "falaj:kubeconfig": {"secure": "v1:abc"}}}
    (tmp_path / "Pulumi.dev.yaml").write_text(yaml.safe_dump(content))
    settings = read_file("dev", tmp_path)
    assert settings.kubeconfig is not None
    assert settings.kubeconfig.get_secret_value() == "[secret]"


def test_the_local_environment_needs_no_settings() -> None:
    settings = parse("local", {})
    assert settings.place == "local"
    assert settings.local is not None
    assert settings.residency.mode == "in-country"


def test_an_unknown_key_is_an_error_that_names_the_nearest_spelling() -> None:
    text = problems_of("local", {"falaj:local": '{"ports": {"gatway": 8088}}'})
    assert "falaj:local.ports.gatway" in text
    assert "did you mean gateway?" in text
    assert "object_store" in text


def test_an_unknown_key_inside_a_named_pool_lists_what_is_allowed() -> None:
    pools = {"gpu": {"kind": "gpu", "instance_type": "g5.xlarge", "max_nodes": 1}}
    text = problems_of("dev", {"falaj:aws": json.dumps(AWS | {"node_pools": pools})})
    assert "falaj:aws.node_pools.gpu.instance_type: is no setting" in text
    assert "did you mean instance_types?" in text


def test_a_region_outside_the_country_is_refused_with_those_that_are_allowed() -> None:
    text = problems_of("local", {"falaj:residency": '{"allowed_regions": ["eu-west-1"]}'})
    assert "eu-west-1 does not lie in the United Arab Emirates" in text
    assert "me-central-1" in text


def test_a_region_that_residency_does_not_allow_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"falaj:aws\.region: is 'eu-central-1'"):
        dev(aws={"region": "eu-central-1"})


def test_a_foreign_copy_needs_its_mode_and_an_unexpired_approval() -> None:
    copy = {"data_class": "models", "region": "eu-central-1", "reference": "R-1"}
    future = json.dumps({"approved_copies": [copy | {"expires": "2999-01-01"}]})
    assert "must be empty while mode is in-country" in problems_of(
        "local", {"falaj:residency": future}
    )
    past = {"mode": "approved-foreign-copy", "approved_copies": [copy | {"expires": "2020-01-01"}]}
    assert "R-1 has expired" in problems_of("local", {"falaj:residency": json.dumps(past)})
    approved = {"mode": "approved-foreign-copy"} | json.loads(future)
    settings = parse("local", {"falaj:residency": json.dumps(approved)})
    assert settings.residency.approved_copies[0].region == "eu-central-1"


@pytest.mark.parametrize(
    ("ports", "said"),
    [
        ({"tracking": 80}, "tracking is 80, allowed: 1024 to 65535"),
        ({"tracking": 70000}, "tracking is 70000"),
        ({"offset": 60000}, "allowed: 1024 to 65535"),
        ({"tracking": 8088}, "tracking (8088) and gateway (8088) overlap"),
        ({"monitoring": 20100}, "overlap"),
        ({"workloads_first": 9150, "workloads_last": 9100}, "ends (9100) before it begins"),
        ({"tracking": "many"}, "valid integer"),
    ],
)
def test_a_port_out_of_range_or_used_twice_is_refused(ports: dict[str, Any], said: str) -> None:
    assert said in problems_of("local", {"falaj:local": json.dumps({"ports": ports})})


def test_what_is_wrong_between_sections_is_said_beside_what_is_wrong_inside_them() -> None:
    aws = AWS | {"region": "eu-west-1", "keep_data": "perhaps"}
    text = problems_of("dev", {"falaj:aws": json.dumps(aws), "falaj:onwer": "me"})
    assert "3 problems" in text
    for said in ("falaj:aws.keep_data", "falaj:onwer: is no setting", "aws.region: is 'eu-west-1'"):
        assert said in text


def test_a_profile_stands_behind_the_stack_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"aws": {"keep_data": False, "node_pools": {"system": {"disk_gib": 30}}}}
    (tmp_path / "smb.yaml").write_text(yaml.safe_dump(small))
    monkeypatch.setattr("stacks.settings.PROFILES", tmp_path)
    aws = dev(profile="smb", aws={"region": "me-central-1"}).aws
    assert aws is not None
    assert (aws.keep_data, aws.node_pools["system"].disk_gib) == (False, 30)
    assert aws.node_pools["system"].instance_types == ("m6i.large",)
    aws = dev(profile="smb", aws={"keep_data": True}).aws
    assert aws is not None
    assert aws.keep_data


def test_an_unknown_profile_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"falaj:profile: .*'smb' or 'enterprise'"):
        dev(profile="huge")


def test_an_offset_moves_every_port() -> None:
    plain, moved = Ports(), Ports(offset=1000)
    assert {name: first + 1000 for name, (first, _) in plain.ranges().items()} == {
        name: first for name, (first, _) in moved.ranges().items()
    }
    assert moved["gateway"] == plain["gateway"] + 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("falaj:kubeconfig", "apiVersion: v1"),
        ("falaj:owner", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("falaj:owner", "postgres://admin:" + "hunter2@db.internal/x"),
        ("falaj:database_password", "hunter2"),
    ],
)
def test_a_secret_in_plain_text_is_refused_with_the_command_that_sets_it(
    key: str, value: str
) -> None:
    text = problems_of("local", {key: value})
    assert "plain text" in text
    assert f"pulumi config set --secret {key}" in text
    assert value not in text.replace("'", "")


def test_the_name_of_a_secret_in_the_cluster_is_no_secret() -> None:
    said = problems_of(
        "local", {"falaj:training": json.dumps({"head_state": {"password_secret": "valkey"}})}
    )
    assert "plain text" not in said


def test_an_encrypted_kubeconfig_is_accepted_and_not_shown() -> None:
    config = {"falaj:aws": json.dumps(AWS), "falaj:kubeconfig": "apiVersion: v1"}
    settings = parse("dev", config, ["falaj:kubeconfig"])
    assert settings.kubeconfig is not None
    assert "apiVersion" not in repr(settings)


def test_a_missing_file_says_which_one_to_copy() -> None:
    text = problems_of("prod", {})
    assert "stacks/config/Pulumi.prod.yaml" in text
    assert "copy stacks/config/Pulumi.dev.yaml" in text


def test_all_that_is_wrong_is_said_in_one_list() -> None:
    text = problems_of(
        "dev",
        {
            "falaj:aws": json.dumps(AWS | {"account_id": "12", "region": "us-east-1"}),
            "falaj:ownr": "x",
            "falaj:kubeconfig": "plain",
            "falaj:teams": json.dumps({"Risk": {}, "retail": {"cpu_quota": 0}}),
        },
    )
    for named in ("account_id", "us-east-1", "falaj:ownr", "falaj:kubeconfig", "Risk", "cpu_quota"):
        assert named in text
    assert "has 6 problems" in text


def test_settings_of_another_place_are_refused() -> None:
    assert "has no meaning where place is local" in problems_of(
        "local", {"falaj:aws": json.dumps(AWS)}
    )
    assert "has no meaning where place is aws" in problems_of(
        "dev", {"falaj:aws": json.dumps(AWS), "falaj:local": "{}"}
    )


def test_a_shared_cluster_beyond_its_teams_quota_stops_the_preview() -> None:
    workers = {"cpu": {"pool": "system", "cpus": 1, "memory_gib": 4, "max_workers": 2}}
    head = {"pool": "system", "cpus": 1, "memory_gib": 4}
    asked = {"clusters": {"credit": {"head": head, "workers": workers}}}
    config = {
        "falaj:aws": json.dumps(AWS),
        "falaj:teams": json.dumps({"credit": {"cpu_quota": 2, "memory_quota_gib": 8}}),
        "falaj:training": json.dumps(asked),
    }
    said = problems_of("dev", config)
    assert (
        "training.clusters.credit: at its largest asks for 3.5 CPUs; the team's cpu_quota" in said
    )
    assert "training.clusters.credit.head.cpus: is 2, and a node of system has 1." in said
