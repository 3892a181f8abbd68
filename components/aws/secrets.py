"""The secrets that the platform generates for itself: session keys, tokens, first passwords.

Owns the secrets in Secrets Manager with their policies, and the function that gives them values.
The keys of the domains `secrets` and `logs` must exist before, and the users of the cache that get
a password. Of databases only feature stores have one here, since they know nothing of IAM (ADR
0023): RDS makes and rotates the administrator's, and other consumers sign in by IAM.

No value is ever in the state, in a plan or on the machine that deploys. The deployment makes an
empty secret and calls the function, which asks Secrets Manager for a random value and puts it
there; it answers with what it did, never with the value. Where a secret can change while the
platform runs, Secrets Manager calls the same function again after `rotation_days`. The others keep
their value until the function is called with ``{"SecretId": …, "replace": true}``, because what
reads them has to be started again, or told, at the same time.

Values reach pods by External Secrets: its role (`access`) is the only one that may read, which each
secret's policy says again, and it writes them into the namespace that asks, as far as its stores
allow that namespace.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
import pulumi_aws as aws

from components.aws.keys import USE
from components.aws.policy_document import ANYONE, Statement, document
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.secrets import SecretsSettings, generated, online_password

WRITER = "secret-values"
"""Noun of the function that generates values, of its role and of its log group."""
EXTERNAL_SECRETS = "external-secrets"  # pragma: allowlist secret
"""The role that brings values into the cluster."""
READERS = (EXTERNAL_SECRETS, WRITER)
"""The roles that may read a value at all; the function reads what it is about to make current."""

LOG_RETENTION_DAYS = 365
KEEP_DAYS, DISCARD_DAYS = 30, 0
"""How long a deleted secret can be brought back; with 0 its name is free at once."""

CODE = Path(__file__).parent / "functions" / "secret_values.py"
_RUNTIME = "python3.12"
_TIMEOUT_SECONDS = 300
"""A user of the cache that joins a group can be changed only then."""


@dataclass(frozen=True, kw_only=True)
class GeneratedSecretsArgs:
    """Whose secrets, under which keys, and from where values are written."""

    scope: Scope
    teams: Iterable[str]
    settings: SecretsSettings
    keep: bool
    """Whether a deleted secret can be brought back, and outlives the stack."""
    cache_users: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Team with a feature store → its user of the cache, who is told its password."""
    secrets_key_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    subnet_ids: Sequence[pulumi.Input[str]] = ()
    """Where the function runs; it needs the endpoint of Secrets Manager there. Without subnets it
    runs in a network of AWS in this region."""
    security_group_ids: Sequence[pulumi.Input[str]] = ()


class GeneratedSecrets(pulumi.ComponentResource):
    """`arns`: noun → ARN of the secret; `ready`: what gives them their values."""

    def __init__(
        self,
        name: str,
        args: GeneratedSecretsArgs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("falaj:aws:GeneratedSecrets", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        function = self._function(name, args)
        permission = aws.lambda_.Permission(
            f"{name}-rotation-permission",
            function=function.name,
            action="lambda:InvokeFunction",
            principal="secretsmanager.amazonaws.com",
            source_account=args.scope.account_id,
            opts=child,
        )
        self.arns: dict[str, pulumi.Output[str]] = {}
        self.ready: list[pulumi.Resource] = []
        for noun, secret in generated(args.teams, args.cache_users).items():
            label = f"{name}-{noun.replace('/', '-')}"
            made = aws.secretsmanager.Secret(
                f"{label}-secret",
                name=args.scope.secret(noun),
                description=secret.purpose,
                kms_key_id=args.secrets_key_arn,
                recovery_window_in_days=KEEP_DAYS if args.keep else DISCARD_DAYS,
                # a new value cannot be made for those who know the old one
                opts=pulumi.ResourceOptions(
                    parent=self, protect=args.keep, retain_on_delete=args.keep
                ),
            )
            policy = aws.secretsmanager.SecretPolicy(
                f"{label}-policy",
                secret_arn=made.arn,
                policy=document(*secret_policy(args.scope)),
                block_public_policy=True,
                opts=child,
            )
            value = aws.lambda_.Invocation(
                f"{label}-value",
                function_name=function.name,
                input=made.arn.apply(lambda arn: json.dumps({"SecretId": arn})),
                lifecycle_scope="CREATE_ONLY",
                # no value before only its readers can read it
                opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
            )
            self.arns[noun] = made.arn
            self.ready.append(value)
            if secret.rotates:
                aws.secretsmanager.SecretRotation(
                    f"{label}-rotation",
                    secret_id=made.id,
                    rotation_lambda_arn=function.arn,
                    rotate_immediately=False,
                    rotation_rules={"automatically_after_days": args.settings.rotation_days},
                    opts=pulumi.ResourceOptions(parent=self, depends_on=[permission, value]),
                )
        self.register_outputs({"arns": self.arns})

    def _function(self, name: str, args: GeneratedSecretsArgs) -> aws.lambda_.Function:
        child = pulumi.ResourceOptions(parent=self)
        log = aws.cloudwatch.LogGroup(
            f"{name}-log",
            name=f"/aws/lambda/{args.scope.name(WRITER)}",
            kms_key_id=args.logs_key_arn,
            retention_in_days=LOG_RETENTION_DAYS,
            opts=child,
        )
        in_network = {"network": "AWSLambdaVPCAccessExecutionRole"} if args.subnet_ids else {}
        role = Role(
            f"{name}-writer",
            RoleArgs(
                scope=args.scope,
                role=WRITER,
                trust=[taken_by_service("lambda")],
                permissions={"values": writer_permissions(args)},
                managed_policies=in_network,
            ),
            child,
        )
        return aws.lambda_.Function(
            f"{name}-function",
            name=args.scope.name(WRITER),
            description="Generates the values of secrets",
            role=role.arn,
            runtime=_RUNTIME,
            handler=f"{CODE.stem}.handler",
            # its text and not its path, which would put a machine's folders into the state
            code=pulumi.AssetArchive({CODE.name: pulumi.StringAsset(CODE.read_text("utf-8"))}),
            timeout=_TIMEOUT_SECONDS,
            environment=(
                {"variables": {"CACHE_USERS": pulumi.Output.json_dumps(_cache_users(args))}}
                if args.cache_users
                else None
            ),
            vpc_config=(
                {
                    "subnet_ids": args.subnet_ids,
                    "security_group_ids": args.security_group_ids,
                }
                if args.subnet_ids
                else None
            ),
            # it would make a log group of its own without key and retention
            opts=pulumi.ResourceOptions(parent=self, depends_on=[log, *role.policies]),
        )


def _cache_users(args: GeneratedSecretsArgs) -> dict[str, pulumi.Input[str]]:
    """Name of a secret → the user of the cache whose password it is."""
    return {
        args.scope.secret(online_password(team)): user for team, user in args.cache_users.items()
    }


def secret_policy(scope: Scope) -> list[Statement]:
    """What each secret refuses: readers that are none, and writers but the one."""

    return [
        *reading_policy(scope, *READERS),
        _deny(
            scope,
            "DenyOtherWriters",
            ("secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"),
            (WRITER,),
        ),
    ]


def reading_policy(scope: Scope, *readers: str) -> list[Statement]:
    """What a secret refuses that somebody fills: readers other than the roles `readers` (nouns)."""
    return [_deny(scope, "DenyOtherReaders", ("secretsmanager:GetSecretValue",), readers)]


def _deny(scope: Scope, sid: str, actions: Sequence[str], spared: Sequence[str]) -> Statement:
    return Statement(
        sid=sid,
        effect="Deny",
        actions=actions,
        resources=["*"],
        principals=ANYONE,
        conditions={
            "ArnNotEquals": {"aws:PrincipalArn": [scope.role_arn(noun) for noun in spared]}
        },
    )


def writer_permissions(args: GeneratedSecretsArgs) -> list[Statement]:
    """What the function may do."""
    scope = args.scope
    return [
        Statement(
            sid="GiveValues",
            effect="Allow",
            actions=(
                *("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"),
                *("secretsmanager:PutSecretValue", "secretsmanager:UpdateSecretVersionStage"),
            ),
            resources=[scope.secret_arn("*")],
        ),
        Statement(
            sid="AskForRandomValues",
            effect="Allow",
            actions=("secretsmanager:GetRandomPassword",),
            # AWS knows no resource for it
            resources=["*"],
        ),
        Statement(
            sid="UseKey",
            effect="Allow",
            actions=USE["write"],
            resources=[args.secrets_key_arn],
            conditions={"StringEquals": {"kms:ViaService": scope.service("secretsmanager")}},
        ),
        Statement(
            sid="WriteLog",
            effect="Allow",
            actions=("logs:CreateLogStream", "logs:PutLogEvents"),
            resources=[scope.arn("logs", f"log-group:/aws/lambda/{scope.name(WRITER)}:*")],
        ),
        *(
            [
                Statement(
                    sid="TellCache",
                    effect="Allow",
                    actions=("elasticache:ModifyUser",),
                    resources=[
                        pulumi.Output.concat(scope.arn("elasticache", "user:"), user)
                        for user in args.cache_users.values()
                    ],
                )
            ]
            if args.cache_users
            else []
        ),
    ]
