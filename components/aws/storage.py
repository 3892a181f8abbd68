"""The buckets of an environment, side by side: what differs between them, and nothing else.

Owns which buckets there are and how settings become their lifecycle, lock and guard. A bucket by
itself is said in `artifact_store`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pulumi

from components.aws.access import TEAM_FOLDERS
from components.aws.access_point import TeamAccess, TeamAccessArgs
from components.aws.artifact_store import (
    ArtifactStore,
    ArtifactStoreArgs,
    Inventory,
    Lifecycle,
)
from components.aws.bucket_policy import Guard, access_log_deliveries
from components.aws.events import ArrivalQueue, ArrivalQueueArgs
from components.aws.policy_document import Statement
from components.aws.scope import Scope
from components.aws.settings.storage import CONTENTS, Content, StorageSettings, Traits

EXEMPT_ROLES = ("apply", "break-glass", "backup", "config", "log-stream", "siem")
"""Roles that read and write objects from outside the network: the first two when they must, the
others because a service (AWS Backup, AWS Config, Firehose) or a SIEM takes them and works from a
network of its own."""

RESTORERS = ("backup",)
"""Roles that bring teams' objects back from a backup, under the key that they had."""


@dataclass(frozen=True, kw_only=True)
class StorageArgs:
    """What all buckets have in common, and whom they serve."""

    scope: Scope
    storage: StorageSettings
    key_arns: Mapping[str, pulumi.Input[str]]
    """Data domain → the key of its buckets."""
    keep: bool
    organisation_id: str | None = None
    """Whose accounts may be let in at all; without it, this account alone."""
    vpc_id: pulumi.Input[str] | None = None
    """The network that objects are used from; without it there are no access points."""
    teams: Iterable[str] = ()
    team_keys: bool = False
    """Whether the folders of teams are under keys of theirs: `team_key_arns` has that of each."""
    team_key_arns: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    deliveries: Mapping[Content, Sequence[Statement]] = field(default_factory=dict)
    """What other parts let AWS services write, bucket by bucket."""


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The buckets that were made, the doors of teams to them, and the queue of new data."""

    stores: Mapping[Content, ArtifactStore]
    access: Mapping[str, TeamAccess]
    """Team → its access points."""
    arrivals: ArrivalQueue | None


def make_storage(name: str, args: StorageArgs, opts: pulumi.ResourceOptions) -> Storage:
    """Makes every bucket of `CONTENTS`; each is a component of its own, called after `name`."""
    guard = Guard(
        account_id=args.scope.account_id,
        organisation_id=args.organisation_id,
        vpc_id=args.vpc_id,
        exempt_roles=tuple(args.scope.role_arn(role) for role in EXEMPT_ROLES),
    )
    shared_guard = replace(
        guard,
        team_roles=args.scope.role_arn("team-*") if args.vpc_id is not None else None,
        keyed_folders=TEAM_FOLDERS if args.team_keys else None,
        restorers=tuple(args.scope.role_arn(role) for role in RESTORERS),
    )

    def store(content: Content, access_logs: ArtifactStore | None) -> ArtifactStore:
        traits = CONTENTS[content]
        return ArtifactStore(
            f"{name}-{content}-store",
            ArtifactStoreArgs(
                bucket=args.scope.bucket(content),
                key_arn=args.key_arns[traits.domain] if traits.keyed else None,
                data_classification=traits.classification,
                keep=args.keep,
                guard=shared_guard if traits.shared else guard,
                lifecycle=_lifecycle(args.storage, traits),
                purpose=traits.purpose,
                backed_up=traits.shared,
                lock=args.storage.lock if traits.locked else None,
                access_logs=access_logs,
                inventory=_inventory(args, access_logs),
                deliveries=(
                    *args.deliveries.get(content, ()),
                    *(access_log_deliveries(args.scope) if access_logs is None else ()),
                ),
            ),
            opts,
        )

    access_logs = store("access-logs", None)
    stores: dict[Content, ArtifactStore] = {
        content: access_logs if content == "access-logs" else store(content, access_logs)
        for content in CONTENTS
    }
    return Storage(
        stores=stores,
        access=_access(name, args, stores, opts),
        arrivals=ArrivalQueue(
            f"{name}-arrivals",
            ArrivalQueueArgs(
                scope=args.scope,
                arrivals=args.storage.arrivals,
                content="data",
                bucket_id=stores["data"].bucket_id,
                key_arn=args.key_arns[CONTENTS["data"].domain],
            ),
            opts,
        )
        if args.storage.arrivals is not None
        else None,
    )


def _access(
    name: str,
    args: StorageArgs,
    stores: Mapping[Content, ArtifactStore],
    opts: pulumi.ResourceOptions,
) -> dict[str, TeamAccess]:
    if args.vpc_id is None:
        return {}
    shared = {content: stores[content].bucket_id for content, of in CONTENTS.items() if of.shared}
    return {
        team: TeamAccess(
            f"{name}-access-{team}",
            TeamAccessArgs(
                scope=args.scope,
                team=team,
                bucket_ids=shared,
                vpc_id=args.vpc_id,
                key_arn=args.team_key_arns[team] if args.team_keys else None,
            ),
            opts,
        )
        for team in args.teams
    }


def _lifecycle(storage: StorageSettings, traits: Traits) -> Lifecycle:
    if traits.record:
        return Lifecycle(
            # a record that was overwritten or deleted stays one
            noncurrent_days=storage.log_retention_days,
            abort_upload_days=storage.abort_upload_days,
            transition_days=storage.archive_log_days,
            transition_to="GLACIER_IR",
            expire_days=storage.log_retention_days,
        )
    return Lifecycle(
        noncurrent_days=storage.noncurrent_days,
        abort_upload_days=storage.abort_upload_days,
        transition_days=storage.tier_days,
    )


def _inventory(args: StorageArgs, access_logs: ArtifactStore | None) -> Inventory | None:
    if access_logs is None or args.storage.inventory == "none":
        return None
    return Inventory(
        # S3's words begin with a capital
        frequency="Daily" if args.storage.inventory == "daily" else "Weekly",
        destination_arn=access_logs.arn,
        account_id=args.scope.account_id,
    )
