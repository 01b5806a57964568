"""Adapters as `peft` reads and writes them, and folders that do not fit."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.inference import load_trained
from app.training.initial_model import build_model
from app.transformer import ConfigError, GPTModel, TransformerConfig
from app.transformer.huggingface import export_model
from app.transformer.lora import add_adapters
from app.transformer.lora_layout import LoraConfig
from training_engine.cli.app import app

# peft 0.21 asks transformers 5.23 by a name that is to go.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
    "max_position_embeddings": 16,
}  # fmt: skip
LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "bias": False,
    "num_kv_heads": 2,
}
QWEN3 = LLAMA | {"qk_norm": True, "qk_norm_weights": True, "head_dim": 16}
IDS = torch.randint(0, 50, (2, 16), generator=torch.Generator().manual_seed(1))


def checkpoint_with_adapters(folder: Path, model: TransformerConfig, lora: LoraConfig) -> GPTModel:
    """Write the base to folder/base and a trained checkpoint; return the model it holds."""
    torch.manual_seed(3)
    trained = GPTModel(model)
    export_model(trained, folder / "base")
    add_adapters(trained, lora)
    for parameter in trained.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    config = TrainingConfig(model_config=model, lora=lora, initial_weights=str(folder / "base"))
    state = {
        "model_state_dict": trained.state_dict(), "optimizer_state_dict": {},
        "scheduler_state_dict": {}, "step": 3, "loss": 1.5, "config": config.to_dict(),
        "timestamp": time.time(), "tokenizer": None,
    }  # fmt: skip
    write_checkpoint(folder / "checkpoint_step_3.pt", state)
    return trained.eval()


def export(folder: Path, *options: str) -> Any:
    named = [str(folder / "checkpoint_step_3.pt"), "--output", str(folder / "adapter")]
    return CliRunner().invoke(app, ["export", *named, *(options or ("--format", "peft"))])


@pytest.mark.parametrize(
    ("fields", "targets", "modules"),
    [
        ({}, [], ["attn.c_attn", "attn.c_proj"]),
        (
            LLAMA,
            ["query", "value", "mlp"],
            ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"],
        ),
        (QWEN3, ["blocks.1.attention.*"], None),
    ],
    ids=["gpt2", "llama", "qwen3"],
)
def test_an_adapter_goes_to_peft_and_comes_back(
    tmp_path: Path, fields: dict[str, Any], targets: list[str], modules: list[str] | None
) -> None:
    model, lora = TransformerConfig(**SHAPE | fields), LoraConfig(3, 5.0, targets)
    trained = checkpoint_with_adapters(tmp_path, model, lora)
    result = export(tmp_path)
    assert result.exit_code == 0, result.output
    assert "adapter_model.safetensors" in result.output
    description = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert description["base_model_name_or_path"] == str(tmp_path / "base")
    if modules is not None:
        assert description["target_modules"] == modules

    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    theirs: Any = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, trained(IDS)[0], rtol=0, atol=1e-4)
    theirs.save_pretrained(tmp_path / "saved-by-peft")
    config = TrainingConfig(
        model_config=model, lora=lora, initial_weights=str(tmp_path / "base"),
        initial_adapter=str(tmp_path / "saved-by-peft"),
    )  # fmt: skip
    ours = build_model(config).eval()
    found, expected = ours.state_dict(), trained.state_dict()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    merged = load_trained(tmp_path / "checkpoint_step_3.pt").model
    with torch.no_grad():
        torch.testing.assert_close(merged(IDS)[0], theirs(IDS).logits, rtol=0, atol=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, a checkpoint and its adapter."""
    path = tmp_path_factory.mktemp("peft")
    checkpoint_with_adapters(path, TransformerConfig(**SHAPE | LLAMA), LoraConfig(3, 5.0))
    assert export(path).exit_code == 0
    return path


def changed(**fields: Any) -> Callable[[Path], None]:
    def change(adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    return change


def without_weights(adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()


def pickled(adapter: Path) -> None:
    without_weights(adapter)
    (adapter / "adapter_model.bin").write_bytes(b"never read")


def of_wider_base(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    tensors[name] = torch.zeros(3, 48)
    save_file(tensors, file)


def cut_off(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("change", "lora", "message"),
    [
        (None, {"rank": 4}, "`lora.rank` is 4 and `r` is 3 in adapter_config.json; they must be"),
        (None, {"alpha": 6}, "`lora.alpha` is 6.0 and `lora_alpha` is 5 in adapter_config.json"),
        (
            None,
            {"targets": ["query"]},
            r"layers.0.self_attn.k_proj.lora_A.weight [3, 32] is of no layer in `lora.targets`",
        ),
        (None, {"targets": ["attention", "mlp.output"]}, "mlp.down_proj.lora_A.weight is missing"),
        (changed(use_rslora=True), {}, "`use_rslora` is True in adapter_config.json; only null or"),
        (changed(rank_pattern={"q_proj": 9}), {}, "`rank_pattern` is {'q_proj': 9}"),
        (changed(init_lora_weights="pissa"), {}, "`init_lora_weights` is 'pissa'"),
        (changed(kasa_config={"beta": 1}), {}, "`kasa_config` is {'beta': 1} in adapter_config"),
        (
            changed(lora_of_2030=True),
            {},
            "null or False can be read; train the adapter again",
        ),
        (changed(peft_type="IA3"), {}, "`peft_type` is 'IA3' in adapter_config.json; only 'LORA'"),
        (of_wider_base, {}, "q_proj.lora_A.weight is [3, 48] and must be [3, 32] for this base"),
        (pickled, {}, "has adapter_model.bin, a pickle, which is not read"),
        (without_weights, {}, "has no adapter_model.safetensors; copy the adapter again"),
        (cut_off, {}, "adapter_model.safetensors is not a whole safetensors file"),
    ],
)
def test_an_adapter_that_does_not_fit_is_one_error(
    tmp_path: Path, folder: Path, change: Any, lora: dict[str, Any], message: str
) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for file in (folder / "adapter").iterdir():
        (adapter / file.name).write_bytes(file.read_bytes())
    if change is not None:
        change(adapter)
    config = TrainingConfig.from_dict(
        {
            "model_config": SHAPE | LLAMA, "initial_weights": str(folder / "base"),
            "lora": {"rank": 3, "alpha": 5} | lora, "initial_adapter": str(adapter),
        }
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        build_model(config)
    [problem] = caught.value.problems
    assert problem.field == "initial_adapter"
    assert message in problem.message


def test_what_cannot_be_exported_as_an_adapter(tmp_path: Path, folder: Path) -> None:
    assert export(folder, "--format", "peft", "--dtype", "float16").exit_code == 2
    plain = load_trained(folder / "checkpoint_step_3.pt")
    state = {
        "model_state_dict": plain.model.state_dict(), "optimizer_state_dict": {},
        "scheduler_state_dict": {}, "step": 3, "loss": 1.5, "timestamp": time.time(),
        "config": TrainingConfig(model_config=plain.config.model_config).to_dict(),
    }  # fmt: skip
    write_checkpoint(tmp_path / "checkpoint_step_3.pt", state)
    result = export(tmp_path)
    assert result.exit_code == 1
    assert "was trained without `lora` and has no adapter; export the whole" in result.output
