"""Tokens a second of the trainer, against a bare loop, nanoGPT's way and Hugging Face's Trainer.

All train a GPT of 4 layers, 4 heads, width 128 on batches of 12 x 64 characters in full
precision, with AdamW, clipping at 1.0 and a log line every 10 steps. Each rival makes the choices
that it makes on its own: nanoGPT draws its batches from a memory-mapped file and takes the fused
AdamW on CUDA only; Hugging Face's model has its default dropout of 0.1, and a turn without it.
The other rivals have no dropout. Model construction and the first steps are not timed.

Each rival is a process of its own, so that the allocator and the thread pool of one do not affect
another. All run at once and take turns of a second, so a machine whose clock speed changes by the
minute changes it for all alike. Ratios are taken turn by turn, and their median counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.training import Trainer, TrainingConfig
from app.transformer import GPTModel, TransformerConfig, fuse
from benchmarks.harness import Claim, describe, interleave

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, VOCAB = 4, 4, 128, 64, 12, 65
LOG_EVERY = 10
WARM_STEPS, TURNS = 20, 30
SETTLING_STEPS, TIMED_STEPS = 10, 20
"""Of a turn: the first steps find cold caches and sleeping threads."""
STEPS = WARM_STEPS + TURNS * (SETTLING_STEPS + TIMED_STEPS)
TOKENS = torch.randint(VOCAB, (200_000,), generator=torch.Generator().manual_seed(0))

MODEL = TransformerConfig(
    vocab_size=VOCAB,
    hidden_size=WIDTH,
    num_layers=LAYERS,
    num_heads=HEADS,
    max_position_embeddings=CONTEXT,
)


class Clock:
    """Times the steps of each turn, and between turns waits on stdin for the next."""

    def __init__(self) -> None:
        self.started = 0.0

    def step(self, number: int) -> None:
        """Call at the end of each step, counted from 1."""
        place = (number - WARM_STEPS) % (SETTLING_STEPS + TIMED_STEPS)
        if number < WARM_STEPS:
            return
        if place == SETTLING_STEPS:
            self.started = time.perf_counter()
        elif place == 0:
            # The first line only says that this rival is ready.
            elapsed = time.perf_counter() - self.started
            print(TIMED_STEPS * BATCH * CONTEXT / elapsed, flush=True)
            if number < STEPS:
                sys.stdin.readline()


class Windows(torch.utils.data.Dataset[Tensor]):
    """Windows of one more token than the context, as the trainer's own dataset serves them."""

    draws_random_numbers = False

    def __init__(self, shift: int = 1) -> None:
        self.windows = TOKENS.unfold(0, CONTEXT + shift, CONTEXT)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Tensor:
        return self.windows[index]

    def __getitems__(self, indices: list[int]) -> Tensor:
        """Return a batch in one gather."""
        return self.windows[indices]


def batches(device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield random batches for the loops without a data loader."""
    generator = torch.Generator().manual_seed(1)
    windows = Windows().windows
    while True:
        chosen = windows[torch.randint(len(windows), (BATCH,), generator=generator)].to(device)
        yield chosen[:, :-1], chosen[:, 1:]


class TickingCallback:
    """Ticks the clock at each of the trainer's steps."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, step: int, metrics: Any) -> None:
        """Tick the clock; the trainer calls this hook."""
        self.clock.step(step)


def trainer(device: str) -> None:
    """Train with this project's Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(trainer_config(device, folder), train_dataset=Windows())
        run.callbacks.append(TickingCallback(Clock()))
        run.train()


def trainer_config(device: str, folder: str) -> TrainingConfig:
    """Return the work as a configuration."""
    return TrainingConfig(
        model_config=MODEL,
        batch_size=BATCH,
        learning_rate=1e-3,
        max_steps=STEPS,
        warmup_steps=10,
        logging_steps=LOG_EVERY,
        save_steps=10**6,
        eval_steps=10**6,
        tokenizer="char",
        checkpoint_dir=str(Path(folder) / "run"),
        device=device,
    )


def plain_loop(
    model: nn.Module,
    forward: Callable[..., Tensor],
    data: Iterator[tuple[Tensor, Tensor]],
    device: str,
    *,
    fused: bool,
) -> None:
    """Run the usual loop: forward, backward, clip, step, and now and then a log."""
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=fused)
    clock = Clock()
    for step, (inputs, labels) in enumerate(islice(data, STEPS), start=1):
        loss = forward(inputs, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % LOG_EVERY == 0:
            loss.item()
        clock.step(step)


def bare_loop(device: str) -> None:
    """Run the plain loop around the same model."""
    model = fuse(GPTModel(MODEL))
    forward = partial(_loss_of, model)
    plain_loop(model, forward, batches(device), device, fused=True)


def _loss_of(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    loss: Tensor = model(inputs, labels)[1]
    return loss


class PlainBlock(nn.Module):
    """A GPT-2 block of stock modules, with exact GELU, as nanoGPT builds it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.gelu, self.drop = nn.GELU(), nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, time, width] to the same shape."""
        heads = (*x.shape[:2], HEADS, WIDTH // HEADS)
        q, k, v = (
            part.view(heads).transpose(1, 2)
            for part in self.qkv(self.norm_1(x)).split(WIDTH, dim=2)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.out(mixed.transpose(1, 2).contiguous().view(x.shape)))
        wide: Tensor = self.gelu(self.up(self.norm_2(x)))
        return x + cast(Tensor, self.drop(self.down(wide)))


class PlainGPT(nn.Module):
    """GPT-2 of stock modules."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        for matrix in (p for p in self.parameters() if p.ndim == 2):
            nn.init.normal_(matrix, std=0.02)

    def forward(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        where = torch.arange(inputs.shape[1], device=inputs.device)
        x = self.norm(self.blocks(self.tokens(inputs) + self.positions(where)))
        logits = x @ self.tokens.weight.T
        loss: Tensor = F.cross_entropy(logits.view(-1, VOCAB), labels.reshape(-1))
        return loss


def memory_mapped_batches(path: Path, device: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches as nanoGPT draws them: random rows of a file that is mapped each time."""
    while True:
        data = np.memmap(path, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - CONTEXT, (BATCH,)).tolist()
        rows = [data[start : start + CONTEXT + 1].astype(np.int64) for start in starts]
        inputs = torch.stack([torch.from_numpy(row[:-1]) for row in rows])
        labels = torch.stack([torch.from_numpy(row[1:]) for row in rows])
        yield inputs.to(device), labels.to(device)


def nanogpt_way(device: str) -> None:
    """Train nanoGPT's model with its loop, both rewritten with stock modules."""
    model = PlainGPT()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.bin"
        TOKENS.numpy().astype(np.uint16).tofile(path)
        data = memory_mapped_batches(path, device)
        plain_loop(model, model, data, device, fused=device == "cuda")


def hugging_face(device: str, *, dropout: float = 0.1) -> None:
    """Train Hugging Face's GPT2LMHeadModel in its Trainer, by default with its own dropout."""
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    config = transformers.GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=CONTEXT,
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    windows = Windows(shift=0)  # its model shifts the labels itself
    clock = Clock()

    class Ticking(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.step(state.global_step)

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=1e-3,
            max_steps=STEPS, logging_steps=LOG_EVERY, save_strategy="no",
            report_to=[], disable_tqdm=True, use_cpu=device == "cpu", optim="adamw_torch_fused",
        )  # fmt: skip
        run = transformers.Trainer(
            model=transformers.GPT2LMHeadModel(config),
            args=arguments,
            train_dataset=windows,
            data_collator=lambda rows: {
                "input_ids": torch.stack(rows),
                "labels": torch.stack(rows),
            },
        )
        run.remove_callback(transformers.PrinterCallback)
        run.add_callback(Ticking())
        run.train()


RIVALS: dict[str, Callable[[str], None]] = {
    "trainer": trainer,
    "bare loop": bare_loop,
    "nanoGPT's way": nanogpt_way,
    "Hugging Face": hugging_face,
    "Hugging Face, no dropout": partial(hugging_face, dropout=0.0),
}


class RivalProcess:
    """A rival at work in a process of its own, whenever it has its turn."""

    def __init__(self, rival: str, device: str) -> None:
        self._rival = rival
        command = [sys.executable, "-m", "benchmarks.trainer_throughput", rival, device]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> RivalProcess:
        self._figure()  # says that it is ready
        return self

    def __exit__(self, error: object, *_: object) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()  # after its last turn it ends by itself and tidies up

    def turn(self) -> float:
        """Return the tokens a second of its next turn."""
        print(file=self._process.stdin, flush=True)
        return self._figure()

    def _figure(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._rival} ended before its time; its error is printed above")
        return float(line)


def run(device: str) -> list[Claim]:
    """Run all rivals in turn."""
    with ExitStack() as stack:
        turns = {name: stack.enter_context(RivalProcess(name, device)).turn for name in RIVALS}
        figures = interleave(turns, rounds=TURNS)
    detail = describe(figures, "tokens/s")

    def ratio(rival: str) -> float:
        pairs = zip(figures["trainer"], figures[rival], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    return [
        Claim("trainer / bare loop of the same model", ratio("bare loop"), 0.97, True,
              detail=detail),
        Claim("trainer / nanoGPT's way", ratio("nanoGPT's way"), 1.0, True),
        Claim("trainer / Hugging Face's Trainer", ratio("Hugging Face"), 1.8, True),
        Claim("trainer / Hugging Face's Trainer, its dropout off",
              ratio("Hugging Face, no dropout"), 1.0, True),
    ]  # fmt: skip


if __name__ == "__main__":
    RIVALS[sys.argv[1]](sys.argv[2])
