"""Inspects data in a process of its own, which may import what the control plane must not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from importlib.util import find_spec
from typing import Any

from app.training.config import TrainingConfig
from artifact_store import DATASETS_PREFIX
from control_plane.config_reading import read_source
from control_plane.errors import call_error, invalid_config
from control_plane.planning import with_local_files
from control_plane.state import ServiceState
from training_engine.v1 import dataset_pb2

_LOOK_SECONDS = 4.0
"""The gateway waits 10 s for an answer, by default; the process takes one or two to start."""
_MOST_SECONDS = 30.0
"""For an inspection that a file system or a tokenizer delays."""
_COMMAND = (sys.executable, "-P", "-m", "app.training.inspect_command")
_ELSEWHERE = "look where the workers are, with `training-engine inspect PATH --local`"


class Inspector:
    """Runs two inspections at a time; further ones wait."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._free = asyncio.Semaphore(2)

    async def inspect(
        self, request: dataset_pb2.InspectDatasetRequest
    ) -> dataset_pb2.InspectDatasetResponse:
        """Read the beginning of a dataset, and return what training would learn of it.

        Raises:
            ConfigError: The configuration breaks a rule, or names no data.
            RpcError: The data cannot be read, or not from this process.
        """
        config = await _config_of(request)
        self._require_library()
        local = await with_local_files(config, request.dataset_path, self._state)
        uploads = self._state.artifacts.local_path(DATASETS_PREFIX)
        roots = [*map(str, self._state.roots.roots), *([str(uploads)] if uploads else [])]
        order = {"config": local.to_dict(), "roots": roots, "seconds": _LOOK_SECONDS}
        async with self._free:
            report = await _look(order)
        return dataset_pb2.InspectDatasetResponse(**report)

    def _require_library(self) -> None:
        if not self._state.roots.visible:
            raise call_error(
                "WORKER_UNAVAILABLE", f"this control plane does not see the data; {_ELSEWHERE}"
            )
        missing = [name for name in ("numpy", "pyarrow", "tokenizers") if find_spec(name) is None]
        if missing:
            raise call_error(
                "WORKER_UNAVAILABLE",
                f"this control plane has no {', '.join(missing)} to read data with; {_ELSEWHERE}",
            )


async def _config_of(request: dataset_pb2.InspectDatasetRequest) -> TrainingConfig:
    source = request.WhichOneof("source")
    if source is None:
        return TrainingConfig()
    config, problems = await read_source(request, source)
    if problems:
        raise invalid_config(problems)
    return config


async def _look(request: dict[str, Any]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_MOST_SECONDS):
            output, errors = await process.communicate(json.dumps(request).encode())
    except TimeoutError:
        message = f"reading the beginning of the data took more than {_MOST_SECONDS:g} s"
        raise call_error("INVALID_DATA", f"{message}; look at fewer files") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        lines = errors.decode(errors="replace").splitlines()
        reason = lines[-1] if lines else f"status {process.returncode}"
        raise call_error("INTERNAL", f"the look into the data failed: {reason}")
    report: dict[str, Any] = json.loads(output)
    return report
