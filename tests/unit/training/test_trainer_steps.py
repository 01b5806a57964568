"""The arithmetic of a step: token-weighted, clipped, and never applied when it is not finite."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from app.training import Trainer
from app.training.batches import SampleReader
from app.training.config import ConfigError, DistributedConfig, TrainingConfig
from app.training.errors import NonFiniteLossError, TrainingError, TrainingMemoryError
from app.training.metrics import compute_gradient_norm
from app.training.run_folder import exclusive
from app.training.sampler import BatchSampler
from app.training.stepping import DeferredGuard
from app.transformer.config import TransformerConfig

Make = Callable[..., Trainer]
NO_DROPOUT = {"dropout_rate": 0.0}


def first_gradients(trainer: Trainer) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the first step, before clipping."""
    batches, _ = trainer._data.fetch()
    loss = trainer._stepper.backward(batches).item()
    return loss, {
        n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None
    }


def test_accumulation_is_one_big_batch_on_ragged_data(
    make_trainer: Make, fixed_dataset: Any, tmp_path: Path
) -> None:
    # 10 samples in micro-batches of 4: the last has 2, and all have different lengths.
    data = fixed_dataset(size=10, ragged=True)
    whole = make_trainer(data, batch_size=10, model=NO_DROPOUT)
    parts = make_trainer(data, batch_size=4, gradient_accumulation_steps=3, model=NO_DROPOUT)
    whole_loss, whole_grads = first_gradients(whole)
    parts_loss, parts_grads = first_gradients(parts)
    assert parts_loss == pytest.approx(whole_loss, rel=1e-6)
    assert whole_grads.keys() == parts_grads.keys()
    for name, grad in whole_grads.items():
        torch.testing.assert_close(parts_grads[name], grad, rtol=1e-4, atol=1e-6)


def test_a_batch_of_more_samples_than_there_are_is_said(
    make_trainer: Make, fixed_dataset: Any, caplog: pytest.LogCaptureFixture
) -> None:
    make_trainer(fixed_dataset(size=6), batch_size=6)
    assert "samples" not in caplog.text
    make_trainer(fixed_dataset(size=6), batch_size=7)
    assert "a batch is 7 samples and the data are 6: each step trains on all of them" in caplog.text


def test_the_loss_is_the_mean_over_all_tokens_of_the_step(
    make_trainer: Make, fixed_dataset: Any
) -> None:
    data = fixed_dataset(size=6, ragged=True)
    trainer = make_trainer(data, batch_size=2, gradient_accumulation_steps=3, model=NO_DROPOUT)
    total, tokens = 0.0, 0
    for sample in data.samples:
        logits, _ = trainer.model(sample[None, :-1])
        losses = torch.nn.functional.cross_entropy(logits[0], sample[1:], reduction="sum")
        total, tokens = total + losses.item(), tokens + len(sample) - 1
    loss, _ = first_gradients(trainer)
    assert loss == pytest.approx(total / tokens, rel=1e-6)


def test_accumulation_is_one_big_batch_where_some_tokens_are_trained_on(
    make_trainer: Make, labelled_dataset: Any
) -> None:
    data = labelled_dataset(size=10)
    whole = make_trainer(data, batch_size=10, model=NO_DROPOUT)
    # Row 0 has nothing to train on, and is a micro-batch of its own.
    parts = make_trainer(data, batch_size=1, gradient_accumulation_steps=10, model=NO_DROPOUT)
    whole_loss, whole_grads = first_gradients(whole)
    parts_loss, parts_grads = first_gradients(parts)
    assert parts_loss == pytest.approx(whole_loss, rel=1e-6)
    for name, grad in whole_grads.items():
        torch.testing.assert_close(parts_grads[name], grad, rtol=1e-4, atol=1e-6)
    rows = data.rows
    assert rows.positions is not None
    trained = (rows.labels[:, 1:] != -100) & (rows.positions[:, 1:] != 0)
    assert whole._stepper.tokens == parts._stepper.tokens == int(trained.sum())
    assert whole._stepper.read == parts._stepper.read == int((rows.tokens[:, :-1] != -100).sum())


def test_a_step_without_a_token_to_train_on_has_a_loss_of_zero(
    make_trainer: Make, labelled_dataset: Any
) -> None:
    trainer = make_trainer(labelled_dataset(size=1), batch_size=1, max_steps=2)
    trainer.train()
    assert (trainer.step, trainer.tokens_seen, trainer._loss.item()) == (2, 0, 0.0)
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())


def test_clipping_returns_the_norm_before_it(make_trainer: Make) -> None:
    trainer = make_trainer(max_grad_norm=0.25)
    first_gradients(trainer)
    before = compute_gradient_norm(trainer.model)
    assert before > 0.25
    assert trainer._stepper.clip().item() == pytest.approx(before)
    assert compute_gradient_norm(trainer.model) == pytest.approx(0.25, rel=1e-4)


def test_a_norm_of_zero_turns_clipping_off(make_trainer: Make) -> None:
    trainer = make_trainer(max_grad_norm=0.0)
    first_gradients(trainer)
    before = compute_gradient_norm(trainer.model)
    trainer._stepper.clip()
    assert compute_gradient_norm(trainer.model) == before


def test_an_epoch_visits_every_sample_once(fixed_dataset: Any) -> None:
    data = fixed_dataset(size=10)
    sampler = BatchSampler(10, 4, seed=3)
    reader = SampleReader(data, 3, 50, 17)
    batches = [reader.__getitems__((0, sampler.next_batch())) for _ in range(3)]
    assert [len(batch.inputs) for batch in batches] == [4, 4, 2]
    seen = torch.cat([batch.inputs for batch in batches]).tolist()
    assert sorted(seen) == sorted(sample[:-1].tolist() for sample in data.samples)


def test_training_lowers_the_loss(make_trainer: Make, fixed_dataset: Any, tmp_path: Path) -> None:
    make_trainer(fixed_dataset(), max_steps=150, model=NO_DROPOUT).train()
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    losses = [json.loads(line)["loss"] for line in text.splitlines()]
    assert losses[0] == pytest.approx(math.log(50), abs=0.3)
    assert losses[-1] < 0.6 * losses[0]


# -- what is not finite ----------------------------------------------------------------------


def spoil_weights_at(step: int) -> Any:
    class Spoil:
        trainer: Trainer

        def on_step_end(self, done: int, metrics: Any) -> None:
            if done == step - 1:
                with torch.no_grad():
                    self.trainer.model.get_parameter("final_norm.weight")[0] = math.nan

    return Spoil()


def change_gradient(trainer: Trainer, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    parameter: Any = trainer.model.get_parameter("final_norm.weight")
    parameter.register_hook(change)


def test_a_loss_that_is_not_finite_stops_before_the_step(
    make_trainer: Make, tmp_path: Path
) -> None:
    callback = spoil_weights_at(4)
    trainer = make_trainer(save_steps=2, callbacks=[callback])
    callback.trainer = trainer
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train()
    assert caught.value.step == 4
    assert str(caught.value).startswith(
        "the loss of step 4 is not finite (data position: epoch 0, 4 samples from 12 on)"
    )
    assert "lower `learning_rate`" in str(caught.value)
    assert "was not applied, and the checkpoint of step 2 is good;" in str(caught.value)
    good = make_trainer(save_steps=2, resume_from_checkpoint=True)
    assert good.step == 2
    assert all(torch.isfinite(p).all() for p in good.model.parameters())


def test_a_gradient_that_is_not_finite_stops_before_the_step(make_trainer: Make) -> None:
    trainer = make_trainer()
    change_gradient(trainer, lambda grad: grad * math.inf)
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    with pytest.raises(NonFiniteLossError, match="the gradient of step 1 is not finite") as caught:
        trainer.train()
    assert "was not applied, and no checkpoint was saved before it;" in str(caught.value)
    after = trainer.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_checkpoint_that_a_run_began_with_is_named_as_good(make_trainer: Make) -> None:
    make_trainer(max_steps=3).train()
    trainer = make_trainer(max_steps=6, resume_from_checkpoint=True)
    change_gradient(trainer, lambda grad: grad * math.inf)
    for _ in range(2):
        with pytest.raises(NonFiniteLossError, match="the checkpoint of step 3 is good"):
            trainer.train()


def test_the_deferred_guard_suppresses_the_bad_step_and_all_after_it() -> None:
    """What CUDA does, run on the CPU: the fused optimizer obeys the flag there too."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    guard = DeferredGuard(optimizer, torch.device("cpu"))
    values, raised = [], []
    for step in (1, 2, 3):
        weight.grad = torch.full((3,), math.nan if step == 2 else 1.0)
        try:
            guard.check(step, "here", torch.tensor(1.0), weight.grad.norm())
        except NonFiniteLossError as error:
            raised.append(str(error))
        optimizer.step()
        values.append(weight.detach().clone())
    assert "step 2 is not finite" in raised[0]
    assert not torch.equal(values[0], torch.ones(3))
    assert torch.equal(values[1], values[0])
    assert torch.equal(values[2], values[0])


def test_fp16_skips_a_step_that_overflowed_and_says_so(
    make_trainer: Make, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(mixed_precision="fp16", max_steps=4)
    calls = iter([math.inf])
    change_gradient(trainer, lambda grad: grad * next(calls, 1.0))
    trainer.train()
    assert trainer._stepper.skipped_steps == 1
    assert trainer._stepper.scaler.get_scale() == 2.0**15
    assert "fp16 skipped 1 steps that overflowed" in caplog.text


def test_fp16_does_not_skip_for_ever(make_trainer: Make) -> None:
    trainer = make_trainer(mixed_precision="fp16", max_steps=100)
    change_gradient(trainer, lambda grad: grad * math.inf)
    with pytest.raises(NonFiniteLossError, match="the gradient of step 31 is not finite"):
        trainer.train()


# -- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([torch.tensor([1, 2, 50])], r"holds token 50; tokens must be .* below vocab_size=50"),
        ([torch.tensor([1, -1, 3])], r"holds token -1"),
        (
            [torch.arange(18)],
            r"has 18 tokens; it must have between 2 and sequence_length \+ 1 = 17",
        ),
        ([torch.tensor([1])], r"has 1 tokens; it must have between 2"),
        ([torch.tensor([1.0, math.nan])], r"sample 0 is a tensor of torch.float32 and shape \[2\]"),
        ([torch.ones(2, 2, dtype=torch.long)], r"shape \[2, 2\]; it must be a 1-D integer"),
        (["text"], r"sample 0 is a str; it must be a 1-D integer tensor"),
    ],
)
def test_samples_that_are_no_tokens_are_named(make_trainer: Make, rows: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_trainer(rows).train()


def test_a_model_that_memory_cannot_hold_is_refused_before_it_is_built() -> None:
    """The kernel would end the process, which a service would take for a passing fault."""
    shape = TransformerConfig(hidden_size=1 << 17, num_heads=8)
    config = TrainingConfig(model_config=shape, device="cpu")
    with pytest.raises(TrainingMemoryError, match=r"optimizer take .* TiB, and this machine has"):
        Trainer(config, [torch.tensor([1, 2])])


def test_a_dataset_without_samples_or_length_is_refused(make_trainer: Make) -> None:
    with pytest.raises(ValueError, match="`train_dataset` is empty; it must hold at least 1"):
        make_trainer([])
    with pytest.raises(ValueError, match="`val_dataset` is a range_iterator without a length"):
        make_trainer(val=iter(range(3)))


def test_an_invalid_configuration_never_starts(make_trainer: Make) -> None:
    with pytest.raises(ConfigError, match=r"`learning_rate` is 0\.0; it must be above 0"):
        make_trainer(learning_rate=0.0)


def test_several_processes_are_refused_by_one(make_trainer: Make) -> None:
    make_trainer(distributed=DistributedConfig("ddp", 1))
    told = (
        r"`distributed.processes` is 2, and this is a process of its own; start as many: `python "
        r"train.py` does, `torchrun --nproc-per-node 2 SCRIPT` does for a script, and so does "
        r"`app.training.distributed_launch.launch` for a function"
    )
    with pytest.raises(ConfigError, match=told):
        make_trainer(distributed=DistributedConfig("ddp", 2))


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells of a machine without CUDA")
def test_a_device_that_is_not_there_is_named(make_trainer: Make) -> None:
    with pytest.raises(ConfigError, match=r"`device` is 'cuda'; this machine has 0 CUDA devices"):
        make_trainer(device="cuda")


def test_out_of_memory_says_what_to_lower(make_trainer: Make) -> None:
    class Greedy:
        def on_step_end(self, step: int, metrics: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore.")

    with pytest.raises(TrainingMemoryError) as caught:
        make_trainer(callbacks=[Greedy()], batch_size=4, gradient_accumulation_steps=2).train()
    assert str(caught.value) == (
        "out of memory on cpu with batch_size=4 and sequence_length=16 (CUDA out of memory. Tried "
        "to allocate 2.00 GiB.); lower `batch_size` to 2 and raise `gradient_accumulation_steps` "
        "to 4, which trains the same; or set `gradient_checkpointing: true`, `mixed_precision: "
        "bf16`, or a smaller `sequence_length`"
    )


def test_two_trainers_do_not_share_a_folder(make_trainer: Make) -> None:
    class Second:
        error = ""

        def on_step_end(self, step: int, metrics: Any) -> None:
            if step == 1:
                with pytest.raises(TrainingError) as caught:
                    make_trainer().train()
                self.error = str(caught.value)

    second = Second()
    make_trainer(callbacks=[second]).train()
    assert "where another run is training" in second.error


def test_another_process_keeps_out_of_the_folder_until_it_is_free(tmp_path: Path) -> None:
    arguments = [sys.executable, "-P", "-c", TRIES_FOR_EACH_LINE, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True, bufsize=1) as other:
        assert other.stdin is not None
        assert other.stdout is not None

        def said() -> str:
            print("try", file=other.stdin)
            return other.stdout.readline()

        with exclusive(tmp_path):
            assert "where another run is training" in said()
        assert said() == "held\n"
        other.stdin.close()


TRIES_FOR_EACH_LINE = """
import pathlib, sys
from app.training.errors import TrainingError
from app.training.run_folder import exclusive
for _ in sys.stdin:
    try:
        with exclusive(pathlib.Path(sys.argv[1])):
            print("held", flush=True)
    except TrainingError as error:
        print(str(error).replace(chr(10), " "), flush=True)
"""


def test_deterministic_is_set_for_the_run_alone(make_trainer: Make) -> None:
    seen = []

    class Look:
        def on_step_end(self, step: int, metrics: Any) -> None:
            seen.append(torch.are_deterministic_algorithms_enabled())

    make_trainer(deterministic=True, max_steps=1, callbacks=[Look()]).train()
    assert seen == [True]
    assert not torch.are_deterministic_algorithms_enabled()
