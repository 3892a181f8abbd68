"""Which controls a rule may be said to stand for, and for whom."""

from __future__ import annotations

import pytest

from policies.common.controls import CONTROLS
from policies.common.frameworks import (
    FRAMEWORKS,
    JURISDICTIONS,
    KNOWN,
    Jurisdiction,
    claimed,
    controls_of,
    framework_of,
    rules_of,
)


def test_every_control_is_of_one_framework() -> None:
    named = {control for rule in CONTROLS for control in controls_of(rule)} | KNOWN.keys()

    for control in named:
        assert [one for one in FRAMEWORKS if control.startswith(f"{one.key} ")] == [
            framework_of(control)
        ]
    with pytest.raises(LookupError, match="ISO27001:2022"):
        framework_of("ISO9001 4.1")


@pytest.mark.parametrize(
    ("jurisdiction", "named", "not_named"),
    [
        ("mainland-bank", "CBUAE CPS 6.1.6.3", "UAE-PDPL art 22"),
        ("other", "UAE-PDPL art 22", "CBUAE CPS 6.1.6.3"),
        ("difc", "DIFC Law 5/2020 art 26", "UAE-PDPL art 22"),
        ("adgm", "ADGM DPR 2021 s 42", "DIFC Law 5/2020 art 26"),
        ("health", "UAE Federal Law 2/2019 art 13", "UAE-PDPL art 22"),
        ("government", "ISO27001:2022 A.5.14", "UAE-PDPL art 22"),
    ],
)
def test_only_what_binds_an_organisation_is_claimed(
    jurisdiction: Jurisdiction, named: str, not_named: str
) -> None:
    controls = claimed("aws-provider-region-is-allowed", jurisdiction)

    assert named in controls
    assert not_named not in controls


def test_each_framework_says_whom_it_binds_and_why_not_the_others() -> None:
    for framework in FRAMEWORKS:
        assert framework.applies
        assert framework.applies <= set(JURISDICTIONS)
        assert framework.scope.endswith(".")


def test_what_a_rule_leaves_to_the_organisation_is_said_of_each_law() -> None:
    laws = {
        control
        for rule in CONTROLS
        for control in controls_of(rule)
        if not control.startswith(("ISO27001", "CIS-"))
    }

    assert not laws - KNOWN.keys()
    assert all(KNOWN[law].duty.endswith(".") for law in laws)


def test_rules_are_found_by_control() -> None:
    assert rules_of("CIS-AWS 3.0.0 3.6", CONTROLS) == ["kms-key-rotates"]
