"""Instruction data: records as turns, turns as text, text as ids with the assistant's marked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

from app.training.data.chat_template import CHATML, ChatTemplate, RenderedConversation
from app.training.data.conversations import Message, conversation_columns, conversation_of
from app.training.data.errors import DataError
from app.training.data.packing import best_fit, one_by_one
from app.training.data.parts import Place
from app.training.data.trained_tokens import trained_tokens
from app.training.tokenizer import ByteTokenizer, CharTokenizer, PretrainedTokenizer, Tokenizer

PLACE = Place(Path("chats.jsonl"), "line", 3)
ASKED = [Message("user", "Wie heißt du?"), Message("assistant", "  Ada 👩‍💻.\n")]
TURNS = [Message("system", "Be kind."), *ASKED, Message("user", "Why?"), Message("assistant", "I")]

LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' </s>' }}"
    "{% else %}{{ '<<SYS>>' + m['content'] }}{% endif %}{% endfor %}"
)
"""Without anything before an answer; what is generated begins with a space."""
PLAIN_CHATML = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
FORGETFUL = (
    "{% for m in messages %}{{ m.role + ':' + (m.content if loop.last else '…') }}{% endfor %}"
)


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def part(text: str, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}


IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


def turns_of(record: Mapping[str, Any]) -> list[Message]:
    return conversation_of(record, PLACE)


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": "Hi", "response": "Hello", "id": 7},
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": "Hello"}],
        },
        {"instruction": "Hi", "input": "", "output": "Hello"},
        {"instruction": "Hi", "output": "Hello"},
        {"instruction": "Hi", "context": None, "response": "Hello", "category": "open_qa"},
        {"messages": [message("user", "Hi"), message("assistant", "Hello")]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"id": 1, "conversations": [message("user", "Hi"), message("model", "Hello")]},
        {"messages": [message("user", [part("Hi")]), message("assistant", [part("Hello")])]},
        {
            "messages": [
                message("user", [part("H", "input_text"), part("i") | {"image_url": None}]),
                message("assistant", [part("Hel", "output_text"), part("lo")]),
            ]
        },
        {"prompt": [message("user", [part("Hi")])], "completion": "Hello"},
    ],
)
def test_every_form_is_the_same_conversation(record: dict[str, Any]) -> None:
    assert turns_of(record) == [Message("user", "Hi"), Message("assistant", "Hello")]


def test_what_is_added_follows_the_instruction() -> None:
    turns = turns_of({"instruction": "Add.", "input": "1, 2", "output": "3"})
    assert turns == [Message("user", "Add.\n\n1, 2"), Message("assistant", "3")]


@pytest.mark.parametrize("columns", [["text"], ["prompt"], ["instruction", "input"], []])
def test_other_columns_are_no_conversations(columns: list[str]) -> None:
    assert conversation_columns(columns) is None


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"messages": "hi"}, "`messages` in line 3 of 'chats.jsonl' is 'hi'; it must be a list of"),
        (
            {"messages": [message("assistant", "a") | {"weight": 0.5}]},
            "`messages[0].weight` in line 3 of 'chats.jsonl' is 0.5; it must be 0 (its turn is not",
        ),
        ({"messages": [message("assistant", "a") | {"weight": True}]}, "weight` in line 3 of"),
        ({"messages": [message("assistant", "a") | {"weight": "1"}]}, "weight` in line 3 of"),
        ({"messages": [7]}, "`messages[0]` in line 3 of 'chats.jsonl' is 7; it must be an object"),
        (
            {"messages": [{"role": "boss", "content": "x"}]},
            "`messages[0].role` in line 3 of 'chats.jsonl' is 'boss'; it must be one of system,",
        ),
        (
            {"conversations": [{"from": None, "value": "x"}]},
            "`conversations[0].from` in line 3 of 'chats.jsonl' is missing",
        ),
        (
            {"messages": [{"role": "user", "content": ["a"]}]},
            "`messages[0].content[0]` in line 3 of 'chats.jsonl' is 'a'; it must be an object of",
        ),
        (
            {"messages": [message("user", [part("a"), IMAGE])]},
            "`messages[0].content[1]` in line 3 of 'chats.jsonl' is {'type': 'image_url'",
        ),
        (
            {"messages": [message("user", [part("a") | {"text": None}])]},
            "`messages[0].content[0].text` in line 3 of 'chats.jsonl' is missing; it must be a",
        ),
        (
            {"messages": [message("user", [])]},
            "`messages[0].content` in line 3 of 'chats.jsonl' is []; it must be a string",
        ),
        (
            {"messages": [{"role": "user", "content": "x"}]},
            "line 3 of 'chats.jsonl' has no turn of the assistant",
        ),
        ({"prompt": "x", "completion": None}, "`completion` in line 3 of 'chats.jsonl' is missing"),
        (
            {"prompt": "x", "completion": "a\ud800"},
            r"`completion` in line 3 of 'chats.jsonl' holds '\ud800' at character 1",
        ),
        (
            {"text": "x"},
            "line 3 of 'chats.jsonl' has the fields ['text']; it must have `messages`,",
        ),
    ],
)
def test_a_record_that_is_no_conversation_is_one_error(
    record: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError) as raised:
        turns_of(record)
    assert message in str(raised.value)


def assistant_texts(rendered: RenderedConversation) -> list[str]:
    return [rendered.text[first:last] for first, last in rendered.spans]


def test_chatml_marks_answers_with_their_end() -> None:
    rendered = ChatTemplate(CHATML).render(TURNS, PLACE)
    assert rendered.text == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWie heißt du?<|im_end|>\n"
        "<|im_start|>assistant\n  Ada 👩‍💻.\n<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n"
        "<|im_start|>assistant\nI<|im_end|>\n"
    )
    assert assistant_texts(rendered) == ["  Ada 👩‍💻.\n<|im_end|>", "I<|im_end|>"]
    asked = ChatTemplate(CHATML).prompt(TURNS[:-1], PLACE)
    assert rendered.text.startswith(asked)
    assert asked.endswith("<|im_start|>assistant\n")


def test_without_marks_an_answer_is_what_its_turn_adds() -> None:
    rendered = ChatTemplate(PLAIN_CHATML).render(TURNS, PLACE)
    assert assistant_texts(rendered) == ["  Ada 👩‍💻.\n<|im_end|>\n", "I<|im_end|>\n"]
    assert rendered.text == ChatTemplate(CHATML).render(TURNS, PLACE).text
    rendered = ChatTemplate(LLAMA_2).render(ASKED, PLACE)
    assert assistant_texts(rendered) == ["   Ada 👩‍💻.\n </s>"]


@pytest.mark.parametrize("source", [CHATML, PLAIN_CHATML])
@pytest.mark.parametrize(
    ("weights", "trained"),
    [((0, None), ["I"]), ((0.0, 1.0), ["I"]), ((1, 1), ["b", "I"]), ((0, 0), [])],
)
def test_an_answer_of_weight_0_is_read_and_not_trained_on(
    source: str, weights: tuple[float | None, ...], trained: list[str]
) -> None:
    answers = [
        {"role": "assistant", "content": text, "weight": weight}
        for text, weight in zip("bI", weights, strict=True)
    ]
    asked = {"role": "user", "content": "a", "weight": 0}
    turns = turns_of({"messages": [asked, answers[0], asked, answers[1]]})
    rendered = ChatTemplate(source).render(turns, PLACE)
    assert [text.strip() for text in assistant_texts(rendered)] == [
        f"{t}<|im_end|>" for t in trained
    ]
    plain = [Message(turn.role, turn.content) for turn in turns]
    assert rendered.text == ChatTemplate(source).render(plain, PLACE).text


def test_a_template_that_does_not_mark_each_turn_refuses_a_weight() -> None:
    whole = "{% for m in messages %}{{ m.content }}{% endfor %}"
    template = ChatTemplate("{% generation %}" + whole + "{% endgeneration %}")
    assert template.render(TURNS, PLACE).spans
    with pytest.raises(
        DataError, match=r"line 3 of 'chats.jsonl' has a `weight` of 0, and the chat"
    ):
        template.render([*ASKED, Message("assistant", "b", is_trained=False)], PLACE)


def test_a_template_sees_special_tokens_and_no_clock() -> None:
    source = "{{ bos_token }}{% if strftime_now is defined %}now{% endif %}" + CHATML
    template = ChatTemplate(source, {"bos_token": "<s>"})
    assert template.render(ASKED, PLACE).text.startswith("<s><|im_start|>user")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "(TemplateError: roles must alternate)"),
        ("{{ messages[9].content + 'x' }}", "the chat template cannot write line 3"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "the chat template cannot write line 3"),
        (FORGETFUL, "writes turn 2 of line 3 of 'chats.jsonl' in another way when turns follow it"),
    ],
)
def test_a_template_that_cannot_write_a_record_is_one_error(source: str, message: str) -> None:
    with pytest.raises(DataError) as raised:
        ChatTemplate(source).render(TURNS[1:], PLACE)
    assert message in str(raised.value)


def test_a_template_that_is_not_jinja_is_refused() -> None:
    with pytest.raises(DataError, match=r"the chat template is not Jinja \(.* in line 2\)"):
        ChatTemplate("\n{% for %}")


def byte_level(special: list[str]) -> PretrainedTokenizer:
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=special,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["Wie heißt du? Ada Ada. Be kind. user assistant"], trainer)
    return PretrainedTokenizer(str(made.to_str()))


CHATML_TOKENS = ["<|im_start|>", "<|im_end|>"]


@pytest.mark.parametrize(
    "tokenizer",
    [
        ByteTokenizer(),
        CharTokenizer(ChatTemplate(CHATML).render(TURNS, PLACE).text),
        byte_level([]),
        byte_level(CHATML_TOKENS),
    ],
    ids=["byte", "char", "bpe", "bpe with special tokens"],
)
def test_the_ids_are_those_of_the_whole_and_the_answers_are_marked(tokenizer: Tokenizer) -> None:
    rendered = ChatTemplate(CHATML).render(TURNS, PLACE)
    found = trained_tokens(tokenizer, rendered)
    np.testing.assert_array_equal(found.ids, tokenizer.encode(rendered.text))
    answers = np.split(found.ids, np.flatnonzero(np.diff(found.trained)) + 1)[1::2]
    texts = [tokenizer.decode(ids) for ids in answers]
    expected = assistant_texts(rendered)
    if isinstance(tokenizer, PretrainedTokenizer) and "<|im_end|>" in tokenizer.definition:
        expected = [text.removesuffix("<|im_end|>") for text in expected]  # decoded to nothing
        end = tokenizer.encode("<|im_end|>")
        assert all(ids[-1:] == end for ids in answers)
    assert texts == expected


def test_ids_and_marks_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    ours = byte_level(CHATML_TOKENS)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizers.Tokenizer.from_str(ours.definition)
    )
    found = trained_tokens(ours, ChatTemplate(CHATML).render(TURNS, PLACE))
    expected = theirs.apply_chat_template(
        [turn._asdict() for turn in TURNS],
        chat_template=CHATML,
        return_assistant_tokens_mask=True,
        return_dict=True,
    )
    assert found.ids.tolist() == expected["input_ids"]
    assert found.trained.tolist() == [bool(mark) for mark in expected["assistant_masks"]]


def test_windows_are_full_and_hold_each_conversation_once() -> None:
    lengths = np.random.default_rng(3).integers(1, 65, size=500)
    packing = best_fit(lengths, 64)
    sums = [int(lengths[packing.window(i)].sum()) for i in range(len(packing))]
    assert sorted(packing.members.tolist()) == list(range(500))
    assert max(sums) <= 64
    assert len(packing) <= 1.02 * np.ceil(lengths.sum() / 64)
    assert [packing.window(i).tolist() for i in range(3)] == [
        best_fit(lengths, 64).window(i).tolist() for i in range(3)
    ]
    assert [one_by_one(3).window(i).tolist() for i in range(3)] == [[0], [1], [2]]
