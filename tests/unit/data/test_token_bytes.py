"""The bytes that ids stand for, and the loss for each of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from app.training import Trainer
from app.training.config import TrainingConfig
from app.training.data import load_dataset
from app.training.token_bytes import bytes_of_ids
from app.training.tokenizer import ByteTokenizer, CharTokenizer, PretrainedTokenizer, Tokenizer
from app.training.tokenizer_training import train_bpe

TEXT = "Ein Ömlett für 12 €, bitte!\n\n  Danke, gern.\t日本語 \N{GRINNING FACE} the end of the text"


def sentence_pieces() -> PretrainedTokenizer:
    """As Llama 2 has them: spaces as ▁, and bytes for what is in no piece."""
    byte_tokens = [f"<0x{number:02X}>" for number in range(256)]
    made = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<unk>", *byte_tokens], show_progress=False
    )
    made.train_from_iterator(["the end of the text, Danke, gern."] * 3, trainer)
    parts = json.loads(made.to_str())
    parts["added_tokens"] = parts["added_tokens"][:1]  # bytes are pieces, not special tokens
    return PretrainedTokenizer(json.dumps(parts))


def words() -> PretrainedTokenizer:
    made = tokenizers.Tokenizer(models.WordPiece({"[UNK]": 0, "the": 1, "##y": 2, "end": 3}))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece()
    return PretrainedTokenizer(made.to_str())


@pytest.mark.parametrize(
    "tokenizer",
    [ByteTokenizer(), CharTokenizer(TEXT), train_bpe([TEXT * 3], 300), sentence_pieces()],
    ids=["byte", "char", "bpe", "sentence pieces"],
)
def test_ids_stand_for_all_bytes_of_their_text(tokenizer: Tokenizer) -> None:
    assert int(bytes_of_ids(tokenizer)[tokenizer.encode(TEXT)].sum()) == len(TEXT.encode())


def test_words_are_counted_as_they_are_decoded() -> None:
    tokenizer = words()
    assert bytes_of_ids(tokenizer)[tokenizer.encode("The end they end")].tolist() == [4, 4, 4, 1, 4]


def test_special_tokens_stand_for_no_text() -> None:
    tokenizer = train_bpe([TEXT], 300, special_tokens=["<|im_end|>"])
    assert bytes_of_ids(tokenizer)[:2].tolist() == [0, 0]


@pytest.mark.parametrize("tokenizer", ["byte", "char", "bpe:300"])
def test_the_loss_is_given_for_each_byte_of_the_validation_text(
    tokenizer: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(TEXT * 20)
    (tmp_path / "val.txt").write_text(TEXT * 3)
    shape = {"vocab_size": 300, "hidden_size": 8, "num_layers": 1, "num_heads": 1}
    values: dict[str, Any] = {
        "model_config": {**shape, "max_position_embeddings": 16},
        "tokenizer": tokenizer,
        "val_dataset_path": str(tmp_path / "val.txt"),
        "batch_size": 2,
        "eval_batches": 2,
        "max_steps": 1,
        "warmup_steps": 0,
        "device": "cpu",
        "checkpoint_dir": str(tmp_path / "run"),
    }
    config = TrainingConfig.from_dict(values)
    train, validation = load_dataset(tmp_path / "a.txt", config)
    assert validation is not None
    assert train.tokenizer is not None
    trainer = Trainer(config, train, validation)
    trainer.train()
    found = trainer.metrics_tracker.get_latest() | trainer._reporter.latest
    ids = train.tokenizer.encode(TEXT * 3)
    size = len((TEXT * 3).encode()) - int(bytes_of_ids(train.tokenizer)[ids[0]])
    bits = found["val_loss"] * (len(ids) - 1) / math.log(2)
    assert found["val_bits_per_byte"] == pytest.approx(bits / size, rel=1e-9)
