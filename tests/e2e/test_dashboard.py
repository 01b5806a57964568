"""The page of a job in a real browser: what people see of it and do with it while it lives."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from browser import opened
from dashboard import (
    HELD_MS,
    LONG_RUN,
    Config,
    button,
    current_step,
    history_steps,
    shown_steps,
    start,
    state,
    status_of,
    wait_until,
)
from playwright.sync_api import Browser, Locator, Page, Route, expect
from running_stack import RunningStack

pytestmark = pytest.mark.usefixtures("nothing_trains_on")
SMALL_AND_LONG = {"hidden_size": 32, "num_layers": 1, "batch_size": 2, "max_steps": 1_000_000}


def test_a_job_is_started_watched_stopped_and_resumed(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser
) -> None:
    with opened(browser, f"{stack.url}/") as (page, seen):
        page.get_by_role("link", name="Start a job").click()
        config = page.get_by_role("textbox", name="Configuration (YAML or JSON)")
        expect(page.get_by_text("824,448 parameters, about")).to_be_visible()
        config.fill(edited(config.input_value(), **SMALL_AND_LONG))
        page.get_by_role("textbox", name="Name (may be empty)").fill("by hand")
        page.get_by_role("textbox", name="Path").fill(str(text_file))
        button(page, "Start").click()

        expect(page.get_by_role("heading", level=1)).to_have_text("by hand")
        expect(state(page)).to_have_text("running")
        expect(page.locator("#connection")).to_have_text("live")
        job_id = page.url.rpartition("/")[2]
        assert status_of(api, job_id)["name"] == "by hand"
        assert_live(page)

        button(page, "Stop").click()
        expect(state(page)).to_have_text("stopped")
        expect(button(page, "Stop")).to_be_disabled()
        expect(page.locator("#connection")).to_have_text("")
        stopped_at = current_step(page)
        expect(page.get_by_role("button", name=f"Resume from step {stopped_at}")).to_be_enabled()

        button(page, "Resume").click()
        expect(state(page)).to_have_text("running")
        expect(page.get_by_text(f"2, restored from step {stopped_at:,}")).to_be_visible()
        wait_until(lambda: current_step(page) > stopped_at + 4, "steps after the resume")
        button(page, "Stop").click()
        expect(state(page)).to_have_text("stopped")

        page.get_by_text("Values", exact=True).click()
        expected = history_steps(api, job_id)
        wait_until(lambda: shown_steps(page) == expected, "the charts to have the whole history")
        log = page.get_by_label("Log, last lines").inner_text()
        assert log.count(f" of step {stopped_at}\n") == 1, "each line is shown once"
        page.get_by_role("link", name="Jobs").click()
        expect(page.get_by_role("row", name="by hand stopped").first).to_be_visible()
        assert (seen.errors, seen.strangers) == ([], [])


def edited(config: str, **values: int) -> str:
    """The YAML text with other values."""
    for name, value in values.items():
        config, changes = re.subn(f"(?m)^( *{name}): .*$", rf"\1: {value}", config)
        assert changes == 1, name
    return config


def assert_live(page: Page) -> None:
    """Step, curve and progress move while the job trains, without anybody asking."""
    chart = page.get_by_role("img", name="Loss, latest: train")
    wait_until(lambda: chart.count(), "the first point of the loss")
    before = chart.evaluate("chart => [chart.ariaLabel, chart.toDataURL()]")
    first = current_step(page)
    wait_until(lambda: current_step(page) > first, "the step to move")
    wait_until(lambda: chart.evaluate("chart => chart.ariaLabel") != before[0], "a new loss")
    assert chart.evaluate("chart => chart.toDataURL()") != before[1], "the curve is not redrawn"
    bar = page.get_by_role("progressbar", name="Progress")
    wait_until(lambda: float(bar.evaluate("bar => bar.value")) > 0, "the progress to move")
    assert page.title().endswith(" – by hand – running")


def test_a_job_that_failed_at_once_promises_nothing(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    torn = text_file.parent / "torn.jsonl"
    # Past the part that a start looks at.
    torn.write_text('{"text": "to be or not to be"}\n' * 40_000 + '{"other": 1}\n')
    job_id = start(api, torn, short_config, status="failed")
    error = api.get(f"/jobs/{job_id}").json()["error"]
    with opened(browser, f"{stack.url}/#/jobs/{job_id}") as (page, seen):
        expect(page.get_by_role("img", name="Loss: no data", exact=True)).to_be_visible()
        expect(page.get_by_text("It ended before its first logged step.").first).to_be_visible()
        expect(page.get_by_role("cell", name="None was saved.")).to_be_visible()
        expect(
            page.get_by_text("Sampling needs a checkpoint, and this job has none.")
        ).to_be_visible()
        expect(page.get_by_label("Log, last lines")).to_contain_text("torn.jsonl")
        shown = page.locator("main").inner_text()
        assert (
            shown.replace(page.get_by_label("Log, last lines").inner_text(), "").count(error) == 1
        )
        assert not re.search(r"\byet\b|…", shown)
        assert (seen.errors, seen.strangers) == ([], [])


def test_a_job_without_validation_names_what_is_best_and_its_time(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    config = short_config | {"val_fraction": 0.0, "best_metric": "loss"}
    job_id = start(api, text_file, config, status="succeeded")
    ran = api.get(f"/jobs/{job_id}").json()["running_seconds"]
    with opened(browser, f"{stack.url}/#/jobs/{job_id}") as (page, seen):
        expect(
            page.get_by_role("img", name=re.compile(r"^Loss, latest: train [\d.]+$"))
        ).to_be_visible()
        table = page.get_by_role("table", name="Checkpoints, newest first")
        expect(table.get_by_title("the smallest loss", exact=True)).to_have_count(1)
        assert table.locator("tbody td:nth-child(3)").all_inner_texts() == ["–", "–"]
        said = page.locator("dt", has_text="Ran for").locator("+ dd").inner_text()
        minutes, _, seconds = said.rpartition(" min ")
        assert abs(60 * int(minutes or 0) + int(seconds.removesuffix(" s")) - ran) <= 0.5
        assert seen.errors == []


def test_the_list_says_how_long_a_job_will_take_and_a_deleted_one_is_gone(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    job_id = start(api, text_file, short_config | LONG_RUN, status="running", name="lasting")
    with opened(browser, f"{stack.url}/") as (page, seen):
        row = page.get_by_role("row", name="lasting").first
        expect(row.locator("td").nth(6)).to_have_text(re.compile(r"\d (h|min|s)"))
        row.get_by_role("link").click(delay=HELD_MS)
        expect(page.get_by_text(re.compile(r"of 1,000,000 · .+ left"))).to_be_visible()
        button(page, "Stop").click()
        expect(state(page)).to_have_text("stopped")
        expect(button(page, "Delete")).to_be_enabled()
        # The page asks for the job now and then; here it must not hear of the deletion like that.
        page.route(
            lambda url: url.endswith(f"/jobs/{job_id}"),
            lambda route: route.abort() if route.request.method == "GET" else route.fallback(),
        )
        api.delete(f"/jobs/{job_id}").raise_for_status()
        button(page, "Resume").click()
        expect(state(page)).to_have_text("deleted")
        expect(page.locator("#notice")).to_contain_text("It may have been deleted")
        for name in ("Stop", "Resume", "Delete"):
            expect(button(page, name)).to_be_disabled()
        assert seen.strangers == []


def test_a_question_leaves_with_its_page(
    stack: RunningStack, api: httpx.Client, browser: Browser, finished: str
) -> None:
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        dialog = page.get_by_role("dialog", name="Delete studied")
        for leave in ("location.hash = '#/'", "window.dispatchEvent(new Event('signed-out'))"):
            page.goto(f"{stack.url}/#/jobs/{finished}")
            button(page, "Delete").click()
            expect(dialog).to_be_visible()
            page.evaluate(leave)
            expect(dialog).to_have_count(0)
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
        assert status_of(api, finished)["status"] == "succeeded"
        assert (seen.errors, seen.strangers) == ([], [])


def test_an_address_that_is_no_valid_escape_names_no_job(
    stack: RunningStack, browser: Browser
) -> None:
    with opened(browser, f"{stack.url}/#/jobs/%") as (page, seen):
        expect(page.locator("#notice")).to_contain_text("%")
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        assert not any("URIError" in error for error in seen.errors)


def test_a_resume_from_an_earlier_checkpoint_cuts_the_chart_and_goes_on(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    config = short_config | {"max_steps": 12, "save_steps": 6, "eval_steps": 6}
    config |= {"sample_prompts": ["10 <b>", "bottles"], "sample_tokens": 8}
    config |= {"alerts": ["finished", {"when": "above", "metric": "loss", "value": 0.5}]}
    job_id = start(api, text_file, config, status="succeeded")
    with opened(browser, f"{stack.url}/#/jobs/{job_id}") as (page, seen):
        page.get_by_text("Values", exact=True).click()
        wait_until(lambda: shown_steps(page) == list(range(1, 13)), "the whole history")
        samples = page.get_by_role("table", name="Samples, steps side by side")
        expect(samples.get_by_role("row")).to_have_count(3)
        expect(samples.get_by_role("rowheader", name="10 <b>", exact=True)).to_be_visible()
        assert chosen_steps(samples) == ["6", "12"]
        before = samples.locator("pre").all_inner_texts()
        button(page, "Resume from step 6").click()
        dialog = page.get_by_role("dialog", name="Resume from step 6")
        dialog.get_by_role("button", name="Resume from here").click()
        expect(page.get_by_text("2, restored from step 6")).to_be_visible()
        expect(state(page)).to_have_text("succeeded")
        wait_until(lambda: shown_steps(page) == list(range(1, 13)), "the whole history again")
        wait_until(lambda: chosen_steps(samples) == ["6", "12"], "samples of the second attempt")
        assert len(before) == 4
        assert samples.locator("pre").all_inner_texts() == before
        alerts = page.get_by_role("list", name="Alerts, newest first").get_by_role("listitem")
        expect(alerts).to_have_count(4)  # a resume arms the rules again
        expect(alerts.first).to_contain_text("the job has finished at step 12")
        expect(alerts.last).to_contain_text("pending, tried")
        assert_every_metric_is_shown(page)
        assert (seen.errors, seen.strangers) == ([], [])


def chosen_steps(samples: Locator) -> list[str]:
    """What the columns of the samples show."""
    return [select.input_value() for select in samples.get_by_role("combobox").all()]


def assert_every_metric_is_shown(page: Page) -> None:
    """A chart and a column for each; what a callback of the worker adds is with the first ones."""
    norm = page.get_by_role("img", name=re.compile(r"^weights.norm, latest: weights.norm [\d.]+$"))
    expect(norm).to_be_visible()
    perplexity = page.get_by_role("img", name=re.compile(r"^perplexity, latest: "))
    expect(perplexity).to_be_hidden()
    page.get_by_text("More metrics", exact=True).click()
    expect(perplexity).to_be_visible()
    rows = page.get_by_role("table", name="Logged values, newest first").locator("tr")
    heads = rows.first.locator("th").all_inner_texts()
    assert heads[:3] == ["Step", "Loss", "Validation"]
    assert {"weights/norm", "perplexity", "tokens_seen"} <= set(heads)
    assert not {"wild", "attempt", "custom"} & set(heads)  # no number was measured for `wild`
    place = heads.index("weights/norm")
    cells = rows.locator(f"td:nth-child({place + 1})").all_inner_texts()
    assert len(cells) == 12
    assert all(float(text) > 0 for text in cells)


def test_the_page_recovers_when_the_gateway_is_killed(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    job_id = start(api, text_file, short_config | LONG_RUN, status="running")
    with opened(browser, f"{stack.url}/#/jobs/{job_id}") as (page, seen):
        page.get_by_text("Values", exact=True).click()
        wait_until(lambda: len(shown_steps(page)) >= 3, "three points")
        gateway = next(p for p in stack.descendants() if "gateway" in p.cmdline())
        gateway.kill()
        expect(page.locator("#connection")).to_have_text("reconnecting…")
        before = shown_steps(page)[-1]
        expect(page.locator("#connection")).to_have_text("live")
        wait_until(lambda: shown_steps(page)[-1] > before, "steps behind the break")
        button(page, "Stop").click()
        expect(state(page)).to_have_text("stopped")
        expect(page.locator("#connection")).to_have_text("")
        steps = history_steps(api, job_id)
        wait_until(lambda: shown_steps(page) == steps[-1000:], "the whole history")
        last = status_of(api, job_id)["current_step"]
        assert [step for step in steps if step % 2 == 0] == list(range(2, last + 1, 2))
        assert seen.strangers == []


def test_the_page_reads_a_job_again_whose_cursor_the_service_does_not_know(
    stack: RunningStack, browser: Browser, finished: str
) -> None:
    sent: list[str] = []

    def spoil_first(route: Route) -> None:
        headers = route.request.headers
        cursor = headers.get("last-event-id", "")
        if cursor and not any(sent):
            headers["last-event-id"] = "of-another-release"
        sent.append(cursor)
        route.continue_(headers=headers)

    with opened(browser, f"{stack.url}/#/") as (page, _):
        page.route(re.compile("/stream"), spoil_first)
        page.goto(f"{stack.url}/#/jobs/{finished}")
        # A look at the page lets the requests go on.
        wait_until(lambda: page.title() and len(sent) == 4, "the end of the second reading")
        first, refused, again, last = map(bool, sent)
        assert (first, refused, again, last) == (False, True, False, True)
        expect(page.get_by_role("alert")).to_be_hidden()
        page.get_by_text("Values", exact=True).click()
        wait_until(lambda: shown_steps(page)[-1:] == [4], "all points")
        log = page.get_by_label("Log, last lines")
        wait_until(lambda: "\n" in log.inner_text(), "the log")
        lines = log.inner_text().splitlines()
        assert len(lines) == len(set(lines))
