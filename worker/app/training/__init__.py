"""The training library: pure PyTorch, no network, no service.

Names are imported on first use, so that `app.training.config` never imports torch. In order of
reading:

- `config`, `rules`, `alert_rules`, `document`: the configuration: its fields, its rules, how YAML
  is read.
- `trainer`, `run_data`, `run_model`, `early_stopping`: the training loop; what it reads and what it
  trains, each with its part of a checkpoint.
- `batches`, `sampler`: which samples a step trains on, as a function of seed and position.
- `stepping`, `adamw`, `muon`, `scheduler`, `precision`, `averaging`: one optimizer step, its
  learning rate, its number format, the average of the weights.
- `metrics`, `metric_names`, `custom_metrics`, `reporting`, `evaluation`, `source_losses`,
  `source_names`, `validation_samples`, `journal`, `trackers`: what is measured, and who hears of
  it.
- `callbacks`: the hooks of a run; the service trains through them.
- `checkpoint`, `checkpoint_file`, `async_save`, `saving`, `run_folder`: saving: files, rotation,
  the folder of a run.
- `initial_weights`, `fitting_weights`, `initial_model`, `freezing`, `adapters`: what a run begins
  with, and what of it stays.
- `resume`, `rng`: what makes a resume exact.
- `data`, `data_warnings`: from files to samples of tokens, and what is odd about the files.
- `tokenizer`, `tokenizer_protocol`, `character_tokenizers`, `pretrained_tokenizer`,
  `fast_encoding`, `tokenizer_files`, `special_tokens`, `tokenizer_training`, `token_bytes`,
  `text_cuts`, `unused_tokens`: from text to ids and back.
- `preflight`, `fit`, `reading`, `writable`: what is checked before a run: files, sizes, allowed
  folders.
- `model_summary`, `memory`, `required_memory`, `out_of_memory`: what a model is made of, how much
  memory a run needs, and what happens where there is less.
- `allocator`, `cores`, `devices`, `compiling`: the machine; where torch.compile keeps its work.
- `progress`, `preparation`, `forecast`, `terminal`: signs of life, how far the data is read and
  tokenized, when a run will end, and what `train.py` shows of it.
- `distributed`, `distributed_launch`, `distributed_model`, `sharding`, `node`, `nodes`,
  `agreement`, `parent_signals`: several processes, on one machine or more.
- `inspect_command`: a look into data, in a process of its own.
- `export`, `tokenizer_export`, `model_card`, `gguf_export`: a checkpoint as files that others load.
- `mapped_weights`: the weights of a checkpoint without the rest of its file.
- `measured_data`: the loss of a trained model on any data.
- `inference`, `sampled_text`, `stop_texts`, `commands`: text from a checkpoint; the CLI's commands
  that need the library.
- `errors`, `home`: what can go wrong; paths that begin with `~`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.checkpoint import CheckpointManager
    from app.training.config import TrainingConfig
    from app.training.metrics import MetricsTracker
    from app.training.scheduler import get_scheduler
    from app.training.trainer import Trainer

__all__ = ["CheckpointManager", "MetricsTracker", "Trainer", "TrainingConfig", "get_scheduler"]

_HOMES = {
    "CheckpointManager": "app.training.checkpoint",
    "MetricsTracker": "app.training.metrics",
    "Trainer": "app.training.trainer",
    "TrainingConfig": "app.training.config",
    "get_scheduler": "app.training.scheduler",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
