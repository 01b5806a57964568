"""Answers requests for text, in a process of its own beside the one that trains.

Forked from the worker, with torch imported already; ends with it, and is started again when it
dies. It takes only as many requests as it can work on, so others find another worker.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from typing import NoReturn

from app.training.errors import NoAverageError
from artifact_store import (
    ArtifactError,
    ArtifactNotFoundError,
    ArtifactStoreAwayError,
    GuardedStore,
)
from job_store.connection import Connection
from job_store.errors import StoreUnavailableError
from job_store.generation import GeneratedPiece, GenerationInbox, GenerationRequest
from job_store.identity import ArtifactRecords
from service_runtime.duties import Duties
from service_runtime.process import tie_to_parent
from training_worker.artifacts import open_artifacts, recognise_artifacts
from training_worker.connections import patient_client
from training_worker.models import ModelCache
from training_worker.settings import WorkerSettings
from training_worker.side_process import SideProcess

logger = logging.getLogger(__name__)

_AT_ONCE = 4
"""Requests worked on side by side; they share this process's threads."""
_BATCH_SECONDS = 0.02
"""Tokens of a fast model travel together; the first always goes at once."""
_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "num_samples",
    "logprobs",
)
"""Fields of a request that the library takes by the same names."""
_LOWER_PRIORITY = 5
"""Niceness: a running job comes first where cores are short."""


def inference_process(settings: WorkerSettings) -> SideProcess:
    """Return the process; where it is killed, readers that wait for its text ask again."""
    return SideProcess("inference", lambda worker: _run_inference(settings, worker))


def _run_inference(settings: WorkerSettings, worker: int) -> NoReturn:
    """Serve until the worker ends."""
    tie_to_parent(signal.SIGKILL, worker)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.nice(_LOWER_PRIORITY)
    import torch

    torch.set_num_threads(settings.resolved_threads())
    # Only where it was asked for: a training job may need the GPU's whole memory.
    device = settings.device if settings.device.startswith("cuda") else "cpu"
    db = Connection(patient_client(settings.resolved_redis_url()))
    records, artifacts = ArtifactRecords(db), open_artifacts(settings)
    InferenceServer(GenerationInbox(db), artifacts, records, device).serve()


class InferenceServer:
    """Takes requests and streams their text back."""

    def __init__(
        self,
        inbox: GenerationInbox,
        artifacts: GuardedStore,
        records: ArtifactRecords,
        device: str,
    ) -> None:
        self._inbox, self._artifacts, self._records = inbox, artifacts, records
        self._models = ModelCache(artifacts, device)
        self._duties = Duties(expected=(StoreUnavailableError,))
        self._free = threading.Semaphore(_AT_ONCE)
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="generate")

    def serve(self) -> NoReturn:
        """Take requests until the process ends, one for each free place."""
        while True:
            self._free.acquire()
            request = None
            try:
                request = self._inbox.take()
            except Exception as error:
                time.sleep(self._duties.failed("requests for text", error))
            else:
                self._duties.done("requests for text")
            finally:
                if request is None:
                    self._free.release()
            if request is not None:
                self._pool.submit(self._answer, request)

    def _answer(self, request: GenerationRequest) -> None:
        try:
            self.answer(request)
        except StoreUnavailableError as error:
            logger.warning("an answer is lost: %s", error)
        except Exception:  # the pool would keep it to itself
            logger.exception("an answer is lost")
        finally:
            self._free.release()

    def answer(self, request: GenerationRequest) -> None:
        """Sample and deliver; every failure is delivered as well."""
        try:
            self._deliver(request, self._sample(request))
        except StoreUnavailableError:
            raise
        except ArtifactNotFoundError:
            missing = f"checkpoint {request.checkpoint_id} was deleted; choose another one"
            self._inbox.fail(request, "CHECKPOINT_NOT_FOUND", missing)
        except ArtifactStoreAwayError as error:
            self._inbox.fail(request, "ARTIFACT_STORE_UNAVAILABLE", str(error))
        except ArtifactError as error:
            self._inbox.fail(request, "ARTIFACT_DAMAGED", str(error))
        except (ValueError, NoAverageError) as error:  # also NotSampledError
            self._inbox.fail(request, "INVALID_ARGUMENT", str(error))
        except Exception as error:
            logger.exception("sampling from %s", request.checkpoint_id)
            self._inbox.fail(request, "INTERNAL", f"sampling failed: {type(error).__name__}")

    def _sample(self, request: GenerationRequest) -> Iterator[GeneratedPiece]:
        from app.training.sampled_text import answer_pieces, sample_batch, sample_pieces

        recognise_artifacts(self._artifacts, self._records)
        loaded = self._models.get(request)
        options = {name: getattr(request, name) for name in _OPTIONS}
        if request.prompts:
            pieces = sample_batch(loaded.model, loaded.tokenizer, request.prompts, **options)
        elif request.messages:
            pieces = answer_pieces(loaded, request.messages, **options)
        else:
            pieces = sample_pieces(loaded.model, loaded.tokenizer, request.prompt, **options)
        return (GeneratedPiece(*astuple(piece)) for piece in pieces)

    def _deliver(self, request: GenerationRequest, pieces: Iterator[GeneratedPiece]) -> None:
        waiting: list[GeneratedPiece] = []
        sent_at = 0.0
        for piece in pieces:
            waiting.append(piece)
            if piece.finish_reason or time.monotonic() - sent_at >= _BATCH_SECONDS:
                if not self._inbox.send(request, waiting):
                    logger.info("the reader of the text of %s is gone", request.checkpoint_id)
                    return
                waiting, sent_at = [], time.monotonic()
