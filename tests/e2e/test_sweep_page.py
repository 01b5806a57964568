"""The pages of sweeps, in a real browser over a real stack."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
from browser import opened
from dashboard import Config, expect, wait_until
from playwright.sync_api import Browser
from running_stack import RunningStack

RATES = [0.00001, 0.01, 0.001]


def test_a_sweep_is_followed_sorted_drawn_and_deleted(
    stack: RunningStack, browser: Browser, api: httpx.Client, text_file: Path, short_config: Config
) -> None:
    config = short_config | {"max_steps": 12, "eval_steps": 4, "save_steps": 4, "warmup_steps": 1}
    parameters = {"learning_rate": RATES, "early_stopping": [{"metric": "loss"}]}
    document = {
        "config": config,
        "parameters": parameters,
        "halving": {"first_rung": 4, "factor": 3},
    }
    body = {"document": document, "dataset_path": text_file.name, "name": "<b>rates</b>"}
    answer = api.post("/sweeps", json=body)
    assert answer.status_code == 201, answer.text
    sweep_id = answer.json()["sweep_id"]
    with opened(browser, f"{stack.url}/#/sweeps") as (page, seen):
        page.get_by_role("link", name="<b>rates</b>").click()
        expect(page.get_by_role("heading", name="<b>rates</b>")).to_be_visible()
        table = page.get_by_role("table", name="Children")
        expect(page.locator(".head .status")).to_have_text("succeeded", timeout=60_000)
        whole = api.get(f"/sweeps/{sweep_id}").json()
        best = whole["best_child"]
        ranked = sorted(whole["children"], key=lambda child: child["rank"])
        links = table.locator("tbody tr td:nth-child(2)")
        expect(links).to_have_text(
            [f"child {c['number']}{' ★ best' if c['number'] == best else ''}" for c in ranked]
        )
        rates = table.locator("tbody tr td:nth-child(7)")
        for order in (["1.00e-5", "0.001", "0.01"], ["0.01", "0.001", "1.00e-5"]):
            table.get_by_role("button", name="learning_rate").click()
            expect(rates).to_have_text(order)
        chart = page.get_by_role("img", name="Parallel coordinates of 3 children")
        expect(chart).to_contain_text("learning_rate (log)")
        expect(chart.locator("polyline.best title")).to_have_text(
            re.compile(rf"^child {best}: learning_rate=.*, early_stopping={{.*}}, val_loss=\d")
        )
        expect(chart.get_by_text('{"metric":"loss"}', exact=True)).to_have_count(1)
        expect(page.get_by_role("table", name="Importance").locator("th")).to_have_text(
            ["learning_rate", "early_stopping"]
        )
        page.get_by_role("button", name="Compare").click()
        wait_until(
            lambda: (
                ",".join(child["job_id"] for child in ranked) in str(page.evaluate("location.hash"))
            ),
            "the comparison of its children, the best first",
        )
        page.go_back()
        links.first.get_by_role("link").click()
        page.get_by_role("link", name=sweep_id).click()
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        wait_until(lambda: page.evaluate("location.hash") == "#/sweeps", "the list of sweeps")
        expect(page.get_by_role("link", name="<b>rates</b>")).to_have_count(0)
        assert (seen.errors, seen.strangers, seen.dialogs) == ([], [], [])
    assert api.get(f"/sweeps/{sweep_id}").json()["reason"] == "sweep_not_found"
