"""Every block of Python in docs/quick-reference.md runs as written, at smaller sizes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

DOCUMENT = Path(__file__).parents[2] / "docs/quick-reference.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
TREES = [snippet for snippet in SNIPPETS if "├──" in snippet]
RUNNABLE = [
    snippet
    for snippet in SNIPPETS
    if snippet not in TREES and "TransformerConfig(...)" not in snippet
]
SMALLER = [
    (r"hidden_size=\d+", "hidden_size=32"),
    (r"num_layers=\d+", "num_layers=2"),
    (r"num_heads=\d+", "num_heads=2"),
    (r"\bsize=10000", "size=64"),
    (r"seq_len=512", "seq_len=16"),
    (r"max_steps=\d+", "max_steps=4"),
    (r"max_steps = 20000", "max_steps = 6"),
    (r"eval_steps=\d+", "eval_steps=2"),
    (r"save_steps=\d+", "save_steps=2"),
    (r"batch_size=\d+", "batch_size=2"),
    (r"gradient_accumulation_steps=\d+", "gradient_accumulation_steps=2"),
]
"""The same program on a smaller model: only sizes change."""

YAML = """
model_config: {vocab_size: 50257, hidden_size: 32, num_layers: 2, num_heads: 2}
batch_size: 2
max_steps: 4
checkpoint_dir: ./checkpoints
"""


class RandomTokens(Dataset[torch.Tensor]):
    """What the page calls train_data and val_data."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.randint(0, 50257, (16,))


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the page takes as given: datasets, a config, a trained model, saved files."""
    from app.training import Trainer, TrainingConfig
    from app.training.scheduler import get_scheduler
    from app.transformer import TransformerConfig

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    model_config = TransformerConfig(
        vocab_size=50257, hidden_size=32, num_layers=2, num_heads=2, max_position_embeddings=64
    )
    config = TrainingConfig(
        model_config=model_config, batch_size=2, max_steps=4, warmup_steps=1,
        checkpoint_dir="./checkpoints",
    )  # fmt: skip
    data = RandomTokens()
    trainer = Trainer(config, train_dataset=data)
    trainer.train()
    for name in ("config.yaml", "experiment_1.yaml"):
        Path(name).write_text(YAML)
    config.to_yaml("checkpoints/config.yaml")
    optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-3)
    return {
        "TrainingConfig": TrainingConfig,
        "TransformerConfig": TransformerConfig,
        "Trainer": Trainer,
        "model_config": model_config,
        "config": config,
        "train_data": data,
        "val_data": data,
        "my_dataset": data,
        "model": trainer.model,
        "optimizer": optimizer,
        "scheduler": get_scheduler("constant", optimizer, warmup_steps=1),
    }


def test_the_page_has_its_snippets() -> None:
    assert len(RUNNABLE) == 19
    assert len(TREES) == 5


@pytest.mark.parametrize("snippet", RUNNABLE, ids=lambda s: re.sub(r"\W+", "-", s)[:40])
def test_snippet_runs(snippet: str, names: dict[str, Any]) -> None:
    for pattern, smaller in SMALLER:
        snippet = re.sub(pattern, smaller, snippet)
    for name, small in (("max_steps", 4), ("batch_size", 2)):  # where the page takes the default
        if f"{name}=" not in snippet:
            snippet = snippet.replace(
                "    model_config=", f"    {name}={small},\n    model_config="
            )
    exec(compile(snippet, str(DOCUMENT), "exec"), names)
    if "latest, model, optimizer, scheduler" in snippet:
        assert names["step"] == 1000
    if "run1" in snippet:
        assert names["trainer"].step == 6
