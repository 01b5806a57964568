"""Every tokenizer as the files that `AutoTokenizer` reads, with the same ids.

Bytes and characters are written in the terms of the `tokenizers` library: a byte-level BPE without
merges, and a vocabulary of single characters. A text that holds a character of no id is an error
there, as it is here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.training.character_tokenizers import ByteTokenizer, CharTokenizer
from app.training.data.chat_template import ChatTemplate
from app.training.pretrained_tokenizer import PretrainedTokenizer
from app.training.tokenizer_protocol import Tokenizer
from app.training.unused_tokens import all_named, with_all_named

_ANY_CHARACTER = r"[\s\S]"


@dataclass(frozen=True, slots=True)
class ExportedTokenizer:
    """A tokenizer as others read it."""

    definition: str
    """The content of tokenizer.json."""
    special_tokens: Mapping[str, str]
    """Tokens of the vocabulary by purpose: `bos_token`, `eos_token`, `unk_token` and others."""
    special_ids: Mapping[str, int]
    """Their ids by purpose."""
    are_in_texts: bool = True
    """Whether a text that spells one of them has its id."""

    def description(self, longest: int, template: ChatTemplate | None) -> str:
        """Return the content of tokenizer_config.json for a model of `longest` positions."""
        content: dict[str, Any] = {
            # By this name a folder of any model is read with its tokenizer.json as it is.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": longest,
            "clean_up_tokenization_spaces": False,
            # `generate` of transformers 4.57 refuses the token types that are there by default.
            "model_input_names": ["input_ids", "attention_mask"],
            "padding_side": "left",  # what is generated goes on at the right
            **self.special_tokens,
        }
        if not self.are_in_texts:
            content["split_special_tokens"] = True
        if template is not None:
            content["chat_template"] = template.source
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def exported(tokenizer: Tokenizer, named: int = 0) -> ExportedTokenizer:
    """Return a tokenizer as others read it.

    Args:
        named: each id below it gets a token, where that leaves the ids of every text as they are.
    """
    if isinstance(tokenizer, PretrainedTokenizer):
        return _pretrained(tokenizer, named)
    if isinstance(tokenizer, CharTokenizer):
        return ExportedTokenizer(_characters(tokenizer.characters, named), {}, {})
    if isinstance(tokenizer, ByteTokenizer):
        return ExportedTokenizer(_bytes(named), {}, {})
    raise TypeError(f"{type(tokenizer).__name__} has no form that others read")


def _pretrained(tokenizer: PretrainedTokenizer, named_ids: int) -> ExportedTokenizer:
    content, end = json.loads(tokenizer.definition), tokenizer.end_of_text
    # A text begins behind the end of another; where nothing is unknown, that token is never used.
    usual = {"bos_token": end, "eos_token": end, "unk_token": _unknown(content["model"]) or end}
    named = usual | tokenizer.special_tokens | {"eos_token": end}
    tokens = {use: token for use, token in named.items() if token is not None}
    ids = {use: tokenizer.id_of(token) for use, token in tokens.items()}
    found, are_in_texts = _named(tokens, content.get("added_tokens") or [])
    return ExportedTokenizer(
        _as_in_training(tokenizer.definition, content, named_ids),
        found,
        {use: place for use, place in ids.items() if place is not None},
        are_in_texts,
    )


def _named(
    tokens: Mapping[str, str], added: Sequence[Mapping[str, Any]]
) -> tuple[Mapping[str, str], bool]:
    """Return the tokens that keep a text's ids when named, and whether a text may spell them.

    `transformers` finds each named token in a text, and here only added tokens are found. It can
    leave that, but only for all special tokens at once.
    """
    found = {use: token for use, token in tokens.items() if token in {t["content"] for t in added}}
    if any(token.get("special") for token in added):
        return found, True
    return tokens, found == tokens


def _as_in_training(definition: str, content: Mapping[str, Any], named_ids: int) -> str:
    """Return a tokenizer.json without what a run never uses: ids around a text, cuts, padding."""
    unused = {"truncation": None, "padding": None}
    if (content.get("post_processor") or {}).get("type") != "ByteLevel":  # that one adds no ids
        unused["post_processor"] = None
    named = with_all_named(content, named_ids)
    if named is content and all(content.get(key) is None for key in unused):
        return definition
    return json.dumps({**named, **unused}, ensure_ascii=False)


def _unknown(model: Mapping[str, Any]) -> str | None:
    """Return the token that the model of a tokenizer.json has for what it does not know."""
    if (place := model.get("unk_id")) is not None:  # Unigram
        return str(model["vocab"][place][0])
    token = model.get("unk_token")
    return token if token in model.get("vocab", {}) else None


def _bytes(named: int) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: byte for byte, character in enumerate(byte_characters())}
    tokenizer = Tokenizer(models.BPE(vocab=all_named(vocabulary, named), merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return str(tokenizer.to_str())


def byte_characters() -> list[str]:
    """Return the printable character that stands for each byte in a byte-level BPE, by the byte.

    Printable bytes are themselves, the others are numbered from U+0100 on (GPT-2's `encoder.py`).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _characters(alphabet: str, named: int) -> str:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {character: place for place, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.WordLevel(vocab=all_named(vocabulary, named)))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_ANY_CHARACTER), "isolated")
    tokenizer.decoder = decoders.Fuse()
    return str(tokenizer.to_str())
