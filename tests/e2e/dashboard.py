"""What the tests of the page share: jobs to look at, and how to read the page."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from browser import PATIENCE_SECONDS
from playwright.sync_api import Page, expect
from running_stack import wait_until as wait_briefly_until

Config = dict[str, Any]
LONG_RUN = {"max_steps": 1_000_000, "logging_steps": 2, "eval_steps": 1_000_000}
HELD_MS = 2500
"""How long a button of the mouse is down: the lists on the page are shown again meanwhile."""
expect.set_options(timeout=1000 * PATIENCE_SECONDS)
wait_until = partial(wait_briefly_until, timeout=PATIENCE_SECONDS)


def start(
    api: httpx.Client, data: Path, config: Config, *, status: str, name: str = "watched"
) -> str:
    body = {"config": config, "dataset_path": str(data), "name": name}
    answer = api.post("/jobs/start", json=body)
    assert answer.status_code == 201, answer.text
    job_id = str(answer.json()["job_id"])
    ends = {"failed", "succeeded", status}
    wait_until(lambda: status_of(api, job_id)["status"] in ends, f"{name} to be {status}")
    found = status_of(api, job_id)
    assert found["status"] == status, found
    return job_id


def status_of(api: httpx.Client, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/jobs/{job_id}/status").json()
    return found


def history_steps(api: httpx.Client, job_id: str) -> list[int]:
    page = api.get(f"/jobs/{job_id}/metrics/history", params={"page_size": 10_000}).json()
    assert page["next_page_token"] is None
    return [point["step"] for point in page["points"]]


def shown_steps(page: Page) -> list[int]:
    """The steps of the charts, ascending, as their table of values lists them."""
    table = page.get_by_role("table", name="Logged values, newest first")
    cells = table.locator("tbody td:first-child").all_text_contents()
    return [int(text.replace(",", "")) for text in reversed(cells)]


def current_step(page: Page) -> int:
    found = re.search(r"step ([\d,]+) of", page.locator(".where").inner_text())
    return int(found[1].replace(",", "")) if found else 0


def state(page: Page) -> Any:
    return page.locator("main [role=status] .status")


def button(page: Page, name: str) -> Any:
    return page.get_by_role("button", name=name, exact=True)
