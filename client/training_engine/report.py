"""Jobs as one HTML file that needs nothing else: no script, no network, no service.

Everything that comes from a job, its name, its configuration, its samples, is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

from training_engine._version import __version__
from training_engine.comparison import Comparison
from training_engine.records import JobRecord, SampledStep, Series

SAMPLE_TOKENS = 200
"""Length of a sample."""

_WIDTH, _HEIGHT = 640, 260
_LEFT, _TOP, _RIGHT, _BOTTOM = 62, 10, 12, 34
_MOST, _NOISE = 8e307, 1e-12
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;
color:#1b2230}
table{border-collapse:collapse;margin:.5rem 0}th,td{text-align:left;padding:.3rem .7rem;
border-bottom:1px solid #dfe3ea;vertical-align:top}.scroll{overflow-x:auto}
pre{background:#f5f6f9;padding:.7rem;overflow:auto;white-space:pre-wrap}
svg{max-width:100%;height:auto;overflow:visible}h1,h3,pre,.run{overflow-wrap:anywhere}
.run{display:inline-block;margin-right:1rem}
h2{margin-top:2rem}figure{margin:1rem 0}figcaption{font-weight:600}
"""
_ENVIRONMENT = (
    "job_id", "environment", "status", "error", "message", "created_at", "started_at",
    "completed_at", "running_seconds", "current_step", "max_steps", "attempt", "worker_id",
    "dataset_path", "val_dataset_path", "data_summary", "model_summary", "warnings",
    "exactness_notes", "execution", "tags", "notes", "parent_job_id", "parent_checkpoint_id",
    "fork_step", "fork_optimizer", "sweep_id",
)  # fmt: skip
_COLORS = (
    "#244f8f", "#c28b0a", "#0d96f2", "#8f2439", "#870bda", "#478578", "#c2410a", "#f53dbe",
)  # fmt: skip
_DASHES = ("", "7 3", "2 2", "9 2 2 2", "14 4", "4 2 1 2", "1 4")
"""As on the page *Compare*: told apart with every kind of color vision."""
Samples = Mapping[str, Sequence[tuple[str, str]]]
"""For a job's id, prompts and what its model made of them."""


Recorded = Mapping[str, Sequence[SampledStep]]
"""For a job's id, what its model made of the configuration's prompts, ascending by step."""


def report_html(
    compared: Comparison, curves: Sequence[Series], samples: Samples, recorded: Recorded
) -> str:
    """Return the page.

    Args:
        compared: The jobs, their final numbers and their differences.
        curves: What is drawn, over steps.
        samples: What is shown of their models.
        recorded: What was sampled while they were trained.
    """
    names = ", ".join(_name(job) for job in compared.jobs)
    body = "\n".join(
        [
            f"<h1>{escape(names)}</h1>",
            f"<p>Made by Training Engine {escape(__version__)} at {_time(datetime.now(UTC))}.</p>",
            *_section("Final numbers", _table(*_numbers(compared))),
            *_section("Curves", *_figures(compared, curves)),
            *_section("Where the configurations differ", _differences(compared)),
            *_section("Samples", *_samples(compared.jobs, samples)),
            *_section("Samples over time", *_recorded(compared.jobs, recorded)),
            *_section("Environment", *(_environment(job) for job in compared.jobs)),
            *_section("Configurations", *(_configuration(job) for job in compared.jobs)),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{escape(names)}</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _section(title: str, *parts: str) -> Iterator[str]:
    """Yield a heading and what is below it; nothing where that is empty."""
    if any(parts):
        yield f"<h2>{escape(title)}</h2>"
        yield from parts


def _name(job: JobRecord) -> str:
    return job.name or job.job_id


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    lines = ["".join(f"<td>{escape(each)}</td>" for each in row) for row in rows]
    if not lines:
        return ""
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><tr>{head}</tr>\n{body}</table></div>'


def _numbers(compared: Comparison) -> tuple[list[str], Iterator[list[str]]]:
    """Return heads and rows: the runs of each metric below each other, then those without any."""

    def rows() -> Iterator[list[str]]:
        for metric in compared.metrics:
            for job in compared.jobs:
                if found := compared.of(job.job_id, metric):
                    has_best = found.best is not None
                    best = f"{_number(found.best)} at step {found.best_step:,}" * has_best
                    yield [metric, _name(job), best, _number(found.last), f"{found.count:,}"]
        for job in compared.jobs:
            if not any(compared.of(job.job_id, metric) for metric in compared.metrics):
                yield ["nothing logged yet", _name(job), "", "", "0"]

    return ["Metric", "Run", "Best", "Last", "Values"], rows()


def _differences(compared: Comparison) -> str:
    rows = [
        [name, *("" if value is None else _text(value) for value in values)]
        for name, values in compared.differences.items()
    ]
    return _table(["Field", *map(_name, compared.jobs)], rows)


def _samples(jobs: Sequence[JobRecord], samples: Samples) -> Iterator[str]:
    for job in jobs:
        for prompt, text in samples.get(job.job_id, ()):
            yield f"<h3>{escape(_name(job))}: {escape(prompt)}</h3><pre>{escape(text)}</pre>"


def _recorded(jobs: Sequence[JobRecord], recorded: Recorded) -> Iterator[str]:
    """Yield a table for each job: its prompts, and the first step, the middle one and the last."""
    for job in jobs:
        if steps := recorded.get(job.job_id):
            places = sorted({0, (len(steps) - 1) // 2, len(steps) - 1})
            shown = [steps[place] for place in places]
            prompts = [sample.prompt for sample in steps[0].samples]
            texts = [[sample.text for sample in each.samples] for each in shown]
            heads = ["Prompt", *(f"Step {each.step:,}" for each in shown)]
            rows = zip(prompts, *texts, strict=False)
            yield f"<h3>{escape(_name(job))}</h3>{_table(heads, rows)}"


def _environment(job: JobRecord) -> str:
    rows = []
    for name in _ENVIRONMENT:
        value = getattr(job, name, None)
        if value not in (None, "", ()):
            rows.append([name.replace("_", " "), _text(value)])
    return f"<h3>{escape(_name(job))}</h3>" + _table(["", ""], rows)


def _configuration(job: JobRecord) -> str:
    text = json.dumps(job.config or {}, indent=2, ensure_ascii=False)
    return f"<h3>{escape(_name(job))}</h3><pre>{escape(text)}</pre>"


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return _time(value)
    if is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{name} {each}" for name, each in asdict(value).items() if each)
    if isinstance(value, tuple | list):
        return "; ".join(map(str, value))
    # Without the last digits of a product such as 3 * 1e-4.
    return f"{value:.12g}" if isinstance(value, float) else str(value)


# --- curves


def _figures(compared: Comparison, curves: Sequence[Series]) -> Iterator[str]:
    names = {job.job_id: _name(job) for job in compared.jobs}
    places = {job.job_id: place for place, job in enumerate(compared.jobs)}
    for metric in compared.metrics:
        drawn = [each for each in curves if each.metric == metric and each.x]
        if drawn:
            legend = " ".join(
                f'<span class="run">{_swatch(places[each.job_id])} '
                f"{escape(names[each.job_id])}</span>"
                for each in drawn
            )
            yield (
                f"<figure><figcaption>{escape(metric)}</figcaption>"
                f"{_picture(metric, drawn, places)}<div>{legend}</div></figure>"
            )


def _look(place: int) -> str:
    """Return the attributes of the line of the run at a place."""
    dash = _DASHES[place // len(_COLORS) % len(_DASHES)]
    return f'stroke="{_COLORS[place % len(_COLORS)]}"' + f' stroke-dasharray="{dash}"' * bool(dash)


def _swatch(place: int) -> str:
    line = f'<path d="M0 5H22" stroke-width="2.5" {_look(place)}/>'
    return f'<svg width="22" height="10" aria-hidden="true">{line}</svg>'


def _picture(metric: str, drawn: Sequence[Series], places: dict[str, int]) -> str:
    xs = [x for each in drawn for x in (each.x[0], each.x[-1])]
    ys = [y for each in drawn for y in each.y]
    across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT)
    down = _Axis(min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP)
    lines = [
        f'<path fill="none" {_look(places[each.job_id])} {_path(each, across, down)}/>'
        for each in drawn
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(metric)} over steps" font-size="11">'
        + "".join([*_grid(across, down), *lines])
        + "</svg>"
    )


class _Axis:
    """Values from `low` to `high` on pixels from `first` to `last`."""

    def __init__(self, low: float, high: float, first: float, last: float) -> None:
        # The distance of the ends is a number too, and more than noise of rounding.
        self.low, self.high = max(low, -_MOST), min(high, _MOST)
        size = max(abs(self.low), abs(self.high))
        if self.high - self.low <= _NOISE * size:
            self.high = self.low + (size or 1)
        self.first, self.last = first, last

    def pixel(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def marks(self) -> Iterator[float]:
        """Yield round values between the ends."""
        power = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        gap = next(f * power for f in (1, 2, 5, 10) if (self.high - self.low) / (f * power) <= 6)
        for place in range(math.ceil(self.low / gap), math.floor(self.high / gap) + 1):
            yield place * gap


def _path(series: Series, across: _Axis, down: _Axis) -> str:
    """Return width and path of a curve; a point alone is a dot."""
    points = zip(series.x, series.y, strict=True)
    path = "M" + "L".join(f"{across.pixel(x):.1f} {down.pixel(y):.1f}" for x, y in points)
    if len(series.x) == 1:
        return f'stroke-width="5" stroke-linecap="round" d="{path}h0"'
    return f'stroke-width="1.4" d="{path}"'


def _grid(across: _Axis, down: _Axis) -> Iterator[str]:
    for value in down.marks():
        y = down.pixel(value)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dfe3ea"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.6g}</text>'
    for value in across.marks():
        x = across.pixel(value)
        yield f'<text x="{x:.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{value:,.6g}</text>'
    yield f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" text-anchor="middle">step</text>'
