"""Tokenizers: there and back, streaming, saved states, and where gpt2 is looked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from app.training.data import load_dataset
from app.training.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    Tokenizer,
    TokenizerError,
    load_tokenizer,
    require_same_tokenizer,
    tokenizer_from_dict,
)
from app.training.tokenizer_files import known_tokenizer

TEXT = "Grüße, 世界! 🙂 the cat sat on the mat and the hat\n"


def byte_level_bpe(end_of_text: bool = True) -> tokenizers.Tokenizer:
    """A small tokenizer built like GPT-2's, whose ids may be parts of characters."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280,
        show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"] if end_of_text else [],
    )
    tokenizer.train_from_iterator([TEXT] * 5, trainer)
    return tokenizer


@pytest.fixture(scope="module")
def definition() -> str:
    return str(byte_level_bpe().to_str())


@pytest.fixture(params=["byte", "char", "pretrained"])
def tokenizer(request: pytest.FixtureRequest, definition: str) -> Tokenizer:
    if request.param == "byte":
        return ByteTokenizer()
    if request.param == "char":
        return CharTokenizer(TEXT)
    return PretrainedTokenizer(definition)


def test_text_survives_the_way_there_and_back(tokenizer: Tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.dtype.name == "int64"
    assert 0 <= ids.min() <= ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.encode("").tolist() == []
    assert tokenizer.decode([]) == ""


def test_a_stream_gives_the_same_text_without_splitting_a_character(tokenizer: Tokenizer):
    stream = tokenizer.stream()
    parts = [stream.push(int(i)) for i in tokenizer.encode(TEXT)]
    assert "".join(parts) + stream.finish() == TEXT
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)
    assert len([part for part in parts if part]) > 10  # it does not wait for the end


def test_an_unfinished_character_becomes_a_replacement():
    for tokenizer in (ByteTokenizer(), PretrainedTokenizer(str(byte_level_bpe().to_str()))):
        stream = tokenizer.stream()
        ids = tokenizer.encode("a🙂")
        assert "".join(stream.push(int(i)) for i in ids[:-1]) == "a"
        assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


def test_a_state_is_json_and_restores_the_tokenizer(tokenizer: Tokenizer):
    state = json.loads(json.dumps(tokenizer.to_dict()))
    restored = tokenizer_from_dict(state)
    assert restored.encode(TEXT).tolist() == tokenizer.encode(TEXT).tolist()
    assert restored.fingerprint == tokenizer.fingerprint
    assert restored.to_dict() == tokenizer.to_dict()
    require_same_tokenizer(tokenizer, state)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"format": 2, "type": "byte"},
        {"format": 1, "type": "morse"},
        {"format": 1, "type": "byte", "extra": 1},
    ],
)
def test_unknown_states_are_refused(state: dict[str, Any]):
    with pytest.raises(TokenizerError, match="this release reads format 1 of types byte, char and"):
        tokenizer_from_dict(state)


def test_another_tokenizer_than_the_checkpoints_is_refused():
    with pytest.raises(
        TokenizerError,
        match=r"encoded with tokenizer 'char' \(2 ids, \w{8}\), but the checkpoint was trained "
        r"with tokenizer 'char' \(3 ids, \w{8}\)",
    ):
        require_same_tokenizer(CharTokenizer("ab"), CharTokenizer("abc").to_dict())


def test_characters_are_sorted_and_only_they_are_known():
    tokenizer = CharTokenizer("banana\n")
    assert tokenizer.characters == "\nabn"
    assert tokenizer.encode("nab").tolist() == [3, 1, 2]
    for text, character, place in (("nac", "c", 2), ("\0a", "\\x00", 0), ("a🙂", "🙂", 1)):
        with pytest.raises(TokenizerError) as error:
            tokenizer.encode(text)
        assert f"the text holds '{character}' at {place}; the character tokenizer knows the 4" in (
            str(error.value)
        )
    assert tokenizer.decode([3, 99, -1]) == "n\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    with pytest.raises(TokenizerError, match="has no characters"):
        CharTokenizer("")


def test_bytes_outside_the_range_and_broken_text():
    assert ByteTokenizer().decode([97, 300, 98]) == "a\N{REPLACEMENT CHARACTER}b"
    with pytest.raises(TokenizerError, match=r"holds '\\udc80' at 1; it must be valid Unicode"):
        ByteTokenizer().encode("a\udc80")


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_bytes(text: str):
    tokenizer = ByteTokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text


@given(st.lists(st.integers(-5, 400)))
def test_any_ids_stream_to_what_they_decode_to(ids: list[int]):
    stream = ByteTokenizer().stream()
    streamed = "".join([stream.push(i) for i in ids]) + stream.finish()
    assert streamed == ByteTokenizer().decode(ids)


def test_a_definition_is_found_by_file_and_folder(tmp_path: Path, definition: str):
    path = tmp_path / "tokenizer.json"
    path.write_text(definition)
    for spec in (str(path), str(tmp_path)):
        tokenizer = load_tokenizer(spec)
        assert tokenizer.vocab_size == 280
        assert tokenizer.end_of_text_id == 0
    path.write_text("{}")
    with pytest.raises(TokenizerError, match=r"must be a tokenizer\.json of the Hugging Face"):
        load_tokenizer(str(path))
    with pytest.raises(TokenizerError, match=r'must be "byte", "char", "gpt2" or the path'):
        load_tokenizer("bite")
    with pytest.raises(TokenizerError, match="it is built from the training text, and there is"):
        load_tokenizer("char")


@pytest.mark.parametrize(
    ("special", "files", "end"),
    [
        (["<begin>", "<｜end▁of▁sentence｜>"], {"config": "<｜end▁of▁sentence｜>"}, 1),
        (["<|endoftext|>", "</s>"], {"config": {"content": "</s>", "lstrip": False}}, 1),
        (["<END>"], {"map": "<END>"}, 0),
        (["<a>", "<b>"], {"config": "<b>", "map": "<a>"}, 1),
        (["<|endoftext|>"], {"config": None}, 0),
        (["<|endoftext|>"], {"config": ["no", "token"]}, 0),
    ],
)
def test_the_end_of_text_is_the_one_that_is_named_beside(
    tmp_path: Path, special: list[str], files: dict[str, Any], end: int
):
    save_with_names(tmp_path, special, files)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.end_of_text_id == end
    assert tokenizer_from_dict(tokenizer.to_dict()).end_of_text_id == end
    assert known_tokenizer(str(tmp_path)).warning is None


def save_with_names(folder: Path, special: list[str], files: dict[str, Any]) -> None:
    made = byte_level_bpe(end_of_text=False)
    made.add_special_tokens(special)
    # The ids of special tokens come first in vocabularies that are trained with them.
    state = json.loads(made.to_str())
    vocabulary = state["model"]["vocab"]
    state["model"]["vocab"] = {word: i + len(special) for word, i in vocabulary.items()}
    for i, token in enumerate(state["added_tokens"]):
        token["id"] = i
        state["model"]["vocab"][token["content"]] = i
    (folder / "tokenizer.json").write_text(json.dumps(state))
    names = {"config": "tokenizer_config.json", "map": "special_tokens_map.json"}
    for file, eos in files.items():
        (folder / names[file]).write_text(json.dumps({"eos_token": eos, "model_max_length": 5}))


@pytest.mark.parametrize(
    ("special", "files", "said"),
    [
        (["<END>"], {}, "'<END>' looks like the end of a text, and no eos token is named"),
        (["<END>"], {"config": "<eof>"}, "eos token '<eof>' that .* names is not in the vocab"),
    ],
)
def test_an_end_of_text_that_is_not_clear_is_warned_of(
    tmp_path: Path,
    special: list[str],
    files: dict[str, Any],
    said: str,
    caplog: pytest.LogCaptureFixture,
):
    save_with_names(tmp_path, special, files)
    assert load_tokenizer(str(tmp_path)).end_of_text_id is None
    (warning,) = {record.message for record in caplog.records}
    assert re.search(said, warning)
    assert known_tokenizer(str(tmp_path)).warning == warning


def test_another_end_of_text_makes_another_tokenizer(definition: str):
    usual = PretrainedTokenizer(definition)
    same = PretrainedTokenizer(definition, special_tokens={"eos_token": "<|endoftext|>"})
    other = PretrainedTokenizer(definition, special_tokens={"eos_token": "e"})
    assert usual.fingerprint == same.fingerprint != other.fingerprint
    with pytest.raises(TokenizerError, match="'e' ends a text"):
        require_same_tokenizer(usual, other.to_dict())


def test_gpt2_is_read_where_its_files_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, definition: str
):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(TokenizerError, match="named by TRAINING_ENGINE_GPT2_TOKENIZER, be ~"):
        load_tokenizer("gpt2")

    byte_level_bpe(end_of_text=False).model.save(str(tmp_path))  # vocab.json and merges.txt
    monkeypatch.setenv("TRAINING_ENGINE_GPT2_TOKENIZER", str(tmp_path))
    from_parts = load_tokenizer("gpt2")
    assert from_parts.decode(from_parts.encode(TEXT)) == TEXT
    assert from_parts.end_of_text_id == from_parts.vocab_size - 1
    assert from_parts.to_dict()["name"] == "gpt2"

    monkeypatch.delenv("TRAINING_ENGINE_GPT2_TOKENIZER")
    snapshot = tmp_path / "hub-home" / "hub" / "models--gpt2" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "tokenizer.json").write_text(definition)
    assert load_tokenizer("gpt2").vocab_size == 280


def test_documents_are_separated_by_the_end_of_text(
    tmp_path: Path, make_config: Any, definition: str
):
    (tmp_path / "tokenizer.json").write_text(definition)
    data = tmp_path / "a.jsonl"
    data.write_text('{"text": "the cat sat on"}\n{"text": ""}\n{"text": "the mat and"}\n')
    config = make_config(280, tokenizer=str(tmp_path / "tokenizer.json"), val_fraction=0)
    train, _ = load_dataset(data, config)
    assert train.tokenizer is not None
    expected = [
        *train.tokenizer.encode("the cat sat on").tolist(),
        0,
        *train.tokenizer.encode("the mat and").tolist(),
    ]
    assert train.tokens.ids.tolist() == expected


def test_pieces_of_a_long_text_get_the_ids_of_the_whole(
    tmp_path: Path, make_config: Any, definition: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("app.training.data.pieces.PIECE_CHARACTERS", 50)
    (tmp_path / "tokenizer.json").write_text(definition)
    text = ("the cat,  sat\n\non the mat -- and   the\thats' hat\n" + TEXT) * 7
    (tmp_path / "a.txt").write_text(text)
    config = make_config(280, tokenizer=str(tmp_path), val_fraction=0)
    train, _ = load_dataset(tmp_path / "a.txt", config)
    whole = PretrainedTokenizer(definition).encode(text)
    assert train.tokens.ids.tolist() == whole.tolist()
