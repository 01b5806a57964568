"""Runs the benchmarks and says which claims hold.

make bench                          all of them
make bench ARGS="trainer_memory"    some of them
make bench DEVICE=cuda              on a GPU
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time

BENCHMARKS = (
    "trainer_throughput",
    "trainer_memory",
    "checkpoint_loading",
    "export_memory",
    "generation",
    "tokenizing",
    "async_save",
    "upload",
    "import_weights",
    "modern_recipe",
    "own_tokenizer",
    "service_start",
    "service_recovery",
    "service_throughput",
    "service_calls",
    "service_watching",
    "service_history",
    "page",
)


def main() -> int:
    """Return exit code 0 where every claim holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(BENCHMARKS)}")

    import torch

    from benchmarks.harness import machine

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"machine: {machine(device)}", flush=True)
    missed = 0
    for name in options.names or BENCHMARKS:
        started = time.monotonic()
        claims = importlib.import_module(f"benchmarks.{name}").run(device)
        print(f"\n{name} ({time.monotonic() - started:.0f} s)")
        for claim in claims:
            print(f"  {claim}", flush=True)
            missed += not claim.holds
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
