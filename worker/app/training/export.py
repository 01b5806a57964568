"""From a checkpoint file to a folder that other libraries load as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.training.checkpoint_file import manifest_path, read_manifest
from app.training.data.conversations import turns_of
from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.errors import CheckpointError
from app.training.inference import LoadedModel, load_trained, read_trained
from app.training.metrics import compute_perplexity
from app.training.model_card import model_card, read_journal
from app.training.tokenizer_export import ExportedTokenizer, exported
from app.transformer.errors import UnsupportedModelError
from app.transformer.export import DTYPES, SHARD_BYTES, ExportOptions, write_adapter
from app.transformer.families import family_of
from app.transformer.huggingface import export_model
from app.transformer.peft_files import description, factors

Point = Mapping[str, float | None]

_IDS: Final = ("bos_token_id", "eos_token_id", "pad_token_id")


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    *,
    averaged: bool = False,
    dtype: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    points: Sequence[Point] | None = None,
) -> list[Path]:
    """Write the model of a checkpoint file to a folder, as Hugging Face has it; return the files.

    Its tokenizer, what ends a generated text, and a model card are beside it.

    Args:
        averaged: take the average of the weights.
        dtype: of the weights, a name in `DTYPES`; None keeps the checkpoint's.
        shard_bytes: of the tensors in one file at most.
        points: of the run's history for the model card; None reads the `metrics.jsonl` beside the
            checkpoint.

    Raises:
        CheckpointError, TokenizerError: The checkpoint cannot be read.
        UnsupportedModelError: Its model has no equivalent; nothing is written then.
        NotRepresentableError: A weight is too large for `dtype`.
        OSError: The folder cannot be written, or holds a model that no export wrote.
    """
    loaded = load_trained(checkpoint, averaged=averaged)
    family = family_of(loaded.model.config)
    # Readers of a GPT-2 want a token for each row; those of the others fill them up themselves.
    named = loaded.model.config.vocab_size if family == "gpt2" else 0
    tokenizer = exported(loaded.tokenizer, named) if loaded.tokenizer is not None else None
    ids = _ids(tokenizer)
    texts = {"generation_config.json": _generation_config(loaded, ids)}
    if tokenizer is not None:
        longest = loaded.model.config.max_position_embeddings
        texts["tokenizer.json"] = tokenizer.definition
        texts["tokenizer_config.json"] = tokenizer.description(longest, loaded.chat_template)
    if points is None:
        points = read_journal(checkpoint.parent, loaded.step)
    name = output.resolve().name
    measured = _measured(checkpoint, loaded, averaged=averaged)
    texts["README.md"] = model_card(name, family, loaded.config, measured, points)
    options = ExportOptions(DTYPES[dtype] if dtype else None, shard_bytes, ids, texts)
    return export_model(loaded.model, output, options)


def export_adapter(checkpoint: Path, output: Path, *, averaged: bool = False) -> list[Path]:
    """Write the adapters of a checkpoint file to a folder that `peft` loads; return the files.

    They are for the base that the run began with, which is not written.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        UnsupportedModelError: It has no adapters, or its model has no equivalent.
        OSError: The folder cannot be written, or holds a model that no export wrote.
    """
    config, weights = read_trained(checkpoint, averaged=averaged)
    if (lora := config.lora) is None:
        raise UnsupportedModelError(
            f"{checkpoint} was trained without `lora` and has no adapter; export the whole model"
        )
    if config.resize_vocabulary:
        raise UnsupportedModelError(
            "`resize_vocabulary` is set: the run's base has another vocabulary than its initial "
            "weights, and the adapter fits these no more; export the whole model"
        )
    model = config.model_config
    tensors = [(n, f.of(weights[f.parameter])) for n, f in factors(model, lora).items()]
    return write_adapter(output, description(model, lora, config.initial_weights or ""), tensors)


def _ids(tokenizer: ExportedTokenizer | None) -> dict[str, int | None]:
    """Return the ids that a model begins, ends and pads with; None where it has none.

    Their defaults in `transformers` are those of its own vocabularies.
    """
    known = tokenizer.special_ids if tokenizer else {}
    ids = {name: known.get(name.removesuffix("_id")) for name in _IDS}
    if ids["pad_token_id"] is None:
        ids["pad_token_id"] = ids["eos_token_id"]  # else `transformers` does it with a warning
    return ids


def _generation_config(loaded: LoadedModel, ids: Mapping[str, int | None]) -> str:
    """Return what `generate` of `transformers` takes from the folder."""
    content: dict[str, Any] = {**ids}
    answer = id_behind_an_answer(loaded)
    if answer is not None and answer != ids["eos_token_id"]:
        content["eos_token_id"] = [
            each for each in (ids["eos_token_id"], answer) if each is not None
        ]
    if loaded.tokenizer is not None:
        # Ids that no text has: the embedding may be larger than the tokenizer.
        unused = list(range(loaded.tokenizer.vocab_size, loaded.model.config.vocab_size))
        content |= {"suppress_tokens": unused} if unused else {}
    return json.dumps(content) + "\n"


def end_of_answer(loaded: LoadedModel) -> str | None:
    """Return what the chat template writes behind an answer; None where that is not known."""
    if loaded.chat_template is None:
        return None
    try:
        question = turns_of([("user", "?")])
        return loaded.chat_template.end_of_answer(question, Place(Path("messages"), "turn", 1))
    except (DataError, ValueError):
        return None


def id_behind_an_answer(loaded: LoadedModel) -> int | None:
    """Return the id that the chat template writes behind an answer, where it is a single one."""
    end = end_of_answer(loaded)
    if end is None or loaded.tokenizer is None:
        return None
    try:
        ids = loaded.tokenizer.encode(end)
    except ValueError:
        return None
    return int(ids[0]) if len(ids) == 1 else None


def _measured(checkpoint: Path, loaded: LoadedModel, *, averaged: bool) -> dict[str, float]:
    """Return what is known of the weights by name."""
    if averaged:
        return {"step": loaded.step}
    measured = {
        "step": loaded.step,
        "loss": loaded.loss,
        "perplexity": compute_perplexity(loaded.loss),
    }
    if manifest_path(checkpoint).exists():
        try:
            info = read_manifest(checkpoint)
        except CheckpointError:
            return measured
        if info.metric is not None and info.metric_value is not None:
            measured[info.metric] = info.metric_value
    return measured
