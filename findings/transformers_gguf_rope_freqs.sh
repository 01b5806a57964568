#!/usr/bin/env bash
# transformers 5.23.0, gguf 0.19.0: loading a GGUF drops a Llama's tensor `rope_freqs`, without a word.
#
# A Llama 3.1 or 3.2 in GGUF stretches its rotations by a tensor of divisors, `rope_freqs.weight`; no
# key of the header says the same. from_pretrained(gguf_file=...) reads the file without a warning, with
# rope_type "default", and the logits are those of a model without it. llama.cpp applies it.
# Here: docs/export.md says to load the Hugging Face folder, not the GGUF, in transformers.
#
# Output seen (Linux, Python 3.11, torch 2.13.0): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet torch==2.13.0 transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0 accelerate==1.15.0
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> messages.txt <<'P'
import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM

HIDDEN, HEADS, HEAD, INNER, VOCABULARY = 32, 4, 8, 48, 64
MATRICES = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (HIDDEN, HIDDEN), "attn_v": (HIDDEN, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)}


def logits(name, divisors):
    draw, ones = np.random.default_rng(0), np.ones(HIDDEN, np.float32)
    out = gguf.GGUFWriter(name, "llama")
    out.add_context_length(64)
    out.add_embedding_length(HIDDEN)
    out.add_feed_forward_length(INNER)
    out.add_block_count(1)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(10000.0)
    out.add_rope_dimension_count(HEAD)
    out.add_vocab_size(VOCABULARY)
    for tensor, shape in {"token_embd": (VOCABULARY, HIDDEN), "output": (VOCABULARY, HIDDEN), **{f"blk.0.{key}": value for key, value in MATRICES.items()}}.items():
        out.add_tensor(f"{tensor}.weight", draw.normal(0, 0.3, shape).astype(np.float32))
    for tensor in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        out.add_tensor(f"{tensor}.weight", ones)
    if divisors is not None:
        out.add_tensor("rope_freqs.weight", divisors)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    model = AutoModelForCausalLM.from_pretrained(".", gguf_file=name).eval()
    print(name, "rope type", model.config.rope_parameters["rope_type"])
    with torch.no_grad():
        return model(torch.arange(40)[None]).logits


plain, stretched = logits("plain.gguf", None), logits("stretched.gguf", np.full(HEAD // 2, 8, np.float32))
print("largest difference of the logits", float((plain - stretched).abs().max()))
P
) || { cat messages.txt; exit 1; }
seen="$seen
messages that name rope: $(grep -ci rope messages.txt || true)"
echo "$seen"
expected="plain.gguf rope type default
stretched.gguf rope type default
largest difference of the logits 0.0
messages that name rope: 0"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
