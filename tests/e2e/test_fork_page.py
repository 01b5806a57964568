"""The page that forks a job from a checkpoint, in a real browser: refused, started, linked."""

from __future__ import annotations

from pathlib import Path

import httpx
from browser import opened
from dashboard import button, expect, status_of, wait_until
from playwright.sync_api import Browser
from running_stack import RunningStack


def test_a_fork_is_refused_started_and_linked_to_its_parent(
    stack: RunningStack, api: httpx.Client, browser: Browser, finished: str, text_file: Path
) -> None:
    other = text_file.with_name("other.txt")
    other.write_text(text_file.read_text()[::-1])
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        page.get_by_role("link", name="Fork").first.click()
        expect(page.get_by_role("heading", name="Fork a job")).to_be_visible()
        expect(page.get_by_text("From step ")).to_contain_text("of studied.")
        page.get_by_label("Name").fill("a <b>fork</b>")
        page.get_by_label("Notes").fill("other <i>data</i>")
        page.get_by_label("Optimizer").select_option("fresh")
        changes = page.get_by_label("What changes")
        changes.fill("learning_rate: -1\nbatch_size: 0")
        button(page, "Fork").click()
        expect(page.locator("#fork-problems li")).to_have_count(2)
        expect(page.get_by_role("alert")).to_contain_text("2 problems")
        changes.fill("learning_rate: 0.002\nmax_steps: 2")
        page.get_by_label("Tags").fill("two words, ünï")
        button(page, "Fork").click()
        expect(page.locator("#annotation-problems")).to_contain_text("'ünï' cannot be used")
        page.get_by_label("Tags").fill("two words")
        page.get_by_label("Path").fill(str(other))
        button(page, "Fork").click()
        expect(page.get_by_role("heading", name="a <b>fork</b>")).to_be_visible()
        page.get_by_role("link", name=finished, exact=True).click()
        expect(page.get_by_role("heading", name="studied", exact=True)).to_be_visible()
        fork = api.get("/jobs", params={"name": "a <b>fork</b>"}).json()["jobs"][0]
        assert (fork["parent_job_id"], fork["fork_optimizer"]) == (finished, "fresh")
        config = api.get(f"/jobs/{fork['job_id']}").json()["config"]
        assert (fork["tags"], fork["notes"]) == (["two", "words"], "other <i>data</i>")
        assert config["dataset_path"] == str(other)
        assert (config["learning_rate"], config["max_steps"], config["batch_size"]) == (0.002, 2, 4)
        ended = lambda: status_of(api, fork["job_id"])["status"] == "succeeded"  # noqa: E731
        wait_until(ended, "the fork to end")
        page.goto(f"{stack.url}/#/jobs/{fork['job_id']}")
        page.get_by_role("link", name="compare", exact=True).click()
        expect(page.get_by_role("combobox", name="Over")).to_have_value("lineage_step")
        runs = page.locator("table tbody tr")
        expect(runs).to_have_count(2)
        assert [error for error in seen.errors if "400" not in error] == []
        assert (seen.strangers, seen.dialogs) == ([], [])
