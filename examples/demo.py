"""Train a small GPT on real text through the whole stack, and read what it learned.

    make demo        or        python examples/demo.py

Starts `training-engine up` on free ports in a temporary folder, trains on the documentation that
Python itself ships, shows live progress, downloads the last checkpoint, prints sampled text and
the first and last loss, and stops everything again. Exits 1 if the loss was not halved.
"""

from __future__ import annotations

import importlib
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service_runtime.settings import AuthenticationSettings
from training_engine import Job, MetricPoint, TrainingEngine

CONFIG = Path(__file__).with_name("demo.yaml")
PROMPT = "The "
console = Console(highlight=False)


def write_text(path: Path) -> int:
    """Writes the language reference that `help()` shows, about 0.7 MB; returns its length."""
    topics: dict[str, str] = importlib.import_module("pydoc_data.topics").topics
    text = "\n\n".join(topics[name] for name in sorted(topics))
    path.write_text(text, encoding="utf-8")
    return len(text)


@contextmanager
def running_stack(folder: Path) -> Iterator[str]:
    """A stack on free ports; yields the address of its control plane."""
    command = [sys.executable, "-P", "-m", "training_engine", "up", "--no-browser"]
    command += ["--grpc-port=0", "--http-port=0", f"--data-dir={folder}"]
    stack = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert stack.stdout is not None
    try:
        said = ""
        for line in stack.stdout:  # ends when the stack does
            said += line
            console.print(f"[dim]{line.rstrip()}[/]", soft_wrap=True)
            if line.startswith("Ctrl-C"):
                break
        if found := re.search(r"gRPC\s+(\S+)", said):
            yield found[1]
        else:
            sys.exit(f"the stack ended with code {stack.wait()}; its error is printed above")
    finally:
        stack.terminate()
        stack.wait()


def token() -> str | None:
    """The first token that the stack lets in, where the environment names some."""
    return next(iter(AuthenticationSettings().accepted_tokens()), None)


def train(engine: TrainingEngine, text: Path) -> tuple[Job, list[MetricPoint]]:
    """Starts the job and follows it to its end."""
    job = engine.jobs.start(config=CONFIG, dataset_path=str(text), name="demo")
    points = []
    with training_shown(job.max_steps) as show:
        for point in job.stream_metrics():
            if point.loss is not None and point.tokens_per_second is not None:
                points.append(point)
                show(point.step, f"loss {point.loss:.3f}  {point.tokens_per_second:,.0f} tokens/s")
    return job.wait(), points


@contextmanager
def training_shown(steps: int) -> Iterator[Callable[[int, str], object]]:
    """Shows the points of a run: a bar on a terminal, a line each in a file or a pipe."""
    if not console.is_terminal:
        yield lambda step, text: console.print(f"step {step}/{steps}  {text}")
        return
    columns = [
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(),
    ]
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=steps, text="")
        yield lambda step, text: progress.update(task, completed=step, text=text)


def sample(engine: TrainingEngine, checkpoint_id: str) -> None:
    """Prints text that continues PROMPT."""
    console.rule("a sample from the last checkpoint")
    text = PROMPT
    for piece in engine.checkpoints.generate(
        checkpoint_id, PROMPT, max_tokens=400, temperature=0.7, seed=1
    ):
        text += piece
    console.print(text, markup=False, soft_wrap=True)
    console.rule()


def main() -> int:
    """Runs the demo; returns its exit code."""
    # Whatever ends the demo, the stack is stopped on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="training-engine-demo-") as name:
        folder = Path(name)
        text = folder / "python-reference.txt"
        console.print(f"text: {write_text(text):,} characters of Python's own reference manual")
        with running_stack(folder) as address, TrainingEngine(address, token=token()) as engine:
            job, points = train(engine, text)
            if job.status != "succeeded":
                console.print(f"the job ended as {job.status}: {job.error}")
                return 1
            last = max(job.checkpoints(), key=lambda checkpoint: checkpoint.step)
            path = engine.checkpoints.download(last.checkpoint_id, folder / "final.pt")
            console.print(f"downloaded step {last.step}: {path.stat().st_size:,} bytes, verified")
            sample(engine, last.checkpoint_id)
    first, final = points[0].loss or 0.0, points[-1].loss or 0.0
    console.print(f"loss: {first:.3f} at step {points[0].step} → {final:.3f} at {points[-1].step}")
    return 0 if final <= first / 2 else 1


if __name__ == "__main__":
    sys.exit(main())
