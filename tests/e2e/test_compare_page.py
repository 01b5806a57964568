"""The page that draws several runs over each other, in a real browser over a real stack."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
from browser import opened
from dashboard import Config, expect, start, wait_until
from playwright.sync_api import Browser, Page
from running_stack import RunningStack


@pytest.fixture
def runs(
    stack: RunningStack, api: httpx.Client, text_file: Path, short_config: Config
) -> list[str]:
    """Two runs that differ in one field; one has a name that wants to be markup."""
    config = short_config | {"max_steps": 12, "eval_steps": 4, "logging_steps": 1}
    other = config | {"learning_rate": 0.002}
    return [
        start(api, text_file, config, status="succeeded", name="plain"),
        start(api, text_file, other, status="succeeded", name='<img src="x"> & =co'),
    ]


def choices(page: Page) -> dict[str, list[str]]:
    """What the address keeps."""
    return parse_qs(str(page.evaluate("location.hash")).partition("?")[2])


def saved(page: Page, button: str, tmp_path: Path) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes()


def test_two_runs_are_drawn_read_zoomed_sorted_and_saved(
    stack: RunningStack, browser: Browser, runs: list[str], tmp_path: Path
) -> None:
    address = f"{stack.url}/#/compare?jobs={','.join(runs)}&metrics=loss&x=tokens&smoothing=0.5"
    with opened(browser, address) as (page, seen):
        chart = page.get_by_role("img", name="loss over tokens: 2 of 2 runs")
        expect(chart).to_be_visible()
        expect(page.get_by_role("slider", name="Smoothing 0.5")).to_have_value("0.5")
        reading = page.locator(".chart .reading")
        expect(reading).to_contain_text("latest")
        expect(reading).to_contain_text('<img src="x"> & =co')
        box = chart.bounding_box()
        assert box
        across, down = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(across, down)
        expect(reading).to_contain_text(re.compile(r"^tokens [\d,]+"))
        page.mouse.down()
        page.mouse.move(across + 150, down, steps=3)
        page.mouse.up()
        wait_until(lambda: {"from", "to"} <= choices(page).keys(), "the zoom in the address")
        low, high = (float(choices(page)[end][0]) for end in ("from", "to"))
        assert 0 < low < high
        expect(page.get_by_label("From", exact=True)).to_have_value(re.compile(r"\d"))
        chart.dblclick()
        wait_until(lambda: "from" not in choices(page), "the whole axis")
        page.get_by_label("log x").check()
        page.get_by_label("log y").check()
        page.get_by_label("val_loss", exact=True).check()
        validation = page.get_by_role("img", name="val_loss over tokens: 2 of 2 runs")
        expect(validation).to_be_visible()
        validation.press("Home")  # one pointer for all charts
        expect(page.locator(".chart .reading", has_text="tokens ")).to_have_count(2)
        table = page.get_by_role("table", name="Runs")
        expect(table.get_by_role("button", name="learning_rate")).to_be_visible()
        heads = table.locator("th").all_inner_texts()
        assert heads[3:] == ["loss, best", "loss, last", "val_loss, best", "val_loss, last",
                             "learning_rate"]  # fmt: skip
        rates = table.locator("tbody td:last-child")
        for first in ("0.002", "0.01"):
            table.get_by_role("button", name="learning_rate").click()
            expect(rates.first).to_have_text(first)
        kept = choices(page)
        assert (kept["sort"], kept["down"], kept["logy"]) == (["learning_rate"], ["1"], ["1"])
        page.reload()
        expect(page.get_by_role("img", name="val_loss over tokens: 2 of 2 runs")).to_be_visible()
        expect(rates.first).to_have_text("0.01")
        rows = list(csv.DictReader(saved(page, "CSV", tmp_path).decode().splitlines()))
        assert [row["job_id"] for row in rows] == runs
        points = list(csv.DictReader(saved(page, "Curves as CSV", tmp_path).decode().splitlines()))
        assert len([p for p in points if p["metric"] == "loss"]) == 24
        page.get_by_label("val_loss", exact=True).uncheck()
        expect(validation).to_have_count(0)
        picture = saved(page, "Charts as SVG", tmp_path)
        assert picture.startswith(b"<svg")
        assert picture.count(b"<path") == 2
        assert b">loss over tokens</text>" in picture
        assert picture.count(b"plain</text>") == 1  # which line is which
        assert b"&lt;img" in picture
        assert saved(page, "Charts as PNG", tmp_path).startswith(b"\x89PNG")
        assert (seen.errors, seen.strangers, seen.dialogs) == ([], [], [])


GROWING = """async () => {
  const { OverlayChart } = await import("/static/overlay_chart.js");
  const view = { logx: false, logy: false, from: null, to: null, xLabel: "step" };
  const begun = {};
  const upTo = (count) => {
    const x = Float64Array.from({ length: count }, (_, place) => place);
    return [{ label: "a", color: "red", dash: "", x, y: x.map((at) => Math.sin(at)), begun }];
  };
  const nodesOf = (chart) => [...chart.svg.querySelectorAll("path")];
  const pathsOf = (chart) => nodesOf(chart).map((path) => path.getAttribute("d"));
  const [chart, fresh] = [0, 1].map(() => {
    const made = new OverlayChart("loss", { onPoint() {}, onZoom() {}, onReset() {} });
    document.body.append(made.element);
    return made;
  });
  chart.show(upTo(10000), view);
  const [first] = nodesOf(chart);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  chart.show(upTo(10003), view);
  const isKept = nodesOf(chart)[0] === first;
  const [, tail] = pathsOf(chart);
  const reading = chart.legend.element.innerText.trim();
  chart.show(upTo(20000), view);
  fresh.show(upTo(20000), view);
  const [paths, others] = [chart, fresh].map(pathsOf);
  return { isKept, tail, reading, same: paths.join() === others.join(), paths: paths.length };
}"""
"""A curve that grows by points within a pixel, and then by many."""


def test_new_points_are_added_to_a_drawing_until_its_axes_move(
    stack: RunningStack, browser: Browser
) -> None:
    with opened(browser, f"{stack.url}/#/compare") as (page, seen):
        found = page.evaluate(GROWING)
        assert found["isKept"]
        assert found["tail"].count("L") == 3  # from the last point that was drawn
        assert found["reading"].split() == ["latest", "a", f"{math.sin(10002):.5g}"]
        assert (found["same"], found["paths"]) == (True, 1)
        assert seen.errors == []


ODD = """async () => {
  const { OverlayChart } = await import("/static/overlay_chart.js");
  const view = { logx: false, logy: true, from: null, to: null, xLabel: "step" };
  const chart = new OverlayChart("m", { onPoint() {}, onZoom() {}, onReset() {} });
  document.body.append(chart.element);
  const curve = (id, x, y, begun = {}) => ({
    id, label: id, color: "red", dash: "", begun,
    x: Float64Array.from(x), y: Float64Array.from(y),
  });
  const words = () => chart.legend.element.innerText.split(/\\s+/).filter(Boolean);
  const read = (at, meant = null) => (chart.point(at, meant), words());
  const paths = () => [...chart.svg.querySelectorAll("path")].map((path) => path.getAttribute("d"));
  const gap = curve("gap", [0, 1, 2, 3, 4], [1, 2, 0, 3, 4]);
  chart.show([gap, curve("short", [0, 1], [5, 6]), curve("one", [2], [7])], view);
  const found = { paths: paths(), ended: read(4, "gap") };
  found.meant = chart.svg.querySelectorAll("[stroke-width='2.8']").length;
  chart.show([curve("none", [1, 2], [-1, 0])], view);
  found.none = read(null).join(" ");
  const best = { best: 9, max: 9, min: 1 };
  chart.show([curve("low", [1, 2], [1, 1], best), curve("high", [1, 2], [9, 9], best)], view);
  found.greatest = read(null);
  const linear = { ...view, logy: false };
  const texts = () => [...chart.svg.querySelectorAll("text")].map((text) => text.textContent);
  chart.show([curve("noise", [1, 2, 3], [0.3, 0.30000000000000004, 0.3])], linear);
  found.noise = [paths()[0], texts()];
  chart.show([curve("huge", [1, 2], [-1.7e308, 1.7e308])], linear);
  found.huge = paths()[0];
  chart.show([curve("line", [1, 2], [1, 3])], { ...linear, from: 1.4, to: 1.6 });
  found.between = paths().length;
  chart.show([curve("line", [1, 2], [1, 3])], { ...linear, from: 3, to: 4 });
  found.outside = read(null).join(" ");
  const { extent, ticks } = await import("/static/scale.js");
  const range = extent([{ step: 1, loss: 1e16 }, { step: 2, loss: 1e16 + 2 }], ["loss"]);
  found.ticks = [ticks(range.low, range.high, 5).length, ticks(0.3, 0.30000000000000004, 5).length];
  return found;
}"""
"""Curves that end early, are a point, or have values that a logarithm lacks."""


def test_odd_curves_are_drawn_and_read_as_they_are(stack: RunningStack, browser: Browser) -> None:
    with opened(browser, f"{stack.url}/#/compare") as (page, seen):
        found = page.evaluate(ODD)
        gap, short, one = found["paths"]
        assert (gap.count("M"), gap.count("L")) == (2, 2)  # no line across the zero
        assert (short.count("L"), one[-2:]) == (1, "h0")  # a dot
        assert found["ended"] == ["step", "4", "gap", "4", "short", "–", "one", "–"]
        assert found["meant"] == 1
        assert found["none"].startswith("Nothing here is above zero")
        assert found["greatest"] == ["latest", "high", "9", "low", "1"]
        line, marks = found["noise"]
        assert len({point.split()[1] for point in line[1:].split("L")}) == 1  # drawn as a constant
        assert "0.3" in marks
        assert (found["huge"].count("L"), "NaN" in found["huge"]) == (1, False)
        assert found["between"] == 1
        assert found["outside"] == "None of the runs has logged it here."
        assert all(1 <= count <= 7 for count in found["ticks"])
        assert seen.errors == []


def test_a_deleted_run_is_left_out_and_the_others_keep_their_looks(
    stack: RunningStack, browser: Browser, runs: list[str]
) -> None:
    gone = "job_00000000000000000000000000"
    colors = "() => [...document.querySelectorAll('tbody .swatch line')].map(l => l.outerHTML)"
    with opened(browser, f"{stack.url}/#/compare?jobs={runs[0]},{gone},{runs[1]}") as (page, _):
        expect(page.get_by_role("alert")).to_contain_text(
            f"Left out, for there is no such job: {gone}"
        )
        expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(2)
        assert choices(page)["jobs"] == [f"{runs[0]},,{runs[1]}"]
        looks = page.evaluate(colors)
        assert len(set(looks)) == 2
        page.locator("summary", has_text="Runs").click()
        box = page.locator(f".picker input[value={runs[0]}]")
        box.focus()
        box.press("Space")
        expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(1)
        expect(box).to_be_focused()
        assert page.evaluate(colors) == looks[1:]
        box.press("Space")
        expect(page.get_by_role("table", name="Runs").locator("tbody tr")).to_have_count(2)
        assert page.evaluate(colors) == looks
        metric = page.get_by_label("lr", exact=True)
        metric.focus()
        metric.press("Space")
        expect(page.get_by_role("img", name="lr over step: 2 of 2 runs")).to_be_visible()
        expect(metric).to_be_focused()
        page.evaluate(f"location.hash = '#/jobs/{gone}'")  # as the link to a fork's parent
        expect(page.get_by_role("heading", name="No such job")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("It may have been deleted")
        expect(page.get_by_role("button", name="Stop")).to_have_count(0)


def test_runs_are_chosen_by_name_and_a_wrong_address_says_what_is_wrong(
    stack: RunningStack, browser: Browser, finished: str
) -> None:
    with opened(browser, f"{stack.url}/#/compare") as (page, seen):
        page.get_by_label("Words in name, tags or notes").fill("studied")
        page.get_by_label(re.compile(r"^studied \(succeeded\)")).check()
        expect(
            page.get_by_role("img", name="loss over step: 1 of 1 runs", exact=True)
        ).to_be_visible()
        assert choices(page)["jobs"] == [finished]
        assert seen.errors == []
        page.goto(f"{stack.url}/#/compare?jobs={finished}&metrics=los")
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("they have")
        page.goto(f"{stack.url}/#/compare?jobs=job_00000000000000000000000000")
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("there is no job")
        assert (seen.strangers, seen.dialogs) == ([], [])
