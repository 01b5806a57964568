#!/usr/bin/env bash
# ctranslate2 4.8.5: a converted Llama with rope scaling of type llama3 calculates as if it had none.
#
# The converter reads `rope_scaling` from config.json and stores its factors, without a warning. The logits
# of the converted model are then those of the same weights without scaling, whatever the factors and the
# original context are. With Llama 3.1's numbers the difference is small in a short text and grows with it.
# Here: `make check-readers` knows it, and docs/export.md names it.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet ctranslate2==4.8.5 transformers==4.57.6 tokenizers==0.22.2 torch==2.13.0
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> messages.txt <<'P'
import ctranslate2
import numpy as np
import torch
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = ["<s>", "</s>", "<unk>", *(f"w{number}" for number in range(61))]
FACTORS = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
ids = [3 + number % 61 for number in range(60)]


def built(scaling):
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                         max_position_embeddings=16384, rope_scaling=scaling, initializer_range=0.3)
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        return model, model(torch.tensor([ids])).logits[0].numpy()


def converted(model):
    model.save_pretrained("model")
    fast.save_pretrained("model")
    TransformersConverter("model").convert("converted", force=True)
    generator = ctranslate2.Generator("converted")
    logits = generator.forward_batch([[WORDS[each] for each in ids]])
    return np.asarray(logits.to(ctranslate2.DataType.float32))[0]


def verdict(one, other):
    return "equal" if np.abs(one - other).max() < 1e-3 else "others"


plain, without = built(None)
print("no scaling:", verdict(converted(plain), without))
for original in (8192, 64):
    model, ours = built({**FACTORS, "original_max_position_embeddings": original})
    theirs = converted(model)
    print(f"llama3, original context {original}: {verdict(theirs, ours)}; without scaling: {verdict(theirs, without)}")
P
) || { cat messages.txt; exit 1; }
echo "$seen"
expected="no scaling: equal
llama3, original context 8192: others; without scaling: equal
llama3, original context 64: others; without scaling: equal"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
