"""MLflow: a run of its tracking server."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from app.training.config import flatten
from app.training.trackers.protocol import Line, TrackedRun
from app.training.trackers.requirements import require_package
from app.transformer.errors import ConfigError, FieldProblem

RUN_TAG = "training_engine.run"
STEP_TAG = "training_engine.step"
_ADDRESS = "MLFLOW_TRACKING_URI"
_PARAMETERS = 100
"""Parameters in one request at most, as the server has it."""


class MlflowRun:
    """Sends metrics to the server that MLFLOW_TRACKING_URI names.

    A configuration cannot name it: the process would send its MLflow credentials there. MLflow
    takes no point back, so steps that the run has already are not sent again.
    """

    name = "mlflow"

    def __init__(self) -> None:
        self._client: Any = None
        self._id = ""
        self._last_step = -1

    def require(self, run: TrackedRun) -> None:
        require_package("trackers", self.name, "mlflow", "mlflow")
        if not os.environ.get(_ADDRESS):
            message = (
                f"`trackers` has 'mlflow' and {_ADDRESS} is not set; it must be the address of a "
                "tracking server in the environment of the process that trains; set it, or leave "
                "the tracker out"
            )
            raise ConfigError([FieldProblem("trackers", message)])

    def start(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient()
        experiment = self._experiment(run.config.mlflow_experiment)
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run.id}'")
        if found:
            self._id = found[0].info.run_id
            self._last_step = int(found[0].data.tags.get(STEP_TAG, -1))
            self._client.update_run(self._id, status="RUNNING")
            return
        name, tags = run.config.mlflow_run_name, {RUN_TAG: run.id}
        self._id = self._client.create_run(experiment, run_name=name, tags=tags).info.run_id
        self._log_parameters(run)

    def log(self, lines: Sequence[Line]) -> None:
        from mlflow.entities import Metric, RunTag

        lines = [line for line in lines if line.step > self._last_step]
        if not lines:
            return
        metrics = [
            Metric(name, value, int(line.time * 1000), line.step)
            for line in lines
            for name, value in line.metrics.items()
            if math.isfinite(value)  # the server would keep infinity as a large number
        ]
        self._last_step = lines[-1].step
        tags = [RunTag(STEP_TAG, str(self._last_step))]
        self._client.log_batch(self._id, metrics=metrics, tags=tags)

    def flush(self) -> None:
        pass  # each request waits for its answer

    def finish(self) -> None:
        self._client.set_terminated(self._id)

    def _experiment(self, name: str | None) -> str:
        if name is None:
            return "0"
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found else self._client.create_experiment(name))

    def _log_parameters(self, run: TrackedRun) -> None:
        from mlflow.entities import Param

        values = flatten(run.config.to_dict())
        all_of_them = [Param(name, str(value)[:500]) for name, value in values.items()]
        for first in range(0, len(all_of_them), _PARAMETERS):
            self._client.log_batch(self._id, params=all_of_them[first : first + _PARAMETERS])
