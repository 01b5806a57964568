"""ctranslate2 converts the folder: logits, and greedy text up to an end of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from ctranslate2.converters import TransformersConverter
from reading import Expected, difference, each_model
from transformers import AutoTokenizer


def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    output = folder / f"{name}.ctranslate2"
    TransformersConverter(str(folder / f"{name}.hf")).convert(str(output), force=True)
    generator = ctranslate2.Generator(str(output))
    tokenizer = AutoTokenizer.from_pretrained(folder / f"{name}.hf")
    tokens = tokenizer.convert_ids_to_tokens(expected["ids"])
    logits = np.asarray(generator.forward_batch([tokens]).to(ctranslate2.DataType.float32))[0]
    (result,) = generator.generate_batch(
        [tokens],
        max_length=len(expected["greedy"]),
        sampling_topk=1,
        include_prompt_in_result=False,
    )
    greedy = result.sequences_ids[0]
    return {
        "text": greedy == expected["greedy"][: len(greedy)],
        "difference": difference(logits, expected),
    }


each_model(read)
