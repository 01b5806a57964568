"""Measures the loss of checkpoints on data, as clients ask for it, one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from app.training import progress
from app.training.data.errors import DataError
from app.training.errors import NoAverageError
from app.training.reading import PathNotAllowedError, restrict_to
from app.training.tokenizer_files import TokenizerError
from artifact_store import DATASETS_PREFIX, GuardedStore
from job_store.errors import StoreUnavailableError
from job_store.evaluation import EvaluationInbox, EvaluationReply, EvaluationRequest
from job_store.workers import WorkerRegistry
from training_worker.datasets import DatasetUnavailableError, dataset_file
from training_worker.inference_failures import Failure, failure_of
from training_worker.models import ModelCache
from training_worker.stored_files import StoredFiles

_PULSE_SECONDS = 1.0
"""Between two reports of progress. After ten seconds without one the control plane gives the
request to another worker."""

_DATA_ERRORS: dict[type[Exception], str] = {
    DataError: "INVALID_DATA",
    TokenizerError: "INVALID_DATA",
    PathNotAllowedError: "PATH_NOT_ALLOWED",
    DatasetUnavailableError: "DATASET_NOT_FOUND",
}
"""The reason that a client gets for each error of its `dataset_path`."""


class ReaderGoneError(Exception):
    """The client that asked for the result has left."""


class Measurement:
    """One evaluation. A second thread reports its progress, however long a single step takes.

    Sending a report also shows whether the client still waits. If not, the evaluation is ended at
    its next step.
    """

    def __init__(self, inbox: EvaluationInbox, request: EvaluationRequest) -> None:
        self._inbox, self._request = inbox, request
        self._reply = EvaluationReply(0, 0)
        self._gone, self._over = threading.Event(), threading.Event()

    def run(self, measure: Callable[[Callable[[int, int], None]], Any]) -> None:
        """Call `measure` with a function that takes tokens done and in all; deliver its result.

        Raises:
            ReaderGoneError: The client has left, so measuring was ended.
        """
        reporter = threading.Thread(target=self._report, name="evaluation", daemon=True)
        reporter.start()
        try:
            # The listener of reading and tokenizing ignores their progress, but may end them.
            with progress.reporting_to(lambda _: self._require_reader()):
                result = asdict(measure(self._set_progress))
        finally:
            self._over.set()
            reporter.join()
        tokens = result["tokens"]
        self._inbox.send(self._request, [EvaluationReply(tokens, tokens, result)])

    def _set_progress(self, done: int, total: int) -> None:
        self._reply = EvaluationReply(done, total)
        self._require_reader()

    def _require_reader(self) -> None:
        if self._gone.is_set():
            raise ReaderGoneError

    def _report(self) -> None:
        while True:
            try:
                if not self._inbox.send(self._request, [self._reply]):
                    self._gone.set()
            except StoreUnavailableError:
                pass  # the next report may arrive
            if self._over.wait(_PULSE_SECONDS):
                return


class Evaluator:
    """Answers requests for evaluations."""

    def __init__(
        self,
        inbox: EvaluationInbox,
        models: ModelCache,
        artifacts: GuardedStore,
        registry: WorkerRegistry,
    ) -> None:
        self._inbox, self._models = inbox, models
        self._artifacts, self._registry = artifacts, registry

    def answer(self, request: EvaluationRequest) -> None:
        """Measure and deliver the result.

        Raises:
            ReaderGoneError: The client has left.
            Exception: The request cannot be answered; `failure` says what the client gets.
        """
        from app.training.measured_data import measure_data  # loads torch

        def measure(on_progress: Callable[[int, int], None]) -> Any:
            # For the whole process, in which only evaluations read data, one at a time.
            restrict_to([*request.data_roots, self._artifacts.folder(DATASETS_PREFIX)])
            files = StoredFiles(self._artifacts)
            path = dataset_file(request.dataset_path, self._registry, files)
            loaded = self._models.get(request)
            return measure_data(
                loaded,
                path,
                stride=request.stride,
                separate_documents=request.separate_documents,
                on_progress=on_progress,
            )

        Measurement(self._inbox, request).run(measure)

    def failure(self, error: Exception, request: EvaluationRequest) -> Failure:
        """Return what the client gets for an error of `answer`."""
        from app.training.measured_data import WindowError

        if isinstance(error, WindowError):
            return Failure("INVALID_ARGUMENT", str(error), error.field)
        if isinstance(error, NoAverageError):
            return Failure("INVALID_ARGUMENT", str(error), "averaged")
        for kind, code in _DATA_ERRORS.items():
            if isinstance(error, kind):
                return Failure(code, str(error), "dataset_path")
        return failure_of(error, request.checkpoint_id)
