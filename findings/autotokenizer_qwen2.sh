#!/usr/bin/env bash
# transformers 5.23.0: AutoTokenizer replaces the tokenizer of a Qwen2 folder, whatever its files say.
#
# tokenizer_config.json names PreTrainedTokenizerFast, which means: tokenizer.json as it is. For Llama and Qwen3
# that is what comes. For model_type "qwen2", one of a list of models whose class is taken to be wrong, it makes a
# Qwen2Tokenizer of the vocabulary alone: with the normalizer NFC, Qwen2's division into words, and a token
# "<|endoftext|>" that is added where there was none. Nothing is said, and the ids are others. transformers 4.57
# takes tokenizer.json as it is. The tokenizer below has the bytes of UTF-8 as ids, without a merge.
# Here: the model card of a Qwen2 loads its tokenizer with PreTrainedTokenizerFast.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet transformers==5.23.0 tokenizers==0.23.3
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> errors.txt <<'P'
import json
import os
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

letters = pre_tokenizers.ByteLevel.alphabet()
tokenizer = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(sorted(letters))}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
TEXT = "e\u0301<|endoftext|>"  # an e and its accent, and what is no token here: 3 and 13 bytes


def shown(read):
    ids = read(TEXT)["input_ids"]
    return f"{type(read).__name__}, {len(read)} tokens, {len(ids)} ids"


for kind in ("llama", "qwen3", "qwen2"):
    os.makedirs(kind)
    with open(f"{kind}/config.json", "w") as file:
        json.dump({"model_type": kind, "vocab_size": 256}, file)
    with open(f"{kind}/tokenizer_config.json", "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, file)
    tokenizer.save(f"{kind}/tokenizer.json")
    print(f"{kind}:", shown(AutoTokenizer.from_pretrained(kind)))
print("qwen2 by the class that it names:", shown(PreTrainedTokenizerFast.from_pretrained("qwen2")))
P
) || { cat errors.txt; exit 1; }
echo "$seen"
expected="llama: TokenizersBackend, 256 tokens, 16 ids
qwen3: TokenizersBackend, 256 tokens, 16 ids
qwen2: Qwen2Tokenizer, 257 tokens, 3 ids
qwen2 by the class that it names: TokenizersBackend, 256 tokens, 16 ids"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
