"""The page's list of jobs: searched, filtered, several changed at once; tags and notes of a job."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import opened
from dashboard import Config, button
from playwright.sync_api import Browser, Page, expect
from running_stack import RunningStack

MARKUP = "<img src=x onerror=alert(1)>\nsecond line"


@pytest.fixture
def waiting(api: httpx.Client, text_file: Path, short_config: Config) -> Iterator[list[str]]:
    """The ids of three jobs that no worker takes, since none has a GPU."""
    ids = []
    for number in range(3):
        body: dict[str, Any] = {
            "config": short_config, "dataset_path": str(text_file), "name": f"bulk {number}",
            "tags": ["bulk", f"n{number}"], "execution": {"device": "cuda"},
        }  # fmt: skip
        answer = api.post("/jobs/start", json=body)
        assert answer.status_code == 201, answer.text
        ids.append(str(answer.json()["job_id"]))
    yield ids
    for job_id in ids:
        api.delete(f"/jobs/{job_id}")


def rows(page: Page) -> Any:
    return page.get_by_role("table", name="Jobs, newest first").locator("tbody tr")


def chosen(page: Page) -> Any:
    return page.get_by_role("region", name="Chosen jobs")


def test_filters_are_in_the_address(
    stack: RunningStack, browser: Browser, finished: str, waiting: list[str]
) -> None:
    with opened(browser, f"{stack.url}/") as (page, seen):
        expect(page.get_by_role("link", name="studied").first).to_be_visible()
        page.get_by_label("Search in names, tags and notes").fill("BULK")
        expect(rows(page)).to_have_count(3)
        page.get_by_role("row", name="bulk 1").get_by_role("button", name="Only tag n1").click()
        expect(rows(page)).to_have_count(1)
        assert page.url.endswith("#/?search=BULK&tag=n1")
        page.reload()
        expect(rows(page)).to_have_count(1)
        page.go_back()
        expect(rows(page)).to_have_count(3)
        expect(page.get_by_label("Search in names, tags and notes")).to_have_value("BULK")
        page.get_by_label("Show").select_option("failed")
        expect(page.get_by_text("No job fits.")).to_be_visible()
        page.goto(f"{stack.url}/#/?tag=n2&page=unknown")
        expect(rows(page)).to_have_count(1)  # a page that the service does not know is the first
        button(page, "No longer only tag n2").click()
        expect(page.get_by_role("link", name="studied").first).to_be_visible()
        assert [error for error in seen.errors if "400" not in error] == []
        assert seen.strangers == []


def test_several_jobs_are_changed_after_one_question(
    stack: RunningStack, api: httpx.Client, browser: Browser, waiting: list[str]
) -> None:
    with opened(browser, f"{stack.url}/#/?tag=bulk") as (page, seen):
        expect(rows(page)).to_have_count(3)
        page.get_by_label("Choose all jobs on this page").check()
        button(page, "Stop").click()
        question = page.get_by_role("dialog")
        expect(question).to_contain_text("Stop 3 jobs?")
        expect(question).to_contain_text("3 waiting: stops at once")
        question.get_by_role("button", name="Stop 3").click()
        expect(chosen(page)).to_have_text(re.compile("3 jobs asked to stop"))
        expect(rows(page).locator(".status.stopped")).to_have_count(3)

        page.get_by_label("Choose bulk 0").check()
        page.get_by_label("Choose bulk 1").check()
        expect(chosen(page)).to_contain_text("2 jobs chosen.")
        button(page, "Delete").click()
        expect(question).to_contain_text("2 deleted with its history, log and checkpoints")
        api.delete(f"/jobs/{waiting[0]}").raise_for_status()  # the page has not heard of it
        question.get_by_role("button", name="Delete 2").click()
        expect(chosen(page)).to_contain_text("1 job deleted, 1 not:")
        expect(chosen(page).get_by_role("listitem")).to_have_text(
            re.compile(f"^bulk 0: there is no job '{waiting[0]}'")
        )
        expect(rows(page)).to_have_count(1)
        page.get_by_label("Choose bulk 2").check()
        button(page, "Compare").click()
        expect(page.get_by_role("table", name="Runs")).to_contain_text("bulk 2")
        assert page.url.endswith(f"#/compare?jobs={waiting[2]}")
        assert seen.strangers == []


def test_tags_and_notes_are_changed_on_a_jobs_page(
    stack: RunningStack, api: httpx.Client, browser: Browser, waiting: list[str]
) -> None:
    with opened(browser, f"{stack.url}/#/jobs/{waiting[0]}") as (page, seen):
        tag = page.get_by_label("New tag")
        tag.fill("two words")
        button(page, "Add tag").click()
        expect(page.get_by_text("the tag 'two words' cannot be used")).to_be_visible()
        tag.fill("kept")
        button(page, "Add tag").click()
        expect(page.get_by_role("link", name="kept", exact=True)).to_be_visible()
        button(page, "Remove tag bulk").click()
        button(page, "Edit notes").click()
        page.get_by_label("Notes", exact=True).fill(MARKUP)
        button(page, "Save notes").click()
        expect(page.locator(".notes")).to_have_text(MARKUP)
        job = api.get(f"/jobs/{waiting[0]}").json()
        assert (job["tags"], job["notes"]) == (["n0", "kept"], MARKUP)
        page.get_by_role("link", name="kept", exact=True).click()
        expect(rows(page)).to_have_count(1)
        assert (seen.strangers, seen.dialogs) == ([], [])
