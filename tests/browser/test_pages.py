"""Every page that a user is sent to, opened in a browser: it shows what it was opened for, and asks
for nothing outside the machine.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Browser, Journey

WORKLOAD = "credit-risk"
ASSETS = ("raw", "validated", "trained", "evaluated", "registered", "gated")
PHONE_WIDTH = 375


@pytest.fixture(scope="session")
def pages(journey: Journey) -> dict[str, str]:
    """Name of each page → address, as `falaj open` prints them."""
    return dict(journey.json("falaj", "open", WORKLOAD, "--json"))


def champion(journey: Journey) -> dict[str, Any]:
    (workload,) = journey.status()["workloads"]
    return dict(workload["champion"])


def test_the_trainings_of_the_workload_are_the_first_thing_that_mlflow_shows(
    pages: dict[str, str], browser: Browser
) -> None:
    browser.open(pages["trainings"])
    browser.sees(WORKLOAD, "Runs", "training on data version 0", "Model registry")
    browser.keep("trainings")
    assert "Assistant" not in browser.text
    assert "Playground" not in browser.text  # of the view for language models
    assert browser.errors() == []
    browser.assert_asked_nobody_outside()


def test_the_versions_page_names_the_version_in_service_and_its_alias(
    journey: Journey, pages: dict[str, str], browser: Browser
) -> None:
    browser.open(pages["versions"])
    browser.sees(WORKLOAD, f"Version {champion(journey)['version']}", "champion")
    browser.keep("versions")
    assert "Assistant" not in browser.text
    assert browser.errors() == []
    browser.assert_asked_nobody_outside()


def test_mlflow_has_no_assistant_behind_its_pages(pages: dict[str, str]) -> None:
    server = pages["trainings"].partition("/#")[0]
    for path in ("config", "providers", "sessions/1/stream"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(  # noqa: S310 our own server
                f"{server}/ajax-api/3.0/mlflow/assistant/{path}", timeout=30
            )
        assert refused.value.code == 404
        assert "default-src 'self'" in refused.value.headers["content-security-policy"]


def test_ray_shows_its_jobs_to_whoever_has_the_token_that_falaj_open_points_to(
    journey: Journey, pages: dict[str, str], browser: Browser
) -> None:
    printed = journey.clone.run("falaj", "open", WORKLOAD).stdout
    file = Path(printed.partition("asks for the token: the content of ")[2].splitlines()[0])
    token = file.read_text().strip()
    assert token not in printed
    browser.open(pages["jobs"])
    browser.sees("Authentication Token Required")
    browser.element("input[type=password]").send_keys(token + "\n")
    browser.sees("Job List", "SUCCEEDED")
    browser.keep("jobs")
    assert token not in browser.driver.current_url
    browser.assert_asked_nobody_outside()
    assert all(token not in url for url in browser.asked)


def test_dagster_shows_the_graph_of_assets(pages: dict[str, str], browser: Browser) -> None:
    browser.open(pages["assets"])
    browser.sees("Global asset lineage", *ASSETS)
    browser.keep("assets")
    assert browser.errors() == []
    browser.assert_asked_nobody_outside()


def test_prometheus_finds_every_target_up(pages: dict[str, str], browser: Browser) -> None:
    browser.open(pages["targets"])
    browser.sees("gateway", "monitoring", "serving", "UP")
    browser.keep("targets")
    assert "DOWN" not in browser.text
    browser.assert_asked_nobody_outside()


def test_prometheus_lists_the_alerts(pages: dict[str, str], browser: Browser) -> None:
    browser.open(pages["alerts"])
    browser.sees("NoModelServer", "PredictionsFail", "PartDown")
    browser.keep("alerts")
    browser.assert_asked_nobody_outside()


def test_the_serving_page_shows_share_figures_and_alerts_at_a_glance(
    journey: Journey, pages: dict[str, str], browser: Browser
) -> None:
    assert journey.clone.run("falaj", "predict", WORKLOAD).returncode == 0
    browser.open(pages["serving"])
    browser.sees(
        *(WORKLOAD, "share of traffic", "100 %", "requests per second", "failed requests"),
        *("latency p95", "positive decisions", "Alerts", "Parts", "Requests over five minutes"),
    )
    browser.keep("serving")
    row = browser.driver.execute_script("return document.querySelector('tbody tr').innerText")
    assert str(champion(journey)["version"]) in row.split()
    # it goes on by itself: an answer of a minute ago has a latency now
    browser.sees(" ms")
    assert browser.errors() == []
    browser.assert_asked_nobody_outside()


def test_the_serving_page_can_be_read_on_a_phone_by_eye_and_by_ear(
    pages: dict[str, str], browser: Browser
) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": PHONE_WIDTH, "height": 800, "deviceScaleFactor": 1, "mobile": True},
    )
    browser.open(f"{pages['serving']}?still=1")
    browser.sees("standing still")
    browser.keep("phone")
    measured = browser.driver.execute_script(
        """return {
          width: document.documentElement.scrollWidth,
          language: document.documentElement.lang,
          headings: [...document.querySelectorAll("h1, h2")].map(h => h.tagName),
          uncaptioned: document.querySelectorAll("table:not(:has(caption))").length,
          unscoped: document.querySelectorAll("th:not([scope])").length,
          named: [...document.querySelectorAll("section[aria-labelledby]")].every(
            s => document.getElementById(s.getAttribute("aria-labelledby"))),
          refreshes: document.querySelectorAll("meta[http-equiv=refresh]").length,
        }"""
    )
    assert measured == {
        "width": PHONE_WIDTH,
        "language": "en",
        "headings": ["H1", "H2", "H2", "H2"],
        "uncaptioned": 0,
        "unscoped": 0,
        "named": True,
        "refreshes": 0,
    }
    browser.element("header a").click()
    browser.sees("stand still")


def test_the_gateway_describes_its_interface(pages: dict[str, str], browser: Browser) -> None:
    browser.open(pages["API"])
    described = json.loads(browser.element("pre").text)
    assert "/api/v1.0/predictions" in described["paths"]
    browser.assert_asked_nobody_outside()
