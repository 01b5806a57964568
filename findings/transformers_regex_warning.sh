#!/usr/bin/env bash
# transformers 4.57.6: a large tokenizer beside a config.json without `transformers_version` is called broken.
#
# "The tokenizer you are loading ... with an incorrect regex pattern ... will lead to incorrect tokenization": that is
# meant for files that Mistral once published. It is logged for every tokenizer of more than 100,000 ids, of whatever
# model_type, unless `transformers_version` is there: up to 4.57.2 the model_type decides, from 5.0.0 on nothing is
# said. The ids are right, unless one follows the advice: `fix_mistral_regex=True` puts another pattern in.
# Here: an exported config.json names 5.0.0.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet transformers==4.57.6 tokenizers==0.22.2
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> errors.txt <<'P'
import json
import logging
import os
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer

messages = []
handler = logging.Handler()
handler.emit = lambda record: messages.append(record.getMessage())
logging.getLogger("transformers").addHandler(handler)
os.makedirs("model")
with open("model/tokenizer_config.json", "w") as file:
    json.dump({"tokenizer_class": "PreTrainedTokenizerFast"}, file)
for size, version in ((100_000, None), (100_001, None), (100_001, "4.57.2"), (100_001, "4.57.6"), (100_001, "5.0.0")):
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(size)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save("model/tokenizer.json")
    with open("model/config.json", "w") as file:
        json.dump({"model_type": "llama", "vocab_size": size} | ({"transformers_version": version} if version else {}), file)
    messages.clear()
    ids = AutoTokenizer.from_pretrained("model")("w1 w99999")["input_ids"]
    print(size, "ids, version", version, ids, "warned" if any("incorrect regex" in each for each in messages) else "silent")
P
) || { cat errors.txt; exit 1; }
echo "$seen"
expected="100000 ids, version None [1, 99999] silent
100001 ids, version None [1, 99999] warned
100001 ids, version 4.57.2 [1, 99999] silent
100001 ids, version 4.57.6 [1, 99999] warned
100001 ids, version 5.0.0 [1, 99999] silent"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
