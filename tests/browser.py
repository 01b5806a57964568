"""A real headless Chromium for tests of the page, and what it saw while it was open."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_SECONDS = 60
"""How long an expectation may take on a busy machine; none of them takes it on a quiet one."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium; skips where there is none, as nothing is downloaded for it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed (apt install chromium)")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@dataclass
class Seen:
    """What went on behind a page."""

    host: str
    errors: list[str] = field(default_factory=list)
    """Errors on the console, and exceptions that nobody caught."""
    strangers: list[str] = field(default_factory=list)
    """Requests that left the host."""
    dialogs: list[str] = field(default_factory=list)
    """What `alert` and its like said."""


@contextmanager
def opened(
    browser: Browser, url: str, *, width: int = 1280, scheme: str = "light"
) -> Iterator[tuple[Page, Seen]]:
    """A page of its own profile at `url`."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
    )
    context.set_default_timeout(1000 * PATIENCE_SECONDS)
    page = context.new_page()
    seen = watched(page, url)
    page.goto(url)
    yield page, seen
    context.close()


def watched(page: Page, url: str) -> Seen:
    """Begins to record what goes on behind `page`."""
    seen = Seen(urlsplit(url).netloc)
    page.on("console", lambda said: said.type == "error" and seen.errors.append(said.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))

    def on_request(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("data", "blob") and parts.netloc != seen.host:
            seen.strangers.append(address)

    page.on("request", lambda request: on_request(request.url))

    def on_dialog(message: str) -> None:
        seen.dialogs.append(message)

    page.on("dialog", lambda dialog: (on_dialog(dialog.message), dialog.dismiss()))
    return seen
