"""A headless Chromium, for what is seen on a page; the rest of the sandbox isn't needed for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.sandbox import debian
from tests.sandbox.report import SandboxError
from tests.sandbox.state import Store

PROGRAMS = ("chromium", "chromedriver")

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it would not start as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
"""With these it asks nobody for anything, and what a page asks for can't be had."""


@contextmanager
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    """Start Chromium, installed if need be; it is ended afterwards.

    Args:
        folder: for its profile, an empty one.

    Raises:
        SandboxError: there is none, and it can't be installed.
    """
    chromium, chromedriver = _programs()
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    logs: dict[str, Any] = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options=options, service=Service(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


def _programs() -> list[str]:
    if None in map(debian.find, PROGRAMS):
        store = Store.of(os.environ)
        with store.locked():
            debian.install(store, PROGRAMS)
    found = [debian.find(program) for program in PROGRAMS]
    if None in found:
        raise SandboxError("Chromium and its driver are missing: install chromium-driver.")
    return [program for program in found if program is not None]
