"""The machine from which an environment is deployed, inside its network.

Owns the instance with its role and security group. Nothing can connect to it: people come in by
Session Manager, which asks IAM and keeps a record. What it may do in the account is what the
environment's role `apply` may do; its own role may take that one and fetch bundles of Falaj, and
nothing else. How these get there is said in `runner_bundle`. Network and keys must exist before.

What is in its first boot is never read again, and a change of it makes another machine: so it holds
what is true for as long as the runner lives, and no program.
"""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws.network import GivenNetwork, Network
from components.aws.policy_document import Statement
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.runner_bundle import PREFIX
from components.aws.scope import Scope
from components.aws.settings.controllers import services_called
from components.aws.settings.runner import Machine, RunnerSettings, machine_of

RUNNER_VARIABLE = "FALAJ_RUNNER"
"""Names the environment that a machine is the runner of."""

_IMAGE = "resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-{}"
"""Looked up by EC2 when the instance is made; it is not renewed while the instance lives."""
_IMAGE_MACHINES: dict[Machine, str] = {"x86_64": "x86_64", "aarch64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class RunnerArgs:
    """Where the runner is, and for which environment."""

    scope: Scope
    """Of the environment that it deploys."""
    runner: RunnerSettings
    network: Network | GivenNetwork
    disk_key_arn: pulumi.Input[str]
    state_key_arn: pulumi.Input[str]
    """Of the bucket from which it fetches bundles."""
    variables: Mapping[str, str]
    """Environment variables of whoever logs in."""
    apply_role: str = "apply"
    """The noun of the role that deploys."""


class Runner(pulumi.ComponentResource):
    """An instance in a private subnet, with `instance_id`."""

    def __init__(
        self, name: str, args: RunnerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Runner", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        apply_role = args.scope.role_arn(args.apply_role)
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role="runner",
                trust=[taken_by_service("ec2", "InstanceAssumes")],
                permissions={
                    "deploy": [
                        Statement(
                            sid="TakeTheRoleThatDeploys",
                            effect="Allow",
                            actions=("sts:AssumeRole", "sts:TagSession"),
                            resources=[apply_role],
                        )
                    ],
                    "bundles": fetching(args.scope, args.state_key_arn),
                },
                managed_policies={"sessions": "AmazonSSMManagedInstanceCore"},
            ),
            child,
        )
        profile = aws.iam.InstanceProfile(
            f"{name}-profile", name=args.scope.name("runner"), role=role.name, opts=child
        )
        group = aws.ec2.SecurityGroup(
            f"{name}-group",
            name=args.scope.name("runner"),
            description="The runner: nothing comes in, TLS goes out",
            vpc_id=args.network.vpc_id,
            tags={"Name": args.scope.name("runner")},
            opts=child,
        )
        # where to is decided by routes, firewall and proxy
        ports = {443, _port_of(args.runner.proxy)} if args.runner.proxy else {443}
        rules = [
            aws.vpc.SecurityGroupEgressRule(
                f"{name}-out-{port}",
                security_group_id=group.id,
                description="TLS" if port == 443 else "The organisation's proxy",
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                cidr_ipv4="0.0.0.0/0",
                opts=child,
            )
            for port in sorted(ports)
        ]
        template = aws.ec2.LaunchTemplate(
            f"{name}-template",
            image_id=_IMAGE.format(_IMAGE_MACHINES[machine_of(args.runner.instance_type)]),
            instance_type=args.runner.instance_type,
            iam_instance_profile={"arn": profile.arn},
            vpc_security_group_ids=[group.id],
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {
                        "encrypted": "true",
                        "kms_key_id": args.disk_key_arn,
                        "volume_size": args.runner.disk_gib,
                        "volume_type": "gp3",
                        "delete_on_termination": "true",
                    },
                }
            ],
            user_data=base64.b64encode(first_boot(args, apply_role).encode()).decode(),
            update_default_version=True,
            opts=child,
        )
        zone = args.network.zones[0]
        instance = aws.ec2.Instance(
            f"{name}-instance",
            subnet_id=args.network.private_subnet_ids[zone],
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            # said here too: the defaults of an instance stand over those of its template
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            tags={"Name": args.scope.name("runner")},
            opts=pulumi.ResourceOptions(
                parent=self,
                # it registers for sessions once, at its start, through endpoints
                depends_on=[*role.policies, *rules, *args.network.ready],
            ),
        )
        self.instance_id = instance.id
        self.group_id = group.id
        self.register_outputs({"instance_id": self.instance_id})


def _port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def fetching(scope: Scope, state_key_arn: pulumi.Input[str]) -> list[Statement]:
    """What it takes to fetch a bundle: its objects, under the key of the state, through S3."""
    return [
        Statement(
            sid="FetchBundles",
            effect="Allow",
            actions=("s3:GetObject",),
            resources=[f"{scope.bucket_arn('state')}/{PREFIX}/*"],
        ),
        Statement(
            sid="OpenBundles",
            effect="Allow",
            actions=("kms:Decrypt",),
            resources=[state_key_arn],
            conditions={"StringEquals": {"kms:ViaService": scope.service("s3")}},
        ),
    ]


SHELL = "/opt/falaj/shell"
"""What a person types on a runner, and whom a pipeline asks: `SHELL pulumi up …`."""
_SHELL = """\
#!/bin/sh
# A shell in which pulumi and falaj deploy this environment; with arguments, that command.
set -eu
if [ "$(id -un)" != falaj ]; then
  id falaj >/dev/null 2>&1 || { echo "no bundle of Falaj has arrived here yet" >&2; exit 1; }
  exec sudo -H -u falaj -- /opt/falaj/shell "$@"
fi
. /etc/falaj/environment
cd -P /opt/falaj/current || { echo "no bundle of Falaj has arrived here yet" >&2; exit 1; }
[ $# -gt 0 ] || set -- bash
exec .venv/bin/python -m stacks.environment -- "$@"
"""


def first_boot(args: RunnerArgs, apply_role: str) -> str:
    """The script of the instance's first start: who it is, and how it deploys.

    Raises `ValueError` where a value could end the text that it stands in.
    """
    variables = {
        RUNNER_VARIABLE: args.scope.environment,
        "AWS_REGION": args.scope.region,
        # tokens of the global endpoint are not valid in regions that must be opted into
        "AWS_STS_REGIONAL_ENDPOINTS": "regional",
        "AWS_CONFIG_FILE": "/etc/falaj/aws.ini",
        "AWS_PROFILE": "deploy",
        **args.variables,
    }
    if args.runner.proxy is not None:
        variables |= {"HTTPS_PROXY": args.runner.proxy, "NO_PROXY": _without_proxy(args.scope)}
    profile = f"""\
[profile deploy]
role_arn = {apply_role}
credential_source = Ec2InstanceMetadata
region = {args.scope.region}
"""
    files = {
        "/etc/falaj/aws.ini": profile,
        "/etc/falaj/environment": "".join(
            f"export {name}={shlex.quote(value)}\n" for name, value in sorted(variables.items())
        ),
        SHELL: _SHELL,
    }
    written = "".join(_written(path, text) for path, text in files.items())
    return f"""\
#!/bin/sh
# a root other than the machine's is what tests give
set -eu
root=${{1:-}}
install -d -m 0755 "$root/etc/falaj" "$root{SHELL.rpartition("/")[0]}"
{written}chmod 0755 "$root{SHELL}"
"""


_END = "END OF FILE"


def _written(path: str, text: str) -> str:
    """The lines of a shell script that write `text` as it is."""
    if _END in text.splitlines() or "\r" in text:
        raise ValueError(f"{path} cannot be written by a script: {text!r}")
    return f"cat > \"$root{path}\" <<'{_END}'\n{text}{_END}\n"


def _without_proxy(scope: Scope) -> str:
    """What the runner asks directly: services with an endpoint, the cluster, its own metadata."""
    names = {"ecr.api": "api.ecr", "ecr.dkr": "dkr.ecr"}
    hosts = [
        f"{names.get(service, service)}.{scope.region}.amazonaws.com"
        for service in services_called()
    ]
    cluster = f".{scope.region}.eks.amazonaws.com"
    return ",".join((*hosts, cluster, "169.254.169.254", "localhost", "127.0.0.1"))
