#!/usr/bin/env bash
# mlx-lm 0.32.2: every GPT-2 is calculated with the approximate GELU, whatever its config.json says.
#
# `activation_function` in config.json is read by nobody: "gelu" (the exact one, as in Cerebras-GPT) and
# "relu" give the logits of "gelu_new", without a warning. The first is off by little, the second by much.
# Names of tensors and `n_ctx` are as mlx-lm wants them here (mlx_lm_gpt2_names.sh).
# Here: docs/export.md says it of GPT-2s with `activation: gelu` or `relu`.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet "mlx[cpu]==0.32.4" mlx-lm==0.32.2 transformers==5.24.0 torch==2.13.0
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> messages.txt <<'P'
import json
from pathlib import Path

import mlx.core as mx
import numpy as np
import torch
from mlx_lm.utils import load_model
from transformers import GPT2Config, GPT2LMHeadModel

IDS = [[5, 3, 7, 1, 2, 9, 11, 4] * 3]
logits = {}
for name in ("gelu_new", "gelu", "relu"):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4, initializer_range=0.5,
        bos_token_id=0, eos_token_id=1, activation_function=name,
    )
    model = GPT2LMHeadModel(config).eval()
    model.transformer.save_pretrained(name)
    path = Path(name, "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "n_ctx": 32}))
    with torch.no_grad():
        wanted = model(torch.tensor(IDS)).logits.numpy()
    logits[name] = np.array(load_model(Path(name))[0](mx.array(IDS)).astype(mx.float32))
    close = abs(logits[name] - wanted).max() < 1e-4
    same = np.array_equal(logits[name], logits["gelu_new"])
    print(f"{name}: {'equal' if close else 'other'} logits, {'those' if same else 'not those'} of gelu_new")
P
) || { cat messages.txt; exit 1; }
echo "$seen"
expected="gelu_new: equal logits, those of gelu_new
gelu: other logits, those of gelu_new
relu: other logits, those of gelu_new"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
