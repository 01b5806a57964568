"""What a GPU is to show, in one command that ends within eight minutes: make bench-gpu.

The tests marked `gpu`, then the benchmarks of the library on CUDA. Each part has a share of the
time and is ended at its end; what it printed until then counts. `modern_recipe` needs a text, which
it names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-m")
NO_DEVICE = 2


@dataclass(frozen=True)
class Part:
    """A command and the seconds that it may take; what earlier parts left is added."""

    name: str
    command: tuple[str, ...]
    seconds: float


def parts(device: str) -> list[Part]:
    """Return what is run, in order."""
    bench = ("benchmarks", "--device", device)
    return [
        Part("tests", ("pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"), 90),
        Part("trainer_throughput", (*bench, "trainer_throughput"), 150),
        Part("async_save", (*bench, "async_save"), 90),
        Part("modern_recipe", (*bench, "modern_recipe"), 150),
    ]


def main() -> int:
    """Run all parts; return 0 where each ended well and in time, 2 without a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.on_gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cpu rehearses it without a GPU")
    parser.add_argument("--scale", type=float, default=1.0, help="of all parts' seconds")
    options = parser.parse_args()
    if options.device != "cpu" and not _has_gpu():
        print("error: torch sees no CUDA device; run this where there is one", file=sys.stderr)
        return NO_DEVICE
    left, results = 0.0, []
    for part in parts(options.device):
        left += part.seconds * options.scale
        began = time.monotonic()
        results.append(f"{part.name}: {_run(part, left)}")
        left = max(left - (time.monotonic() - began), 0.0)
    print("\n" + "\n".join(results))
    return 0 if all(result.endswith(": ok") for result in results) else 1


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _run(part: Part, seconds: float) -> str:
    print(f"\n== {part.name}, at most {seconds:.0f} s", flush=True)
    process = subprocess.Popen([*PYTHON, *part.command], cwd=ROOT, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"ended after {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
        process.wait()
    return "ok" if code == 0 else f"exit code {code}"


if __name__ == "__main__":
    sys.exit(main())
