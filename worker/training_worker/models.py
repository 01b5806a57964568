"""The models that were used last, each loaded and verified once.

Their weights stay in the store's file where that is on a disk of this machine. The store's files
are never changed, only deleted; the room of a deleted one is free once its model is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from artifact_store import ArtifactInfo, ArtifactStore
from job_store.inference_requests import InferenceRequest
from training_worker.copies import drop_copy
from training_worker.local_disk import is_on_local_disk

if TYPE_CHECKING:
    from app.training.inference import LoadedModel

_LOOK_SECONDS = 5.0
"""Between two looks for deleted files."""


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
        self._files: dict[tuple[str, bool], Path] = {}
        """Of the models whose weights are in a file."""
        self._lock = threading.Lock()

    def get(self, request: InferenceRequest) -> LoadedModel:
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
                self._loaded[key] = self._load(key, request)
            self._loaded.move_to_end(key)
            while len(self._loaded) > self._capacity:
                self._drop(next(iter(self._loaded)))
            return self._loaded[key]

    def watch_files(self) -> NoReturn:
        """Drop, from now on, the models whose files are deleted."""
        while True:
            time.sleep(_LOOK_SECONDS)
            self.drop_deleted()

    def drop_deleted(self) -> None:
        """Drop the models whose files are deleted; text that is under way ends first."""
        with self._lock:
            for key in [key for key, path in self._files.items() if not path.exists()]:
                self._drop(key)

    def _drop(self, key: tuple[str, bool]) -> None:
        del self._loaded[key]
        self._files.pop(key, None)

    def _load(self, key: tuple[str, bool], request: InferenceRequest) -> LoadedModel:
        from app.training.errors import CheckpointError
        from app.training.inference import load_trained

        path = self._registered_file(request) or self._bring(request)
        is_stores_own = self._artifacts.local_path(request.artifact) is not None
        mapped = is_stores_own and is_on_local_disk(path)
        try:
            loaded = load_trained(path, self._device, averaged=request.averaged, mapped=mapped)
            if mapped:
                self._files[key] = path
            return loaded
        except CheckpointError:
            self._bring(request)  # raises where the file is not the registered one any more
            raise
        finally:
            drop_copy(self._artifacts, request.artifact)

    def _registered_file(self, request: InferenceRequest) -> Path | None:
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

    def _bring(self, request: InferenceRequest) -> Path:
        stored = ArtifactInfo(request.artifact, request.size_bytes, request.sha256)
        return self._artifacts.bring(stored)
