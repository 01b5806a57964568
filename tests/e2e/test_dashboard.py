"""The page in a real browser, against a real stack: what people do and meet there."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from browser import PATIENCE_SECONDS, chromium, opened
from playwright.sync_api import Browser, Page, Route, expect
from prefix_proxy import below_prefix
from running_stack import RunningStack, clean_environment
from running_stack import wait_until as wait_briefly_until

from training_engine import TrainingEngine

Config = dict[str, Any]
HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>&amp;"
LONG_RUN = {"max_steps": 1_000_000, "logging_steps": 2, "eval_steps": 1_000_000}
SMALL_AND_LONG = {"hidden_size": 32, "num_layers": 1, "batch_size": 2, "max_steps": 1_000_000}
SHORT_RUN = {"max_steps": 4, "save_steps": 2, "eval_steps": 4}
HELD_MS = 2500
"""How long a button of the mouse is down: the lists on the page are shown again meanwhile."""
expect.set_options(timeout=1000 * PATIENCE_SECONDS)
wait_until = partial(wait_briefly_until, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def api(stack: RunningStack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{stack.url}/api/training", timeout=30) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_trains_on(api: httpx.Client) -> Iterator[None]:
    """A job that a failed test leaves behind takes nothing from the next one."""
    yield
    for job in api.get("/jobs").json()["jobs"]:
        if job["status"] in ("queued", "running"):
            api.post(f"/jobs/{job['job_id']}/stop")


@pytest.fixture
def tiny_config(tiny_config: Config) -> Config:
    """Four steps, the last two of their checkpoints kept."""
    return tiny_config | SHORT_RUN


_finished: list[str] = []


@pytest.fixture
def finished(api: httpx.Client, text_file: Path, tiny_config: Config) -> str:
    """The id of a job that has ended and is only looked at."""
    if not _finished:
        _finished.append(start(api, text_file, tiny_config, status="succeeded"))
    return _finished[0]


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
    stack: RunningStack, api: httpx.Client, browser: Browser, tiny_config: Config
) -> None:
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        page.locator("#dataset-file").set_input_files(
            {"name": "own words.txt", "mimeType": "text/plain", "buffer": b"to be or not. " * 500}
        )
        source = page.get_by_role("combobox", name="Data")
        expect(source).to_have_value(re.compile("^dataset://"))
        dataset = source.input_value()
        page.get_by_role("textbox", name="Configuration (YAML or JSON)").fill(
            json.dumps(tiny_config)
        )
        button(page, "Start").click()
        expect(page.get_by_text(f"Dataset{dataset}")).to_be_visible()
        expect(state(page)).to_have_text("succeeded")
        assert (seen.errors, seen.strangers) == ([], [])
        job = api.get(f"/jobs/{page.url.rpartition('/')[2]}").json()
    assert job["dataset_path"] == dataset


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
    stack: RunningStack, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    chats = text_file.parent / "chats.jsonl"
    line = json.dumps({"prompt": "two and two?", "completion": "four, <b>not</b> five"}) + "\n"
    chats.write_text(line * 40)
    with opened(browser, f"{stack.url}/#/start") as (page, seen):
        page.get_by_role("textbox", name="Configuration (YAML or JSON)").fill(
            json.dumps(tiny_config)
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


def test_a_job_that_failed_at_once_promises_nothing(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    torn = text_file.parent / "torn.jsonl"
    # Past the part that a start looks at.
    torn.write_text('{"text": "to be or not to be"}\n' * 40_000 + '{"other": 1}\n')
    job_id = start(api, torn, tiny_config, status="failed")
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
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    config = tiny_config | {"val_fraction": 0.0, "best_metric": "loss"}
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
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    job_id = start(api, text_file, tiny_config | LONG_RUN, status="running", name="lasting")
    with opened(browser, f"{stack.url}/") as (page, seen):
        row = page.get_by_role("row", name="lasting").first
        expect(row.locator("td").nth(4)).to_have_text(re.compile(r"\d (h|min|s)"))
        row.get_by_role("link").click(delay=HELD_MS)
        expect(page.get_by_text(re.compile(r"of 1,000,000 · .+ left"))).to_be_visible()
        button(page, "Stop").click()
        expect(state(page)).to_have_text("stopped")
        expect(button(page, "Delete")).to_be_enabled()
        api.delete(f"/jobs/{job_id}").raise_for_status()
        button(page, "Resume").click()  # the page has not heard of it
        expect(state(page)).to_have_text("deleted")
        expect(page.locator("#notice")).to_contain_text("It may have been deleted")
        for name in ("Stop", "Resume", "Delete"):
            expect(button(page, name)).to_be_disabled()
        assert seen.strangers == []


def test_a_checkpoint_is_downloaded_and_sampled(
    stack: RunningStack, api: httpx.Client, browser: Browser, finished: str
) -> None:
    checkpoints = api.get(f"/jobs/{finished}/checkpoints").json()["checkpoints"]
    last = max(checkpoints, key=lambda one: int(one["step"]))
    greedy = {"prompt": "12 bott", "max_tokens": 40, "temperature": 0, "stream": False}
    expected = api.post(f"/checkpoints/{last['checkpoint_id']}/generate", json=greedy).json()
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        page.add_init_script(SLOW_HISTORY)
        page.reload()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download step 4").click(delay=HELD_MS)
        assert download.value.suggested_filename == "checkpoint_step_4.pt"
        content = Path(download.value.path()).read_bytes()
        assert hashlib.sha256(content).hexdigest() == last["sha256"]

        newest = page.get_by_role("combobox", name="Checkpoint")
        assert newest.input_value() == last["checkpoint_id"]
        page.get_by_role("textbox", name="Prompt").fill("12 bott")
        page.get_by_role("spinbutton", name="Tokens").fill("40")
        page.get_by_role("spinbutton", name="Temperature").fill("0")
        page.evaluate(RECORD_WRITING)
        button(page, "Sample").click()
        written = "wanted => document.querySelector('pre.sample').textContent === wanted"
        page.wait_for_function(written, arg="12 bott" + expected["text"])
        expect(button(page, "Cancel")).to_be_disabled()
        lengths = page.evaluate("window.lengths")
        assert len(set(lengths)) > 10, f"the text came in pieces of {lengths}"
        assert (seen.errors, seen.strangers) == ([], [])


# The charts are drawn while the button is down that is on the link below them.
SLOW_HISTORY = """
const whole = window.fetch;
window.fetch = async (url, options) => {
  if (String(url).includes("/history")) await new Promise((go) => setTimeout(go, 1500));
  return whole(url, options);
};"""

# The lengths that the sampled text had while it was written.
RECORD_WRITING = """() => {
  const written = document.querySelector("pre.sample").lastChild;
  window.lengths = [];
  new MutationObserver((changes) => {
    for (const change of changes) window.lengths.push(window.lengths.length);
  }).observe(written, { childList: true });
}"""


def test_an_answer_that_breaks_off_is_told(
    stack: RunningStack, browser: Browser, finished: str
) -> None:
    token = 'event: token\ndata: {"index":0,"token_id":84,"text":"%s","finish_reason":%s}\n\n'
    answers = [token % ("cut", "null"), token % ("all", '"length"')]
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        page.route(
            "**/generate",
            lambda route: route.fulfill(content_type="text/event-stream", body=answers.pop(0)),
        )
        button(page, "Sample").click()
        trouble = page.locator("section", has=button(page, "Sample")).get_by_role("alert")
        expect(trouble).to_have_text(
            "The text is cut short: the gateway’s answer broke off before its last token. "
            "Sample again."
        )
        output = page.get_by_role("log", name="Sampled text")
        expect(output).to_contain_text("cut")
        button(page, "Sample").click()
        expect(output).to_contain_text("all")
        expect(trouble).to_have_count(0)
        assert (seen.errors, seen.strangers) == ([], [])


def test_a_question_leaves_with_its_page(
    stack: RunningStack, api: httpx.Client, browser: Browser, finished: str
) -> None:
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        dialog = page.get_by_role("dialog", name="Delete watched")
        for leave in ("location.hash = '#/'", "window.dispatchEvent(new Event('signed-out'))"):
            page.goto(f"{stack.url}/#/jobs/{finished}")
            button(page, "Delete").click()
            expect(dialog).to_be_visible()
            page.evaluate(leave)
            expect(dialog).to_have_count(0)
        expect(page.get_by_label("Token", exact=True)).to_be_focused()
        assert status_of(api, finished)["status"] == "succeeded"
        assert (seen.errors, seen.strangers) == ([], [])


def test_an_upload_without_a_session_asks_for_the_token(
    stack: RunningStack, browser: Browser, tmp_path: Path
) -> None:
    (file := tmp_path / "some.txt").write_text("text")
    with opened(browser, f"{stack.url}/#/start") as (page, _):
        refused = json.dumps({"status": 401, "detail": "the session has ended"})
        page.route("**/datasets?name=*", lambda route: route.fulfill(status=401, body=refused))
        page.locator("#dataset-file").set_input_files(file)
        expect(page.get_by_label("Token", exact=True)).to_be_focused()


def test_an_address_that_is_no_valid_escape_names_no_job(
    stack: RunningStack, browser: Browser
) -> None:
    with opened(browser, f"{stack.url}/#/jobs/%") as (page, seen):
        expect(page.locator("#notice")).to_contain_text("%")
        page.evaluate("location.hash = '#/'")
        expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        assert not any("URIError" in error for error in seen.errors)


def test_a_resume_from_an_earlier_checkpoint_cuts_the_chart_and_goes_on(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    config = tiny_config | {"max_steps": 12, "save_steps": 6, "eval_steps": 6}
    job_id = start(api, text_file, config, status="succeeded")
    with opened(browser, f"{stack.url}/#/jobs/{job_id}") as (page, seen):
        page.get_by_text("Values", exact=True).click()
        wait_until(lambda: shown_steps(page) == list(range(1, 13)), "the whole history")
        button(page, "Resume from step 6").click()
        dialog = page.get_by_role("dialog", name="Resume from step 6")
        dialog.get_by_role("button", name="Resume from here").click()
        expect(page.get_by_text("2, restored from step 6")).to_be_visible()
        expect(state(page)).to_have_text("succeeded")
        wait_until(lambda: shown_steps(page) == list(range(1, 13)), "the whole history again")
        assert_every_metric_is_shown(page)
        assert (seen.errors, seen.strangers) == ([], [])


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
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    job_id = start(api, text_file, tiny_config | LONG_RUN, status="running")
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


def test_hostile_names_are_shown_and_not_run(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, tiny_config: Config
) -> None:
    config = tiny_config | {"wandb_mode": "disabled", "wandb_run_name": HOSTILE}
    job_id = start(api, text_file, config, status="succeeded", name=HOSTILE)
    uploaded = api.post("/datasets", params={"name": "<b>bold.txt"}, content=b"text " * 99)
    assert uploaded.status_code == 201, uploaded.text
    with opened(browser, f"{stack.url}/") as (page, seen):
        page.get_by_role("link", name=HOSTILE).first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
        page.get_by_text("Configuration", exact=True).click()
        expect(page.get_by_label("Configuration")).to_contain_text("onerror=alert(1)")
        button(page, "Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
        page.keyboard.press("Escape")
        page.goto(f"{stack.url}/#/start?from={job_id}")
        expect(page.get_by_role("textbox", name="Name (may be empty)")).to_have_value(HOSTILE)
        expect(page.locator("#source")).to_contain_text("<b>bold.txt")
        copied = page.get_by_role("textbox", name="Configuration (YAML or JSON)").input_value()
        assert json.loads(copied)["data"]["files"] == []
        assert page.locator("img").count() == 1  # the page's own sign
        assert (seen.errors, seen.strangers, seen.dialogs) == ([], [], [])

        # Even markup that found a way in would not run.
        blocked = page.evaluate(INJECT)
        assert blocked == "script-src-attr"
        assert seen.dialogs == []


INJECT = """() => new Promise((resolve) => {
  const tell = (event) => resolve(event.effectiveDirective);
  document.addEventListener("securitypolicyviolation", tell);
  document.getElementById("page").innerHTML = "<img src='data:,' onerror='alert(3)'>";
})"""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1100, "light"), (1440, "dark")])
def test_nothing_is_cut_off(
    stack: RunningStack, browser: Browser, finished: str, width: int, scheme: str
) -> None:
    for place in ("", f"jobs/{finished}", "start"):
        with opened(browser, f"{stack.url}/#/{place}", width=width, scheme=scheme) as (page, seen):
            expect(page.get_by_role("heading", level=1)).not_to_have_text("\u00a0")
            page.wait_for_load_state("networkidle") if place == "start" else None
            if place.startswith("jobs"):
                expect(page.get_by_role("link", name="Download step 4")).to_be_visible()
                newest = page.get_by_role("button", name="Resume from step 4")
                resume = wait_until(newest.bounding_box, "a table that is not drawn again just now")
                assert resume is not None
                card = page.locator(".card", has_text="Checkpoints").first.bounding_box()
                assert card is not None
                assert resume["x"] + resume["width"] < card["x"] + card["width"]
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert (seen.errors, seen.strangers) == ([], [])


def test_the_page_works_by_keyboard_and_names_everything(
    stack: RunningStack, browser: Browser, finished: str
) -> None:
    with opened(browser, f"{stack.url}/") as (page, seen):
        expect(page.get_by_role("link", name="watched").first).to_be_visible()
        tab_to(page, "Start a job")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("Start a job")
        assert unnamed(page) == []

        page.goto(f"{stack.url}/#/jobs/{finished}")
        expect(page.get_by_role("link", name="Download step 4")).to_be_visible()
        assert unnamed(page) == []
        chart = page.get_by_role("img", name="Loss, latest: train")
        chart.focus()
        page.keyboard.press("Home")
        expect(page.locator(".reading").first).to_contain_text("step 1 · train ")
        page.keyboard.press("ArrowRight")
        expect(page.locator(".reading").first).to_contain_text("step 2 · train ")

        button(page, "Delete").focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Delete watched")
        expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(button(page, "Delete")).to_be_focused()
        assert (seen.errors, seen.strangers) == ([], [])


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until the element with this text has the focus."""
    for _ in range(10):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == name:
            return
    raise AssertionError(f"Tab does not reach {name!r}")


def unnamed(page: Page) -> list[str]:
    """The roles of what can be used but says no name to a screen reader."""
    nodes = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    usable = {"button", "link", "textbox", "combobox", "spinbutton", "progressbar", "img", "table"}
    return [
        node["role"]["value"]
        for node in nodes
        if not node["ignored"]
        and node["role"]["value"] in usable
        and not node.get("name", {}).get("value")
    ]


def test_who_signs_in_may_download(stack: RunningStack, browser: Browser, finished: str) -> None:
    with (
        gateway_with_token(stack, "open-sesame") as url,
        opened(browser, f"{url}/#/jobs/{finished}") as (page, seen),
    ):
        token = page.get_by_label("Token", exact=True)
        expect(token).to_be_focused()
        assert seen.errors == []
        token.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert").last).to_contain_text("the token is not known")
        token.fill("open-sesame")
        page.keyboard.press("Enter")
        with page.expect_download() as download:
            page.get_by_role("link", name="Download step 4").click()
        assert Path(download.value.path()).stat().st_size > 0
        stored = page.evaluate("[document.cookie, localStorage.length, sessionStorage.length]")
        assert stored == ["", 0, 0]
        button(page, "Sign out").click()
        expect(token).to_be_focused()
        assert seen.strangers == []


def test_everything_works_below_the_prefix_of_a_proxy(
    stack: RunningStack, browser: Browser, finished: str
) -> None:
    with (
        gateway_with_token(stack, "open-sesame") as gateway,
        below_prefix("/my/engine", gateway) as (url, strays),
    ):
        with opened(browser, f"{url}/#/jobs/{finished}") as (page, seen):
            page.get_by_label("Token", exact=True).fill("open-sesame")
            page.keyboard.press("Enter")
            expect(state(page)).to_have_text("succeeded")
            expect(page.get_by_label("Log, last lines")).to_contain_text("step")  # the stream
            with page.expect_download() as download:
                page.get_by_role("link", name="Download step 4").click()
            assert Path(download.value.path()).stat().st_size > 0
            page.get_by_role("link", name="API").click()
            page.locator("#operations-workers-list_workers_api_training_workers_get").click()
            button(page, "Execute").click()
            answer = page.locator(".live-responses-table .response-col_status").last
            expect(answer).to_contain_text("200")
            assert (seen.errors, seen.strangers) == ([], [])
        with TrainingEngine.over_rest(url, token="open-sesame") as engine:
            assert engine.jobs.get(finished).status == "succeeded"
        assert strays == []


@contextmanager
def gateway_with_token(stack: RunningStack, token: str) -> Iterator[str]:
    """A second gateway of the stack that asks for a token; yields its URL."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "gateway", "--port=0", "--log-format=json"],
        env=clean_environment()
        | {
            "TRAINING_ENGINE_CONTROL_PLANE_ADDRESS": stack.address,
            "TRAINING_ENGINE_AUTH_TOKENS": token,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = process.stderr.readline()
        found = re.search(r'"url": "([^"]+)"', said)
        assert found, said + process.stderr.read()
        url = found[1]
        wait_until(lambda: answers(f"{url}/readyz"), "the gateway to be ready")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)
        process.stderr.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False
