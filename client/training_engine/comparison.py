"""Several jobs side by side: where their configurations differ, and what each metric came to."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from training_engine.records import JobRecord, Series

_LEFT_OUT = frozenset({"checkpoint_dir", "wandb_run_name"})
"""Fields that differ between any two jobs."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Jobs, and what they have measured.

    Attributes:
        jobs: The jobs, in the order asked for.
        series: For each job and metric, in the order of jobs: last and best value, and the step of
            the best. They have no points.
    """

    jobs: tuple[JobRecord, ...]
    series: tuple[Series, ...]

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, validation losses first."""
        names = dict.fromkeys(each.metric for each in self.series)
        return sorted(names, key=lambda name: ("val_loss" not in name, "loss" not in name))

    @property
    def differences(self) -> dict[str, tuple[Any, ...]]:
        """The fields of the configuration in which the jobs differ: a value for each job."""
        flat = [dict(_flat(job.config or {})) for job in self.jobs]
        names = sorted({name for fields in flat for name in fields} - _LEFT_OUT)
        rows = {name: tuple(fields.get(name) for fields in flat) for name in names}
        return {name: values for name, values in rows.items() if len(set(map(repr, values))) > 1}

    def of(self, job_id: str, metric: str) -> Series | None:
        """Return what a job measured; None where it has no value."""
        for each in self.series:
            if (each.job_id, each.metric) == (job_id, metric) and each.count:
                return each
        return None

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each job: state, best and last of each metric, the fields that differ."""
        for place, job in enumerate(self.jobs):
            row: dict[str, Any] = {
                "job_id": job.job_id,
                "name": job.name,
                "status": str(job.status),
                "step": job.current_step,
            }
            for metric in self.metrics:
                found = self.of(job.job_id, metric)
                row[f"best {metric}"] = found.best if found else None
                row[f"last {metric}"] = found.last if found else None
            row |= {name: values[place] for name, values in self.differences.items()}
            yield row

    def csv(self) -> str:
        """Return the rows as comma-separated values, with a line of names."""
        rows = list(self.rows())
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        return text.getvalue()


def _flat(fields: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a configuration with those of its parts, as in `model_config.bias`."""
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


def _cell(value: Any) -> Any:
    """Return a value that no spreadsheet takes for a formula."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def series_csv(series: Sequence[Series], x_name: str) -> str:
    """Return the points of curves as comma-separated values, one line for each."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job_id", "metric", x_name, "value"])
    for each in series:
        points = zip(each.x, each.y, strict=True)
        writer.writerows((each.job_id, each.metric, x, y) for x, y in points)
    return text.getvalue()
