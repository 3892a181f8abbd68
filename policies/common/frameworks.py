"""What the controls in `controls` are: laws and standards, whom they bind, and what a rule leaves.

No rule fulfils a control. It shows that a setting which the control needs is there, in what Pulumi
deploys; `Control.duty` says what stays with the organisation. `Control.checked` says against which
text the reference was compared (November 2026); empty where it was written from memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from policies.common.controls import CONTROLS

Jurisdiction = Literal["mainland-bank", "difc", "adgm", "health", "government", "other"]
"""What kind of organisation it is, and where; `other` is one on the mainland without a regulator of
its own."""
JURISDICTIONS: tuple[Jurisdiction, ...] = get_args(Jurisdiction)


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A law or a standard."""

    key: str
    """How its controls begin."""
    title: str
    source: str
    applies: frozenset[Jurisdiction]
    """To whose data; an organisation of another kind is told that it is not applicable."""
    scope: str
    """Why not to others, with the article."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """One article or clause."""

    name: str
    """As in `controls`."""
    title: str
    duty: str
    """What a rule does not show, and the organisation must see to."""
    checked: str = ""


_ALL = frozenset(JURISDICTIONS)
_RULEBOOK = "rulebook of the Central Bank of the UAE"
_PDPL_TEXT = "English translations of the law, among them uaepdpl.com; the Arabic text prevails"
_ISO_LIST = "public lists of Annex A's titles; the standard itself was not at hand"

FRAMEWORKS: tuple[Framework, ...] = (
    Framework(
        key="UAE-PDPL",
        title="Federal Decree-Law 45/2021 on the Protection of Personal Data",
        source=_PDPL_TEXT,
        applies=frozenset({"other"}),
        scope=(
            "Art. 2 leaves out government data, health data and banking and credit data that have "
            "a law of their own, and free zones with a law of their own (DIFC, ADGM). Whether it "
            "binds other data of such an organisation, its employees' say, is for its lawyers."
        ),
    ),
    Framework(
        key="CBUAE CPS",
        title="Consumer Protection Standards of the Central Bank (to Regulation 8/2020)",
        source=f"{_RULEBOOK}, article 6",
        applies=frozenset({"mainland-bank"}),
        scope="Binds financial institutions that the Central Bank licenses.",
    ),
    Framework(
        key="CBUAE Outsourcing Regulation 14/2021",
        title="Outsourcing Regulation for Banks of the Central Bank, 14/2021",
        source=f"{_RULEBOOK}, article 6",
        applies=frozenset({"mainland-bank"}),
        scope="Binds banks that the Central Bank licenses.",
    ),
    Framework(
        key="UAE Federal Law 2/2019",
        title="Federal Law 2/2019 on Information and Communication Technology in Health Fields",
        source="Emirates Health Services and the Ministry of Justice publish the text",
        applies=frozenset({"health"}),
        scope="Art. 2: use of such technology in health fields, in the free zones too.",
    ),
    Framework(
        key="DIFC Law 5/2020",
        title="DIFC Data Protection Law 5/2020",
        source="the DIFC Commissioner of Data Protection",
        applies=frozenset({"difc"}),
        scope="Applies in the Dubai International Financial Centre.",
    ),
    Framework(
        key="ADGM DPR 2021",
        title="ADGM Data Protection Regulations 2021",
        source="the ADGM Office of Data Protection",
        applies=frozenset({"adgm"}),
        scope="Applies in the Abu Dhabi Global Market.",
    ),
    Framework(
        key="GDPR",
        title="General Data Protection Regulation (EU) 2016/679",
        source="the Official Journal of the European Union, L 119",
        applies=_ALL,
        scope="Art. 3: where people in the Union are offered something or watched.",
    ),
    Framework(
        key="ISO27001:2022",
        title="ISO/IEC 27001:2022, Annex A",
        source=_ISO_LIST,
        applies=_ALL,
        scope="By choice; what of Annex A is in scope stands in the Statement of Applicability.",
    ),
    Framework(
        key="CIS-AWS",
        title="CIS Amazon Web Services Foundations Benchmark 3.0.0",
        source="the Center for Internet Security",
        applies=_ALL,
        scope="By choice.",
    ),
    Framework(
        key="CIS-K8s",
        title="CIS Kubernetes Benchmark 1.8",
        source="the Center for Internet Security",
        applies=_ALL,
        scope="By choice.",
    ),
)

_BY_RIGHT = "Decide which data may go where and on which ground; keep the record of it."
_MEASURES = "Assess the risk, and choose and review the measures; a setting is one of them."

KNOWN: dict[str, Control] = {
    control.name: control
    for control in (
        Control(
            name="UAE-PDPL art 20",
            title="Security of personal data",
            duty=_MEASURES,
            checked=_PDPL_TEXT,
        ),
        Control(
            name="UAE-PDPL art 22",
            title="Transfer abroad where protection is adequate",
            duty=_BY_RIGHT,
            checked=_PDPL_TEXT,
        ),
        Control(
            name="UAE-PDPL art 23",
            title="Transfer abroad where protection is not adequate",
            duty=_BY_RIGHT,
            checked=_PDPL_TEXT,
        ),
        Control(
            name="CBUAE CPS 6.1.6.1",
            title="Records of consumers are kept for five years at least",
            duty=(
                "Count from the end of the relationship, which no retention that counts from the "
                "write can do: say which records these are, and until when each is kept."
            ),
            checked=f"{_RULEBOOK}, 6.1.6.1",
        ),
        Control(
            name="CBUAE CPS 6.1.6.3",
            title="Consumer and transaction data are held within the UAE, with a backup elsewhere",
            duty=(
                "Say which data these are, keep a backup in a separate place, and try a restore. "
                "Five years at least, counted from the end of the relationship (6.1.6.1)."
            ),
            checked=f"{_RULEBOOK}, 6.1.6.3",
        ),
        Control(
            name="CBUAE CPS 6.1.6.4",
            title="Retention that is safe from loss, misuse, change, access and disclosure",
            duty="Review procedures and methods of retention every year.",
            checked=f"{_RULEBOOK}, 6.1.6.4",
        ),
        Control(
            name="CBUAE Outsourcing Regulation 14/2021 art 6.1",
            title="The master system of record is kept within the UAE at all times",
            duty=(
                "Say what the master system of record is. Confidential data leave the UAE with "
                "the Central Bank's approval and the customer's written consent alone (6.3)."
            ),
            checked=f"{_RULEBOOK}, article 6",
        ),
        Control(
            name="UAE Federal Law 2/2019 art 13",
            title="Health data of services in the State are not stored or sent abroad",
            duty="Exemptions are granted by decision of the health authority; hold that decision.",
        ),
        Control(
            name="DIFC Law 5/2020 art 14",
            title="Security of processing",
            duty=_MEASURES,
        ),
        Control(
            name="DIFC Law 5/2020 art 26",
            title="Transfers out of the DIFC: adequate level of protection",
            duty=f"{_BY_RIGHT} The mainland is outside of the DIFC too.",
            checked="the Commissioner's page on data export",
        ),
        Control(
            name="ADGM DPR 2021 s 42",
            title="Transfers out of ADGM subject to safeguards",
            duty=f"{_BY_RIGHT} The mainland is outside of ADGM too.",
        ),
        Control(
            name="GDPR art 17",
            title="Right to erasure",
            duty="Erase what a person has a right to; a key that is gone takes all under it along.",
        ),
        Control(name="GDPR art 32", title="Security of processing", duty=_MEASURES),
        Control(name="GDPR art 44", title="General principle for transfers", duty=_BY_RIGHT),
        *(
            Control(name=f"ISO27001:2022 A.{number}", title=title, duty=duty, checked=_ISO_LIST)
            for number, title, duty in (
                ("5.14", "Information transfer", "Rules and agreements on transfer."),
                ("5.31", "Legal, statutory, regulatory and contractual requirements", _BY_RIGHT),
                ("8.9", "Configuration management", "Say the baseline, and review it."),
                ("8.20", "Networks security", "Know the network, and watch it."),
                ("8.22", "Segregation of networks", "Say which domains there are, and why."),
                ("8.24", "Use of cryptography", "Rules on keys: who, how long, what if lost."),
            )
        ),
    )
}
"""What is known of a control, by its name."""

EQUIVALENTS: dict[str, tuple[str, ...]] = {
    "UAE-PDPL art 20": ("DIFC Law 5/2020 art 14",),
    "UAE-PDPL art 22": ("DIFC Law 5/2020 art 26", "ADGM DPR 2021 s 42"),
}
"""Control → what asks for the same in a place with a law of its own."""


def framework_of(control: str) -> Framework:
    """The framework of the control `control`. Raises `LookupError`."""
    for framework in FRAMEWORKS:
        if control.startswith(f"{framework.key} "):
            return framework
    raise LookupError(f"{control} is of no framework; frameworks begin with: {_keys()}")


def controls_of(rule: str) -> tuple[str, ...]:
    """All controls that the rule `rule` stands for, in every place."""
    named = CONTROLS[rule]
    return (*named, *(one for control in named for one in EQUIVALENTS.get(control, ())))


def claimed(rule: str, jurisdiction: Jurisdiction) -> tuple[str, ...]:
    """Those of `controls_of` that bind an organisation of the kind `jurisdiction`."""
    return tuple(
        control for control in controls_of(rule) if jurisdiction in framework_of(control).applies
    )


def rules_of(control: str, rules: Iterable[str]) -> list[str]:
    """Those of `rules` that stand for `control`, by name."""
    return sorted(rule for rule in rules if control in controls_of(rule))


def _keys() -> str:
    return ", ".join(framework.key for framework in FRAMEWORKS)
