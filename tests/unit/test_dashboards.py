"""Every query of every dashboard gives data, asked of a real Prometheus that holds our metrics.

Grafana is not here, so how a dashboard looks is not shown; that its JSON is of Grafana's types is
the builder's word.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
import tenacity
import yaml
from measured import MEASURED, SERVERS, open_metrics
from prometheus_client import CollectorRegistry

from components.local.machine import executable
from components.monitoring.alerts import cluster_rules
from components.monitoring.dashboards import DASHBOARDS, DATA_SOURCE, of_workload, rendered
from components.monitoring.objectives import (
    LATENCY_BOUNDS_MS,
    availability,
    latency,
    objective_rules,
    uptime,
)
from components.monitoring.rules import Record
from components.monitoring.rules import rendered as rules

HOURS = 3
GROUPS = (
    *cluster_rules(jobs=["kuberay"], gpu_prices_usd={"NVIDIA A10G": 1.25}),
    *objective_rules([availability(99.5), latency(95, 250), uptime(99.5, ["tracking"])]),
)
RECORDED = {one.name for group in GROUPS for one in group.rules if isinstance(one, Record)}


class Asked:
    """A Prometheus that answers."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30)

    def __call__(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query, numbers that are none left out."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        answer.raise_for_status()
        return [
            one for one in answer.json()["data"]["result"] if one["value"][1] not in ("NaN", "+Inf")
        ]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """Asks a Prometheus that holds the last hours of `MEASURED` and judges our rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    now = int(time.time())
    (folder / "samples").write_text(open_metrics(MEASURED, start=now - HOURS * 3600, end=now))
    for group in (groups := rules(GROUPS))["groups"]:
        group["interval"] = "1s"
    (folder / "rules.yml").write_text(yaml.safe_dump(groups))
    (folder / "prometheus.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"]}))
    subprocess.run(
        [executable("promtool"), "tsdb", "create-blocks-from", "openmetrics", "samples", "data"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                executable("prometheus"),
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                f"--web.listen-address={address}",
                # however long the tests take
                "--query.lookback-delta=1h",
                "--log.level=warn",
            ],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        asked = Asked(f"http://{address}")
        for attempt in tenacity.Retrying(
            wait=tenacity.wait_fixed(0.2), stop=tenacity.stop_after_delay(60), reraise=True
        ):
            with attempt:
                assert process.poll() is None, (folder / "log").read_text()
                missing = [name for name in RECORDED if not asked(name)]
                assert missing == [], missing
        yield asked
    finally:
        process.kill()
        process.wait()


def queries(dashboards: Mapping[str, str]) -> dict[str, str]:
    """`dashboard: panel: legend` → PromQL, as Grafana would ask with nothing chosen."""
    return {
        f"{name}: {panel['title']}: {target.get('legendFormat', '')}": chosen(
            target["expr"], made.get("templating", {}).get("list", [])
        )
        for name, text in dashboards.items()
        for made in [json.loads(text)]
        for panel in made["panels"]
        for target in panel["targets"]
    }


def chosen(expression: str, variables: list[dict[str, Any]]) -> str:
    """With Grafana's variables filled in: a constant is what it says, of others all are meant."""
    filled = expression.replace("$__rate_interval", "15m")
    for one in variables:
        value = one["query"] if one["type"] == "constant" else one["allValue"]
        filled = filled.replace(f"${one['name']}", value)
    assert "$" not in filled, f"a variable that no dashboard has: {filled}"
    return filled


OURS = {**rendered(), "workload": of_workload("lending", "credit-risk")}
QUERIES = queries(OURS)


@pytest.mark.parametrize("panel", QUERIES)
def test_a_query_of_a_dashboard_gives_data(panel: str, ask: Asked) -> None:
    assert ask(QUERIES[panel]), QUERIES[panel]


def test_a_query_on_what_nobody_measures_gives_none(ask: Asked) -> None:
    """The check can fail: a name or a label that is not there."""
    (query,) = (q for name, q in QUERIES.items() if name.startswith("falaj-gpu.json: busy while"))
    assert ask(query)
    assert not ask(query.replace("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_USE"))
    (query,) = (q for name, q in QUERIES.items() if name.startswith("falaj-compliance.json: conn"))
    assert ask(query)
    assert not ask(query.replace("connection_security_policy", "security_policy"))


def test_legends_name_labels_that_the_answers_have(ask: Asked) -> None:
    wrong = [
        (panel, label)
        for panel, query in QUERIES.items()
        for label in re.findall(r"{{(\w+)}}", panel)
        if not any(label in one["metric"] for one in ask(query))
    ]
    assert wrong == []


def test_the_figures_are_right(ask: Asked) -> None:
    """Of 60 requests in a minute one fails, 58 take less than 250 ms and half decide for it."""
    found = {name: ask(query) for name, query in QUERIES.items()}

    def figure(panel: str) -> float:
        (one,) = (result for name, result in found.items() if name.startswith(panel))
        return float(one[0]["value"][1])

    assert figure("falaj-serving.json: requests:") == pytest.approx(1, rel=0.05)
    assert figure("falaj-serving.json: failures:") == pytest.approx(1 / 60, rel=0.05)
    assert figure("falaj-serving.json: availability in") == pytest.approx(59 / 60, rel=0.01)
    assert figure("falaj-serving.json: fast enough in") == pytest.approx(58 / 60, rel=0.01)
    assert figure("falaj-drift.json: positive decisions of") == pytest.approx(0.5, rel=0.05)
    assert figure("falaj-gpu.json: cost in an hour, as") == pytest.approx(1.25)
    assert figure("falaj-gpu.json: paid for and idle") == pytest.approx(0.3 * 1.25)
    assert figure("falaj-platform.json: volumes") == pytest.approx(0.8)


# --- what is measured, and what a dashboard is ----------------------------------------------------


def test_our_servers_export_what_is_said_of_them() -> None:
    from workloads.delivery import component

    def shape(labels: Any) -> set[str]:
        return set(labels) - {"namespace", "le"}

    registry = CollectorRegistry()
    exported: dict[str, set[str]] = {}
    own = (component.REQUESTS, component.SYNTHETIC, component.SECONDS, component.PREDICTIONS)
    for metric in (*own, component.REWARD, component.MODEL):
        labels = shape(metric._labelnames)
        registry.register(metric)
        for family in metric.describe():
            ends = {"counter": ("_total",), "gauge": ("",)}.get(
                family.type, ("_bucket", "_count", "_sum")
            )
            exported |= {f"{family.name}{end}": labels for end in ends}
    assert {one.name for one in SERVERS} <= exported.keys()
    for one in SERVERS:
        assert shape(one.labels) == exported[one.name], one.name
    bounds = {f"{bound:g}" for bound in component.SECONDS._upper_bounds}
    assert {f"{bound / 1000:g}" for bound in LATENCY_BOUNDS_MS} <= bounds


def test_dashboards_are_found_by_their_names_and_cannot_be_changed() -> None:
    assert set(DASHBOARDS) == {"platform", "gpu", "training", "serving", "drift", "compliance"}
    for name, text in OURS.items():
        made = json.loads(text)
        assert f"{made['uid']}.json" == name or (name == "workload" and len(made["uid"]) <= 40)
        assert made["editable"] is False
        assert "falaj" in made["tags"]
        for panel in made["panels"]:
            assert panel["datasource"]["uid"] == DATA_SOURCE
            assert panel["fieldConfig"]["defaults"]["unit"]
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in made["panels"]]
        assert len(set(places)) == len(places), "panels lie on each other"


def test_dashboards_are_the_same_each_time() -> None:
    """Else every update would change them."""
    assert rendered() == rendered()


def test_a_dashboard_asks_no_other_source() -> None:
    assert all(
        target["datasource"]["uid"] == DATA_SOURCE
        for text in OURS.values()
        for panel in json.loads(text)["panels"]
        for target in panel["targets"]
    )


def test_the_page_of_a_workload_shows_it_alone(ask: Asked) -> None:
    assert any(ask(query) for name, query in QUERIES.items() if name.startswith("workload:"))
    strangers = queries({"it": of_workload("fraud", "credit-risk")})
    assert not any(ask(query) for query in strangers.values())


def test_no_two_workloads_have_one_page() -> None:
    pages = [of_workload("a", "b-c"), of_workload("a-b", "c"), of_workload("a", "b")]
    assert len({json.loads(text)["uid"] for text in pages}) == len(pages)
