"""Other projects' software loads what we export, and calculates what we do. Outside CI.

    make check-readers                                all of them, one line each
    make check-readers ARGS="lm_eval transformers_5"  these
    make check-readers ARGS="--folder DIR"            leave models and environments there, for again

Each reader gets an environment of its own with pinned packages, in a temporary folder; torch and
NumPy are those of this environment. llama.cpp is compiled from its source package, without what a
comparison does not need: five minutes of one processor.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exported_models import write_models
from llama_library import build_llama

SCRIPTS = Path(__file__).parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


@dataclass(frozen=True)
class Reader:
    """Software that reads an export, and how close it has to come."""

    script: str
    """In this folder; prints one JSON object for each model."""
    packages: Sequence[str]
    most: float
    """Largest difference of logits, or of a loss."""
    faults: Mapping[str, str] = field(default_factory=dict)
    """Models that it is known not to read, and why; one that it reads after all is a problem."""


READERS = {
    "transformers_5": Reader(
        "with_transformers.py", ["transformers==5.23.0", "tokenizers==0.23.3"], 1e-4
    ),
    "transformers_4": Reader(
        "with_transformers.py",
        ["transformers==4.57.6", "tokenizers==0.22.2", "huggingface-hub==0.36.2"],
        1e-4,
    ),
    "ctranslate2": Reader(
        "with_ctranslate2.py",
        [
            "ctranslate2==4.8.5",
            "transformers==4.57.6",
            "tokenizers==0.22.2",
            "huggingface-hub==0.36.2",
        ],
        1e-3,
        {"llama3": "its runtime rotates as if there were no scaling"},
    ),
    "mlx_lm": Reader(
        "with_mlx.py",
        ["mlx-lm==0.32.2", "mlx[cpu]==0.32.4", "transformers==5.24.0"],
        1e-3,
        {"gpt2": "it looks for the tensors without `transformer.`, as no save_pretrained has them"},
    ),
    "gguf": Reader("with_gguf.py", ["gguf==0.19.0"], 1e-3),
    "lm_eval": Reader("with_lm_eval.py", ["lm-eval[hf]==0.4.13", "transformers==5.23.0"], 1e-4),
    "llama_cpp": Reader("with_llama_cpp.py", ["llama-cpp-python==0.3.36"], 1e-2),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", choices=[*READERS, []], help="default: all")
    parser.add_argument("--folder", type=Path, help="keep models and environments here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="readers-") as temporary:
        folder = (chosen.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        models = write_models(folder / "models")
        failed = [name for name in chosen.readers or READERS if not is_equal(name, folder, models)]
    if failed:
        sys.exit(f"not as we calculate: {', '.join(failed)}")


def is_equal(name: str, folder: Path, models: Path) -> bool:
    """Run a reader and print a line about it."""
    reader = READERS[name]
    python, variables = environment(name, reader, folder / name)
    ran = subprocess.run(
        [python, SCRIPTS / reader.script, models],
        env={**os.environ, **OFFLINE, **variables},
        stdout=subprocess.PIPE,
        text=True,
    )
    rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    problems = [each for row in rows for each in problems_of(row, reader)]
    rows = [row for row in rows if row["model"] not in reader.faults]
    if ran.returncode != 0 or not rows:
        problems.append(f"{reader.script} ended with status {ran.returncode}")
    worst = max((row["difference"] for row in rows if "difference" in row), default=float("nan"))
    versions = " ".join(reader.packages)
    unread = "".join(f"; not {model}: {why}" for model, why in reader.faults.items())
    verdict = "; ".join(problems) or f"largest difference {worst:.2g} (at most {reader.most:g})"
    print(f"{name} [{versions}]: {len(rows)} models, {verdict}{unread}", flush=True)
    return not problems


def problems_of(row: dict[str, Any], reader: Reader) -> list[str]:
    """What of one model is not as we calculate it."""
    problems, model = faults_of(row, reader.most), row["model"]
    if model in reader.faults:
        return [] if problems else [f"{model}: is read now; take it out of `faults`"]
    return problems


def faults_of(row: dict[str, Any], most: float) -> list[str]:
    """What of one model differs from what we calculate."""
    model = row["model"]
    if "error" in row:
        return [f"{model}: {row['error']}"]
    problems = [
        f"{model}: other {name}" for name in ("ids", "text", "q8_0") if not row.get(name, True)
    ]
    if not row["difference"] <= most:
        problems.append(f"{model}: differs by {row['difference']:.3g}")
    return problems


def environment(name: str, reader: Reader, folder: Path) -> tuple[Path, dict[str, str]]:
    """The interpreter of a reader's environment, made where it is not there yet."""
    python = folder / "bin/python"
    variables = {}
    if name == "llama_cpp":
        variables["LLAMA_CPP_LIB_PATH"] = str(folder / "build/bin")
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        ours = Path(sysconfig.get_path("purelib", vars={"base": str(folder)})) / "zz_shared.pth"
        ours.write_text("\n".join(each for each in sys.path if each.endswith("site-packages")))
        options = {}
        if name == "llama_cpp":  # the library is built apart, see `build_llama`
            options = {"CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"}
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", *reader.packages],
            env={**os.environ, **options},
            check=True,
        )
        if name == "llama_cpp":
            build_llama(python, reader.packages[0], folder)
        (folder / "complete").touch()
    return python, variables


if __name__ == "__main__":
    main()
