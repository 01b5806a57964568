"""The names of devices that a run may ask for."""

from __future__ import annotations

import re

DEVICES = "auto, cpu, cuda, cuda:N or mps"

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?", re.ASCII)


def is_device(name: str) -> bool:
    """Whether `name` is one of `DEVICES`; whether a machine has it is known there alone."""
    return _DEVICE.fullmatch(name) is not None
