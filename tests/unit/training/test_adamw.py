"""Our AdamW is torch's to the bit, and nothing that a run needs imports torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

from app.training.adamw import AdamW

RUN = """
import sys
from pathlib import Path
from app.training import Trainer, TrainingConfig
from app.training.data import load_dataset
from app.transformer import TransformerConfig
from training_worker.preload import preload

preload()
folder = Path(sys.argv[1])
text = folder / "text.txt"
text.write_text("to be or not to be, that is the question. " * 40)
model = TransformerConfig(
    vocab_size=256, hidden_size=8, num_layers=1, num_heads=2, max_position_embeddings=8
)
for optimizer in ("adamw", "muon"):
    for steps in (2, 4):  # the second resumes
        config = TrainingConfig(
            model_config=model, optimizer_type=optimizer, max_steps=steps, batch_size=2,
            warmup_steps=1, save_steps=1, eval_steps=1, deterministic=True, device="cpu",
            checkpoint_dir=str(folder / optimizer), resume_from_checkpoint=steps > 2,
        )
        Trainer(config, *load_dataset(str(text), config)).train()
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""


def stepped(optimizer_class: type[torch.optim.AdamW]) -> tuple[list[torch.Tensor], object]:
    weight = nn.Parameter(torch.linspace(-1, 1, 12).view(3, 4))
    optimizer = optimizer_class([weight], lr=0.1, weight_decay=0.1, fused=True)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    weights = []
    for _ in range(3):
        torch.autograd.backward((weight**2).sum())
        optimizer.step()
        optimizer.zero_grad()
        assert weight.grad is None
        weights.append(weight.detach().clone())
        state = optimizer.state_dict()
        optimizer = optimizer_class([weight], lr=0.5, fused=True)
        optimizer.load_state_dict(state)
    assert calls == [1]  # the hook was on the first of the three
    return weights, state


def test_the_bits_and_the_state_are_those_of_torch() -> None:
    ours, our_state = stepped(AdamW)
    theirs, their_state = stepped(torch.optim.AdamW)
    assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    torch.testing.assert_close(our_state, their_state, rtol=0, atol=0)


def test_the_step_builds_no_graph() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    AdamW([weight], lr=0.1).step()
    assert weight.grad_fn is None
    assert weight.is_leaf


def test_a_run_imports_no_compiler(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", RUN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
