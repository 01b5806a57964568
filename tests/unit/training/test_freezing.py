"""Frozen parameters: they stay, take no optimizer state, and a resume is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from app.training import Trainer, TrainingConfig
from app.training.errors import ResumeError
from app.transformer import ConfigError

FROZEN = ["token_embedding.*", "blocks.0.*"]
Make = Callable[..., Trainer]


def test_frozen_parameters_stay_and_a_resume_is_exact(make_trainer: Make, tmp_path: Path) -> None:
    def folder(name: str) -> str:
        return str(tmp_path / name)

    straight = make_trainer(checkpoint_dir=folder("straight"), freeze=FROZEN)
    before = {name: tensor.clone() for name, tensor in straight.model.state_dict().items()}
    straight.train()
    same = [
        n for n, tensor in straight.model.state_dict().items() if torch.equal(before[n], tensor)
    ]
    assert same == [name for name in before if name.startswith(("token_embedding.", "blocks.0."))]
    trained = [p for p in straight.model.parameters() if p.requires_grad]
    assert len(straight.optimizer.state_dict()["state"]) == len(trained) < len(before)

    first = make_trainer(checkpoint_dir=folder("parts"), freeze=FROZEN)
    first.callbacks.append(StopAtThree(first))
    first.train()
    second = make_trainer(
        checkpoint_dir=folder("parts"), freeze=FROZEN, resume_from_checkpoint=True
    )
    assert second.step == 3
    second.train()
    found = second.model.state_dict()
    assert [n for n, t in straight.model.state_dict().items() if not torch.equal(t, found[n])] == []
    with pytest.raises(ResumeError, match=r"`freeze` is \[\] and was \['token_embedding\.\*'"):
        make_trainer(checkpoint_dir=folder("parts"), resume_from_checkpoint=True)


class StopAtThree:
    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def on_step_end(self, step: int, metrics: object) -> None:
        if step == 3:
            self._trainer.request_stop()


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (["blocks.9.*"], "'blocks.9.\\*' matches no parameter; names are token_embedding.weight, "),
        (["*"], "match every parameter; leave something to train"),
    ],
)
def test_patterns_must_match_something_and_leave_something(
    make_trainer: Make, patterns: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_trainer(freeze=patterns)


@pytest.mark.parametrize(
    ("patterns", "tied", "frozen"),
    [
        (["lm_head.*"], True, ["token_embedding.weight"]),
        (["token_embedding.*"], True, ["token_embedding.weight"]),
        (["lm_head.*"], False, ["lm_head.weight"]),
    ],
)
def test_a_tied_embedding_has_the_name_of_the_head_too(
    make_trainer: Make, patterns: list[str], tied: bool, frozen: list[str]
) -> None:
    trainer = make_trainer(freeze=patterns, model={"tie_word_embeddings": tied})
    named = trainer.model.named_parameters()
    assert [name for name, parameter in named if not parameter.requires_grad] == frozen


def test_a_configuration_says_that_a_pattern_matches_nothing() -> None:
    model = {"num_layers": 2}
    found = TrainingConfig.read({"model_config": model, "freeze": ["blocks.2.*", "blocks.1.*"]})[1]
    assert [str(problem) for problem in found] == [
        "`freeze`: 'blocks.2.*' matches no parameter; names are token_embedding.weight, "
        "position_embedding.weight, blocks.0.attention_norm.weight, blocks.0.attention_norm.bias "
        "and so on"
    ]
    # Of a model that the initial weights describe nothing is known yet.
    assert TrainingConfig.read({"initial_weights": "model", "freeze": ["blocks.30.*"]})[1] == []


def test_muon_without_a_matrix_to_train_is_refused(make_trainer: Make) -> None:
    message = r"`optimizer_type` is 'muon'; it needs a matrix .* \['blocks\.\*'\] leaves none; take"
    with pytest.raises(ConfigError, match=message):
        make_trainer(optimizer_type="muon", freeze=["blocks.*"])
