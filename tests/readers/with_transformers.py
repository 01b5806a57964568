"""transformers loads the folder: logits, ids and greedy text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from reading import Expected, difference, each_model
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder / f"{name}.hf").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / f"{name}.hf")
    batch = tokenizer(expected["text"], return_tensors="pt")
    ids = batch["input_ids"][0].tolist()
    count = len(expected["greedy"])
    greedy = model.generate(**batch, max_new_tokens=count, do_sample=False, eos_token_id=None)
    return {
        "ids": ids == expected["ids"],
        "text": greedy[0, len(ids) :].tolist() == expected["greedy"],
        "difference": difference(model(**batch).logits[0], expected),
    }


each_model(read)
