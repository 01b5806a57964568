"""Write the first losses of each example again, for this processor and this torch.

    make golden-curves

A curve is a claim about bits: a loss is written as the shortest decimal number that reads back as
the same float. Another processor or torch sums in another order, so each has a file of its own,
named after both. The text is LICENSE, which does not change, in an alphabet of 62 characters.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STEPS = 50

_BYTES = {"model_config.vocab_size": 256}
_FEW_TOKENS = {"batch_size": 1, "gradient_accumulation_steps": 2, "sequence_length": 32}
CUTS: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "demo": (STEPS, {"batch_size": 3}),
    "small": (5, {**_BYTES, "batch_size": 2, "sequence_length": 64}),
    "medium": (3, {**_BYTES, **_FEW_TOKENS, "model_config.num_layers": 2}),
    "large": (3, {**_BYTES, **_FEW_TOKENS, "model_config.num_layers": 2}),
}
"""Steps, and the fields that differ from the example. On one thread a step of GPT-2's shapes takes
minutes, and GPT-2's tokenizer is not installed; the demo's batch would take half of all the time.
"""


class _EnoughError(Exception):
    """Ends a run after its last golden step, without a checkpoint."""


class _Losses:
    def __init__(self, steps: int) -> None:
        self.steps, self.values = steps, list[float]()

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.values.append(metrics["loss"])

    def on_step_end(self, step: int, metrics: Mapping[str, float]) -> None:
        if step == self.steps:
            raise _EnoughError


def environment() -> str:
    """Return what the bits of a run on one thread depend on: the processor's kind and torch."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{_processor()}, {capability}, torch {torch.__version__}"


def _processor() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    fields = dict(re.findall(r"^(.*\S)\s*: (.*)$", text.partition("\n\n")[0], re.MULTILINE))
    names = ("vendor_id", "cpu family", "model", "stepping", "cache size")
    vendor, family, model, stepping, cache = (fields.get(name, "unknown") for name in names)
    return f"{vendor} family {family} model {model} stepping {stepping}, {cache} of cache"


def file_name() -> str:
    """Return the name of this environment's file."""
    return re.sub(r"[^a-z0-9.]+", "-", environment().lower()) + ".txt"


def curves() -> str:
    """Train each example for its golden steps, on one thread; return the text of the file."""
    torch.set_num_threads(1)
    parts = [f"# {environment()}, one thread\n"]
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "license.txt")
        text.write_text(re.sub(r"[^A-Za-z \n.,;:'()-]", "", (ROOT / "LICENSE").read_text()))
        examples = sorted((ROOT / "examples").glob("*.yaml"))
        parts += [_curve(example, text) for example in examples]
    return "\n".join(parts)


def _curve(example: Path, text: Path) -> str:
    steps, changes = CUTS.get(example.stem, (STEPS, {}))
    config = TrainingConfig.from_yaml(example)
    for path, value in changes.items():
        owner, _, name = path.rpartition(".")
        setattr(getattr(config, owner) if owner else config, name, value)
    config.logging_steps = 1
    config.device = "cpu"
    config.dataset_path = str(text)
    config.checkpoint_dir = str(text.parent / example.stem)
    losses = _Losses(steps)
    try:
        Trainer(config, *load_dataset(config.dataset_path, config), callbacks=[losses]).train()
    except _EnoughError:
        pass
    cut = (
        f" ({steps} steps; {', '.join(f'{k}={v}' for k, v in changes.items())})" if changes else ""
    )
    return f"{example.name}{cut}\n" + "".join(f"{value!r}\n" for value in losses.values)


if __name__ == "__main__":
    target = Path(*sys.argv[1:]) if sys.argv[1:] else HERE
    written = target / file_name()
    written.write_text(curves(), encoding="utf-8")
    print(f"wrote {written}")
