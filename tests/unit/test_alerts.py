"""Every alert fires on what it is for and stays quiet just before: run by Prometheus' own tool.

The cases of one group of rules are judged in one run of `promtool`.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from measured import MEASURED

from components.local.machine import executable
from components.local.monitoring import rules_file
from components.monitoring import alerts as monitoring_alerts
from components.monitoring.alerts import cluster_rules, platform_rules, workload_rules
from components.monitoring.objectives import (
    LATENCY_BOUNDS_MS,
    Objective,
    availability,
    latency,
    objective_rules,
    uptime,
)
from components.monitoring.rules import Alert, Group, Record, alerts, rendered

WORKLOAD = "credit-risk"
OBJECTIVES = (availability(99.5), latency(95, 250), uptime(99.5, ["tracking", "orchestration"]))
FILES: dict[str, tuple[Group, ...]] = {
    "local": (platform_rules(), workload_rules(WORKLOAD)),
    "cluster": (
        *cluster_rules(jobs=["kuberay", "dcgm"], gpu_prices_usd={"NVIDIA A10G": 1.25}),
        *objective_rules(OBJECTIVES),
        workload_rules(WORKLOAD, "lending"),
    ),
}
"""Which rules are there, by the place."""


@dataclass(frozen=True)
class Case:
    """Series, one value in `every`, and what an alert says at `at`."""

    alert: str
    series: dict[str, str]
    at: str
    labels: dict[str, str] = field(default_factory=dict)
    """Those of the alert that fires, its severity aside; empty where none does."""
    every: str = "10s"
    value: str = ""
    """What the summary says of the value."""
    rules: str = "cluster"


def up(**values: str) -> dict[str, str]:
    """The targets of the slots, each with its values."""
    return {
        f'up{{job="serving",workload="{WORKLOAD}",slot="{slot}"}}': value
        for slot, value in values.items()
    }


def requests(namespace: str = "", **values: str) -> dict[str, str]:
    """The counters of answers, by the letter of the slot and the status: `a200`."""
    team = f',namespace="{namespace}"' if namespace else ""
    return {
        f'falaj_requests_total{{job="serving",workload="{WORKLOAD}",slot="{name[0]}",'
        f'code="{name[1:]}"{team}}}': value
        for name, value in values.items()
    }


def within(fast: str, every: str) -> dict[str, str]:
    """The counters of answers within 250 ms, and of all."""
    who = f'namespace="lending",workload="{WORKLOAD}"'
    return {
        f'falaj_request_seconds_bucket{{{who},le="0.25"}}': fast,
        f"falaj_request_seconds_count{{{who}}}": every,
    }


def decisions(positive: str, negative: str) -> dict[str, str]:
    """The counters of decisions."""
    who = f'namespace="lending",workload="{WORKLOAD}"'
    return {
        f'falaj_predictions_total{{{who},decision="{decision}"}}': values
        for decision, values in (("positive", positive), ("negative", negative))
    }


OURS = {"workload": WORKLOAD}
LENDING = {"namespace": "lending", "workload": WORKLOAD}
GATEWAY = {"job": "gateway", "instance": "127.0.0.1:8404"}
GATEWAY_UP = 'up{job="gateway",instance="127.0.0.1:8404"}'
JOB = {"namespace": "lending", "name": "nightly"}
JOB_FAILED = 'kuberay_job_deployment_status{namespace="lending",name="nightly",deployment_status='
PENDING = 'kueue_pending_workloads{cluster_queue="lending",status="inadmissible"}'
EVICTED = 'ray_memory_manager_worker_eviction_total{namespace="lending",ray_io_cluster="ray"}'
GPU_OF = 'gpu="0",Hostname="node-1"'
GPU = {"gpu": "0", "Hostname": "node-1"}
HELD = f'DCGM_FI_DEV_GPU_UTIL{{{GPU_OF},namespace="lending",pod="ray-1"}}'
XID = f"DCGM_FI_DEV_XID_ERRORS{{{GPU_OF}}}"
SYNCED = 'externalsecret_status_condition{namespace="lending",name="t",condition="Ready",status='
CERTIFICATE = (
    'certmanager_certificate_expiration_timestamp_seconds{namespace="serving",name="models"}'
)
BACKUP = 'velero_backup_last_successful_timestamp{schedule="daily"}'
TRACKING = 'up{job="tracking",instance="10.0.0.1:5000"}'

FIRES = {
    # of every place
    "a part that is down for a minute": Case(
        "PartDown", {GATEWAY_UP: "1x3 0x20"}, "3m", GATEWAY, rules="local"
    ),
    "no model server answers": Case(
        "NoModelServer", up(a="1x3 0x20", b="0x30"), "3m", OURS, rules="local"
    ),
    "two of a hundred predictions fail": Case(
        "PredictionsFail", requests(a200="0+98x30", a500="0+2x30"), "4m", OURS, rules="local"
    ),
    "the one slot with a little traffic fails": Case(
        "PredictionsFail", requests(a200="0+90x30", b500="0+10x30"), "4m", OURS, rules="local"
    ),
    # of a cluster
    "a part of a cluster that is down for five minutes": Case(
        "PartDown", {GATEWAY_UP: "1x3 0x60"}, "7m", GATEWAY
    ),
    "the watch is alive": Case("DeadMansSwitch", {GATEWAY_UP: "1x30"}, "1m"),
    "a part of which nothing is measured": Case(
        "PartNotRead", {'up{job="dcgm"}': "0x200"}, "20m", {"job": "kuberay"}
    ),
    "a training job failed": Case(
        "TrainingJobFailed", {f'{JOB_FAILED}"Failed"}}': "1x9"}, "1m", JOB
    ),
    "a queue is never empty for two hours": Case(
        "TrainingWaits", {PENDING: "2x200"}, "125m", {"cluster_queue": "lending"}, every="1m"
    ),
    "Ray ends a task for want of memory": Case(
        "RayOutOfMemory",
        {EVICTED: "0x5 1x20"},
        "3m",
        {"namespace": "lending", "ray_io_cluster": "ray"},
    ),
    "a GPU is held and idle for two hours": Case(
        "GpuIdle", {HELD: "2x200"}, "125m", {"namespace": "lending", "pod": "ray-1"}, every="1m"
    ),
    "a GPU fell off the bus": Case("GpuFault", {XID: "0x5 79x30"}, "4m", GPU, value="79"),
    "a GPU is too hot for ten minutes": Case(
        "GpuHot", {f"DCGM_FI_DEV_GPU_TEMP{{{GPU_OF}}}": "90x100"}, "12m", GPU
    ),
    "the share of positive decisions falls": Case(
        "DecisionsShift",
        decisions("0+50x300 15000+5x90", "0+50x300 15000+95x90"),
        "375m",
        LENDING,
        every="1m",
    ),
    "a secret is not brought in for 15 minutes": Case(
        "SecretNotSynced",
        {f'{SYNCED}"False"}}': "1x200"},
        "20m",
        {"namespace": "lending", "name": "t"},
    ),
    "a certificate ends within 13 days": Case(
        "CertificateEnds",
        {CERTIFICATE: f"{13 * 86400}x100"},
        "70m",
        {"namespace": "serving", "name": "models"},
        every="1m",
    ),
    "the last good backup is 27 hours old": Case(
        "BackupTooOld", {BACKUP: "0x300"}, "27h", {"schedule": "daily"}, every="10m"
    ),
    # of objectives: 14.4 times as fast as the budget lasts, 6 times, once
    "8 % of an hour's predictions fail": Case(
        "AvailabilityBudgetBurnsFast",
        requests("lending", a200="0+92x120", a500="0+8x120"),
        "70m",
        {**LENDING, "slo": "availability"},
        every="1m",
    ),
    "4 % of six hours' predictions fail": Case(
        "AvailabilityBudgetBurnsFast",
        requests("lending", a200="0+96x400", a500="0+4x400"),
        "365m",
        {**LENDING, "slo": "availability"},
        every="1m",
    ),
    "1 % of three days' predictions fail": Case(
        "AvailabilityBudgetBurnsSlowly",
        requests("lending", a200="0+99x900", a500="0+1x900"),
        "73h",
        {**LENDING, "slo": "availability"},
        every="5m",
    ),
    "three of four predictions are slow for an hour": Case(
        "LatencyBudgetBurnsFast",
        within("0+20x120", "0+80x120"),
        "70m",
        {**LENDING, "slo": "latency"},
        every="1m",
    ),
    "6 % of three days' predictions are slow": Case(
        "LatencyBudgetBurnsSlowly",
        within("0+94x900", "0+100x900"),
        "73h",
        {**LENDING, "slo": "latency"},
        every="5m",
    ),
    "a part answers nothing for five minutes of an hour": Case(
        "UptimeBudgetBurnsFast",
        {TRACKING: "1x80 0x4 1x0 0x20"},
        "86m",
        {"job": "tracking", "slo": "uptime"},
        every="1m",
    ),
    "a part is away for a minute of every hour and a half": Case(
        "UptimeBudgetBurnsSlowly",
        {TRACKING: " ".join(["1x16 0x0"] * 60)},
        "73h",
        {"job": "tracking", "slo": "uptime"},
        every="5m",
    ),
}
QUIET = {
    "a part is down for half a minute": Case(
        "PartDown", {GATEWAY_UP: "1x10 0x3 1x20"}, "2m10s", rules="local"
    ),
    "a model server is down, which has an alert of its own": Case(
        "PartDown", up(a="0x30"), "3m", rules="local"
    ),
    "one of two model servers answers": Case(
        "NoModelServer", up(a="0x30", b="1x30"), "3m", rules="local"
    ),
    "a model server of another workload is down": Case(
        "NoModelServer",
        {'up{job="serving",workload="other",slot="a"}': "0x30"},
        "3m",
        rules="local",
    ),
    "a model server of another team's workload of that name is down": Case(
        "NoModelServer",
        {f'up{{job="serving",workload="{WORKLOAD}",namespace="fraud",slot="a"}}': "0x30"},
        "3m",
    ),
    "one of two hundred predictions fails": Case(
        "PredictionsFail", requests(a200="0+199x30", a500="0+1x30"), "4m", rules="local"
    ),
    "clients send what cannot be answered": Case(
        "PredictionsFail", requests(a200="0+50x30", a422="0+50x30"), "4m", rules="local"
    ),
    "nobody asks anything": Case(
        "PredictionsFail", requests(a200="5x30", a500="1x30"), "4m", rules="local"
    ),
    "nothing was ever asked": Case("PredictionsFail", up(a="1x30"), "4m", rules="local"),
    "a part of a cluster is down for two minutes": Case(
        "PartDown", {GATEWAY_UP: "1x3 0x12 1x60"}, "7m"
    ),
    "the watch sees nothing that answers": Case("DeadMansSwitch", {GATEWAY_UP: "0x30"}, "1m"),
    "parts that are measured, though they are down": Case(
        "PartNotRead", {'up{job="kuberay"}': "0x200", 'up{job="dcgm"}': "1x200"}, "20m"
    ),
    "a training job is complete": Case(
        "TrainingJobFailed", {f'{JOB_FAILED}"Complete"}}': "1x9"}, "1m"
    ),
    "a queue was empty an hour ago": Case(
        "TrainingWaits", {PENDING: "2x60 0x0 2x100"}, "125m", every="1m"
    ),
    "Ray ended a task long ago": Case("RayOutOfMemory", {EVICTED: "7x30"}, "3m"),
    "a GPU is held and busy at times": Case(
        "GpuIdle", {HELD: " ".join(["2x8 90x0"] * 20)}, "125m", every="1m"
    ),
    "a GPU that nobody holds is idle": Case(
        "GpuIdle", {f'DCGM_FI_DEV_GPU_UTIL{{{GPU_OF},pod=""}}': "0x200"}, "125m", every="1m"
    ),
    "a program on a GPU failed": Case("GpuFault", {XID: "31x30"}, "4m"),
    "a GPU is well": Case("GpuFault", {XID: "0x30"}, "4m"),
    "a GPU is warm": Case("GpuHot", {f"DCGM_FI_DEV_GPU_TEMP{{{GPU_OF}}}": "80x100"}, "12m"),
    "the share of positive decisions is as ever": Case(
        "DecisionsShift", decisions("0+50x400", "0+50x400"), "375m", every="1m"
    ),
    "a few decisions differ": Case(
        "DecisionsShift",
        decisions("0+1x300 300+0x90", "0+0x300 0+1x90"),
        "375m",
        every="1m",
    ),
    "a secret is late for a while": Case(
        "SecretNotSynced", {f'{SYNCED}"False"}}': "1x30 0x200"}, "20m"
    ),
    "a certificate ends in 20 days": Case(
        "CertificateEnds", {CERTIFICATE: f"{20 * 86400}x100"}, "70m", every="1m"
    ),
    "the last good backup is a day old": Case(
        "BackupTooOld", {BACKUP: "0x300"}, "25h", every="10m"
    ),
    "1 % of an hour's predictions fail": Case(
        "AvailabilityBudgetBurnsFast",
        requests("lending", a200="0+99x120", a500="0+1x120"),
        "70m",
        every="1m",
    ),
    "predictions failed, and do so no more": Case(
        "AvailabilityBudgetBurnsFast",
        requests("lending", a200="0+50x60 3000+100x60", a500="0+50x60 3000+0x60"),
        "100m",
        every="1m",
    ),
    "one of a thousand predictions fails for three days": Case(
        "AvailabilityBudgetBurnsSlowly",
        requests("lending", a200="0+999x900", a500="0+1x900"),
        "73h",
        every="5m",
    ),
    "predictions are asked for by none": Case(
        "AvailabilityBudgetBurnsSlowly",
        requests("lending", a200="9x900", a500="9x900"),
        "73h",
        every="5m",
    ),
    "a quarter of an hour's predictions is slow": Case(
        "LatencyBudgetBurnsFast", within("0+60x120", "0+80x120"), "70m", every="1m"
    ),
    "4 % of three days' predictions are slow": Case(
        "LatencyBudgetBurnsSlowly", within("0+96x900", "0+100x900"), "73h", every="5m"
    ),
    "a part was away for a minute": Case(
        "UptimeBudgetBurnsFast", {TRACKING: "1x60 0x0 1x60"}, "70m", every="1m"
    ),
    "a part was away for five minutes in three days": Case(
        "UptimeBudgetBurnsSlowly", {TRACKING: "1x800 0x0 1x90"}, "73h", every="5m"
    ),
}


def rule(case: Case) -> Alert:
    """The alert that a case is about, and of those of one name the one with its labels."""
    found = [one for one in alerts(FILES[case.rules]) if one.name == case.alert]
    assert found, f"there is no alert {case.alert}"
    return found[0]


def group_of(case: Case) -> str:
    """The name of the file whose rules a case is about: the fewer are judged, the sooner."""
    (found,) = (
        group.name
        for group in FILES[case.rules]
        if case.alert in [alert.name for alert in alerts([group])]
    )
    return f"{case.rules}-{found}"


def judged(case: Case, *, fires: bool) -> dict[str, Any]:
    """As promtool tests it: exactly the alert of `case`, with its labels and a whole summary."""
    expected = []
    if fires:
        alert = rule(case)
        summary = alert.summary.replace("{{ $value }}", case.value)
        for name, value in case.labels.items():
            summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
        labels = {"severity": alert.severity, **case.labels}
        expected = [{"exp_labels": labels, "exp_annotations": {"summary": summary}}]
    return {
        "interval": case.every,
        "input_series": [
            {"series": series, "values": values} for series, values in case.series.items()
        ],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": case.alert, "exp_alerts": expected}
        ],
    }


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs it in `folder`, where the rules lie."""
    for place, groups in FILES.items():
        for group in groups:
            (folder / f"{place}-{group.name}.yml").write_text(rules_file(group))
    return subprocess.run(
        [executable("promtool"), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


STEPS = {"10s": "5s", "1m": "1m", "5m": "30m", "10m": "30m"}
"""Of a case's values → of evaluations: as few as tell something."""


def failures(folder: Path, cases: dict[str, Case], *, fires: Callable[[str], bool]) -> set[str]:
    """The names of the cases that do not hold; `fires` says which should fire."""
    found: set[str] = set()
    runs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, case in cases.items():
        tests = runs.setdefault((group_of(case), STEPS[case.every]), [])
        tests.append({"name": name, **judged(case, fires=fires(name))})
    for (group, step), tests in runs.items():
        test = {"rule_files": [f"{group}.yml"], "evaluation_interval": step, "tests": tests}
        (folder / "test.yml").write_text(yaml.safe_dump(test))
        done = promtool(folder, "test", "rules", "test.yml")
        failed = set(re.findall(r"^ +name: (.*),$", done.stderr, re.MULTILINE))
        assert done.returncode == bool(failed), done.stdout + done.stderr
        if failed:
            print(done.stderr)  # noqa: T201 shown where a test fails
        found |= failed
    return found


CASES = FIRES | QUIET


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The cases that do not hold, of all."""
    folder = tmp_path_factory.mktemp("rules")
    return failures(folder, CASES, fires=lambda name: name in FIRES)


@pytest.mark.parametrize("name", FIRES)
def test_an_alert_fires_when(name: str, wrong: set[str]) -> None:
    assert name not in wrong


@pytest.mark.parametrize("name", QUIET)
def test_an_alert_stays_quiet_when(name: str, wrong: set[str]) -> None:
    assert name not in wrong


def test_a_case_that_does_not_hold_is_found(tmp_path: Path) -> None:
    """Of those that are quick to judge; what fires is said to be quiet, and the other way round."""
    quick = {name: case for name, case in CASES.items() if case.every == "10s"}
    assert failures(tmp_path, quick, fires=lambda name: name not in FIRES) == set(quick)


def test_every_alert_has_a_case_that_fires_and_one_that_stays_quiet() -> None:
    for place, groups in FILES.items():
        known = {alert.name for alert in alerts(groups)}
        shared = {alert.name for alert in alerts(FILES["local"])}
        for cases in (FIRES, QUIET):
            tried = {case.alert for case in cases.values() if case.rules == place}
            assert tried >= known - (shared if place == "cluster" else set())
            assert tried <= known


def test_prometheus_accepts_the_rules(tmp_path: Path) -> None:
    (tmp_path / "all.yml").write_text(rules_file(*FILES["cluster"]))
    done = promtool(tmp_path, "check", "rules", "all.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_does_not_accept_any_rule(tmp_path: Path) -> None:
    (tmp_path / "broken.yml").write_text(
        rules_file(Group(name="broken", rules=(Record(name="a", expression="sum(up"),)))
    )
    assert promtool(tmp_path, "check", "rules", "broken.yml").returncode != 0


# --- what there is, and where ---------------------------------------------------------------------


def test_one_machine_has_the_rules_that_it_had() -> None:
    assert [alert.name for alert in alerts(FILES["local"])] == [
        "PartDown",
        "NoModelServer",
        "PredictionsFail",
    ]
    assert platform_rules().rendered() == {
        "name": "platform",
        "rules": [
            {
                "alert": "PartDown",
                "expr": 'up{job!="serving"} == 0',
                "for": "1m",
                "labels": {"severity": "critical"},
                "annotations": {
                    "summary": "{{ $labels.job }} at {{ $labels.instance }} does not answer"
                },
            }
        ],
    }


def test_a_rule_of_a_cluster_knows_the_team() -> None:
    for alert in alerts([workload_rules(WORKLOAD, "lending")]):
        assert 'namespace="lending"' in alert.expression
        assert alert.labels == LENDING
    for alert in alerts([workload_rules(WORKLOAD)]):
        assert "namespace" not in alert.expression


def test_no_two_rules_record_the_same() -> None:
    recorded = [
        (one.name, *sorted(one.labels.items()))
        for group in FILES["cluster"]
        for one in group.rules
        if isinstance(one, Record)
    ]
    assert len(set(recorded)) == len(recorded)
    names = [group.name for group in FILES["cluster"]]
    assert len(set(names)) == len(names)


def test_a_price_is_recorded_for_each_model_of_gpu() -> None:
    (group,) = (group for group in FILES["cluster"] if group.name == "gpu")
    assert rendered([group])["groups"][0]["rules"][0] == {
        "record": monitoring_alerts.PRICE,
        "expr": "vector(1.25)",
        "labels": {"modelName": "NVIDIA A10G"},
    }


def test_an_alert_burns_as_fast_as_the_workbook_says() -> None:
    """Table 5-8: 2 % of 30 days in an hour is 14.4 times as fast, 5 % in six 6, 10 % in 72 once."""
    of = {alert.name: alert.expression for alert in alerts(objective_rules([availability(99.9)]))}
    assert re.findall(r"> ([0-9.]+)", of["AvailabilityBudgetBurnsFast"]) == [
        *("0.0144", "0.0144", "0.006", "0.006")
    ]
    assert re.findall(r"> ([0-9.]+)", of["AvailabilityBudgetBurnsSlowly"]) == ["0.001", "0.001"]


@pytest.mark.parametrize("percent", [0, 90, 100, 101])
def test_an_objective_whose_alert_could_not_be_raised_is_refused(percent: float) -> None:
    availability(95)
    with pytest.raises(ValueError, match=f"objective availability: {percent} %"):
        availability(percent)


def test_latency_is_asked_where_a_server_counts_it() -> None:
    for bound in LATENCY_BOUNDS_MS:
        latency(95, bound)
    with pytest.raises(ValueError, match="300 ms is none of"):
        latency(95, 300)


def test_rules_and_dashboards_rest_on_what_is_measured() -> None:
    """A query on a series that nothing exports gives nothing, for ever (and no error)."""
    known = {one.name for one in MEASURED}
    recorded = {
        one.name for group in FILES["cluster"] for one in group.rules if isinstance(one, Record)
    }
    asked = {
        name
        for group in FILES["cluster"]
        for one in group.rules
        for name in series_of(one.expression)
    }
    assert asked - known - recorded == set()
    assert series_of("sum(not_there) > 0") == {"not_there"}


def series_of(expression: str) -> set[str]:
    """The names of series in PromQL: words that are no function, keyword, label or text."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|on|group_left)\s*\([^)]*\)', " ", expression)
    words = re.findall(r"(?<![\w:.])[A-Za-z_][\w:]*\b(?!\s*\()", bare)
    return {word for word in words if word not in _KEYWORDS and not re.fullmatch(r"\d\w*", word)}


_KEYWORDS = {"and", "or", "unless", "by", "on", "offset", "group_left", "sum", "max", "min", "avg"}


def test_an_objective_says_what_it_is_about() -> None:
    objective = Objective(name="x", percent=99, errors=lambda span: f"e{span}", about="it")
    (fast, slow) = alerts(objective_rules([objective]))
    assert (fast.severity, slow.severity) == ("critical", "warning")
    assert fast.summary == "it: failures spend the month's budget fast"
