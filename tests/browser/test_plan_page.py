"""The page of a plan in a real browser: no network, no complaints, a picture that can be used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from stacks.plan import Plan, look
from stacks.plan_page import page

if TYPE_CHECKING:
    from conftest import Browser


@pytest.fixture(scope="module")
def plan() -> Plan:
    return look("dev")


@pytest.fixture
def opened(browser: Browser, plan: Plan, tmp_path: Path) -> Browser:
    file = tmp_path / "plan.html"
    file.write_text(page(plan), encoding="utf-8")
    browser.open(file.as_uri())
    return browser


def test_the_page_asks_for_nothing_and_complains_of_nothing(opened: Browser) -> None:
    opened.sees("How it hangs together", "Image registry", "What is exposed")
    opened.read_log()
    assert opened.asked == []
    assert opened.errors() == []
    opened.keep("plan")


def test_a_box_leads_to_its_area_and_opens_it_by_keyboard_too(opened: Browser) -> None:
    area = opened.driver.find_element(By.ID, "area-ImageRegistry")
    assert area.get_attribute("open") is None
    opened.driver.find_element(By.CSS_SELECTOR, '.box[data-kind="ImageRegistry"]').send_keys(
        Keys.ENTER
    )
    opened.sees("dev-images-mlflow")
    assert area.get_attribute("open") is not None


def test_a_box_that_has_the_focus_shows_what_it_needs(opened: Browser) -> None:
    box = opened.driver.find_element(By.CSS_SELECTOR, '.box[data-kind="ArtifactStore"]')
    opened.driver.execute_script("arguments[0].focus()", box)
    lit = opened.driver.find_elements(By.CSS_SELECTOR, ".box.near")
    assert {one.get_attribute("data-kind") for one in lit} >= {"ArtifactStore", "DomainKey"}


def test_the_search_leaves_what_was_looked_for(opened: Browser, plan: Plan) -> None:
    opened.element("#find").send_keys("kuberay-operator")
    wanted = [one for one in plan.resources if "kuberay-operator" in str(one)]
    opened.sees(f"of {len(plan.resources)} resources")
    shown = opened.driver.find_elements(By.CSS_SELECTOR, "[data-find]:not([hidden])")
    assert 0 < len(shown) <= len(wanted)
    assert all("kuberay-operator" in one.get_attribute("textContent") for one in shown)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_light_and_dark(opened: Browser, scheme: str) -> None:
    """Contrast of at least 4.5 to 1, as WCAG 2.2 asks for (AA)."""
    opened.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
    )
    colours = opened.driver.execute_script(
        """
        const style = getComputedStyle(document.documentElement);
        const of = name => style.getPropertyValue(name).trim();
        return ["ink", "soft", "water", "data", "open"].flatMap(text => [
          [text, "ground", of("--" + text), of("--ground")],
          [text, "panel", of("--" + text), of("--panel")],
        ]).concat([
          ["data", "data-wash", of("--data"), of("--data-wash")],
          ["open", "open-wash", of("--open"), of("--open-wash")],
          ["ink", "wash", of("--ink"), of("--wash")],
        ]);
        """
    )
    assert len(colours) == 13
    for text, ground, one, other in colours:
        assert _contrast(one, other) >= 4.5, f"{text} on {ground}: {one} on {other}"
    opened.keep(f"plan-{scheme}")


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb``, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
