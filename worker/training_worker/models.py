"""The models that were used last, each loaded and verified once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from artifact_store import ArtifactStore
from job_store.evaluation import EvaluationRequest
from job_store.generation import GenerationRequest
from training_worker.copies import drop_copy

if TYPE_CHECKING:
    from app.training.inference import LoadedModel

ModelRequest = GenerationRequest | EvaluationRequest


class ModelCache:
    """Models, or their averages, by checkpoint id, the least recently used one dropped first.

    Args:
        artifacts: where the files are.
        device: where the models are put.
        capacity: models kept, >= 1.
    """

    def __init__(self, artifacts: ArtifactStore, device: str = "cpu", capacity: int = 2) -> None:
        self._artifacts, self._device, self._capacity = artifacts, device, capacity
        self._loaded: OrderedDict[tuple[str, bool], LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, request: ModelRequest) -> LoadedModel:
        """Return the model in evaluation mode, with what its checkpoint holds for its users.

        Requests for several models wait for each other: two loads at once would only need twice the
        memory.

        Raises:
            ArtifactError: The file is gone, or differs from what was registered.
            NoAverageError: The average of its weights is asked for, and it has none.
        """
        key = (request.checkpoint_id, request.averaged)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = self._load(request)
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._capacity:
                self._loaded.popitem(last=False)
            return self._loaded[key]

    def _load(self, request: ModelRequest) -> LoadedModel:
        from app.training.errors import CheckpointError
        from app.training.inference import load_trained

        path = self._registered_file(request) or self._bring(request)
        try:
            return load_trained(path, self._device, averaged=request.averaged, mapped=False)
        except CheckpointError:
            self._bring(request)  # raises where the file is not the registered one any more
            raise
        finally:
            drop_copy(self._artifacts, request.artifact)

    def _registered_file(self, request: ModelRequest) -> Path | None:
        """Return the store's own file whose manifest has the registered hash.

        The loading verifies what it reads, a third of the file, so the hash of the whole file is
        not taken.
        """
        from app.training.checkpoint_file import read_manifest
        from app.training.errors import CheckpointError

        path = self._artifacts.local_path(request.artifact)
        if path is None:
            return None
        try:
            info = read_manifest(path)
        except CheckpointError:
            return None
        registered = (request.size_bytes, request.sha256)
        return path if (info.size_bytes, info.sha256) == registered else None

    def _bring(self, request: ModelRequest) -> Path:
        return self._artifacts.bring(
            request.artifact, size_bytes=request.size_bytes, sha256=request.sha256
        )
