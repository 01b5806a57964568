"""The dashboard in a real browser: many long runs over each other, live, and a long list of jobs.

make bench ARGS=page                        50 runs of 100,000 points, 10,000 jobs: minutes
make bench ARGS=page BENCHMARK_PAGE_POINTS=2000

Headless Chromium on loopback. A figure in seconds is from the click to the frame that shows all of
it; CPU time is what the processes say that they have taken. A few runs are published point by
point; the others get copies of what that left in Redis.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import grpc
import psutil
import redis
from playwright.sync_api import Page, sync_playwright

from benchmarks.harness import Claim
from benchmarks.service_calls import store_jobs
from benchmarks.service_history import CONFIG, publish
from benchmarks.service_processes import TOKEN, Services, free_port, load, services
from job_store.attempts import AttemptStore
from job_store.connection import DEFAULT_PREFIX, Connection
from job_store.history_records import MetricPoint
from job_store.records import FencingToken
from training_engine.v1 import metrics_pb2

RUNS = int(os.environ.get("BENCHMARK_PAGE_RUNS", "50"))
POINTS = int(os.environ.get("BENCHMARK_PAGE_POINTS", "100000"))
JOBS = 10_000
OPENINGS, LIVE_SECONDS = 5, 30
FIRST_COPY_SECONDS = 900
SHAPES = 5
"""Different runs; the others are copies of these."""
_DRAWN = """async ([address, drawn, count]) => {
  const started = performance.now();
  location.hash = address;
  const shown = () => document.querySelectorAll(drawn).length;
  while (shown() !== count) await new Promise((done) => setTimeout(done, 4));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return (performance.now() - started) / 1000;
}"""
_CURVES = f".overlay[aria-label*='{RUNS} of {RUNS} runs']"
"""A chart in which each run has points. It is drawn together with the table of the runs."""


class PageServices(Services):
    """The processes behind the page. The control plane keeps its copies across its restarts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.restart_control_plane()
        self.http_port = free_port()
        plane = f"--control-plane-address={self.address}"
        self._start("gateway", "gateway", f"--port={self.http_port}", plane)

    def restart_control_plane(self) -> None:
        """Kill the control plane, and start one on the same port."""
        self.kill("control_plane")
        port = self.address.rpartition(":")[2]
        flags = (
            f"--data-root={self.folder}",
            f"--series-folder={self.folder / 'series'}",
            "--lease-seconds=86400",  # these runs have no worker that would renew them
        )
        self._start("control_plane", "control_plane", f"--port={port}", *flags)
        self._wait(self.answers, "the control plane to answer")

    def answers(self) -> bool:
        """Whether the control plane answers."""
        try:
            self._idle_workers()
        except grpc.RpcError:
            return False
        return True

    def tree_seconds(self, pid: int) -> float:
        """Return the CPU time that a process and its descendants have taken."""
        root = psutil.Process(pid)
        times = [each.cpu_times() for each in (root, *root.children(recursive=True))]
        return sum(each.user + each.system for each in times)


def run(device: str) -> list[Claim]:
    """Measure openings, CPU while following, and the list."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found, "no Chromium on the PATH (apt install chromium)"
    with services(PageServices) as running, sync_playwright() as driver:
        stack = cast(PageServices, running)
        jobs = [stack.start_job(CONFIG) for _ in range(RUNS)]
        _fill(stack, jobs)
        first = _seconds(lambda: _series(stack, jobs))
        browser = driver.chromium.launch(executable_path=found)
        page = browser.new_page(viewport={"width": 1400, "height": 900})
        _sign_in(page, stack)
        claims = [*_openings(page, stack, jobs, first), *_live(page, stack, jobs)]
        store_jobs(stack, "", JOBS)
        claims.append(_list(page))
        browser.close()
        return claims


def _fill(stack: Services, jobs: Sequence[str]) -> None:
    """Give each job a history of its own claim."""
    originals = jobs[:SHAPES]
    for place, job_id in enumerate(originals):
        publish(stack, job_id, POINTS, shape=1 + place / SHAPES)
    for place, job_id in enumerate(jobs[SHAPES:]):
        publish(stack, job_id, 0)
        _copy(stack, originals[place % SHAPES], job_id)


def _copy(stack: Services, original: str, job_id: str) -> None:
    """Copy the points and summaries of a job to another one, whose attempt is claimed."""
    prefix = f"{DEFAULT_PREFIX}job:"
    with redis.Redis.from_url(stack.redis_url) as client:
        for pattern in ("metrics:1", "latest", "schemas", "summary:*"):
            for key in client.keys(f"{prefix}{original}:{pattern}"):
                name = key.decode() if isinstance(key, bytes) else key
                client.copy(name, name.replace(original, job_id), replace=True)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _series(stack: Services, jobs: Sequence[str]) -> None:
    """Ask for the curves until all are copied; a busy Redis may refuse, and copies are kept."""
    request = metrics_pb2.GetSeriesRequest(job_ids=jobs, metrics=["loss"])
    deadline = time.monotonic() + FIRST_COPY_SECONDS
    while True:
        try:
            stack.metrics("GetSeries", request, FIRST_COPY_SECONDS)
        except grpc.RpcError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _sign_in(page: Page, stack: PageServices) -> None:
    page.goto(f"http://127.0.0.1:{stack.http_port}/")
    page.get_by_label("Token", exact=True).fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Jobs").wait_for()


def _openings(page: Page, stack: PageServices, jobs: Sequence[str], first: float) -> list[Claim]:
    warm = [_open(page, jobs, smoothing) for smoothing in [0.6] * OPENINGS]
    name = f"{RUNS} runs of {POINTS:,} points, smoothed, click to drawn"
    detail = f"{min(warm):.2f}–{max(warm):.2f} s of {OPENINGS}; {load()}"
    stack.restart_control_plane()
    before = _cpu(stack)
    cold = _open(page, jobs, 0.9)
    used = ", ".join(f"{each} {took - before[each]:.2f} s" for each, took in _cpu(stack).items())
    copied = (
        f"CPU time: {used}; the first copy, made while they train, took {first:.1f} s; {load()}"
    )
    return [
        Claim(name, statistics.median(warm), 1.0, False, "s", detail),
        Claim(f"{name}, after a restart", cold, 1.0, False, "s", copied),
    ]


def _open(page: Page, jobs: Sequence[str], smoothing: float) -> float:
    page.evaluate("location.hash = '#/start'")
    page.get_by_role("heading", name="Start a job").wait_for()
    address = f"#/compare?jobs={','.join(jobs)}&metrics=loss&smoothing={smoothing}"
    return float(page.evaluate(_DRAWN, [address, _CURVES, 1]))


def _live(page: Page, stack: PageServices, jobs: Sequence[str]) -> list[Claim]:
    """Follow all runs while each logs a point a second."""
    page.get_by_role("table", name="Runs").wait_for()
    connection = Connection.open(stack.redis_url)
    store = AttemptStore(connection)
    tokens = [FencingToken(job_id, 1, store.attempts(job_id)[0].claim_id) for job_id in jobs]
    time.sleep(5)  # the page has settled
    before = _cpu(stack)
    started = time.monotonic()
    for second in range(1, LIVE_SECONDS + 1):
        for token in tokens:
            store.publish_metrics(token, [_point(POINTS + second)])
            store.renew_lease(token)
        time.sleep(max(0, started + second - time.monotonic()))
    passed = time.monotonic() - started
    used = {name: (took - before[name]) / passed for name, took in _cpu(stack).items()}
    connection.close()
    reading = page.locator(".chart .reading").inner_text()
    detail = ", ".join(f"{name} {100 * share:.1f} %" for name, share in used.items())
    assert "latest" in reading, reading
    return [
        Claim(
            f"CPU of the browser that follows {RUNS} runs, a point a second each",
            100 * used["browser"], 5, False, "% of a core", f"{detail}; {load()}",
        )
    ]  # fmt: skip


def _cpu(stack: PageServices) -> dict[str, float]:
    """Return the CPU time, in seconds, that what a page needs has taken."""
    pids = {
        "browser": _browser_pid(),
        "gateway": stack.pid("gateway"),
        "control plane": stack.pid("control_plane"),
    }
    return {name: stack.tree_seconds(pid) for name, pid in pids.items()}


def _point(step: int) -> MetricPoint:
    return MetricPoint(
        step, {"loss": 1.5, "tokens_seen": 768.0 * step}, 1_750_000_000_000 + 59 * step
    )


def _browser_pid() -> int:
    """Return the browser's process: its ancestors are the driver and this process."""
    children = psutil.Process().children(recursive=True)
    return next(each.pid for each in children if "chrom" in each.name())


def _list(page: Page) -> Claim:
    seconds = []
    for _ in range(OPENINGS):
        page.evaluate("location.hash = '#/start'")
        page.get_by_role("heading", name="Start a job").wait_for()
        seconds.append(float(page.evaluate(_DRAWN, ["#/", "tbody tr", 50])))
    detail = f"{min(seconds):.3f}–{max(seconds):.3f} s; {load()}"
    median = 1000 * statistics.median(seconds)
    return Claim(f"a list of {JOBS:,} jobs, click to drawn", median, 300, False, "ms", detail)
