#!/usr/bin/env bash
# ctranslate2 4.8.5: a GPT-2 whose embedding is padded beyond its tokenizer cannot be converted; a Llama can.
#
# Embeddings are padded to a multiple of 64 or 128 for speed, as nanoGPT does with 50,304 rows for 50,257 ids.
# The converter gives the ids without a token names of its own, but only for Llama and others whose loader
# does that; for a GPT-2 it raises "Vocabulary has size 60 but the model expected a vocabulary of size 64".
# transformers generates with both. Here: the exported tokenizer.json of a padded GPT-2 names every row.
#
# Output seen (Linux, Python 3.11): the lines of `expected` below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet ctranslate2==4.8.5 transformers==4.57.6 tokenizers==0.22.2 torch==2.13.0
cd "$folder"
seen=$(HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - 2> messages.txt <<'P'
from ctranslate2.converters import TransformersConverter
from tokenizers import Tokenizer, models
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

ROWS = 64
SHAPES = {
    "GPT-2": GPT2LMHeadModel(GPT2Config(vocab_size=ROWS, n_embd=32, n_layer=1, n_head=2, n_positions=16)),
    "Llama": LlamaForCausalLM(LlamaConfig(vocab_size=ROWS, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
                                          num_attention_heads=2, max_position_embeddings=16)),
}


def tokenizer(size):
    words = ["<s>", "</s>", "<unk>", *(f"w{number}" for number in range(size - 3))]
    level = models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(level), bos_token="<s>", eos_token="</s>", unk_token="<unk>")


for name, model in SHAPES.items():
    for size in (ROWS, ROWS - 4):
        model.save_pretrained("model")
        tokenizer(size).save_pretrained("model")
        try:
            TransformersConverter("model").convert("converted", force=True)
            said = "converted"
        except ValueError as error:
            said = str(error).split(":")[-1].strip().splitlines()[0][:90]
        print(f"{name}, {ROWS} rows, {size} tokens: {said}")
P
) || { cat messages.txt; exit 1; }
echo "$seen"
expected="GPT-2, 64 rows, 64 tokens: converted
GPT-2, 64 rows, 60 tokens: Vocabulary has size 60 but the model expected a vocabulary of size 64
Llama, 64 rows, 64 tokens: converted
Llama, 64 rows, 60 tokens: converted"
[ "$seen" = "$expected" ] || { echo "this has changed"; exit 1; }
