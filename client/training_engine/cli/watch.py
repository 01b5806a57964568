"""`watch`: a job live on a terminal, as plain lines where piped, as JSON lines on request."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from training_engine.cli.curve import draw
from training_engine.cli.output import duration, is_preparing, number, phase_text
from training_engine.cli.session import Session
from training_engine.errors import TrainingEngineError
from training_engine.records import (
    Alert,
    Checkpoint,
    JobEvent,
    JobRecord,
    JobStatus,
    LogLine,
    MetricPoint,
    Rewind,
    SampledStep,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

_CURVE_HEIGHT = 8
_RECENT = 4
_LOOK_SECONDS = 1.0
_PHASE_LINE_SECONDS = 10.0
_SAMPLE_CHARACTERS = 60


@dataclass
class View:
    """What is known of a job while it is watched."""

    job: JobRecord
    """As the last event showed it."""
    points: list[MetricPoint] = field(default_factory=list)
    recent: list[str] = field(default_factory=list)
    now: JobRecord | None = None
    """The job as it was a second ago, for its phase and ETA: no event has these."""
    first_attempt: int = 0
    """Events of earlier attempts change the view, and are not printed."""

    def is_shown(self, event: JobEvent) -> bool:
        """Whether the event is of an attempt whose events are printed."""
        attempt = getattr(event.data, "attempt", None)
        return attempt is None or attempt >= self.first_attempt

    def take(self, event: JobEvent) -> str | None:
        """Change the view by an event; return the line to print about it, if there is one."""
        line = self._take(event)
        line = line if self.is_shown(event) else None
        if line is not None and not isinstance(event.data, MetricPoint):
            self.note(line)
        return line

    def note(self, line: str) -> None:
        """Show a line among the newest."""
        self.recent = [*self.recent, line][-_RECENT:]

    def _take(self, event: JobEvent) -> str | None:
        match event.data:
            case MetricPoint() as point:
                self.points.append(point)
                return point_line(point, self.job.max_steps)
            case JobRecord() as job:
                before, self.job = self.job.status, job
                changed = before is not job.status or job.is_terminal
                return state_line(job) if changed else None
            case Checkpoint(step=step, loss=loss, val_loss=val_loss, is_best=best):
                parts = [f"loss {number(loss)}"] if loss is not None else []
                if val_loss is not None:  # the last step's own line has it on the whole set
                    parts.append(f"val_loss {number(val_loss)} on eval_batches")
                return ", ".join([f"checkpoint at step {step}", *parts, *["the best"] * best])
            case Rewind(to_step=to_step, reason=reason):
                self.points = [point for point in self.points if point.step <= to_step]
                self.job = replace(self.job, current_step=to_step)
                goes_on = f"continues from step {to_step}"
                if goes_on in reason:
                    return reason
                return f"{goes_on}: {reason}" if reason else goes_on
            case Alert(text=text):
                return f"alert: {text}"
            case LogLine(text=text):
                # What the worker itself reports of checkpoints and the like is shown as events.
                return None if text.startswith("INFO training_worker.") else text

    @property
    def step(self) -> int:
        """The last step known to be done."""
        return max(self.points[-1].step if self.points else 0, self.job.current_step)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to the end, as the service estimates them."""
        return None if self.now is None or self.job.is_terminal else self.now.eta_seconds

    def newest(self, metric: str) -> float | None:
        """Return the newest value of a metric that only some points have."""
        values = (getattr(point, metric) for point in reversed(self.points))
        return next((value for value in values if value is not None), None)

    @property
    def custom(self) -> dict[str, float | None]:
        """The newest value of each of the user's own metrics."""
        latest: dict[str, float | None] = {}
        for point in self.points:
            latest.update(point.custom)
        return latest

    @property
    def phase(self) -> str:
        """What the trainer does besides steps, such as `validating 12/80`, or nothing."""
        return "" if self.now is None or self.job.is_terminal else phase_text(self.now)

    @property
    def bar(self) -> tuple[int, int, str]:
        """What is done, of how much, and as text: steps, or bytes while the data is prepared."""
        now = self.now
        if now is not None and not self.job.is_terminal and is_preparing(now):
            done, total = now.phase_done or 0, now.phase_total or 0
            return done, total, f"{done / total:.0%}"
        share = self.step / self.job.max_steps if self.job.max_steps else 0.0
        return self.step, self.job.max_steps, f"{self.step}/{self.job.max_steps}  {share:.0%}"


def state_line(job: JobRecord) -> str:
    """Return a job's state in one line."""
    where = f" at step {job.current_step}" if job.current_step else ""
    why = f": {said}" if (said := job.error or job.message) else ""
    return f"{job.status}{where}, attempt {job.attempt}{why}"


def point_line(point: MetricPoint, max_steps: int) -> str:
    """Return a point in one line."""
    parts = [f"step {point.step}/{max_steps}" if max_steps else f"step {point.step}"]
    for name in ("loss", "val_loss", "val_bits_per_byte", "lr"):
        value = getattr(point, name)
        parts += [f"{name} {number(value)}"] if value is not None else []
    if point.tokens_per_second:
        parts.append(f"{point.tokens_per_second:,.0f} tokens/s")
    return "  ".join([*parts, *custom_texts(point.custom)])


def sample_line(sampled: SampledStep) -> str:
    """Return what the model made of the first prompt in one line."""
    first, *others = sampled.samples
    prompt, text = (_shortened(part) for part in (first.prompt, first.text))
    more = f", and {len(others)} more" if others else ""
    return f"sample at step {sampled.step}: {prompt} → {text}{more}"


def _shortened(text: str) -> str:
    """Return a text in quotation marks, its line breaks and control characters escaped."""
    return repr(text[:_SAMPLE_CHARACTERS] + "…" * (len(text) > _SAMPLE_CHARACTERS))


def custom_texts(custom: Mapping[str, float | None]) -> list[str]:
    """Return the user's own metrics, each as name and value."""
    return [f"{name} {number(value) or 'not finite'}" for name, value in custom.items()]


def watch_job(session: Session, job_id: str, first_attempt: int = 0) -> JobStatus:
    """Follow a job to its end in the way that suits where it is printed; return how it ended.

    Attempts before `first_attempt` are shown in the curve only.
    """
    view = View(session.engine.jobs.get(job_id), first_attempt=first_attempt)
    try:
        _follow(session, view, session.engine.jobs.watch(job_id))
    except KeyboardInterrupt:
        if not view.job.is_terminal:
            again = f"watch it again: training-engine watch {job_id}"
            session.output.note(f"the job goes on; {again}; stop it: training-engine stop {job_id}")
        raise
    return session.engine.jobs.get(job_id).status


class _Samples:
    """Asks for the samples of each step that is validated while the job is watched."""

    def __init__(self, session: Session, job: JobRecord) -> None:
        self._session, self._job = session, job
        self._are_made = bool((job.config or {}).get("sample_prompts"))

    def of(self, event: JobEvent) -> str | None:
        """Return the line to print after the event, if its step has samples."""
        point = event.data
        if not self._are_made or not isinstance(point, MetricPoint) or point.val_loss is None:
            return None
        if point.step <= self._job.current_step:  # `samples` shows what was before
            return None
        step = {"from_step": point.step, "to_step": point.step}
        with suppress(TrainingEngineError, OSError):  # the stream meets the same, and reports it
            for sampled in self._session.engine.metrics.samples(self._job.job_id, **step):
                return sample_line(sampled)
        return None


class _StatusPoller(threading.Thread):
    """Asks now and then for the job's state, beside the stream of its events.

    Args:
        seconds: between two requests.
        show: called after each of them.
    """

    def __init__(
        self,
        session: Session,
        view: View,
        seconds: float,
        show: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(name="looks", daemon=True)
        self._session, self._view = session, view
        self._seconds, self._show = seconds, show
        self._ended = threading.Event()

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(self._seconds):
            # The stream of events meets the same errors, and reports them.
            with suppress(TrainingEngineError, OSError):
                self._view.now = self._session.engine.jobs.get(self._view.job.job_id)
                self._show()


def _follow(session: Session, view: View, events: Iterator[JobEvent]) -> None:
    if session.output.as_json:
        for event in events:
            view.take(event)
            shown = {"event": event.kind, "cursor": event.cursor, "data": event.data}
            if view.is_shown(event):
                session.output.json_line(shown)
    elif sys.stdout.isatty() and not session.output.console.is_dumb_terminal:
        _live(session, view, events)
    else:
        _print_lines(session, view, events)


def _print_lines(session: Session, view: View, events: Iterator[JobEvent]) -> None:
    """Print a line for each event, and for what brings no events, such as hours of tokenizing."""
    printed = ""

    def print_phase() -> None:
        nonlocal printed
        if view.phase and view.phase != printed:
            printed = view.phase
            session.output.line(printed)

    samples = _Samples(session, view.job)
    with _StatusPoller(session, view, _PHASE_LINE_SECONDS, print_phase):
        for event in events:
            for line in filter(None, (view.take(event), samples.of(event))):
                session.output.line(line)


def _live(session: Session, view: View, events: Iterator[JobEvent]) -> None:
    from rich.live import Live

    console = session.output.console
    live = Live(
        get_renderable=lambda: _render(view, console.width), console=console, refresh_per_second=4
    )
    samples = _Samples(session, view.job)
    with live, _StatusPoller(session, view, _LOOK_SECONDS):
        for event in events:
            view.take(event)
            if sampled := samples.of(event):
                view.note(sampled)


def _render(view: View, width: int) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    job = view.job
    bar = Table.grid(padding=(0, 1), expand=True)
    bar.add_column(no_wrap=True)
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True)
    done, total, text = view.bar
    bar.add_row(
        Text(f"{job.name or job.job_id}  {job.status}"),
        ProgressBar(total=max(1, total), completed=done),
        Text(text),
    )
    losses = [p.loss for p in view.points if p.loss is not None and math.isfinite(p.loss)]
    curve = draw(losses, max(20, min(width, 100)), _CURVE_HEIGHT)
    tags = " ".join((view.now or job).tags)
    return Group(
        bar,
        *([Text(tags, style="dim")] if tags else []),
        Text(_summary(view)),
        *([Text("   ".join(others))] if (others := _others(view)) else []),
        *(Text(line, style="cyan", no_wrap=True) for line in curve),
        *(Text(line, style="dim", no_wrap=True, overflow="ellipsis") for line in view.recent),
    )


def _others(view: View) -> list[str]:
    """Return bits per byte, where they are measured, and the user's own metrics."""
    bits = view.newest("val_bits_per_byte")
    own = custom_texts(view.custom)
    return own if bits is None else [f"bits per byte {number(bits)}", *own]


def _summary(view: View) -> str:
    """Return loss, rate, speed, phase and ETA in one line."""
    if not view.points:
        if view.job.status is JobStatus.QUEUED:
            return "waiting for a worker"
        return view.phase or "waiting for the first logged step"
    last = view.points[-1]
    validation = view.newest("val_loss")
    parts = [f"loss {number(last.loss)}"]
    parts += [f"validation {number(validation)}"] if validation is not None else []
    parts += [f"lr {number(last.lr)}"] if last.lr is not None else []
    parts += [f"{last.tokens_per_second:,.0f} tokens/s"] if last.tokens_per_second else []
    parts += [view.phase] if view.phase else []
    parts += [f"ETA {duration(view.eta_seconds)}"] if view.eta_seconds is not None else []
    return "   ".join(parts)
