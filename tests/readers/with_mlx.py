"""mlx-lm loads the folder, on its CPU build: logits and ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx_lm import load
from reading import Expected, difference, each_model


def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    model, tokenizer = load(str(folder / f"{name}.hf"))
    logits = np.array(model(mx.array([expected["ids"]]))[0].astype(mx.float32))
    return {
        "ids": tokenizer.encode(expected["text"]) == expected["ids"],
        "difference": difference(logits, expected),
    }


each_model(read)
