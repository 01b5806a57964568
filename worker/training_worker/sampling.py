"""Samples text from checkpoints and delivers it token by token."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import astuple

from app.training.errors import NoAverageError
from job_store.generation import GeneratedPiece, GenerationInbox, GenerationRequest
from training_worker.inference_failures import Failure, failure_of
from training_worker.models import ModelCache

logger = logging.getLogger(__name__)

_BATCH_SECONDS = 0.02
"""Tokens of a fast model travel together; the first always goes at once."""
_OPTIONS = (
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "stop_token_ids",
    "num_samples",
    "logprobs",
    "prompt_logprobs",
)
"""Fields of a request that the library takes by the same names."""


class Sampler:
    """Answers requests for text."""

    def __init__(self, inbox: GenerationInbox, models: ModelCache) -> None:
        self._inbox, self._models = inbox, models

    def answer(self, request: GenerationRequest) -> None:
        """Sample and deliver; raises what reading the model and sampling raise."""
        self._deliver(request, self._sample(request))

    def failure(self, error: Exception, request: GenerationRequest) -> Failure:
        """Return what the reader is told of an error."""
        if isinstance(error, ValueError | NoAverageError):  # also NotSampledError
            return Failure("INVALID_ARGUMENT", str(error))
        return failure_of(error, request.checkpoint_id)

    def _sample(self, request: GenerationRequest) -> Iterator[GeneratedPiece]:
        from app.training.sampled_text import answer_pieces, sample_batch, sample_pieces

        loaded = self._models.get(request)
        options = {name: getattr(request, name) for name in _OPTIONS}
        if request.prompts:
            pieces = sample_batch(loaded.model, loaded.tokenizer, request.prompts, **options)
        elif request.messages:
            pieces = answer_pieces(loaded, request.messages, **options)
        else:
            prompt = request.prompt_ids or request.prompt
            pieces = sample_pieces(loaded.model, loaded.tokenizer, prompt, **options)
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
