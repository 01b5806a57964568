"""Answers requests about checkpoints, in a process of its own beside the one that trains.

It samples text and measures the loss on data. Forked from the worker, with torch imported already;
ends with it, and is started again when it dies. It takes only as many requests as it can work on,
so others find another worker.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, NoReturn, Protocol, TypeVar

from job_store.connection import Connection
from job_store.errors import StoreUnavailableError
from job_store.evaluation import EvaluationInbox
from job_store.generation import GenerationInbox
from job_store.identity import ArtifactRecords
from job_store.inference_requests import InferenceRequest, RequestInbox
from job_store.workers import WorkerRegistry
from service_runtime.duties import Duties
from service_runtime.process import tie_to_parent
from training_worker.artifacts import open_artifacts, recognise_artifacts
from training_worker.connections import patient_client
from training_worker.evaluations import Evaluator, ReaderGoneError
from training_worker.inference_failures import Failure
from training_worker.models import ModelCache
from training_worker.sampling import Sampler
from training_worker.settings import WorkerSettings
from training_worker.side_process import SideProcess

logger = logging.getLogger(__name__)

R = TypeVar("R", bound=InferenceRequest)
R_contra = TypeVar("R_contra", contravariant=True)

_TEXTS_AT_ONCE = 4
"""Requests for text worked on side by side; they share this process's threads."""
_EVALUATIONS_AT_ONCE = 1
"""Further ones wait, or find another worker."""
_LOWER_PRIORITY = 5
"""Niceness: a running job comes first where cores are short."""


def inference_process(settings: WorkerSettings) -> SideProcess:
    """Return the process; where it is killed, readers that wait for an answer ask again."""
    return SideProcess("inference", lambda worker: _run_inference(settings, worker))


def _run_inference(settings: WorkerSettings, worker: int) -> NoReturn:
    """Serve until the worker ends."""
    tie_to_parent(signal.SIGKILL, worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.nice(_LOWER_PRIORITY)
    from app.transformer.blas_threads import set_blas_threads

    set_blas_threads(settings.resolved_threads())
    begin = partial(_take_threads, settings.resolved_threads())
    begin()
    # Only where it was asked for: a training job may need the GPU's whole memory.
    device = settings.device if settings.device.startswith("cuda") else "cpu"
    db = Connection(patient_client(settings.resolved_redis_url()))
    artifacts = open_artifacts(settings)
    look = partial(recognise_artifacts, artifacts, ArtifactRecords(db))
    models = ModelCache(artifacts, device)
    threading.Thread(target=models.watch_files, name="models", daemon=True).start()
    evaluations = EvaluationInbox(db)
    evaluator = Evaluator(evaluations, models, artifacts, WorkerRegistry(db))
    measuring = InferenceServer(evaluations, evaluator, look, begin, _EVALUATIONS_AT_ONCE)
    threading.Thread(target=measuring.serve, name="evaluations", daemon=True).start()
    texts = GenerationInbox(db)
    InferenceServer(texts, Sampler(texts, models), look, begin, _TEXTS_AT_ONCE).serve()


def _take_threads(count: int) -> None:
    """Have torch use so many in this thread of Python, and in those that begin after it."""
    import torch

    torch.set_num_threads(count)


class Answering(Protocol[R_contra]):
    """Does the work."""

    def answer(self, request: R_contra) -> None:
        """Work, and deliver what comes of it."""

    def failure(self, error: Exception, request: R_contra) -> Failure:
        """Return what the reader is told of an error."""


class InferenceServer(Generic[R]):
    """Takes requests of one kind, one for each free place, and has them answered.

    Args:
        look: raises where the artifact store is away or another one; called before each answer.
        begin: called in each thread before its first answer.
        at_once: places.
    """

    def __init__(
        self,
        inbox: RequestInbox[R],
        answering: Answering[R],
        look: Callable[[], object],
        begin: Callable[[], object],
        at_once: int,
    ) -> None:
        self._inbox, self._answering, self._look = inbox, answering, look
        self._duties = Duties(expected=(StoreUnavailableError,))
        self._free = threading.Semaphore(at_once)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="inference", initializer=begin)

    def serve(self) -> NoReturn:
        """Take requests until the process ends."""
        while True:
            self._free.acquire()
            request = None
            try:
                request = self._inbox.take()
            except Exception as error:
                time.sleep(self._duties.failed("taking requests", error))
            else:
                self._duties.done("taking requests")
            finally:
                if request is None:
                    self._free.release()
            if request is not None:
                self._pool.submit(self._answer, request)

    def _answer(self, request: R) -> None:
        try:
            self.answer(request)
        except StoreUnavailableError as error:
            logger.warning("an answer is lost: %s", error)
        except Exception:  # the pool would keep it to itself
            logger.exception("an answer is lost")
        finally:
            self._free.release()

    def answer(self, request: R) -> None:
        """Answer a request; every failure is delivered as well."""
        try:
            self._look()
            self._answering.answer(request)
        except StoreUnavailableError:
            raise
        except ReaderGoneError:
            logger.info("the reader of an evaluation is gone")
        except Exception as error:
            self._inbox.fail(request, *self._answering.failure(error, request))
