"""Runs that begin with given weights: which, with what around them, and what is refused."""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from transformers import AutoModelForCausalLM, Qwen3Config

from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.training.initial_weights import complete_from_weights
from app.transformer import ConfigError, GPTModel, TransformerConfig
from app.transformer.huggingface import from_pretrained
from app.transformer.lora import add_adapters
from app.transformer.lora_layout import LoraConfig

WORDS = ["<unk>", *(f"w{number}" for number in range(39))]
SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 with its tokenizer beside it, as `save_pretrained` leaves it, in shards."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    torch.manual_seed(2)
    model: Any = AutoModelForCausalLM.from_config(Qwen3Config(**SHAPE))
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="4KB")
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(" ".join(f"w{(7 * number + number // 5) % 39}" for number in range(900)))
    return path


def run(folder: Path, text: Path, **fields: Any) -> Trainer:
    """Return the trainer of a document, as a file would give it."""
    document = {
        "dataset_path": str(text), "checkpoint_dir": str(folder), "batch_size": 2,
        "sequence_length": 16, "max_steps": 4, "warmup_steps": 1, "save_steps": 2, "eval_steps": 2,
        "logging_steps": 1, "learning_rate": 1e-3, "device": "cpu",
    }  # fmt: skip
    config = TrainingConfig.from_document(json.dumps(document | fields))
    return Trainer(config, *load_dataset(config.dataset_path, config))


def same(one: GPTModel, other: GPTModel) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def problem(caught: pytest.ExceptionInfo[ConfigError]) -> str:
    (found,) = caught.value.problems
    assert found.field == "initial_weights"
    return found.message


def test_model_and_tokenizer_come_with_the_weights(
    tmp_path: Path, theirs: Path, text: Path
) -> None:
    trainer = run(tmp_path / "run", text, initial_weights=str(theirs))
    assert same(trainer.model, from_pretrained(theirs))
    assert trainer.config.model_config.qk_norm_weights
    assert trainer.config.tokenizer == str(theirs)
    assert trainer.step == 0
    assert trainer.optimizer.state == {}
    trainer.train()
    saved = TrainingConfig.from_yaml(tmp_path / "run/config.yaml")
    assert saved.initial_weights == str(theirs)
    assert saved.model_config == trainer.config.model_config


def test_resume_is_bitwise_and_reads_no_initial_weights(
    tmp_path: Path, theirs: Path, text: Path
) -> None:
    copy = shutil.copytree(theirs, tmp_path / "hub")
    straight = run(tmp_path / "straight", text, initial_weights=str(copy))
    straight.train()
    first = run(tmp_path / "parts", text, initial_weights=str(copy), ema_decay=0.9)
    first.callbacks.append(StopAfterTwo(first))
    first.train()
    kept = shutil.copy(copy / "tokenizer.json", tmp_path / "tokenizer.json")
    shutil.rmtree(copy)
    named = {"initial_weights": str(copy), "tokenizer": str(kept), "ema_decay": 0.9}
    second = run(tmp_path / "parts", text, resume_from_checkpoint=True, **named)
    assert second.step == 2
    second.train()
    assert same(second.model, straight.model)


class StopAfterTwo:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_step_end(self, step: int, metrics: Any) -> None:
        if step == 2:
            self._trainer.request_stop()


def test_a_checkpoint_gives_its_weights_and_its_alphabet(
    tmp_path: Path, text: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = {"vocab_size": 60, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    first = run(tmp_path / "first", text, model_config=shape, tokenizer="char")
    first.train()
    other = tmp_path / "other.txt"
    other.write_text("w9 w8 w7 w6 5 4 3 2 1 0 " * 50)
    checkpoint = first.manager.get_latest_checkpoint()
    second = run(tmp_path / "second", other, initial_weights=checkpoint)
    assert same(second.model, first.model)
    assert second.config.tokenizer == "char"
    assert second._data.tokenizer.to_dict() == first._data.tokenizer.to_dict()
    assert (second.step, second.tokens_seen, second.optimizer.state) == (0, 0, {})

    path, saved = Path(checkpoint), torch.load(checkpoint, weights_only=True)
    whole = path.read_bytes()
    damaged(path, whole, saved["optimizer_state_dict"]["state"][0]["exp_avg"])
    third = run(tmp_path / "third", other, initial_weights=checkpoint)  # that is not read
    assert same(third.model, first.model)
    damaged(path, whole, saved["model_state_dict"]["token_embedding.weight"])
    with pytest.raises(ConfigError, match="does not match its checksum"):
        run(tmp_path / "fourth", other, initial_weights=checkpoint)


def damaged(path: Path, whole: bytes, tensor: torch.Tensor) -> None:
    """Write a file with one bit of a tensor turned."""
    content = bytearray(whole)
    content[whole.index(tensor.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


def test_what_does_not_fit_is_listed_by_tensor(tmp_path: Path, theirs: Path, text: Path) -> None:
    def refusal(**model: Any) -> str:
        with pytest.raises(ConfigError) as caught:
            run(tmp_path, text, initial_weights=str(theirs), model_config=model)
        return problem(caught)

    assert refusal(hidden_size=32, tie_word_embeddings=False).startswith(
        f"`initial_weights` is '{theirs}'; it does not fit: token_embedding.weight is [40, 16] "
        "there and [40, 32] here; blocks.0.attention_norm.weight is [16] there and [32] here; "
    )
    assert "lm_head.weight is absent there and [40, 16] here" in refusal(tie_word_embeddings=False)
    assert "`rope_theta` is 10000.0 there and 5.0 here" in refusal(rope_theta=5)
    grown = "token_embedding.weight is [40, 16] there and [48, 16] here; set `resize_vocabulary: "
    assert grown in refusal(vocab_size=48)


@pytest.mark.parametrize("size", [48, 32])
def test_a_vocabulary_is_resized_on_request(
    tmp_path: Path, theirs: Path, text: Path, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"model_config": {"vocab_size": size}, "resize_vocabulary": True}
    text.write_text(" ".join(f"w{number % 30}" for number in range(900)))
    with caplog.at_level(logging.WARNING, "app"):
        trainer = run(tmp_path, text, initial_weights=str(theirs), **fields)
    rows, before = trainer.model.token_embedding.weight, from_pretrained(theirs).token_embedding
    kept = min(size, 40)
    assert torch.equal(rows[:kept], before.weight[:kept])
    assert torch.equal(rows[kept:], before.weight.mean(0).expand(size - kept, -1))
    assert f"is resized from 40 to {size} ids" in caplog.text


def test_weights_that_cannot_be_read_are_one_problem(
    tmp_path: Path, theirs: Path, text: Path
) -> None:
    def refusal(path: object) -> str:
        with pytest.raises(ConfigError) as caught:
            run(tmp_path / "run", text, initial_weights=str(path))
        return problem(caught)

    assert "there is no such file or folder" in refusal(tmp_path / "gone")
    assert "there is no such file" in refusal("gpt2")
    assert "'a" in refusal("a" * 5000)
    assert "only the service knows checkpoints by their id" in refusal("checkpoint://ckpt_1")
    assert "weights are read from files; download them" in refusal("https://host/model")
    file = theirs / "config.json"
    assert f"is a file of a Hugging Face model and no checkpoint; name its folder, '{theirs}'" in (
        refusal(file)
    )
    assert "is not a complete checkpoint" in refusal(text)
    assert "has neither model.safetensors nor" in refusal(tmp_path)
    bare = shutil.copytree(theirs, tmp_path / "bare")
    (bare / "tokenizer.json").unlink()
    assert "no tokenizer.json is beside it; name the `tokenizer`" in refusal(bare)
    trained = {"train": "bpe", "vocab_size": 300}
    for folder in (bare, theirs):  # a tokenizer that is trained is named too
        config = TrainingConfig.from_document(
            json.dumps({"initial_weights": str(folder), "tokenizer": trained, "sequence_length": 8})
        )
        complete_from_weights(config)
        assert config.tokenizer == "bpe:300"
    (bare / "model-00001-of-00002.safetensors").unlink(missing_ok=True)
    shard = sorted(bare.glob("*.safetensors"))[0]
    shard.unlink()
    assert "names files that are not there: " in refusal(bare)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lora": {"targets": ["query"]}}, None),
        ({"freeze": ["blocks.12.*"]}, None),
        ({"lora": {"targets": ["c_attn"]}}, "has 'c_attn', which matches no linear layer"),
        ({"freeze": ["blocks.13.*"]}, "'blocks.13.*' matches no parameter"),
    ],
)
def test_targets_and_patterns_are_those_of_a_callers_model(
    tmp_path: Path, text: Path, fields: dict[str, Any], message: str | None
) -> None:
    shape = {
        "vocab_size": 256, "hidden_size": 16, "num_layers": 13, "num_heads": 2, "bias": False,
        "position_encoding_type": "rotary", "layer_norm_type": "rms_norm", "activation": "swiglu",
    }  # fmt: skip
    model = GPTModel(TransformerConfig.from_dict(shape))
    document = {"dataset_path": str(text), "checkpoint_dir": str(tmp_path), "sequence_length": 16}
    config = TrainingConfig.from_document(json.dumps(document | fields | {"device": "cpu"}))
    data = load_dataset(config.dataset_path, config)
    if message is None:
        trained = Trainer(config, *data, model=model).model.named_parameters()
        assert not all(parameter.requires_grad for _, parameter in trained)
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        Trainer(config, *data, model=model)


def test_a_callers_model_is_trained_in_place(tmp_path: Path, text: Path) -> None:
    shape = TransformerConfig(vocab_size=256, hidden_size=16, num_layers=1, num_heads=2)
    model = GPTModel(shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = TrainingConfig(
        dataset_path=str(text), checkpoint_dir=str(tmp_path), max_steps=1, warmup_steps=0,
        sequence_length=16, batch_size=2, device="cpu",
    )  # fmt: skip
    config.model_config = shape
    data = load_dataset(config.dataset_path, config)
    trainer = Trainer(config, *data, model=model)
    assert trainer.model is model
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model.token_embedding.requires_grad_(False)
    with pytest.raises(ConfigError, match=r"the given model's token_embedding\.weight take no"):
        Trainer(config, *data, model=model)
    config.freeze = ["lm_head.*"]
    Trainer(config, *data, model=model)
    config.freeze = []
    model.requires_grad_(False)
    assert all(p.requires_grad for p in Trainer(config, *data, model=model).model.parameters())
    with pytest.raises(ConfigError, match="the given model has adapters; merge them by"):
        Trainer(config, *data, model=add_adapters(GPTModel(shape), LoraConfig()))
    other: Any = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match="`model` is a Linear; it must be a GPTModel, such as"):
        Trainer(config, *data, model=other)
    config.model_config = TransformerConfig(vocab_size=256, hidden_size=16, num_heads=4)
    with pytest.raises(ConfigError, match="`model_config` is not that of the given model: num_lay"):
        Trainer(config, *data, model=model)
