"""The page in a real browser: checkpoints, sign-in, a proxy, the keyboard, hostile names."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import httpx
import pytest
from browser import opened
from dashboard import HELD_MS, Config, button, start, state, wait_until
from gateways import gateway_with_token
from playwright.sync_api import Browser, Page, expect
from prefix_proxy import below_prefix
from running_stack import RunningStack

from training_engine import TrainingEngine

pytestmark = pytest.mark.usefixtures("nothing_trains_on")
HOSTILE = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>&amp;"


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


def test_options_of_sampling_are_sent_and_every_sample_is_shown(
    stack: RunningStack, api: httpx.Client, browser: Browser, finished: str
) -> None:
    newest = api.get(f"/jobs/{finished}/checkpoints").json()["checkpoints"][-1]["checkpoint_id"]
    options = {"max_tokens": 9, "temperature": 0.8, "num_samples": 2, "seed": 3, "min_p": 0.01}
    asked = {"prompt": "12 bott", "stop": ["zz", "yy"], "stream": False, **options}
    expected = api.post(f"/checkpoints/{newest}/generate", json=asked).json()["samples"]
    with opened(browser, f"{stack.url}/#/jobs/{finished}") as (page, seen):
        page.get_by_role("textbox", name="Prompt").fill("12 bott")
        page.get_by_role("spinbutton", name="Tokens").fill("9")
        page.get_by_text("More options").click()
        for label, value in (("Samples", "2"), ("Seed", "3"), ("Min p", "0.01")):
            page.get_by_role("spinbutton", name=label).fill(value)
        page.get_by_role("textbox", name="Stop").fill("zz\nyy")
        button(page, "Sample").click()
        text = "\n\n".join("12 bott" + sample["text"] for sample in expected)
        written = "wanted => document.querySelector('pre.sample').textContent === wanted"
        page.wait_for_function(written, arg=text)
        page.get_by_role("checkbox", name="The prompt is a chat message").check()
        button(page, "Sample").click()
        expect(page.get_by_role("alert").last).to_contain_text("has no chat template")
        page.get_by_role("checkbox", name="The prompt is a chat message").uncheck()
        page.get_by_role("textbox", name="Prompt").fill(
            "12 bottles of beer on the wall, take one down"
        )
        button(page, "Sample").click()
        expect(page.get_by_role("alert").last).to_contain_text("the model sees the last 32")
        (refused,) = seen.errors  # the browser's own line about the refusal
        assert "400" in refused
        assert seen.strangers == []


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


def test_hostile_names_are_shown_and_not_run(
    stack: RunningStack, api: httpx.Client, text_file: Path, browser: Browser, short_config: Config
) -> None:
    config = short_config | {"wandb_mode": "disabled", "wandb_run_name": HOSTILE}
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
        expect(page.get_by_role("link", name="studied").first).to_be_visible()
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
        dialog = page.get_by_role("dialog", name="Delete studied")
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
