#!/usr/bin/env bash
# transformers 5.23.0: AutoTokenizer opens a GPT-2 folder that holds no tokenizer, and encodes to nothing.
#
# The folder of a model whose tokenizer has no Hugging Face form (bytes, characters) holds
# config.json and weights. For model_type "gpt2" from_pretrained does not raise: it makes a tokenizer
# of one token, and every text becomes no ids at all. The model then fails in a reshape, far from the
# cause. For "llama" the same folder raises ValueError, as one expects.
# Here: `training-engine export` says when it writes no tokenizer.json.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error "$folder/venv/bin/python" - 2> errors.txt <<'P'
import json
import os
from transformers import AutoTokenizer

for kind in ("gpt2", "llama"):
    os.makedirs(kind)
    with open(f"{kind}/config.json", "w") as file:
        json.dump({"model_type": kind, "vocab_size": 256}, file)
    try:
        tokenizer = AutoTokenizer.from_pretrained(kind)
        print(kind, type(tokenizer).__name__, "size", len(tokenizer), "ids", tokenizer("The quick brown fox")["input_ids"])
    except Exception as error:
        print(kind, type(error).__name__)
P
) || { cat errors.txt; exit 1; }
echo "$seen"
expected="gpt2 GPT2Tokenizer size 1 ids []
llama ValueError"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
