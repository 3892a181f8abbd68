"""Every alert fires on what it is for and stays quiet just before: run by Prometheus' own tool."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.local.machine import executable
from components.local.monitoring import PLATFORM_RULES
from components.local.workload import alert_rules

WORKLOAD = "credit-risk"
RULES: dict[str, dict[str, Any]] = {
    "platform": PLATFORM_RULES,
    "workload": alert_rules(WORKLOAD),
}


@dataclass(frozen=True)
class Case:
    """Series, one value in ten seconds, and what an alert says at `at`."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] = field(default_factory=dict)
    """Those of the alert that fires; empty where none does."""


def up(**values: str) -> dict[str, str]:
    """The targets of the slots, each with its values."""
    return {
        f'up{{job="serving",workload="{WORKLOAD}",slot="{slot}"}}': value
        for slot, value in values.items()
    }


def requests(**values: str) -> dict[str, str]:
    """The counters of answers, by the letter of the slot and the status: `a200`."""
    return {
        f'falaj_requests_total{{job="serving",workload="{WORKLOAD}",slot="{name[0]}",'
        f'code="{name[1:]}"}}': value
        for name, value in values.items()
    }


CRITICAL = {"severity": "critical", "workload": WORKLOAD}
GATEWAY = {"job": "gateway", "instance": "127.0.0.1:8404"}
GATEWAY_UP = 'up{job="gateway",instance="127.0.0.1:8404"}'

FIRES = {
    "a part that is down for a minute": Case(
        "PartDown", {GATEWAY_UP: "1x3 0x20"}, "3m", {"severity": "critical"} | GATEWAY
    ),
    "no model server answers": Case("NoModelServer", up(a="1x3 0x20", b="0x30"), "3m", CRITICAL),
    "two of a hundred predictions fail": Case(
        "PredictionsFail", requests(a200="0+98x30", a500="0+2x30"), "4m", CRITICAL
    ),
    "the one slot with a little traffic fails": Case(
        "PredictionsFail", requests(a200="0+90x30", b500="0+10x30"), "4m", CRITICAL
    ),
}
QUIET = {
    "a part is down for half a minute": Case("PartDown", {GATEWAY_UP: "1x10 0x3 1x20"}, "2m10s"),
    "a model server is down, which has an alert of its own": Case("PartDown", up(a="0x30"), "3m"),
    "one of two model servers answers": Case("NoModelServer", up(a="0x30", b="1x30"), "3m"),
    "a model server of another workload is down": Case(
        "NoModelServer", {'up{job="serving",workload="other",slot="a"}': "0x30"}, "3m"
    ),
    "one of two hundred predictions fails": Case(
        "PredictionsFail", requests(a200="0+199x30", a500="0+1x30"), "4m"
    ),
    "clients send what cannot be answered": Case(
        "PredictionsFail", requests(a200="0+50x30", a422="0+50x30"), "4m"
    ),
    "nobody asks anything": Case("PredictionsFail", requests(a200="5x30", a500="1x30"), "4m"),
    "nothing was ever asked": Case("PredictionsFail", up(a="1x30"), "4m"),
}


def rules() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    return {
        rule["alert"]: rule
        for content in RULES.values()
        for group in content["groups"]
        for rule in group["rules"]
    }


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in `folder`, where the rules lie."""
    for name, content in RULES.items():
        (folder / f"{name}.yml").write_text(yaml.safe_dump(content))
    return subprocess.run(
        [executable("promtool"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def judge(folder: Path, case: Case) -> subprocess.CompletedProcess[str]:
    """Whether exactly the alert of `case` fires, with its labels and a summary without blanks."""
    expected = []
    if case.labels:
        summary = rules()[case.alert]["annotations"]["summary"]
        for name, value in case.labels.items():
            summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
        expected = [{"exp_labels": case.labels, "exp_annotations": {"summary": summary}}]
    test = {
        "rule_files": [f"{name}.yml" for name in RULES],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "10s",
                "input_series": [
                    {"series": series, "values": values} for series, values in case.series.items()
                ],
                "alert_rule_test": [
                    {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}
                ],
            }
        ],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(test))
    return promtool(folder, "test", "rules", "test.yml")


@pytest.mark.parametrize("case", FIRES.values(), ids=FIRES)
def test_an_alert_fires_when(case: Case, tmp_path: Path) -> None:
    done = judge(tmp_path, case)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", QUIET.values(), ids=QUIET)
def test_an_alert_stays_quiet_when(case: Case, tmp_path: Path) -> None:
    done = judge(tmp_path, case)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    for cases in (FIRES, QUIET):
        assert {case.alert for case in cases.values()} == set(rules())


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    done = promtool(tmp_path, "check", "rules", *(f"{name}.yml" for name in RULES))
    assert done.returncode == 0, done.stdout + done.stderr
