"""The ground of an environment on mocks, and what the command and the runner's check say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import statements

from components.aws.foundation import Foundation, FoundationArgs
from components.aws.settings.runner import GLOBAL_HOSTS
from stacks.bootstrap import command
from stacks.bootstrap.command import BootstrapError
from stacks.bootstrapped import found_at
from stacks.runner import OFFLINE, WrongPlaceError, require
from stacks.settings import Settings, SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
PROXY = "http://proxy.bank.ae:3128"
POOLS = {"system": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}}


def settings(**aws: Any) -> Settings:
    section = {
        "account_id": "123456789012",
        "existing_cluster": {"name": "falaj-prod"},
        "node_pools": POOLS,
        "network": {},
        "runner": {"proxy": PROXY},
        **aws,
    }
    given = {name: value for name, value in section.items() if value is not None}
    return parse("prod", {"falaj:place": "aws", "falaj:aws": json.dumps(given)})


def problems_of(**aws: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(**aws)
    return caught.value.problems


def ground(record: Record, **aws: Any) -> Recording:
    wanted = settings(**aws).aws
    assert wanted is not None
    args = FoundationArgs(
        environment="prod", owner="ml-platform", residency_mode="in-country", aws=wanted
    )
    return record(lambda: Foundation("prod", args))


# --- what is made ---------------------------------------------------------------------------------


def test_state_is_kept_versioned_and_under_a_key_of_its_own(record: Record) -> None:
    made = ground(record, runner=None)

    assert made.the("Bucket").inputs["bucket"] == "falaj-prod-state-123456789012"
    assert made.the("Bucket").inputs["forceDestroy"] is False
    versioning = made.the("BucketVersioning").inputs["versioningConfiguration"]
    assert versioning == {"status": "Enabled"}
    (rule,) = made.the("BucketServerSideEncryptionConfiguration").inputs["rules"]
    key = rule["applyServerSideEncryptionByDefault"]["kmsMasterKeyId"]
    assert key == "arn:prod-state-key"
    assert made.the("Key").inputs["tags"] == {"data-domain": "state"}
    assert made.the("Alias").inputs["name"] == "alias/falaj/prod/state"
    assert "DenyWithoutTls" in made.the("BucketPolicy").inputs["policy"]


def test_without_a_runner_no_network_is_made(record: Record) -> None:
    assert not ground(record, runner=None).of("Vpc")


def test_nothing_can_connect_to_the_runner(record: Record) -> None:
    made = ground(record)
    group = "id:prod-runner-group"
    (instance,) = made.of("Instance")
    template = made.the("LaunchTemplate").inputs

    assert [
        one.inputs["ipProtocol"]
        for one in made.of("SecurityGroupIngressRule")
        if one.inputs["securityGroupId"] == group
    ] == []
    assert template["vpcSecurityGroupIds"] == [group]
    assert "-private-" in instance.inputs["subnetId"]
    assert not template.get("keyName")
    assert instance.inputs.get("associatePublicIpAddress") in (None, False)
    outward = {
        one.inputs["toPort"]
        for one in made.of("SecurityGroupEgressRule")
        if one.inputs["securityGroupId"] == group
    }
    assert outward == {443, 3128}


def test_the_runner_keeps_its_disk_encrypted_and_its_metadata_to_itself(record: Record) -> None:
    made = ground(record)
    template = made.the("LaunchTemplate").inputs
    (device,) = template["blockDeviceMappings"]

    assert device["ebs"]["encrypted"] == "true"
    assert device["ebs"]["kmsKeyId"] == "arn:prod-cluster-key"
    for options in (template["metadataOptions"], made.the("Instance").inputs["metadataOptions"]):
        assert (options["httpTokens"], options["httpPutResponseHopLimit"]) == ("required", 1)


def test_the_runner_may_take_the_role_that_deploys_and_nothing_else(record: Record) -> None:
    made = ground(record)
    (statement,) = statements(made.the("RolePolicy", "runner").inputs["policy"])
    attached = [
        one.inputs["policyArn"] for one in made.of("RolePolicyAttachment") if "runner" in one.name
    ]

    assert statement["Action"] == ["sts:AssumeRole", "sts:TagSession"]
    assert statement["Resource"] == ["arn:aws:iam::123456789012:role/falaj-prod-apply"]
    assert attached == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]


def test_whoever_logs_in_deploys_this_environment_by_the_regions_own_tokens(
    record: Record,
) -> None:
    import base64

    script = base64.b64decode(ground(record).the("LaunchTemplate").inputs["userData"]).decode()

    assert "export FALAJ_RUNNER='prod'" in script
    assert "export AWS_STS_REGIONAL_ENDPOINTS='regional'" in script
    assert "export PULUMI_BACKEND_URL='s3://falaj-prod-state-123456789012?region=" in script
    assert f"export HTTPS_PROXY='{PROXY}'" in script
    direct = script.partition("NO_PROXY=")[2].partition("\n")[0].strip("'").split(",")
    assert {"ec2.me-central-1.amazonaws.com", "api.ecr.me-central-1.amazonaws.com"} <= set(direct)
    # what has no endpoint must not be asked directly: nothing would answer
    assert not {".me-central-1.amazonaws.com", "rds.me-central-1.amazonaws.com"} & set(direct)
    assert "role_arn = arn:aws:iam::123456789012:role/falaj-prod-apply" in script


def test_no_name_of_the_bootstrap_is_taken_from_the_environment(record: Record) -> None:
    """Both stacks make a key of the logs, endpoints and flow logs."""
    made = ground(record)
    own = {
        one.inputs["name"]
        for one in made.resources
        if isinstance(one.inputs.get("name"), str) and "prod" in one.inputs["name"]
    }
    of_the_environment = {"alias/falaj/prod/state", "falaj-prod-runner", "prod.falaj.internal"}
    # what the environment leaves to its bootstrap
    deployers = {
        name
        for name in own
        if name.startswith(("falaj-prod-apply", "falaj-prod-boundary", "falaj-prod-deploy-"))
    }

    assert {"falaj-prod-apply", "falaj-prod-boundary"} <= deployers
    assert all("prod-bootstrap" in name for name in own - of_the_environment - deployers), own


# --- settings, and where one may deploy from ------------------------------------------------------


def test_a_runner_with_no_way_to_iam_is_refused() -> None:
    (problem,) = problems_of(runner={})
    assert "runner.proxy: is missing" in problem
    assert "iam.amazonaws.com" in problem

    listed = {"egress": "allow-list", "allowed_domains": ["iam.amazonaws.com", ".quay.io"]}
    problems = problems_of(runner={}, network=listed)
    assert len(problems) == 2
    assert "network.allowed_domains: lacks route53.amazonaws.com" in problems[0]
    assert "network.allowed_domains: lacks .me-central-1.amazonaws.com" in problems[1]

    for enough in ([*GLOBAL_HOSTS, ".me-central-1.amazonaws.com"], [".amazonaws.com"]):
        assert settings(runner={}, network=listed | {"allowed_domains": enough})


def test_a_runner_needs_a_network_and_a_proxy_with_a_port() -> None:
    subnets = {"name": "falaj-prod", "subnet_ids": {"me-central-1a": "subnet-0a"}}
    problems = problems_of(network=None, existing_cluster=subnets)
    assert problems == [
        "falaj:aws: runner: has no network to be in; declare network or existing_network"
    ]
    assert "falaj:aws.runner.proxy" in problems_of(runner={"proxy": "proxy.bank.ae"})[0]


@pytest.mark.parametrize("runner", [{"FALAJ_RUNNER": "prod"}, {"FALAJ_RUNNER": OFFLINE}])
def test_the_runner_of_the_environment_and_plans_without_a_cloud_may_go_on(
    runner: dict[str, str],
) -> None:
    require(settings(), runner)


@pytest.mark.parametrize(
    ("runner", "words"), [({}, "another machine"), ({"FALAJ_RUNNER": "dev"}, "the runner of dev")]
)
def test_any_other_machine_is_sent_to_the_runner(runner: dict[str, str], words: str) -> None:
    with pytest.raises(WrongPlaceError, match=words) as caught:
        require(settings(), runner)

    for hint in (
        "make bootstrap ENV=prod",
        "aws ssm start-session",
        "falaj plan --offline -s prod",
    ):
        assert hint in str(caught.value)


def test_an_environment_without_a_runner_is_deployed_from_anywhere() -> None:
    require(settings(runner=None), {})
    require(parse("local", {}), {})


# --- the command ----------------------------------------------------------------------------------


def test_the_command_names_the_environments_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.prod.yaml").write_text("config: {}")

    for nobody in ("", "prodd"):
        with pytest.raises(BootstrapError, match=r"make bootstrap ENV=<prod>"):
            command.read(nobody, tmp_path)


def test_a_local_environment_needs_no_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.local.yaml").write_text("config: {}")

    with pytest.raises(BootstrapError, match="is not on AWS"):
        command.read("local", tmp_path)


def test_what_encrypts_another_stack_is_not_carried_over(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(
        "secretsprovider: awskms://x\nencryptedkey: abc\nencryptionsalt: v1:abc\n"
        "config:\n  falaj:owner: us\n  falaj:kubeconfig:\n    secure: AAAB\n"
    )

    assert command.plain_settings(file) == {"config": {"falaj:owner": "us"}}


@pytest.mark.parametrize("runner", [True, False])
def test_the_command_says_where_state_is_and_how_to_go_on(*, runner: bool) -> None:
    outputs: dict[str, Any] = {"backend_url": "s3://b?region=r", "secrets_provider": "awskms://k"}
    if runner:
        outputs["runner"] = {"instance_id": "i-0a"}
    text = command.report(settings(), outputs)

    assert "s3://b?region=r" in text
    assert "pulumi stack select --create prod --secrets-provider 'awskms://k'" in text
    assert ("aws ssm start-session --target i-0a" in text) is runner
    assert ("export PULUMI_BACKEND_URL" in text) is not runner


def test_a_network_that_lacks_what_the_settings_ask_for_says_to_run_the_bootstrap() -> None:
    network = {"vpc_id": "vpc-0a", "private_subnet_ids": {"a": "subnet-0a"}, "tables": ["rtb-0a"]}

    assert found_at(network, "vpc_id") == "vpc-0a"
    assert found_at(network, "private_subnet_ids", "a") == "subnet-0a"
    for path in (("private_subnet_ids", "b"), ("tables", 1), ("nothing",)):
        with pytest.raises(LookupError, match="run `make bootstrap` again"):
            found_at(network, *path)
