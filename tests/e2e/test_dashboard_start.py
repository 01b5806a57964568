"""The form that starts a job, in a real browser: its data, its configuration, their problems."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx
import pytest
from browser import opened
from dashboard import Config, button, state
from playwright.sync_api import Browser, expect
from running_stack import RunningStack

pytestmark = pytest.mark.usefixtures("nothing_trains_on")


def test_every_problem_of_a_new_job_stands_at_its_field(
    stack: RunningStack, api: httpx.Client, browser: Browser
) -> None:
    before = api.get("/jobs").json()["jobs"]
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        config = page.get_by_role("textbox", name="Configuration (YAML or JSON)")
        config.fill("learning_rate: -1\nbach_size: 3\n")
        problems = page.locator("#config-problems li")
        expect(problems).to_have_count(2)  # while typing
        expect(problems.filter(has_text="did you mean `batch_size`")).to_have_count(1)
        rate = problems.filter(has_text="`learning_rate` is -1")
        rate.get_by_role("button", name="line 1").click()
        assert page.evaluate("getSelection().toString()") == "learning_rate: -1"

        config.fill("max_steps: 10\nwarmup_steps: 1\n")
        expect(problems).to_have_count(0)
        path = page.get_by_role("textbox", name="Path")
        path.fill("/etc/passwd")
        expect(page.locator("#dataset-problems li")).to_contain_text(["/etc/passwd"])
        expect(page.locator("#verdict")).to_contain_text("The data cannot be used")
        button(page, "Start").click()
        expect(page.get_by_role("alert")).to_contain_text("The job was not started")
        expect(path).to_be_focused()
        assert path.get_attribute("aria-invalid") == "true"
        assert seen.strangers == []
    assert api.get("/jobs").json()["jobs"] == before


def test_an_uploaded_file_is_trained_on(
    stack: RunningStack, api: httpx.Client, browser: Browser, short_config: Config
) -> None:
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        page.locator("#dataset-file").set_input_files(
            {"name": "own words.txt", "mimeType": "text/plain", "buffer": b"to be or not. " * 500}
        )
        source = page.get_by_role("combobox", name="Data")
        expect(source).to_have_value(re.compile("^dataset://"))
        dataset = source.input_value()
        page.get_by_label("Tags").fill("first, try ")
        page.get_by_label("Notes").fill("<b>own</b> words")
        page.get_by_role("textbox", name="Configuration (YAML or JSON)").fill(
            json.dumps(short_config)
        )
        button(page, "Start").click()
        expect(page.get_by_text(f"Dataset{dataset}")).to_be_visible()
        expect(state(page)).to_have_text("succeeded")
        assert (seen.errors, seen.strangers) == ([], [])
        job = api.get(f"/jobs/{page.url.rpartition('/')[2]}").json()
    assert job["dataset_path"] == dataset
    assert (job["tags"], job["notes"]) == (["first", "try"], "<b>own</b> words")


def test_data_that_is_chosen_is_checked_while_it_is_chosen(
    stack: RunningStack, text_file: Path, browser: Browser
) -> None:
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        verdict = page.locator("#verdict")
        expect(verdict).to_contain_text("`dataset_path` is not set")
        problems = page.locator("#dataset-problems li")
        page.get_by_role("textbox", name="Path").fill(f"{text_file}.missing")
        expect(problems).to_contain_text([f"{text_file}.missing"])
        page.get_by_role("textbox", name="Path").fill(str(text_file))
        expect(problems).to_have_count(0)
        expect(verdict).not_to_contain_text("dataset_path")
        expect(verdict).to_contain_text("parameters, about")
        page.get_by_role("textbox", name="Path").fill("")
        expect(verdict).to_contain_text("`dataset_path` is not set")
        assert (seen.errors, seen.strangers) == ([], [])


def test_data_is_looked_into_before_a_job(
    stack: RunningStack, text_file: Path, browser: Browser, short_config: Config
) -> None:
    chats = text_file.parent / "chats.jsonl"
    line = json.dumps({"prompt": "two and two?", "completion": "four, <b>not</b> five"}) + "\n"
    chats.write_text(line * 40)
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        page.get_by_role("textbox", name="Configuration (YAML or JSON)").fill(
            json.dumps(short_config)
        )
        found = page.locator("#data-look")
        for path, said in (
            (f"{text_file}.missing", "which does not exist"),
            (str(text_file), "max_steps goes through the data"),
            (str(chats), "40 documents, "),
        ):
            page.get_by_role("textbox", name="Path").fill(path)
            button(page, "Look into the data").click()
            expect(found).to_contain_text(said)
        expect(found).to_contain_text("39 equal to an earlier one")
        expect(found.locator("pre u").first).to_contain_text("two and two?")
        expect(found.locator("pre").first).to_contain_text("four, <b>not</b> five")
        assert (seen.strangers, seen.dialogs) == ([], [])


def test_an_upload_without_a_session_asks_for_the_token(
    stack: RunningStack, browser: Browser, tmp_path: Path
) -> None:
    (file := tmp_path / "some.txt").write_text("text")
    with opened(browser, f"{stack.url}/#/start") as (page, _):
        refused = json.dumps({"status": 401, "detail": "the session has ended"})
        page.route("**/datasets?name=*", lambda route: route.fulfill(status=401, body=refused))
        page.locator("#dataset-file").set_input_files(file)
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
