"""The loss on any data is that of Hugging Face's sliding window, and of a run's own validation."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from app.training import measured_data
from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.data.errors import DataError
from app.training.export import export_checkpoint
from app.training.inference import LoadedModel, load_trained
from app.training.measured_data import (
    IdSequence,
    WindowError,
    measure_data,
    measure_documents,
    measure_ids,
    windows,
)
from app.training.tokenizer import ByteTokenizer, PretrainedTokenizer, Tokenizer
from app.training.tokenizer_training import train_bpe
from app.transformer.config import TransformerConfig
from app.transformer.model import GPTModel
from training_engine.cli.app import app

TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen jugs! " * 3


def save(path: Path, tokenizer: Tokenizer) -> LoadedModel:
    shape = {"vocab_size": tokenizer.vocab_size + 5, "hidden_size": 16, "num_layers": 2}
    config = TransformerConfig(
        **shape, num_heads=2, max_position_embeddings=32, initializer_range=0.3
    )
    torch.manual_seed(3)
    state = {
        "model_state_dict": GPTModel(config).state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": TrainingConfig(model_config=config).to_dict(),
        "timestamp": time.time(),
        "tokenizer": tokenizer.to_dict(),
    }
    write_checkpoint(path, state)
    return load_trained(path)


@torch.no_grad()
def hugging_face(model: Any, ids: torch.Tensor, longest: int, stride: int) -> tuple[float, int]:
    """The loop of Hugging Face's page on perplexity; sum of the losses, and their number.

    Losses are counted as the labels that are left, where the page subtracts one from each window.
    """
    total, count, done = 0.0, 0, 0
    for start in range(0, ids.shape[1], stride):
        stop = min(start + longest, ids.shape[1])
        targets = ids[:, start:stop].clone()
        targets[:, : -(stop - done)] = -100
        counted = int((targets[:, 1:] != -100).sum())
        if counted:
            total += float(model(ids[:, start:stop], labels=targets).loss) * counted
        count += counted
        done = stop
        if stop == ids.shape[1]:
            break
    return total, count


@pytest.mark.parametrize("stride", [1, 7, 16, 31])
def test_the_loss_is_that_of_hugging_faces_windows(tmp_path: Path, stride: int) -> None:
    loaded = save(tmp_path / "c.pt", ByteTokenizer())
    out = export_checkpoint(tmp_path / "c.pt", tmp_path / "out")[0].parent
    theirs = AutoModelForCausalLM.from_pretrained(out).eval()
    ids = ByteTokenizer().encode(TEXT[:130])
    total, count = hugging_face(theirs, torch.from_numpy(ids)[None], 32, stride)
    # Their windows have 32 ids, targets included.
    found = measure_ids(loaded, IdSequence(ids), stride, context=31)
    assert (found.tokens, count) == (129, 129)
    assert found.loss == pytest.approx(total / count, abs=1e-5)
    assert found.perplexity == pytest.approx(math.exp(total / count), rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.loss / math.log(2), rel=1e-9)


@pytest.mark.parametrize(
    ("count", "context", "stride"), [(2, 5, 5), (11, 5, 5), (12, 5, 2), (5, 9, 3)]
)
def test_each_id_but_the_first_is_predicted_once(count: int, context: int, stride: int) -> None:
    targets = [
        place
        for window in windows(count, context, stride)
        for place in range(window.start + window.first_target, window.stop)
    ]
    assert targets == list(range(1, count))
    assert all(w.stop - w.start <= context + 1 for w in windows(count, context, stride))


def test_a_document_begins_behind_the_end_of_another(tmp_path: Path) -> None:
    """So the first token counts, as it does for the tasks of `lm_eval`."""
    tokenizer = PretrainedTokenizer(train_bpe([TEXT], 300).definition)
    loaded = save(tmp_path / "c.pt", tokenizer)
    (tmp_path / "text.txt").write_text("The quick brown fox")
    ids = tokenizer.encode("The quick brown fox")
    found = measure_data(loaded, tmp_path / "text.txt")
    assert found.tokens == len(ids)
    row = torch.from_numpy(np.concatenate(([tokenizer.end_of_text_id], ids)))[None]
    with torch.no_grad():
        expected = loaded.model(row[:, :-1], row[:, 1:])[1]
    assert expected is not None
    assert found.loss == pytest.approx(float(expected), abs=1e-6)
    size = len("The quick brown fox")
    assert found.bits_per_byte == pytest.approx(found.loss * len(ids) / math.log(2) / size)


@torch.no_grad()
def rolled(model: GPTModel, ids: list[int], end: int, longest: int) -> float:
    """Sum of the losses of a document in the windows of `lm_eval`'s rolling log-likelihood.

    The first begins with the end of text. All have `longest` inputs, if there are so many.
    """
    row, total = [end, *ids], 0.0
    for begin in range(0, len(ids), longest):
        stop = min(begin + longest, len(ids))
        inputs = row[max(stop - longest, 0) : stop]
        scores = model(torch.tensor([inputs]))[0][0].log_softmax(-1)
        targets = torch.tensor(ids[begin:stop])
        total -= float(scores[-len(targets) :].gather(1, targets[:, None]).sum())
    return total


@pytest.mark.parametrize("context", [32, 10])
def test_separate_documents_alone_has_the_loss_of_lm_eval(
    tmp_path: Path, context: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_data, "_SCANNED", 7)
    tokenizer = PretrainedTokenizer(train_bpe([TEXT], 300).definition)
    loaded, end = save(tmp_path / "c.pt", tokenizer), tokenizer.end_of_text_id
    texts = ["The quick brown fox", "dog", "", TEXT, "Pack my box"]
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    found = measure_data(loaded, path, context=context, separate_documents=True)
    documents = [tokenizer.encode(text).tolist() for text in texts]
    assert len(documents[3]) > 64
    assert end is not None
    total = sum(rolled(loaded.model, ids, end, context) for ids in documents)
    assert found.tokens == sum(map(len, documents))
    assert found.loss == pytest.approx(total / found.tokens, abs=1e-6)
    size = sum(map(len, texts))
    assert found.bits_per_byte == pytest.approx(total / math.log(2) / size, rel=1e-6)
    assert found.loss != pytest.approx(measure_data(loaded, path, context=context).loss, abs=1e-4)


def test_a_column_that_cannot_be_named_here_is_to_be_renamed(tmp_path: Path) -> None:
    loaded = save(tmp_path / "c.pt", ByteTokenizer())
    (tmp_path / "records.jsonl").write_text('{"body": "one"}\n')
    with pytest.raises(
        DataError, match="has the columns \\['body'\\]; it must have `text`"
    ) as refused:
        measure_data(loaded, tmp_path / "records.jsonl")
    remedy = "rename the column that holds the text to `text`, the `text_column` of the model's run"
    assert str(refused.value).endswith(f"`input_ids`; {remedy}")


def test_documents_without_an_end_are_not_measured_alone(tmp_path: Path) -> None:
    loaded = save(tmp_path / "c.pt", ByteTokenizer())
    (tmp_path / "text.txt").write_text(TEXT)
    with pytest.raises(WindowError, match="the data has no end of text") as refused:
        measure_data(loaded, tmp_path / "text.txt", separate_documents=True)
    assert refused.value.field == "separate_documents"
    bpe = save(tmp_path / "c.pt", PretrainedTokenizer(train_bpe([TEXT], 300).definition))
    assert bpe.tokenizer is not None
    with pytest.raises(DataError, match="no tokens besides ends of text; add text"):
        measure_documents(bpe, np.array([bpe.tokenizer.end_of_text_id] * 3))


def test_the_command(tmp_path: Path) -> None:
    save(tmp_path / "c.pt", ByteTokenizer())
    (tmp_path / "text.txt").write_text(TEXT)
    asked = ["evaluate", str(tmp_path / "c.pt"), "--data", str(tmp_path / "text.txt")]
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert sorted(found) == ["bits_per_byte", "context", "loss", "perplexity", "stride", "tokens"]
    assert (found["tokens"], found["context"], found["stride"]) == (len(TEXT) - 1, 32, 32)
    line = CliRunner().invoke(app, [*asked, "--stride", "4"]).stdout
    assert line.startswith("loss ")
    assert line.endswith(f"  over {len(TEXT) - 1} tokens\n")
    refused = CliRunner().invoke(app, [*asked, "--stride", "33"])
    assert refused.exit_code == 2
    assert refused.stderr == "error: `stride` is 33; it must be at least 1 and at most 32\n"
    alone = CliRunner().invoke(app, [*asked, "--separate-documents"])
    assert alone.stderr.startswith("error: `separate_documents` is true, and the tokenizer")
    asked[-1] = str(tmp_path / "none.txt")
    assert "none.txt" in CliRunner().invoke(app, asked).stderr
