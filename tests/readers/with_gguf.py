"""The reader of the package `gguf` finds the embedding and the ids, in float16 and in 8 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, dequantize
from reading import Expected, each_model
from safetensors.numpy import load_file

EMBEDDINGS = ("transformer.wte.weight", "model.embed_tokens.weight")


def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    weights = load_file(folder / f"{name}.hf" / "model.safetensors")
    (ours,) = (weights[each] for each in EMBEDDINGS if each in weights)
    tokens, exact = _read(folder / f"{name}.gguf" / "model.gguf")
    _, rounded = _read(folder / f"{name}.gguf" / "q8_0.gguf")
    ours = ours[: len(exact)]
    # 32 weights share a scale, of which the largest is 127; the scale is rounded to float16, too.
    most = np.abs(ours.reshape(-1, 32)).max(1) / 127 * 0.57
    return {
        "ids": len(tokens) == len(expected["logits"][0]) == len(exact),
        "q8_0": bool((np.abs(ours - rounded).reshape(-1, 32).max(1) <= most).all()),
        "difference": float(np.abs(ours - exact).max()),
    }


def _read(file: Path) -> tuple[list[str], Any]:
    """Return the tokens and the embedding."""
    reader = GGUFReader(file)
    tensors = {each.name: dequantize(each.data, each.tensor_type) for each in reader.tensors}
    return reader.fields["tokenizer.ggml.tokens"].contents(), tensors["token_embd.weight"]


each_model(read)
