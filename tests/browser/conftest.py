"""A browser without a window, and what its pages asked for."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

EVENTUALLY_SECONDS = 120

BROWSERS = ("chromium", "google-chrome", "google-chrome-stable", "chrome")

OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # a page that asks for a host outside is seen to ask, and gets no answer
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,1000",
)


def executable(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"none of {', '.join(names)} is installed: run `make test`, which installs it"
    return found


@dataclass
class Browser:
    """A fresh browser: no cookies, nothing remembered."""

    driver: webdriver.Chrome
    shots: Path
    """Where pictures of the pages are kept."""
    asked: list[str] = field(default_factory=list)
    """Every URL that was requested over a network."""

    def open(self, url: str) -> None:
        self.driver.get(url)

    def sees(self, *texts: str) -> None:
        """Waits until all of `texts` stand on the page."""

        wait = WebDriverWait(self.driver, EVENTUALLY_SECONDS)
        wait.until(
            lambda _: all(text in self.text for text in texts),
            f"{texts} on {self.driver.current_url}",
        )

    def element(self, selector: str) -> WebElement:
        """The first element of a CSS selector, as soon as it can be used."""

        def usable(driver: webdriver.Chrome) -> WebElement | None:
            found = driver.find_elements(By.CSS_SELECTOR, selector)
            return found[0] if found and found[0].is_displayed() and found[0].is_enabled() else None

        element: WebElement = WebDriverWait(self.driver, EVENTUALLY_SECONDS).until(usable, selector)
        return element

    @property
    def text(self) -> str:
        """What can be read now; asked in one step, since a page may load again at any moment."""
        return str(self.driver.execute_script("return document.body?.innerText ?? ''"))

    def keep(self, name: str) -> Path:
        """A picture of the page for somebody to look at."""
        path = self.shots / f"{name}.png"
        assert self.driver.save_screenshot(str(path))
        return path

    def read_log(self) -> None:
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if urllib.parse.urlsplit(url).scheme in ("http", "https", "ws", "wss"):
                    self.asked.append(url)

    def assert_asked_nobody_outside(self) -> None:
        self.read_log()
        assert self.asked
        outside = {url for url in self.asked if urllib.parse.urlsplit(url).hostname != "127.0.0.1"}
        assert not outside

    def errors(self) -> list[str]:
        """What the page's programs complained of; a refused address is not among them."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] == "SEVERE" and "Failed to load resource" not in entry["message"]
        ]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    os.environ["SE_OFFLINE"] = "true"  # selenium looks for nothing on its own
    options = webdriver.ChromeOptions()
    options.binary_location = executable(*BROWSERS)
    for option in OPTIONS:
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    if os.geteuid() == 0:  # Chromium's sandbox refuses to work for root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(executable("chromedriver")))
    try:
        yield Browser(driver, tmp_path)
    finally:
        driver.quit()
