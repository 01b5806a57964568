"""lm_eval measures the folder on a task over a local file; our evaluation gives the same loss."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from reading import Expected, each_model

TASK = """task: local_documents
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: word_perplexity}}, {{metric: byte_perplexity}}, {{metric: bits_per_byte}}]
"""


def read(folder: Path, name: str, expected: Expected) -> dict[str, Any]:
    (folder / "local_documents.yaml").write_text(TASK.format(data=folder / "documents.json"))
    output = folder / f"{name}.lm_eval"
    command = [
        "run", "--model", "hf", "--model_args",
        f"pretrained={folder / name}.hf,dtype=float32", "--tasks", "local_documents",
        "--include_path", folder, "--device", "cpu", "--batch_size", "1", "--output_path", output,
    ]  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "lm_eval", *map(str, command)], check=True, stdout=sys.stderr
    )
    (newest,) = sorted(output.rglob("results*.json"))[-1:]
    found = json.loads(newest.read_text())["results"]["local_documents"]
    ours = expected["documents"]
    theirs = found["bits_per_byte,none"] * ours["loss"] / ours["bits_per_byte"]  # nats of a token
    return {"difference": abs(theirs - ours["loss"]), "loss": theirs}


each_model(read)
