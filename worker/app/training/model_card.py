"""A README.md beside an exported model: what it is, what it was trained on, and how it came out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from app.training.config import TrainingConfig
from app.transformer.export_folder import CARD_MARK

_LOSSES = ("loss", "val_loss")
_MOST_ROWS = 20
"""Steps in the table of losses, for each of the two."""
_MOST_DRAWN = 60
"""Points in the chart of the training loss."""
_PATHS = ("path", "tokenizer", "weights", "adapter", "files")
"""Ends of the names of fields that hold paths."""
_OF_MACHINE = ("alert", "checkpoint_dir", "device", "resume_from_checkpoint", "wandb_")
"""Beginnings of the names of fields that only concern the machine of the run; they are left out.

The address of a webhook is often a secret.
"""
_FRONT_MATTER = """---
library_name: transformers
pipeline_tag: text-generation
tags: [training-engine, {family}]
---
"""
_USE = """## Use

```python
from transformers import AutoModelForCausalLM, {tokenizer}

model = AutoModelForCausalLM.from_pretrained(".")
tokenizer = {tokenizer}.from_pretrained(".")
```"""
_TOKENIZERS = {"qwen2": "PreTrainedTokenizerFast"}
"""Where `AutoTokenizer` of transformers 5 makes another one, see `findings/`."""


def read_journal(folder: Path, last_step: int) -> list[dict[str, float | None]]:
    """Return the points of a run's `metrics.jsonl` up to a step; none where there is no file."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    points = []
    for line in lines:
        try:
            point = json.loads(line)
            if int(point["step"]) <= last_step:
                points.append(point)
        except (ValueError, KeyError, TypeError):
            continue  # a line that a crash cut short
    return points


def model_card(
    name: str,
    family: str,
    config: TrainingConfig,
    measured: Mapping[str, float],
    points: Sequence[Mapping[str, float | None]],
) -> str:
    """Return the text of a model card.

    Args:
        name: heading of the card.
        family: such as `gpt2`, see `model_type` of config.json.
        measured: the checkpoint's metrics by name, such as `loss`.
        points: logged and validated steps, ascending.
    """
    parts = [
        _FRONT_MATTER.format(family=family) + CARD_MARK,
        f"# {name}",
        _model(family, config),
        "## Data\n\n" + _data(config),
        "## Results\n\n" + _table(("measured", "value"), _rows_of(measured)),
        *_curves(points),
        "## Configuration\n\n```yaml\n" + _yaml(config) + "```",
        _USE.format(tokenizer=_TOKENIZERS.get(family, "AutoTokenizer")),
    ]
    return "\n\n".join(parts) + "\n"


def _model(family: str, config: TrainingConfig) -> str:
    model = config.model_config
    return (
        f"A language model of {model.num_parameters():,} parameters in the form of {family}: "
        f"{model.num_layers} layers, width {model.hidden_size}, {model.num_heads} heads, a context "
        f"of {model.max_position_embeddings} tokens and {model.vocab_size:,} ids. It was trained "
        "with the Training Engine."
    )


def _data(config: TrainingConfig) -> str:
    paths = [config.dataset_path, *(source.path for source in config.data.sources)]
    named = [f"`{Path(path).name}`" for path in paths if path]
    data = ", ".join(named) or "a dataset of the training program"
    return f"Trained on {data}, with the tokenizer `{_last_part(config.tokenizer)}`."


def _rows_of(measured: Mapping[str, float]) -> Iterable[tuple[str, str]]:
    return [(name, _number(value)) for name, value in measured.items()]


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:,.6g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _curves(points: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return a drawing and a table of the losses by step; nothing without points."""
    names = [name for name in _LOSSES if any(name in point for point in points)]
    if not names:
        return []
    by_step = {int(point["step"] or 0): point for point in points}
    # Each loss has steps of its own: validation is rare.
    shown = [_thinned([p for p in points if name in p], _MOST_ROWS) for name in names]
    steps = sorted({int(point["step"] or 0) for each in shown for point in each})
    rows = [[f"{s:,}", *(_number(by_step[s].get(name)) for name in names)] for s in steps]
    return ["### Curves", *_drawing(points), _table(("step", *names), rows)]


def _drawing(points: Sequence[Mapping[str, float | None]]) -> list[str]:
    """Return the training loss as a chart in Mermaid; nothing for fewer than two points."""
    losses = [p for p in points if isinstance(p.get("loss"), float) and p.get("step")]
    if len(losses) < 2:
        return []
    drawn = _thinned(losses, _MOST_DRAWN)
    first, last = int(drawn[0]["step"] or 0), int(drawn[-1]["step"] or 0)
    line = ", ".join(f"{point['loss']:.5g}" for point in drawn)
    axes = f'  x-axis "step" {first} --> {last}\n  y-axis "loss"\n'
    return [f"```mermaid\nxychart-beta\n{axes}  line [{line}]\n```"]


def _thinned(
    points: Sequence[Mapping[str, float | None]], most: int
) -> list[Mapping[str, float | None]]:
    """Return at most `most` points at even distances, the first and the last among them."""
    count = min(len(points), most)
    return [points[place * (len(points) - 1) // max(count - 1, 1)] for place in range(count)]


def _yaml(config: TrainingConfig) -> str:
    """Return the configuration without what concerns the machine of the run, such as folders."""
    values = {name: v for name, v in config.to_dict().items() if not name.startswith(_OF_MACHINE)}
    return str(yaml.safe_dump(_without_folders(values), sort_keys=False, allow_unicode=True))


def _without_folders(value: Any, name: str = "") -> Any:
    """Return a value in which paths, as their fields' names tell, are cut to their last part."""
    if isinstance(value, Mapping):
        return {key: _without_folders(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_folders(each, name) for each in value]
    return _last_part(value) if isinstance(value, str) and name.endswith(_PATHS) else value


def _last_part(path: str) -> str:
    """Return the name of a file or folder without the folders above it; other text as it is."""
    return Path(path).name or path
