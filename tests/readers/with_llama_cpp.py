"""llama.cpp runs the GGUF: logits and greedy text in float16, and logits in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from llama_cpp import Llama
from reading import Expected, difference, each_model

MOST_OF_8_BITS = 0.1
"""It also rounds what it multiplies the weights with to 8 bits."""


def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    model, logits = _evaluated(folder / f"{name}.gguf" / "model.gguf", expected)
    _, rounded = _evaluated(folder / f"{name}.gguf" / "q8_0.gguf", expected)
    ids = model.tokenize(expected["text"].encode(), add_bos=False)
    greedy = []
    for _ in expected["greedy"]:
        greedy.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(greedy[-1:])
    return {
        "ids": ids == expected["ids"],
        "text": greedy == expected["greedy"],
        "q8_0": difference(rounded, expected) <= MOST_OF_8_BITS,
        "difference": difference(logits, expected),
    }


def _evaluated(file: Path, expected: Expected) -> tuple[Llama, Any]:
    """Return the model, which has seen the expected ids, and its logits."""
    model = Llama(str(file), n_ctx=256, logits_all=True, verbose=False)
    model.eval(expected["ids"])
    return model, np.array(model.scores[: len(expected["ids"])])


each_model(read)
