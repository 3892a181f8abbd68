"""Backups: what the environment keeps is kept a second time, out of its administrators' reach.

Owns vault, lock, plans, their role, tests of restoring, and the alarms on what fails. What is
backed up says so itself, by the tag `TAG`; the environment's provider puts `standard` on all of it.
The keys of the domains `backups` and of what is backed up, which let the role in, and the topic of
alarms must exist before. Copies to another account need an organisation with cross-account backup
switched on, a vault there whose policy holds `copy_vault_statements`, and, for disks and databases,
whose copies stay under the key of their source, that account in the policy of that key.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi
import pulumi_aws as aws

from components.aws.alarm_topic import alarm_of_silence, on_event
from components.aws.policy_document import ANYONE, Statement, document
from components.aws.role import Role, RoleArgs, taken_by_service
from components.aws.scope import Scope
from components.aws.settings.backup import BackupRule, BackupSettings, CopyAccount

TAG = "backup"
"""Names the policy that a resource is under, or ``none``."""
VAULT = "backups"
ROLE = "backup"

KINDS = ("DynamoDB", "EBS", "EFS", "RDS", "S3")
"""What is backed up where it exists. AWS Backup passes silently over a kind that the account has
not opted in to, whatever its tags."""
RESTORED = ("RDS", "S3")
"""Kinds whose backups are restored as a test; a disk says nothing without its file system."""

_MANAGED = {
    "backups": "service-role/AWSBackupServiceRolePolicyForBackup",
    "restores": "service-role/AWSBackupServiceRolePolicyForRestores",
    "objects": "AWSBackupServiceRolePolicyForS3Backup",
    "object-restores": "AWSBackupServiceRolePolicyForS3Restore",
}
_WEAKENING = (
    *("backup:DeleteRecoveryPoint", "backup:UpdateRecoveryPointLifecycle"),
    *("backup:DisassociateRecoveryPoint", "backup:DeleteBackupVault"),
    *("backup:DeleteBackupVaultLockConfiguration", "backup:DeleteBackupVaultAccessPolicy"),
)


_FAILED = ["FAILED", "ABORTED", "EXPIRED", "PARTIAL"]


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """How, and under which key."""

    scope: Scope
    settings: BackupSettings
    key_arn: pulumi.Input[str]
    topic_arn: pulumi.Input[str]
    allowed_regions: Sequence[str]
    keep: bool
    """Whether the vault outlives the stack; where it does not, its backups go with it."""
    database_subnet_group: pulumi.Input[str] | None = None
    """Where a restored database runs. Without it AWS looks for a default network, and there is
    none."""


class Backup(pulumi.ComponentResource):
    """A vault with its `vault_arn`, a plan for each policy, and the `role_arn` that works in it."""

    def __init__(
        self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("falaj:aws:Backup", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        vault = self._vault(name, args)
        role = Role(
            name,
            RoleArgs(
                scope=args.scope,
                role=ROLE,
                trust=[
                    replace(
                        taken_by_service("backup", "BackupAssumes"),
                        conditions={"StringEquals": {"aws:SourceAccount": args.scope.account_id}},
                    )
                ],
                managed_policies=_MANAGED,
            ),
            child,
        )
        kinds = aws.backup.RegionSettings(
            f"{name}-kinds",
            resource_type_opt_in_preference=dict.fromkeys(KINDS, True),
            opts=pulumi.ResourceOptions(
                parent=self,
                # AWS answers with every kind it knows, which would be a change at each refresh
                ignore_changes=["resourceTypeOptInPreference"],
            ),
        )
        for policy, rules in args.settings.policies.items():
            plan = aws.backup.Plan(
                f"{name}-{policy}",
                name=args.scope.name(policy),
                rules=[
                    _rule(rule_name, rule, vault.name, args)
                    for rule_name, rule in sorted(rules.items())
                ],
                opts=child,
            )
            aws.backup.Selection(
                f"{name}-{policy}-selection",
                name=args.scope.name(policy),
                plan_id=plan.id,
                iam_role_arn=role.arn,
                selection_tags=[{"type": "STRINGEQUALS", "key": TAG, "value": policy}],
                # a backup without these succeeds, and is empty
                opts=pulumi.ResourceOptions(parent=self, depends_on=[*role.policies, kinds]),
            )
            if args.settings.restore_tests:
                self._restore_test(name, args, policy, vault, role)
        self._alarms(name, args, vault)
        self.vault_arn = vault.arn
        self.role_arn = role.arn
        self.register_outputs({"vault_arn": self.vault_arn, "role_arn": self.role_arn})

    def _vault(self, name: str, args: BackupArgs) -> aws.backup.Vault:
        vault = aws.backup.Vault(
            f"{name}-vault",
            name=args.scope.name(VAULT),
            kms_key_arn=args.key_arn,
            force_destroy=not args.keep,
            # backups are what is left when the stack is not
            opts=pulumi.ResourceOptions(parent=self, protect=args.keep, retain_on_delete=args.keep),
        )
        lock = args.settings.lock
        if lock.mode != "none":
            aws.backup.VaultLockConfiguration(
                f"{name}-lock",
                backup_vault_name=vault.name,
                min_retention_days=lock.min_days,
                max_retention_days=lock.max_days,
                # only a lock with a date becomes one that nobody lifts
                changeable_for_days=lock.changeable_days if lock.mode == "compliance" else None,
                opts=pulumi.ResourceOptions(parent=self),
            )
        aws.backup.VaultPolicy(
            f"{name}-vault-policy",
            backup_vault_name=vault.name,
            policy=document(*vault_statements(args.scope, args.allowed_regions, keep=args.keep)),
            opts=pulumi.ResourceOptions(parent=self),
        )
        return vault

    def _restore_test(
        self, name: str, args: BackupArgs, policy: str, vault: aws.backup.Vault, role: Role
    ) -> None:
        # these names, unlike all others, may hold no hyphen
        noun = args.scope.name(policy).replace("-", "_")
        plan = aws.backup.RestoreTestingPlan(
            f"{name}-{policy}-test",
            name=noun,
            schedule_expression="cron(0 2 ? * 1#1 *)",
            start_window_hours=8,
            recovery_point_selection={
                "algorithm": "LATEST_WITHIN_WINDOW",
                "include_vaults": [vault.arn],
                "recovery_point_types": ["SNAPSHOT"],
                "selection_window_days": 7,
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        for kind in RESTORED:
            overrides: dict[str, pulumi.Input[str]] = {}
            if kind == "RDS" and args.database_subnet_group is not None:
                overrides = {"dbSubnetGroupName": args.database_subnet_group}
            aws.backup.RestoreTestingSelection(
                f"{name}-{policy}-test-{kind.lower()}",
                name=f"{noun}_{kind.lower()}",
                restore_testing_plan_name=plan.name,
                protected_resource_type=kind,
                iam_role_arn=role.arn,
                protected_resource_arns=["*"],
                protected_resource_conditions={
                    "string_equals": [{"key": f"aws:ResourceTag/{TAG}", "value": policy}]
                },
                restore_metadata_overrides=overrides or None,
                validation_window_hours=1,
                opts=pulumi.ResourceOptions(parent=self, depends_on=role.policies),
            )

    def _alarms(self, name: str, args: BackupArgs, vault: aws.backup.Vault) -> None:
        on_event(
            name,
            args.scope,
            noun="backup-failed",
            pattern=json.dumps(
                {
                    "source": ["aws.backup"],
                    "detail-type": [
                        f"{kind} Job State Change" for kind in ("Backup", "Copy", "Restore")
                    ],
                    # of a restore the same is called its status
                    "detail": {"$or": [{"state": _FAILED}, {"status": _FAILED}]},
                }
            ),
            topic=args.topic_arn,
            parent=self,
        )
        alarm_of_silence(
            f"{name}-missing-alarm",
            args.scope.name("backup-missing"),
            "No backup was completed for a day: a plan, its role or its key is gone, or nothing is "
            "selected any more.",
            metric=("AWS/Backup", "NumberOfBackupJobsCompleted"),
            dimensions={"BackupVaultName": vault.name},
            period_seconds=86400,
            topic_arn=args.topic_arn,
            opts=pulumi.ResourceOptions(parent=self),
        )


def vault_statements(
    scope: Scope, allowed_regions: Sequence[str], *, keep: bool
) -> tuple[Statement, ...]:
    """What nobody may do with the vault, whatever their own permissions say."""
    at_home = Statement(
        sid="DenyCopiesOutOfTheCountry",
        effect="Deny",
        actions=("backup:CopyFromBackupVault",),
        resources=["*"],
        principals=ANYONE,
        conditions={
            "ForAnyValue:ArnNotLike": {
                "backup:CopyTargets": [
                    f"arn:aws:backup:{region}:*:backup-vault:*" for region in allowed_regions
                ]
            }
        },
    )
    lasting = Statement(
        sid="DenyWeakening",
        effect="Deny",
        actions=_WEAKENING,
        resources=["*"],
        principals=ANYONE,
        conditions={
            "ArnNotEquals": {
                # AWS Backup takes its role to delete what is due; nobody else can take it
                "aws:PrincipalArn": [scope.role_arn("break-glass"), scope.role_arn(ROLE)]
            }
        },
    )
    return (at_home, lasting) if keep else (at_home,)


def copy_vault_statements(scope: Scope) -> tuple[Statement, ...]:
    """For the policy of the other account's vault: this account may put copies into it.

    For the administrators of that account; nothing here may make it.
    """
    return (
        Statement(
            sid="CopiesArrive",
            effect="Allow",
            actions=("backup:CopyIntoBackupVault",),
            resources=["*"],
            principals={"AWS": (f"arn:aws:iam::{scope.account_id}:root",)},
        ),
    )


def _rule(
    name: str, rule: BackupRule, vault: pulumi.Input[str], args: BackupArgs
) -> aws.backup.PlanRuleArgsDict:
    lifecycle: Any = {"delete_after": rule.keep_days}
    if rule.cold_after_days is not None:
        lifecycle = {**lifecycle, "cold_storage_after": rule.cold_after_days}
    made: aws.backup.PlanRuleArgsDict = {
        "rule_name": name,
        "target_vault_name": vault,
        "schedule": rule.schedule,
        "start_window": 60,
        "completion_window": 720,
        "lifecycle": lifecycle,
        # recovery to a point in time is RDS's and S3's own: AWS Backup would take over the
        # database's backup window, and the two declarations would undo each other
        "enable_continuous_backup": False,
        "recovery_point_tags": {"environment": args.scope.environment, "backup-rule": name},
    }
    copy = args.settings.copy_account
    if copy is not None and rule.copied:
        made["copy_actions"] = [
            {
                "destination_vault_arn": _other_vault(args.scope, copy),
                "lifecycle": lifecycle,
            }
        ]
    return made


def _other_vault(scope: Scope, copy: CopyAccount) -> str:
    return f"arn:aws:backup:{scope.region}:{copy.account_id}:backup-vault:{copy.vault}"
