"""Low-rank adapters: what is trained, what a checkpoint is good for, and that a resume is exact."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import Trainer, TrainingConfig
from app.training.errors import ResumeError
from app.training.inference import load_trained
from app.training.memory import estimate_memory
from app.transformer import ConfigError, GPTModel, TransformerConfig
from app.transformer.huggingface import UnsupportedModelError, export_model
from app.transformer.lora import LoraLinear, add_adapters, merge_adapters
from app.transformer.lora_layout import LoraConfig, adapter_parameters

Make = Callable[..., Trainer]
LLAMA: dict[str, Any] = {
    "position_encoding_type": "rotary",
    "layer_norm_type": "rms_norm",
    "activation": "swiglu",
    "num_kv_heads": 1,
    "bias": False,
}
ADAPTERS: dict[str, Any] = {
    "rank": 3, "alpha": 6, "targets": ["query", "value", "mlp"], "dropout": 0.1,
}  # fmt: skip


class StopAtThree:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_step_end(self, step: int, metrics: object) -> None:
        if step == 3:
            self._trainer.request_stop()


@pytest.fixture
def base(make_trainer: Make, tmp_path: Path) -> Path:
    """A checkpoint to begin with, of Llama's form."""
    make_trainer(max_steps=1, model=LLAMA, checkpoint_dir=str(tmp_path / "base")).train()
    return tmp_path / "base" / "checkpoint_step_1.pt"


@pytest.fixture
def adapted(
    small_config: Callable[..., TrainingConfig], drawing_dataset: Any, tmp_path: Path, base: Path
) -> Make:
    """A factory of trainers with adapters; `folder` names the checkpoints' folder."""

    def make(folder: str = "run", **changes: Any) -> Trainer:
        values: dict[str, Any] = {
            "model": LLAMA, "initial_weights": str(base), "lora": ADAPTERS, "ema_decay": 0.9,
            "gradient_accumulation_steps": 2, "checkpoint_dir": str(tmp_path / folder),
        }  # fmt: skip
        # As from a document that names every field, the tokenizer too.
        config = TrainingConfig.from_dict(small_config(**values | changes).to_dict())
        return Trainer(config, drawing_dataset)

    return make


def test_only_adapters_are_trained_and_a_resume_is_exact(
    adapted: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        straight = adapted("straight")
    shape, lora = straight.config.model_config, straight.config.lora
    assert lora is not None
    count = adapter_parameters(shape, lora)
    assert f"and {count:,} of adapters, which alone are trained" in caplog.text
    before = {name: tensor.clone() for name, tensor in straight.model.state_dict().items()}
    straight.train()
    after = straight.model.state_dict()
    changed = [name for name in after if not torch.equal(before[name], after[name])]
    assert changed == [name for name in after if ".lora_" in name]
    trained = [p for p in straight.model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == count
    assert len(straight.optimizer.state_dict()["state"]) == len(trained) == len(changed)
    assert estimate_memory(straight.config).optimizer_bytes == 8 * count

    first = adapted("parts")
    first.callbacks.append(StopAtThree(first))
    first.train()
    second = adapted("parts", resume_from_checkpoint=True, initial_weights=None)
    assert second.step == 3
    second.train()
    found = second.model.state_dict()
    assert [name for name in after if not torch.equal(after[name], found[name])] == []
    saved = [load_trained(t.manager.path_of(8), averaged=True).model for t in (straight, second)]
    averages = [model.state_dict() for model in saved]
    assert all(torch.equal(averages[0][name], averages[1][name]) for name in averages[0])


def test_a_checkpoint_is_a_whole_model_and_another_run_begins_with_it(adapted: Make) -> None:
    trainer = adapted(max_steps=2)
    trainer.train()
    path, prompt = trainer.manager.path_of(2), torch.tensor([[1, 2, 3]])
    loaded = load_trained(path).model
    assert not any(isinstance(module, LoraLinear) for module in loaded.modules())
    trainer.model.eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(prompt)[0], trainer.model(prompt)[0])
    written = [m.generate(prompt, 8, temperature=0).tolist() for m in (loaded, trainer.model)]
    assert written[0] == written[1]
    again = adapted("again", initial_weights=str(path), lora=None, ema_decay=None)
    assert all(
        torch.equal(tensor, loaded.state_dict()[name])
        for name, tensor in again.model.state_dict().items()
    )
    with pytest.raises(UnsupportedModelError, match="the model has adapters; `merge_adapters"):
        export_model(trainer.model, path.parent / "exported")
    merge_adapters(trainer.model)
    with torch.no_grad():
        torch.testing.assert_close(loaded(prompt)[0], trainer.model(prompt)[0])
    add_adapters(trainer.model, LoraConfig())
    with pytest.raises(ValueError, match=r"blocks\.0\.attention\.qkv has an adapter already"):
        add_adapters(trainer.model, LoraConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": ADAPTERS | {"rank": 4}}, r"`lora` is {'rank': 4, .* and was {'rank': 3, "),
        ({"lora": None}, "`lora` is None and was {'rank': 3, "),
    ],
)
def test_a_resume_needs_the_same_adapters(
    adapted: Make, changes: dict[str, Any], message: str
) -> None:
    adapted(max_steps=1).train()
    with pytest.raises(ResumeError, match=message):
        adapted(max_steps=1, resume_from_checkpoint=True, **changes)
    other = ADAPTERS | {"dropout": 0.0}
    assert adapted(max_steps=1, resume_from_checkpoint=True, lora=other).step == 1


def test_every_problem_names_field_and_remedy() -> None:
    values: dict[str, Any] = {
        "initial_weights": "model",
        "model_config": {name: getattr(TransformerConfig(), name) for name in _names()},
        "lora": {"rank": 2, "targets": ["attention.qkv.query", "mlp.*"]},
        "optimizer_type": "muon",
        "freeze": ["token_embedding.*"],
    }
    found = {problem.field: problem.message for problem in problems(values)}
    assert found == {
        "optimizer_type": "`optimizer_type` is 'muon', which makes updates of whole matrices "
        "orthogonal; with `lora` it must be 'adamw'",
        "freeze": "`freeze` is ['token_embedding.*']; with `lora` all but the adapters is frozen; "
        "leave one of the two out",
        "lora.targets": "`lora.targets` has 'attention.qkv.query', which matches no linear layer "
        "of a block; layers are attention.qkv, attention.output, mlp.up, mlp.output",
    }
    [problem] = problems({"initial_adapter": "folder"})
    assert problem.message == (
        "`initial_adapter` is 'folder' and `lora` is not set; set its rank, alpha and targets "
        "as in adapter_config.json"
    )
    wrong = {"lora": {"rank": 0, "alpha": 0, "dropout": 1, "target": []}}
    fields = [problem.field for problem in problems(wrong)]
    assert fields == ["lora.target", "lora.rank", "lora.alpha", "lora.dropout"]


def problems(values: dict[str, Any]) -> list[Any]:
    return TrainingConfig.read(values)[1]


def _names() -> list[str]:
    return list(TransformerConfig().to_dict())


def test_adapters_need_weights_beside_which_they_are_trained(
    make_trainer: Make, drawing_dataset: Any, small_config: Callable[..., TrainingConfig]
) -> None:
    with pytest.raises(ConfigError, match="`initial_weights` is not set and `lora` is: adapters"):
        make_trainer(lora={})
    config = small_config(lora={}, max_steps=1)
    given = GPTModel(config.model_config)
    trainer = Trainer(config, drawing_dataset, model=given)
    trainer.train()
    assert load_trained(trainer.manager.path_of(1)).config.lora == LoraConfig()
