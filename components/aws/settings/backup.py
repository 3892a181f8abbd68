"""The settings of backups: what is kept, for how long, and where the copies are.

Three kinds of copies, because a region can be lost: in the vault, in the vault of another account,
and at a second site outside the cloud region, sealed before it leaves. Copies to another country go
the same way as those to the second site, never by AWS Backup: what AWS copies to another region is
encrypted there under a key of that region.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from components.aws.settings.provision import Provision
from components.residency import Residency
from components.section import Name, Section

STANDARD = "standard"
"""The policy of everything that names no other."""
NONE = "none"
"""Stands where the name of a policy would, on what is not backed up."""

LEAST_DAYS = 35
"""How long a backup is kept at least."""
LEAST_CHANGEABLE_DAYS = 3
"""How long AWS lets a compliance lock be taken back, at least."""

LONGEST_NOUN = 30
"""Characters of what is added to the name of the role of a copy."""

Content = Literal["artifacts", "data", "models", "backups"]
"""Buckets whose contents can be copied elsewhere; databases are dumped into `backups`."""
AwsSchedule = Annotated[str, StringConstraints(pattern=r"^cron\((\S+ ){5}\S+\)$")]
CronSchedule = Annotated[str, StringConstraints(pattern=r"^(\S+ ){4}\S+$")]
HttpsEndpoint = Annotated[str, StringConstraints(pattern=r"^https://[A-Za-z0-9.-]+(:\d+)?$")]
BucketName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
Path = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9._-]+/)*$")]


class BackupRule(Section):
    """When a backup is made, and how long it is kept."""

    schedule: AwsSchedule
    """In UTC, six fields, as AWS has them."""
    keep_days: int = Field(ge=LEAST_DAYS)
    cold_after_days: int | None = Field(None, ge=1)
    """When it moves to cold storage, where its kind can."""
    copied: bool = True
    """Whether the other account gets a copy, where there is one."""

    @model_validator(mode="after")
    def _stays_cold_long_enough(self) -> Self:
        if self.cold_after_days is not None and self.keep_days < self.cold_after_days + 90:
            raise ValueError(
                f"keep_days: is {self.keep_days}; what moves to cold storage after "
                f"{self.cold_after_days} days stays there for 90 at least"
            )
        return self


class VaultLock(Section):
    """Who may shorten or delete what is in the vault.

    `governance` can be lifted by those with the permission; `compliance` by nobody, root and AWS
    included, once `changeable_days` are over.
    """

    mode: Literal["none", "governance", "compliance"] = "governance"
    min_days: int = Field(LEAST_DAYS, ge=1)
    max_days: int = Field(3653, ge=1)
    changeable_days: int = Field(14, ge=LEAST_CHANGEABLE_DAYS)


class CopyAccount(Section):
    """A vault of another account, in the same region."""

    account_id: Annotated[str, StringConstraints(pattern=r"^\d{12}$")]
    vault: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{2,50}$")]


class Target(Section):
    """An S3-compatible store elsewhere, which sees only what was sealed before it was sent.

    Its credentials and the passphrase are in a secret of AWS Secrets Manager that somebody fills
    once: whoever keeps the passphrase outside the region as well, since both go when a region goes.
    """

    endpoint: HttpsEndpoint
    bucket: BucketName
    prefix: Path = ""
    """Ends with a slash, or is empty."""
    location: str = Field(min_length=3)
    """Where it stands, for the record: such as ``Abu Dhabi, own data centre``."""
    schedule: CronSchedule = "30 1 * * *"
    """In UTC, five fields."""


class SecondSite(Target):
    """The store in the country, outside the cloud region."""

    contents: tuple[Content, ...] = Field(("artifacts", "data", "models", "backups"), min_length=1)


class ForeignTarget(Target):
    """A store in an approved region of another country, for one class of data."""

    region: str
    contents: tuple[Content, ...] = Field(min_length=1)
    """The buckets that hold nothing but data of the class."""


class BackupSettings(Provision):
    """How an environment's data is kept a second time."""

    policies: dict[Name, dict[Name, BackupRule]] = Field(
        default_factory=lambda: {
            STANDARD: {
                "daily": BackupRule(schedule="cron(0 22 * * ? *)", keep_days=LEAST_DAYS),
                # five years: CBUAE Consumer Protection Standards 6.1.6.1
                "monthly": BackupRule(schedule="cron(0 23 1 * ? *)", keep_days=1827),
            }
        }
    )
    """Policy → its rules. A resource is under the policy that its tag `backup` names; every
    resource names `standard` unless it says otherwise."""
    lock: VaultLock = VaultLock()
    copy_account: CopyAccount | None = None
    second_site: SecondSite | None = None
    foreign_copies: dict[Name, ForeignTarget] = Field(default_factory=dict)
    """Class of data → where an approval lets it be copied to."""
    restore_tests: bool = True
    """Whether a backup of each kind is restored once a month, and deleted again."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        problems = [*_policies_that_do_not_fit(self), *_targets_that_do_not_fit(self)]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def targets(self) -> Mapping[str, SecondSite | ForeignTarget]:
        """Noun → each store outside the region."""
        found: dict[str, SecondSite | ForeignTarget] = {}
        if self.second_site is not None:
            found["second-site"] = self.second_site
        return found | {f"foreign-{name}": one for name, one in self.foreign_copies.items()}


def _policies_that_do_not_fit(backup: BackupSettings) -> Iterator[str]:
    if STANDARD not in backup.policies:
        yield f"policies: has no {STANDARD!r}, which is that of everything that names no other"
    if NONE in backup.policies:
        yield f"policies.{NONE}: is the name for what is not backed up"
    for policy, rules in backup.policies.items():
        if not rules:
            yield f"policies.{policy}: has no rule"
        for name, rule in rules.items():
            if backup.lock.mode == "none":
                continue
            if not backup.lock.min_days <= rule.keep_days <= backup.lock.max_days:
                yield (
                    f"policies.{policy}.{name}.keep_days: is {rule.keep_days}; the locked vault "
                    f"fails every backup that is not kept for {backup.lock.min_days} to "
                    f"{backup.lock.max_days} days (lock.min_days, lock.max_days)"
                )


def _targets_that_do_not_fit(backup: BackupSettings) -> Iterator[str]:
    seen: dict[tuple[str, str], str] = {}
    for noun, target in backup.targets().items():
        key = _key(noun)
        if len(noun) > LONGEST_NOUN:
            yield f"{key}: has too long a name, its role would have more characters than IAM allows"
        host = urllib.parse.urlsplit(target.endpoint).hostname or ""
        cloud = re.search(r"\.([a-z]{2}(?:-[a-z]+)+-\d)\.amazonaws\.com$", host)
        if isinstance(target, SecondSite) and host.endswith("amazonaws.com"):
            yield (
                f"{key}.endpoint: is {target.endpoint}, a store of the cloud; a second site is one "
                "that is still there when the region is not"
            )
        if isinstance(target, ForeignTarget) and cloud and cloud.group(1) != target.region:
            yield f"{key}.endpoint: is in {cloud.group(1)}, but {key}.region is {target.region}"
        place = (target.endpoint, f"{target.bucket}/{target.prefix}")
        if place in seen:
            yield f"{key}: is the same place as {seen[place]}"
        seen.setdefault(place, key)


def _key(noun: str) -> str:
    """The settings' key of the target `noun`."""
    if noun == "second-site":
        return "second_site"
    return noun.replace("foreign-", "foreign_copies.", 1)


def problems_of_backup(backup: BackupSettings, *, account_id: str, keep_data: bool) -> list[str]:
    """What of the backups does not fit the account, or data that is not kept."""
    problems = []
    if backup.copy_account is not None and backup.copy_account.account_id == account_id:
        problems.append(
            "backup.copy_account.account_id: is this account; a copy that its administrators can "
            "reach is no second one"
        )
    if backup.own and backup.lock.mode == "compliance" and not keep_data:
        problems.append(
            "backup.lock.mode: is 'compliance', under which no vault can be deleted, and keep_data "
            "is false, by which the vault goes with the stack; governance can be lifted"
        )
    return problems


def unapproved_copies(backup: BackupSettings, residency: Residency) -> list[str]:
    """The problem of each copy to another country that no approval covers."""
    approved = {(copy.data_class, copy.region) for copy in residency.approved_copies}
    problems = []
    for data_class, target in backup.foreign_copies.items():
        key = f"aws.backup.foreign_copies.{data_class}"
        if residency.mode == "in-country":
            problems.append(f"{key}: nothing leaves while residency.mode is in-country")
        elif (data_class, target.region) not in approved:
            known = ", ".join(f"{one} to {region}" for one, region in sorted(approved))
            problems.append(
                f"{key}.region: is {target.region}; residency.approved_copies approves: {known}"
            )
    return problems
