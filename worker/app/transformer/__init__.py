"""GPT-style transformers: a configuration and the model it describes.

Names are imported on first use, so that `app.transformer.config` never imports torch. In order of
reading:

- `config`, `fields`, `errors`, `parameter_names`: the shape of a model: its fields, how they are
  read, what can be wrong, how its parameters are named.
- `model`, `attention`, `layers`, `positions`, `ngrams`, `initialization`: the model.
- `page_faults`: memory for weights that are read from a file.
- `generation`, `sampling`, `decoding`, `row_decoding`: text from a model, one token after another:
  which token is drawn, and the step of one token.
- `scoring`: how likely given tokens are.
- `blas_threads`: the threads of NumPy's products, which that step takes.
- `fused`, `cpu_kernels`: the same model with faster operations for a CPU, applied from outside.
- `lora`, `lora_layout`: low-rank adapters, applied from outside too.
- `families`, `described_model`, `tensor_layout`: the configurations and tensors of models that
  others write and load.
- `weight_files`, `found_model`, `huggingface`, `export`, `export_folder`: from and to Hugging
  Face's format.
- `peft_files`: adapters in the format of `peft`.
- `gguf_tensors`: a model in the terms of llama.cpp.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.transformer.config import TransformerConfig
    from app.transformer.errors import ConfigError, FieldProblem
    from app.transformer.fused import fuse
    from app.transformer.model import GPTModel

__all__ = ["ConfigError", "FieldProblem", "GPTModel", "TransformerConfig", "fuse"]

_HOMES = {
    "ConfigError": "app.transformer.errors",
    "FieldProblem": "app.transformer.errors",
    "GPTModel": "app.transformer.model",
    "TransformerConfig": "app.transformer.config",
    "fuse": "app.transformer.fused",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
