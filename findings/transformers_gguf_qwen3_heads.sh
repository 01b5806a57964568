#!/usr/bin/env bash
# transformers 5.23.0, gguf 0.19.0: a Qwen3 in GGUF gets heads of size 128, whatever its header says.
#
# `qwen3.attention.key_length` in the header is the size of a head. from_pretrained(gguf_file=...) leaves it
# out, and the default of its configuration, 128, stays; the file's projections then do not fit.
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
from transformers import AutoConfig

HEAD, HEADS = 32, 4
out = gguf.GGUFWriter("model.gguf", "qwen3")
out.add_context_length(64)
out.add_embedding_length(64)
out.add_feed_forward_length(96)
out.add_block_count(1)
out.add_head_count(HEADS)
out.add_head_count_kv(HEADS)
out.add_key_length(HEAD)
out.add_value_length(HEAD)
out.add_layer_norm_rms_eps(1e-6)
out.add_rope_freq_base(10000.0)
out.add_vocab_size(64)
out.write_header_to_file()
out.write_kv_data_to_file()
out.write_tensors_to_file()
out.close()
config = AutoConfig.from_pretrained(".", gguf_file="model.gguf")
print("heads", config.num_attention_heads, "of", config.head_dim)
P
) || { cat messages.txt; exit 1; }
echo "$seen"
expected="heads 4 of 128"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
