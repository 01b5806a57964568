"""From files to batches of tokens: read, tokenize once into a cache, cut into windows.

    path ─ selection (which files) ─ sources (documents in pieces) ─ cache (ids on disk)
         ─ windows (samples of sequence_length + 1 ids)

Names are imported on first use, so that importing the package never imports torch. In order of
reading:

- `loading`, `continued`: from a path in the configuration to a training and a validation dataset;
  what a resumed run keeps of its checkpoint for that.
- `selection`, `choice`, `folders`, `formats`, `splits`, `saved_datasets`, `bystanders`,
  `text_records`: which files of a path are data, and of which part.
- `sources`, `documents`, `training_text`, `parts`, `pieces`: documents on their way to the
  tokenizer, in bounded memory: how many, in which order, in which pieces.
- `text_files`, `records`, `json_lines`, `json_text`, `long_records`, `long_rows`, `tables`,
  `tar_files`, `column_files`, `parquet_pages`, `snappy_blocks`, `compression`: one format each.
- `tokenizing`, `encoding`: from a corpus to its ids in the cache, on all cores.
- `cache`, `facts`, `corpus_digests`, `arrays`, `array_files`, `array_indexes`: ids on disk, and
  what is known of the files that they are of.
- `windows`: ids as samples.
- `mixing`, `mixture`, `schedule`: several datasets as one, by weights.
- `summary`: what a run trains on, in a sentence.
- `looking`, `sample_text`, `tally`, `inspection`: a look into the data before training, in bounded
  time: what is read, with which tokenizer, what is counted, what is reported.
- `conversations`, `chat_template`, `conversation_texts`, `trained_tokens`: instruction data as
  turns, as text, as ids with the assistant's marked.
- `conversation_loading`, `packing`, `conversation_windows`: these in the cache and in windows.
- `survey`, `parquet_footer`: what a start checks without reading the data.
- `errors`: what can be wrong with data.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.training.data.errors import DataError
    from app.training.data.loading import load_dataset
    from app.training.data.windows import TrainingWindows, ValidationWindows

__all__ = ["DataError", "TrainingWindows", "ValidationWindows", "load_dataset"]

_HOMES = {
    "DataError": "app.training.data.errors",
    "TrainingWindows": "app.training.data.windows",
    "ValidationWindows": "app.training.data.windows",
    "load_dataset": "app.training.data.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
