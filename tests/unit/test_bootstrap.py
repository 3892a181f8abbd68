"""The ground of an environment on mocks, and what the command and the runner's check say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from policy_decision import Request, statements, verdict

from components.aws.endpoints import policy_of
from components.aws.foundation import Foundation, FoundationArgs
from components.aws.runner_bundle import Bundle
from components.aws.scope import Scope
from components.aws.settings.controllers import services_called
from components.aws.settings.runner import GLOBAL_HOSTS, machine_of
from stacks.bootstrap import command
from stacks.bootstrap.command import BootstrapError
from stacks.bootstrapped import found_at
from stacks.runner import OFFLINE, WrongPlaceError, require
from stacks.settings import Settings, SettingsError, parse

if TYPE_CHECKING:
    from conftest import Recording

Record = Callable[[Callable[[], object]], "Recording"]
PROXY = "http://proxy.bank.ae:3128"
ADMINISTRATOR = (
    "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/me-central-1/"
    "AWSReservedSSO_Administrator_01"
)
POOLS = {"system": {"kind": "cpu", "instance_types": ["m6i.large"], "max_nodes": 2}}


def settings(**aws: Any) -> Settings:
    section = {
        "account_id": "123456789012",
        "existing_cluster": {"name": "falaj-prod"},
        "node_pools": POOLS,
        "network": {},
        "runner": {"proxy": PROXY},
        "identity": {
            "administrators": [ADMINISTRATOR],
            "ci": [{"kind": "github", "repository": "bank/falaj", "environment": "prod"}],
        },
        **aws,
    }
    given = {name: value for name, value in section.items() if value is not None}
    return parse("prod", {"falaj:place": "aws", "falaj:aws": json.dumps(given)})


def problems_of(**aws: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(**aws)
    return caught.value.problems


def ground(record: Record, bundle: Bundle | None = None, **aws: Any) -> Recording:
    wanted = settings(**aws).aws
    assert wanted is not None
    args = FoundationArgs(
        environment="prod",
        owner="ml-platform",
        residency_mode="in-country",
        aws=wanted,
        bundle=bundle,
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


def asks(made: Recording, key: str, action: str, *, by: str, via: str = "") -> bool:
    """Whether the policy of a key lets a role act, by itself or through a service."""
    request = Request(
        action=action,
        resource="the key",
        principal=by,
        context={
            "aws:PrincipalArn": by,
            "aws:RequestedRegion": "me-central-1",
            "kms:CallerAccount": "123456789012",
            "kms:GrantIsForAWSResource": "true",
            **({"kms:ViaService": f"{via}.me-central-1.amazonaws.com"} if via else {}),
        },
    )
    return bool(verdict(made.the("Key", key).inputs["policy"], request) == "allowed")


def test_whoever_bootstraps_looks_after_the_key_of_the_state_and_keeps_the_first_state(
    record: Record,
) -> None:
    made = ground(record)
    changes = ("kms:PutKeyPolicy", "kms:CreateAlias", "kms:TagResource", "kms:EnableKeyRotation")
    # the backend by S3, the secrets in the state by Pulumi itself
    state = [("kms:GenerateDataKey", "s3"), ("kms:Decrypt", "s3"), ("kms:Encrypt", "")]
    needs = [*((action, "") for action in changes), *state, ("kms:Decrypt", "")]
    apply = "arn:aws:iam::123456789012:role/falaj-prod-apply"

    for action, via in needs:
        assert asks(made, "state", action, by=ADMINISTRATOR, via=via), action
        assert asks(made, "state", action, by=apply, via=via), action
        for stranger in (
            ADMINISTRATOR.replace("_01", "_02"),
            "arn:aws:iam::123456789012:role/falaj-prod-plan",
            "arn:aws:iam::123456789012:role/administrator",
        ):
            reads = action == "kms:Decrypt" and stranger.endswith("plan")
            assert asks(made, "state", action, by=stranger, via=via) is reads, action
    assert "bypassPolicyLockoutSafetyCheck" not in made.the("Key", "state").inputs


def test_whoever_bootstraps_starts_the_runner_and_uses_no_other_key_than_its_disks(
    record: Record,
) -> None:
    made = ground(record)

    for action in ("kms:GenerateDataKeyWithoutPlaintext", "kms:Decrypt", "kms:CreateGrant"):
        assert asks(made, "cluster", action, by=ADMINISTRATOR, via="ec2"), action
        assert not asks(made, "cluster", action, by=ADMINISTRATOR), action
        assert not asks(made, "logs", action, by=ADMINISTRATOR, via="s3"), action


def test_a_bootstrap_that_would_lock_out_whoever_runs_it_is_refused(tmp_path: Path) -> None:
    identity = {"ci": [{"kind": "github", "repository": "bank/falaj", "environment": "prod"}]}
    aws = {"account_id": "123456789012", "existing_cluster": {}, "identity": identity}
    aws["existing_cluster"] = {"name": "falaj-prod", "subnet_ids": {"me-central-1a": "subnet-0a"}}
    file = tmp_path / "Pulumi.prod.yaml"
    file.write_text(json.dumps({"config": {"falaj:place": "aws", "falaj:aws": aws}}))

    with pytest.raises(SettingsError, match=r"aws\.identity\.administrators: is empty"):
        command.read("prod", tmp_path)

    identity["administrators"] = [ADMINISTRATOR]
    file.write_text(json.dumps({"config": {"falaj:place": "aws", "falaj:aws": aws}}))
    assert command.read("prod", tmp_path).aws is not None


@pytest.mark.parametrize(
    ("caller", "welcome"),
    [
        ("sts::123456789012:assumed-role/AWSReservedSSO_Administrator_01/amna", True),
        ("sts::123456789012:assumed-role/falaj-prod-apply/botocore-session-1", True),
        ("iam::123456789012:root", True),
        ("sts::123456789012:assumed-role/AWSReservedSSO_Administrator_02/amna", False),
        ("sts::210987654321:assumed-role/AWSReservedSSO_Administrator_01/amna", False),
        ("iam::123456789012:user/AWSReservedSSO_Administrator_01", False),
    ],
)
def test_whoever_the_key_would_refuse_is_told_before_anything_is_made(
    caller: str, *, welcome: bool
) -> None:
    allowed = [ADMINISTRATOR, "arn:aws:iam::123456789012:role/falaj-prod-apply"]

    if welcome:
        command.require_one_of(f"arn:aws:{caller}", allowed)
        return
    with pytest.raises(BootstrapError, match=f"(?s){caller}.*{ADMINISTRATOR}"):
        command.require_one_of(f"arn:aws:{caller}", allowed)


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


def test_the_runner_may_take_the_role_that_deploys_and_fetch_bundles_and_nothing_else(
    record: Record,
) -> None:
    made = ground(record)
    allowed = [
        statement
        for policy in made.of("RolePolicy")
        if "runner" in policy.name
        for statement in statements(policy.inputs["policy"])
    ]
    attached = [
        one.inputs["policyArn"] for one in made.of("RolePolicyAttachment") if "runner" in one.name
    ]

    assert {one["Sid"]: (one["Action"], one["Resource"]) for one in allowed} == {
        "TakeTheRoleThatDeploys": (
            ["sts:AssumeRole", "sts:TagSession"],
            ["arn:aws:iam::123456789012:role/falaj-prod-apply"],
        ),
        "FetchBundles": (
            ["s3:GetObject"],
            ["arn:aws:s3:::falaj-prod-state-123456789012/bundles/*"],
        ),
        "OpenBundles": (["kms:Decrypt"], ["arn:prod-state-key"]),
    }
    assert attached == ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]


def test_the_key_of_the_state_opens_for_the_runner_through_s3_alone(record: Record) -> None:
    policy = json.loads(ground(record).the("Key", "state").inputs["policy"])
    (use,) = (one for one in policy["Statement"] if "Bundles" in one["Sid"])

    assert use["Action"] == ["kms:Decrypt", "kms:DescribeKey"]
    assert use["Condition"]["StringEquals"]["kms:ViaService"] == ["s3.me-central-1.amazonaws.com"]
    assert use["Condition"]["ArnLike"]["aws:PrincipalArn"] == [
        "arn:aws:iam::123456789012:role/falaj-prod-runner"
    ]


def test_who_deploys_cannot_change_what_the_runner_installs(record: Record) -> None:
    """Or a program could bring its own successor, past whoever looks at the commits."""
    written = [
        resource
        for policy in ground(record).resources
        if "apply" in policy.name or "deploy" in policy.name
        for statement in json.loads(policy.inputs.get("policy") or '{"Statement": []}')["Statement"]
        if "s3:PutObject" in statement["Action"]
        for resource in statement["Resource"]
    ]

    assert written == ["arn:aws:s3:::falaj-prod-state-123456789012/.pulumi/*"]


@pytest.mark.parametrize(
    ("instance_type", "machine", "image"),
    [
        ("t3.large", "x86_64", "x86_64"),
        ("g5.xlarge", "x86_64", "x86_64"),
        ("m6idn.large", "x86_64", "x86_64"),
        ("m7g.large", "aarch64", "arm64"),
        ("c6gn.large", "aarch64", "arm64"),
        ("g5g.xlarge", "aarch64", "arm64"),
        ("im4gn.large", "aarch64", "arm64"),
        ("a1.large", "aarch64", "arm64"),
    ],
)
def test_the_runners_image_is_for_its_processor(
    record: Record, instance_type: str, machine: str, image: str
) -> None:
    made = ground(record, runner={"proxy": PROXY, "instance_type": instance_type})

    assert machine_of(instance_type) == machine
    assert (
        made.the("LaunchTemplate").inputs["imageId"].endswith(f"al2023-ami-kernel-default-{image}")
    )


def given(tmp_path: Path, text: str) -> Bundle:
    file = tmp_path / f"{text}.tar.gz"
    file.write_text(text)
    return Bundle.of(file)


def test_a_bundle_lies_in_the_bucket_of_the_state_under_its_key_and_by_its_digest(
    record: Record, tmp_path: Path
) -> None:
    bundle = given(tmp_path, "one")
    held = ground(record, bundle).the("BucketObjectv2").inputs

    assert held["key"] == f"bundles/{hashlib.sha256(b'one').hexdigest()}.tar.gz"
    assert held["bucket"] == "id:prod-state-store-bucket"
    # the bucket refuses an upload that names one of them alone
    assert (held["serverSideEncryption"], held["kmsKeyId"]) == ("aws:kms", "arn:prod-state-key")
    assert not held.get("acl")


def test_the_runner_takes_the_bundle_that_was_uploaded_and_asks_again(
    record: Record, tmp_path: Path
) -> None:
    bundle = given(tmp_path, "one")
    made = ground(record, bundle)
    taken = made.the("Association").inputs
    (step,) = json.loads(made.the("Document").inputs["content"])["mainSteps"]
    script = "\n".join(step["inputs"]["runCommand"])

    assert taken["name"] == made.the("Document").inputs["name"] == "falaj-prod-runner-bundle"
    assert taken["parameters"] == {"digest": bundle.sha256}
    assert taken["targets"] == [{"key": "InstanceIds", "values": ["id:prod-runner-instance"]}]
    assert taken["scheduleExpression"] == "rate(30 minutes)"
    assert "FALAJ_BUCKET=falaj-prod-state-123456789012" in script
    assert "FALAJ_REGION=me-central-1" in script
    # what the script fetches is what was uploaded, and what the role may read
    assert "s3://$FALAJ_BUCKET/bundles/$FALAJ_DIGEST.tar.gz" in script
    assert bundle.key == f"bundles/{bundle.sha256}.tar.gz"


def test_another_bundle_changes_neither_the_runner_nor_its_document(
    record: Record, tmp_path: Path
) -> None:
    one, two = (
        {each.name: each.inputs for each in ground(record, given(tmp_path, text)).resources}
        for text in ("one", "two")
    )

    assert one.keys() == two.keys()
    assert {name for name in one if one[name] != two[name]} == {
        "prod-bundle-object",
        "prod-bundle-association",
    }


def test_what_fetches_a_bundle_has_a_way_there_without_the_internet() -> None:
    """Sessions and documents need three endpoints, bundles and packages that of S3."""
    assert {"ssm", "ssmmessages", "ec2messages", "s3"} <= set(services_called())
    scope = Scope(environment="prod", account_id="123456789012", region="me-central-1")
    ours, packages = policy_of("s3", scope, ["123456789012"])
    assert (ours.actions, ours.resources) == (("s3:*",), ["*"])
    assert ours.conditions == {
        "StringEquals": {
            "aws:PrincipalAccount": ["123456789012"],
            "aws:ResourceAccount": ["123456789012"],
        }
    }
    assert "arn:aws:s3:::al2023-repos-me-central-1-de612dc2/*" in packages.resources


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
    nouns = ("apply", "plan", "boundary", "deploy-")
    left = tuple(f"falaj-prod-{noun}" for noun in nouns)
    deployers = {name for name in own if name.startswith(left)}

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
        "aws ssm start-session --region me-central-1 --target",
        "--filters Name=tag:Name,Values=falaj-prod-runner",
        "--document-name AWS-StartInteractiveCommand --parameters command=/opt/falaj/shell",
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
    session = "aws ssm start-session --region me-central-1 --target i-0a --document-name"
    assert (session in text) is runner
    assert ("export PULUMI_BACKEND_URL" in text) is not runner


def test_a_network_that_lacks_what_the_settings_ask_for_says_to_run_the_bootstrap() -> None:
    network = {"vpc_id": "vpc-0a", "private_subnet_ids": {"a": "subnet-0a"}, "tables": ["rtb-0a"]}

    assert found_at(network, "vpc_id") == "vpc-0a"
    assert found_at(network, "private_subnet_ids", "a") == "subnet-0a"
    for path in (("private_subnet_ids", "b"), ("tables", 1), ("nothing",)):
        with pytest.raises(LookupError, match="run `make bootstrap` again"):
            found_at(network, *path)
