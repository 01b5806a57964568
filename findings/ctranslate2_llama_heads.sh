#!/usr/bin/env bash
# ctranslate2 4.8.5: a Llama with grouped heads that are not hidden_size / num_heads wide loads, and cannot run.
#
# LlamaConfig has `head_dim` for such heads. Where keys and values have as many heads as queries, the runtime
# computes with it; where they have fewer, it raises "axis 2 has dimension 128 but expected 64" when the model runs.
# The converter passes `head_dim` on for a Mistral and not for a Llama: the same shape as a Mistral gives the logits
# of transformers. Here: docs/export.md names it.
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
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

words = ["<s>", "</s>", "<unk>", *(f"w{number}" for number in range(29))]
level = models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(level), bos_token="<s>", eos_token="</s>", unk_token="<unk>")
ids = list(range(3, 19))
for kind, config, model in (("Llama", LlamaConfig, LlamaForCausalLM), ("Mistral", MistralConfig, MistralForCausalLM)):
    for head_dim, shared in ((16, 4), (8, 2), (16, 2)):
        torch.manual_seed(1)
        made = model(config(vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
                            num_key_value_heads=shared, head_dim=head_dim, max_position_embeddings=64)).eval()
        made.save_pretrained("model")
        tokenizer.save_pretrained("model")
        TransformersConverter("model").convert("converted", force=True)
        generator = ctranslate2.Generator("converted")
        try:
            logits = generator.forward_batch([[words[each] for each in ids]]).to(ctranslate2.DataType.float32)
            with torch.no_grad():
                expected = made(torch.tensor([ids])).logits.numpy()
            said = "equal logits" if np.abs(np.asarray(logits) - expected).max() < 1e-3 else "other logits"
        except ValueError as error:
            said = str(error)
        print(f"{kind}, 4 heads of {head_dim} in 32, {shared} of keys: {said}")
P
) || { cat messages.txt; exit 1; }
echo "$seen"
expected="Llama, 4 heads of 16 in 32, 4 of keys: equal logits
Llama, 4 heads of 8 in 32, 2 of keys: equal logits
Llama, 4 heads of 16 in 32, 2 of keys: axis 2 has dimension 128 but expected 64
Mistral, 4 heads of 16 in 32, 4 of keys: equal logits
Mistral, 4 heads of 8 in 32, 2 of keys: equal logits
Mistral, 4 heads of 16 in 32, 2 of keys: equal logits"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
