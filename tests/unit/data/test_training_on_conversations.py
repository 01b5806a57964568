"""Instruction data from files to a trained model: forms, windows, masks, resume, export."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from app.training import Trainer, TrainingConfig
from app.training.data import DataError, load_dataset
from app.training.data.conversation_windows import ConversationWindows
from app.training.data.formats import ReadOptions
from app.training.data.looking import inspect_data
from app.training.data.survey import survey
from app.training.export import export_checkpoint
from app.training.inference import load_for_generation
from app.training.tokenizer_training import train_bpe
from app.transformer.config import TransformerConfig

LENGTH = 320
PAIRS = [(f"What is {n} + {n}?", f"It is {2 * n}." + " Yes!" * (n % 4)) for n in range(40)]
MESSAGES = [
    [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    for asked, answered in PAIRS
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small work is fastest on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(folder: Path, **fields: Any) -> TrainingConfig:
    model = TransformerConfig(
        vocab_size=256,
        hidden_size=16,
        num_layers=1,
        num_heads=2,
        max_position_embeddings=LENGTH,
        dropout_rate=fields.pop("dropout", 0.0),
    )
    values: dict[str, Any] = {
        "batch_size": 2,
        "learning_rate": 1e-2,
        "max_steps": 6,
        "warmup_steps": 1,
        "logging_steps": 1,
        "eval_steps": 3,
        "save_steps": 100,
        "scheduler_type": "constant",
        "device": "cpu",
        "checkpoint_dir": str(folder / "run"),
    }
    return TrainingConfig(model_config=model, **{**values, **fields})


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "chats.jsonl", [{"messages": each} for each in MESSAGES])


def load(
    path: Path, config: TrainingConfig
) -> tuple[ConversationWindows, ConversationWindows | None]:
    train, validation = load_dataset(path, config)
    assert isinstance(train, ConversationWindows)
    assert validation is None or isinstance(validation, ConversationWindows)
    return train, validation


def answers(windows: ConversationWindows) -> list[str]:
    """What is trained on, by window."""
    found = []
    for index in range(len(windows)):
        batch = windows.__getitems__([index]).batch()
        found.append(bytes(batch.labels[batch.labels >= 0].tolist()).decode())
    return found


def write_parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": range(40), "messages": MESSAGES}), path, row_group_size=7)


def write_arrow(path: Path) -> None:
    asked, answered = zip(*PAIRS, strict=True)
    table = pa.table({"prompt": list(asked), "completion": list(answered)})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=11)


def write_csv(path: Path) -> None:
    rows = [f'"{asked}","","{answered}"' for asked, answered in PAIRS]
    path.write_text("\n".join(["instruction,input,output", *rows]) + "\n")


FORMS: dict[str, Callable[[Path], object]] = {
    "a.jsonl": lambda path: write_lines(path, [{"prompt": q, "response": a} for q, a in PAIRS]),
    "a.json": lambda path: path.write_text(
        json.dumps([
            {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]}
            for q, a in PAIRS
        ])
    ),
    "a.parquet": write_parquet,
    "a.arrow": write_arrow,
    "a.csv": write_csv,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_file_trains_on_the_answers(name: str, tmp_path: Path, chats: Path) -> None:
    config = config_of(tmp_path)
    expected, validation = load(chats, config)
    folder = tmp_path / "data"
    folder.mkdir()
    FORMS[name](folder / name)
    (folder / "README.md").write_text("About the data.")
    for path in (folder, folder / name):
        assert survey(path, ReadOptions.of(config)).content in ("conversation", None)
        found = load(path, config)[0]
        assert answers(found) == answers(expected)
    assert validation is not None
    whole = "".join(answers(expected) + answers(validation))
    assert sorted(whole.split("<|im_end|>")) == sorted([*(a for _, a in PAIRS), ""])
    assert len(validation.fit.used) == 4  # the last tenth


def test_packed_conversations_have_the_loss_of_each_alone(tmp_path: Path, chats: Path) -> None:
    losses = {}
    for name, data in {
        "packed": {},
        "alone": {"pack": False},
        "joined": {"attend_across_documents": True},
    }.items():
        config = config_of(tmp_path, data=data)
        train, validation = load(chats, config)
        trainer = Trainer(config, train, validation)
        assert trainer._evaluator is not None
        found = trainer._evaluator.run(
            last=True, interrupted=lambda: False, on_progress=lambda done, total: None
        )
        assert found is not None
        losses[name] = found.metrics["val_loss"]
        if name == "packed":
            filled = sum(train.fit.lengths) / (len(train) * (LENGTH + 1))
            assert filled > 0.85
    assert losses["packed"] == pytest.approx(losses["alone"], rel=1e-5)
    assert losses["joined"] != pytest.approx(losses["alone"], rel=1e-4)


def test_loss_on_all_trains_on_every_token_but_the_first(tmp_path: Path, chats: Path) -> None:
    train, _ = load(chats, config_of(tmp_path, data={"loss_on": "all", "pack": False}))
    batch = train.__getitems__([0]).batch()
    assert batch.tokens == batch.read == int(train.fit.lengths[0]) - 1
    part, _ = load(chats, config_of(tmp_path, data={"pack": False}))
    batch = part.__getitems__([0]).batch()
    assert batch.tokens == len(PAIRS[0][1] + "<|im_end|>")


@pytest.mark.parametrize("tokenizer", ["byte", "char"])
def test_two_resumes_in_mid_epoch_change_no_bit(
    tmp_path: Path, chats: Path, tokenizer: str
) -> None:
    def run(name: str, steps: int, **more: Any) -> Trainer:
        config = config_of(tmp_path, dropout=0.1, max_steps=steps, tokenizer=tokenizer, **more)
        config.checkpoint_dir = str(tmp_path / name)
        trainer = Trainer(config, *load(chats, config))
        trainer.train()
        return trainer

    straight = run("straight", 9)
    for steps, workers in ((2, 0), (5, 1), (9, 0)):
        resume = steps > 2
        broken = run("broken", steps, resume_from_checkpoint=resume, num_workers=workers)
    assert straight.tokens_seen == broken.tokens_seen
    assert broken.exactness_notes == []
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, broken.model.state_dict()[name]), name


def test_what_a_window_cannot_hold_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [{"prompt": "hi", "completion": "a" * 400}, {"prompt": "b" * 400, "completion": "c"}]
    path = write_lines(tmp_path / "a.jsonl", [*records, *({"messages": m} for m in MESSAGES)])
    with caplog.at_level(logging.WARNING):
        train, _ = load(path, config_of(tmp_path, val_fraction=0.0))
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n" + "a" * 400 + "<|im_end|>\n"
    lost = len(text) - (LENGTH + 1)
    assert f"of 42 conversations of {str(path)!r}, 1 are longer" in caplog.text
    assert f"together {lost} tokens; 1 are left out" in caplog.text
    assert len(train.fit.used) == 41


def test_records_with_a_text_too_are_read_as_the_configuration_says(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records = [
        {"instruction": q, "input": "", "output": a, "text": f"Q: {q} A: {a}"} for q, a in PAIRS
    ]
    path = write_lines(tmp_path / "alpaca.jsonl", records)
    with caplog.at_level(logging.WARNING):
        assert not isinstance(load_dataset(path, config_of(tmp_path))[0], ConversationWindows)
    assert "has `text` and conversations; the text is trained on" in caplog.text
    load(path, config_of(tmp_path, data={"loss_on": "completion"}))


def test_a_template_and_a_separator_of_ones_own(tmp_path: Path, chats: Path) -> None:
    data = {
        "chat_template": "{% for m in messages %}{% if m.role == 'user' %}{{ m.content + ' ' }}"
        "{% else %}{% generation %}{{ m.content }}{% endgeneration %}{% endif %}{% endfor %}",
        "document_separator": "\n",
        "max_documents": 2,
        "pack": False,
    }
    train, _ = load(chats, config_of(tmp_path, data=data, val_fraction=0.0))
    texts = [bytes(train[i].tolist()).decode() for i in range(2)]
    assert texts == [f"{asked} {answered}\n" for asked, answered in PAIRS[:2]]
    assert answers(train) == [f"{answered}\n" for _, answered in PAIRS[:2]]


def test_the_order_is_drawn_from_the_seed_where_that_is_wanted(tmp_path: Path, chats: Path) -> None:
    first, second = (
        load(chats, config_of(tmp_path, data={"shuffle_documents": True}, seed=seed))[1]
        for seed in (1, 2)
    )
    again = load(chats, config_of(tmp_path, data={"shuffle_documents": True}, seed=1))[1]
    assert first is not None
    assert second is not None
    assert again is not None
    assert answers(first) == answers(again)
    assert answers(first) != answers(second)


def test_conversations_are_mixed_with_text(tmp_path: Path, chats: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("It was the best of times. " * 100)
    sources = [{"path": str(chats), "weight": 1}, {"path": str(text), "weight": 1}]
    config = config_of(tmp_path, data={"sources": sources}, max_steps=2)
    trainer = Trainer(config, *load_dataset(None, config))
    trainer.train()
    batch = trainer._data.stream._reader.__getitems__((0, torch.tensor([0, 1])))
    counting = sorted((batch.labels >= 0).sum(1).tolist())
    assert counting[1] == LENGTH  # of text every token
    assert 0 < counting[0] < LENGTH // 2
    state = torch.load(tmp_path / "run" / "checkpoint_step_2.pt", weights_only=True)
    assert "<|im_start|>" in state["chat_template"]["source"]


@pytest.mark.parametrize(
    ("records", "fields", "message"),
    [
        (
            [{"messages": MESSAGES[0]}, {"messages": [{"role": "x", "content": "y"}]}],
            {},
            "`messages[0].role` in line 2 of",
        ),
        ([{"messages": MESSAGES[0]}, {"prompt": "x"}], {}, "line 2 of"),
        ([{"prompt": "x" * 500, "completion": "y"}], {}, "none of 1 conversations of"),
        ([{"text": "x" * 500}], {"data": {"loss_on": "completion"}}, "holds no conversations"),
        (
            [{"messages": MESSAGES[0]}],
            {"data": {"chat_template": "{{ raise_exception('no') }}"}},
            "the chat template cannot write line 1 of",
        ),
    ],
)
def test_what_cannot_be_trained_on_is_one_error(
    records: list[Any], fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "a.jsonl", records)
    with pytest.raises(DataError) as raised:
        load_dataset(path, config_of(tmp_path, **fields))
    assert message in str(raised.value)


def test_validation_of_another_kind_is_refused(tmp_path: Path, chats: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("some text " * 100)
    with pytest.raises(DataError, match="hold no conversations, and the training data do"):
        load_dataset(chats, config_of(tmp_path, val_dataset_path=str(text)))
    with pytest.raises(DataError, match="hold conversations, and the training data do not"):
        load_dataset(text, config_of(tmp_path, val_dataset_path=str(chats)))


def test_an_export_has_the_template_and_special_tokens_of_the_data(
    tmp_path: Path, chats: Path
) -> None:
    special = ["<|im_start|>", "<|im_end|>"]
    tokenizer = train_bpe(["What is? It is. Yes!"], 259, special_tokens=special)
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(tokenizer.definition)
    template = "{{ eos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role }}" + (
        "{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}{% endfor %}"
    )
    described = {"eos_token": "<|im_end|>", "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    config = config_of(tmp_path, tokenizer=str(folder), max_steps=1)
    config.model_config.vocab_size = 259
    trainer = Trainer(config, *load(chats, config))
    trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint_step_1.pt"
    export_checkpoint(checkpoint, tmp_path / "export")
    written = json.loads((tmp_path / "export" / "tokenizer_config.json").read_text())
    assert written["chat_template"] == template
    assert written["eos_token"] == "<|im_end|>"
    _, loaded = load_for_generation(checkpoint)
    assert loaded is not None
    ids = trainer._data.stream._reader._dataset[0].tolist()
    assert ids[0] == loaded.end_of_text_id == 2


def test_a_look_shows_what_is_trained_on(tmp_path: Path, chats: Path) -> None:
    found = inspect_data(config_of(tmp_path, dataset_path=str(chats)))
    assert (found.problems, found.documents) == ([], len(PAIRS))
    assert [(segment.text, segment.trained) for segment in found.windows[1].segments] == [
        (f"<|im_start|>user\n{PAIRS[1][0]}<|im_end|>\n<|im_start|>assistant\n", False),
        (f"{PAIRS[1][1]}<|im_end|>", True),
        ("\n", False),
    ]
