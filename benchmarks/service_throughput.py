"""Tokens a second of a job in the service, against the library alone, with metrics each step.

Both train the recipe of examples/shakespeare_char.yaml on the same text with the same number of
threads, and both are alive all the time, but only one side runs: the other is frozen by SIGSTOP,
the service's side with its Redis server, control plane and worker. They change places every
second, so that whatever else the machine does meets both alike. Steps are counted in the journal
that each trainer writes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.harness import Claim, describe
from benchmarks.service_processes import Services, load, services, wait_until

SLICE_SECONDS = 1.0
PAIRS = int(os.environ.get("BENCHMARK_PAIRS", "120"))
THREADS = int(os.environ.get("BENCHMARK_THREADS", "0")) or len(os.sched_getaffinity(0))
WARM_STEPS = 50
RECIPE = Path(__file__).parent.parent / "examples" / "shakespeare_char.yaml"
LETTERS = "".join(map(chr, range(48, 112))) + "\n"


class Side:
    """One of the two: its processes, and the journal of its trainer."""

    def __init__(self, trainer: int, others: list[int], journal: Path) -> None:
        self._processes = [psutil.Process(pid) for pid in (trainer, *others)]
        self._journal = journal
        self._steps, self._spent = 0, (0.0, 0.0)
        wait_until(lambda: journal.exists() and self._step() >= WARM_STEPS, "the first steps")
        self.freeze()
        self._began = self._cpu_seconds()

    def freeze(self) -> None:
        """Stop all of its processes."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let them go on."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)

    def slice(self) -> float:
        """Run for a moment; return its steps a second."""
        before, started = self._step(), time.perf_counter()
        self.thaw()
        time.sleep(SLICE_SECONDS)
        self.freeze()
        seconds = time.perf_counter() - started
        steps = self._step() - before
        self._steps += steps
        return steps / seconds

    def cost(self) -> str:
        """Return the processor time of a step, in the trainer and in all the others."""
        spent = zip(self._cpu_seconds(), self._began, strict=True)
        trainer, others = (1000 * (end - start) / self._steps for end, start in spent)
        return f"{trainer:.2f} + {others:.2f} ms"

    def _cpu_seconds(self) -> tuple[float, float]:
        paid = [sum(process.cpu_times()[:2]) for process in self._processes]
        return paid[0], sum(paid[1:])

    def _step(self) -> int:
        """Return the last step in the journal."""
        with self._journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
            whole = [line for line in file.read().splitlines(True) if line.endswith(b"\n")]
        return int(json.loads(whole[-1])["step"]) if whole else 0


def run(device: str) -> list[Claim]:
    """Measure the ratio over all slices; always on the CPU."""
    with services() as stack:
        text = stack.folder / "letters.txt"
        text.write_text("".join(random.Random(0).choices(LETTERS, k=1_115_394)))
        config = recipe(text)
        with library_alone(stack.folder, config) as alone:
            through = in_service(stack, config)
            figures: dict[str, list[float]] = {"library": [], "service": []}
            for _ in range(PAIRS):
                figures["library"].append(alone.slice())
                figures["service"].append(through.slice())
            claim = _claim(figures, f"library {alone.cost()}, service {through.cost()}")
            through.thaw()
    return [claim]


def _claim(figures: dict[str, list[float]], cost: str) -> Claim:
    ratio = sum(figures["service"]) / sum(figures["library"])
    error = _standard_error(figures["service"], figures["library"])
    detail = (
        f"{describe(figures, 'steps/s')}; standard error {error:.4f}; {THREADS} threads; CPU of a "
        f"step, trainer + others: {cost}; {load()}"
    )
    return Claim("tokens/s through the service / library alone", ratio, 0.99, True, "x", detail)


def _standard_error(above: list[float], below: list[float]) -> float:
    """Return the standard error of the ratio of two sums, from the scatter of its pairs."""
    ratio = sum(above) / sum(below)
    rests = [a - ratio * b for a, b in zip(above, below, strict=True)]
    return float(statistics.pstdev(rests) * len(rests) ** 0.5 / sum(below))


def recipe(text: Path) -> dict[str, Any]:
    """Return the recipe, endless, with metrics each step and nothing beside the steps."""
    config: dict[str, Any] = yaml.safe_load(RECIPE.read_text())
    never = 10_000_000
    config |= {"max_steps": never, "eval_steps": never, "save_steps": never, "logging_steps": 1}
    del config["checkpoint_dir"]
    return config | {"dataset_path": str(text), "device": "cpu"}


@contextmanager
def library_alone(folder: Path, config: dict[str, Any]) -> Iterator[Side]:
    """Start a process that trains by the library; freeze it after its first steps."""
    run_folder = folder / "library"
    document = json.dumps(config | {"checkpoint_dir": str(run_folder)})
    command = [sys.executable, "-m", "benchmarks.service_throughput", document]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield Side(process.pid, [], run_folder / "metrics.jsonl")
        finally:
            process.kill()


def in_service(stack: Services, config: dict[str, Any]) -> Side:
    """Start the same as a job; freeze it, and all that serves it, after its first steps."""
    stack.start_worker("worker", f"--threads={THREADS}")
    job_id = stack.start_job(config)
    folder = stack.folder / "artifacts" / "jobs" / job_id
    journals = wait_until(lambda: list(folder.rglob("metrics.jsonl")), "the job to begin")
    others = [stack.pid(name) for name in ("redis", "control_plane", "worker")]
    return Side(_trainer(others[-1], journals[0].parent), others, journals[0])


def _trainer(worker: int, folder: Path) -> int:
    """Return the worker's child that writes in the attempt's folder."""
    for child in psutil.Process(worker).children(recursive=True):
        if any(Path(file.path).parent == folder for file in child.open_files()):
            return int(child.pid)
    raise RuntimeError(f"no process has a file open in {folder}")


def _train(document: str) -> None:
    import torch

    from app.training import Trainer, TrainingConfig
    from app.training.data import load_dataset

    torch.set_num_threads(THREADS)
    config = TrainingConfig.from_dict(json.loads(document))
    assert config.dataset_path is not None
    train, validation = load_dataset(config.dataset_path, config)
    Trainer(config, train, validation).train()


if __name__ == "__main__":
    _train(sys.argv[1])
