"""The picture of where data is: which store is under which key, and where copies of it go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.aws.settings.backup import ForeignTarget, SecondSite
from stacks.plan import Plan
from stacks.plan_areas import Area
from stacks.settings import Settings
from tools.documents.mermaid import Chart
from tools.documents.plans import bare, keys, of_type, read, stores

VAULT = "aws:backup/vault:Vault"

_BESIDE = "Keys of no store as a whole, which whoever writes to one names:"
_MOST_NAMES = 4
_NAMES = ("CloudTrail", "CloudWatch", "ECR", "EKS", "ElastiCache", "MSK", "RDS", "S3")
_SPELT = {name.lower().replace(" ", ""): name for name in (*_NAMES, "Secrets Manager")}
"""How AWS spells a service; any other is as Pulumi has it."""


@dataclass(frozen=True)
class _Copies:
    """Where copies of a store go; stores of one key with the same share a cylinder."""

    rules: str = ""
    """Of the backup that takes them; empty where none does."""
    sites: tuple[str, ...] = ()
    """Nouns of the places outside the region."""
    vault: bool = False
    """Whether they are where the backup puts copies."""


def data(plan: Plan, settings: Settings) -> str:
    """The stores of `plan` in frames of their keys; arrows lead to copies.

    Which store a backup takes is in the tags, and what is copied out of the region in `settings`.
    """
    chart = Chart("LR")
    sites = settings.aws.backup.targets() if settings.aws and settings.aws.backup.own else {}
    drawn: dict[str, _Copies] = {}
    for key, held in stores(plan).items():
        grouped: dict[_Copies, list[Mapping[str, Any]]] = {}
        for one in held:
            grouped.setdefault(_copies(plan, sites, one), []).append(one)
        with chart.group(f"key {key}", f"key {key}" if key else "no key of ours"):
            for copies, found in grouped.items():
                chart.box(f"{key} {copies}", *_lines(plan, found), stateful=True)
                drawn[f"{key} {copies}"] = copies
    vaults = [box for box, copies in drawn.items() if copies.vault]
    for arn in _vaults_elsewhere(plan):
        account, name = arn.split(":")[4], arn.rpartition(":")[2]
        chart.box(arn, f"backup vault {name}", f"of account {account}", stateful=True)
        for vault in vaults:
            chart.arrow(vault, arn, "copy")
    for noun, site in sites.items():
        chart.box(f"site {noun}", noun.replace("-", " "), site.location, stateful=True)
    for box, copies in drawn.items():
        for vault in vaults if copies.rules else ():
            chart.arrow(box, vault, copies.rules)
        for noun in copies.sites:
            chart.arrow(box, f"site {noun}", "sealed")
    idle = sorted(keys(plan) - set(stores(plan)))
    named = ", ".join(f"`{key}`" for key in idle)
    return chart.text() + (f"\n{_BESIDE} {named}.\n" if idle else "")


def _copies(
    plan: Plan, sites: Mapping[str, SecondSite | ForeignTarget], store: Mapping[str, Any]
) -> _Copies:
    is_bucket = store["type"].startswith("aws:s3/")
    return _Copies(
        rules=_rules(plan, store),
        sites=tuple(
            noun
            for noun, site in sites.items()
            if is_bucket and _name(plan, store) in site.contents
        ),
        vault=store["type"] == VAULT,
    )


def _lines(plan: Plan, found: list[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each type of store: how many, and whose."""
    types: dict[str, list[str]] = {}
    for one in found:
        types.setdefault(_service(one["type"]), []).append(_name(plan, one))
    for kind, names in types.items():
        count = f" ×{len(names)}" if len(names) > 1 else ""
        owners = list(dict.fromkeys(names))
        whose = ", ".join(owners[:_MOST_NAMES]) if len(owners) <= _MOST_NAMES else "of all parts"
        yield f"{kind}{count}: {whose}"


def _rules(plan: Plan, store: Mapping[str, Any]) -> str:
    """The rules of the backup plans that take `store`: by its tags, if they take its kind."""
    kinds = {
        kind.casefold()
        for one in of_type(plan, "RegionSettings")
        for kind, taken in one["inputs"].get("resourceTypeOptInPreference", {}).items()
        if taken
    }
    if store["type"].split(":")[1].partition("/")[0] not in kinds:
        return ""
    tags = _default_tags(plan) | (store["inputs"].get("tags") or {})
    plans = {one["urn"]: one for one in of_type(plan, "Plan")}
    names = [
        rule["ruleName"]
        for selection in of_type(plan, "Selection")
        if any(tags.get(tag["key"]) == tag["value"] for tag in selection["inputs"]["selectionTags"])
        for urn in selection["dependencies"]
        if urn in plans
        for rule in plans[urn]["inputs"]["rules"]
    ]
    return ", ".join(names)


def _default_tags(plan: Plan) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in plan.resources:
        if one["type"] == "pulumi:providers:aws":
            found |= read(one["inputs"].get("defaultTags", {})).get("tags", {})
    return found


def _vaults_elsewhere(plan: Plan) -> list[str]:
    return sorted(
        {
            copy["destinationVaultArn"]
            for one in of_type(plan, "Plan")
            for rule in one["inputs"].get("rules", ())
            for copy in rule.get("copyActions", ())
        }
    )


def _name(plan: Plan, store: Mapping[str, Any]) -> str:
    """The component that a store belongs to, by which people know it."""
    return bare(plan, str(store["parent"]).rpartition("::")[2]).removesuffix("-store")


def _service(kind: str) -> str:
    """The service and the kind in words: ``aws:s3/bucket:Bucket`` is ``S3 bucket``."""
    _, middle, name = kind.split(":")
    service = middle.partition("/")[0]
    words = Area(kind=name).title.lower()
    return f"{_SPELT.get(service, service)} {words}"
