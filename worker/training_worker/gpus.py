"""What GPUs do, as NVML tells it; nothing where there is no driver or no package for it.

NVML opens no CUDA context, so the worker's parent may ask it and still fork trainers.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Iterator
from typing import Any

logger = logging.getLogger(__name__)


class Gpus:
    """The GPUs that some processes use."""

    def __init__(self) -> None:
        self._nvml: Any = _nvml()

    def sample(self, pids: Collection[int]) -> dict[str, float]:
        """Return use (percent), memory of these processes (bytes) and power (watts) of each GPU."""
        if self._nvml is None:
            return {}
        try:
            return dict(self._samples(set(pids)))
        except Exception as error:  # a driver that fails once may fail slowly each time
            logger.info("GPUs are not sampled any more: %s", error)
            self._nvml = None
            return {}

    def _samples(self, pids: set[int]) -> Iterator[tuple[str, float]]:
        nvml = self._nvml
        for number in range(nvml.nvmlDeviceGetCount()):
            gpu = nvml.nvmlDeviceGetHandleByIndex(number)
            running = nvml.nvmlDeviceGetComputeRunningProcesses(gpu)
            own = [process for process in running if process.pid in pids]
            if not own:
                continue
            name = f"system/gpu_{number}"
            yield f"{name}_percent", float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
            yield f"{name}_memory_bytes", float(sum(one.usedGpuMemory or 0 for one in own))
            try:
                yield f"{name}_power_watts", nvml.nvmlDeviceGetPowerUsage(gpu) / 1000
            except nvml.NVMLError_NotSupported:
                continue


def _nvml() -> Any:
    """Return the module of NVML, ready to be asked; None where there is none."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:
        return None
    return nvml
