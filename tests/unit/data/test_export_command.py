"""`training-engine export`: what it writes, and that transformers reads it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from click.testing import Result
from typer.testing import CliRunner

from app.training.checkpoint_file import write_checkpoint
from app.training.config import TrainingConfig
from app.training.export import export_checkpoint
from app.training.tokenizer import PretrainedTokenizer, Tokenizer
from app.transformer.config import TransformerConfig
from app.transformer.export_folder import replaced_export
from app.transformer.model import GPTModel
from training_engine.cli.app import app

FILES = ["config.json", "model.safetensors", "generation_config.json"]
TOKENIZER = ["tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def word_tokenizer() -> PretrainedTokenizer:
    words = {"<|endoftext|>": 0, "the": 1, "cat": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return PretrainedTokenizer(tokenizer.to_str())


def save(
    path: Path, model_config: TransformerConfig, tokenizer: Tokenizer | None, **config: object
) -> GPTModel:
    torch.manual_seed(1)
    model = GPTModel(model_config)
    state = {
        "format_version": 1,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": {},
        "scheduler_state_dict": {},
        "step": 3,
        "loss": 1.5,
        "config": {**TrainingConfig(model_config=model_config).to_dict(), **config},
        "timestamp": time.time(),
        "tokenizer": tokenizer.to_dict() if tokenizer else None,
    }
    write_checkpoint(path, state)
    return model


def small(**fields: object) -> TransformerConfig:
    return TransformerConfig.from_dict(
        {
            "vocab_size": 256,
            "hidden_size": 8,
            "num_layers": 1,
            "num_heads": 2,
            "max_position_embeddings": 16,
            **fields,
        }
    )


def test_transformers_loads_what_is_written(tmp_path: Path, word_tokenizer: PretrainedTokenizer):
    model = save(tmp_path / "c.pt", small(), word_tokenizer).eval()
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["export", str(tmp_path / "c.pt"), "--output", str(out)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    names = [Path(line.split()[1]).name for line in lines]
    assert names == [*FILES, *TOKENIZER, "README.md"]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(out).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    ids = tokenizer("the cat", return_tensors="pt").input_ids
    assert ids.tolist() == [[1, 2]]
    assert tokenizer.eos_token == "<|endoftext|>"
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, model(ids)[0], atol=1e-5, rtol=1e-5)


def test_the_card_of_a_qwen2_names_a_class_that_gives_our_ids(
    tmp_path: Path, word_tokenizer: PretrainedTokenizer
):
    form = {"position_encoding_type": "rotary", "layer_norm_type": "rms_norm", "bias": False}
    model = small(activation="swiglu", qkv_bias=True, **form)
    save(tmp_path / "c.pt", model, word_tokenizer)
    out = tmp_path / "out"
    run_export(tmp_path / "c.pt", out)
    card = (out / "README.md").read_text()
    (name,) = re.findall(r"^tokenizer = (\w+)\.from_pretrained", card, re.MULTILINE)
    assert getattr(transformers, name).from_pretrained(out)("the cat").input_ids == [1, 2]


def test_json_and_ids_of_unknown_origin(tmp_path: Path):
    save(tmp_path / "c.pt", small(), None)
    arguments = ["export", str(tmp_path / "c.pt"), "--output", str(tmp_path / "out")]
    assert "no tokenizer.json" in CliRunner().invoke(app, arguments).stdout
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert json.loads(result.stdout) == {
        "output": str(tmp_path / "out"),
        "files": [*FILES, "README.md"],
    }


def test_what_cannot_be_exported_is_said_and_nothing_is_written(tmp_path: Path):
    save(tmp_path / "c.pt", small(activation="relu_squared"), None)
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["export", str(tmp_path / "c.pt"), "--output", str(out)])
    assert result.exit_code == 1
    assert "error: this model has no Hugging Face equivalent: activation='relu_squared'" in (
        result.stderr
    )
    assert not out.exists()
    result = CliRunner().invoke(app, ["export", str(tmp_path / "none.pt"), "--output", str(out)])
    assert result.exit_code == 2
    assert "error: there is no checkpoint" in result.stderr
    (tmp_path / "file").touch()
    save(tmp_path / "c.pt", small(), None)
    blocked = str(tmp_path / "file" / "out")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "c.pt"), "--output", blocked])
    assert result.exit_code == 1
    assert f"error: {blocked} cannot be written: Not a directory" in result.stderr


def run_export(checkpoint: Path, out: Path) -> Result:
    return CliRunner().invoke(app, ["export", str(checkpoint), "--output", str(out)])


def test_an_export_over_an_export_leaves_nothing_of_the_first(
    tmp_path: Path, word_tokenizer: PretrainedTokenizer
):
    save(tmp_path / "first.pt", small(), word_tokenizer)
    save(tmp_path / "second.pt", small(hidden_size=16), None)
    out = tmp_path / "out"
    run_export(tmp_path / "first.pt", out)
    (out / "adapter_config.json").write_text("{}")
    (out / "notes.txt").write_text("mine")
    assert run_export(tmp_path / "second.pt", out).exit_code == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == sorted([*FILES, "README.md", "notes.txt"])
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] is None
    assert json.loads((out / "config.json").read_text())["n_embd"] == 16


def test_a_model_card_that_was_written_by_hand_stays(tmp_path: Path):
    save(tmp_path / "c.pt", small(), None, alert_webhook="https://hooks.example/its-secret")
    out = tmp_path / "out"
    run_export(tmp_path / "c.pt", out)
    assert "| step | 3 |" in (out / "README.md").read_text()
    assert "webhook" not in (out / "README.md").read_text()
    (out / "README.md").write_text("mine")
    assert "README.md" not in run_export(tmp_path / "c.pt", out).stdout
    assert (out / "README.md").read_text() == "mine"


def test_an_export_that_fails_leaves_the_earlier_one_whole(
    tmp_path: Path, word_tokenizer: PretrainedTokenizer
):
    save(tmp_path / "c.pt", small(), word_tokenizer)
    run_export(tmp_path / "c.pt", tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    save(tmp_path / "c.pt", small(activation="relu_squared"), None)
    assert run_export(tmp_path / "c.pt", tmp_path / "out").exit_code == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "config.json"])
def test_a_model_that_no_export_wrote_is_not_overwritten(tmp_path: Path, name: str):
    save(tmp_path / "c.pt", small(), None)
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(b"somebody's model")
    result = run_export(tmp_path / "c.pt", out)
    assert result.exit_code == 4
    assert result.stderr == (
        f"error: {out} cannot be written: it holds {name}, which no export of this engine wrote; "
        "choose another folder\n"
    )
    assert [path.read_bytes() for path in out.iterdir()] == [b"somebody's model"]


@pytest.mark.parametrize(("umask", "mode"), [(0o002, 0o664), (0o022, 0o644), (0o077, 0o600)])
def test_exported_files_have_the_modes_that_the_umask_leaves(
    tmp_path: Path, word_tokenizer: PretrainedTokenizer, umask: int, mode: int
):
    save(tmp_path / "c.pt", small(), word_tokenizer)
    earlier = os.umask(umask)
    try:
        assert run_export(tmp_path / "c.pt", tmp_path / "out").exit_code == 0
        assert os.umask(umask) == umask
    finally:
        os.umask(earlier)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert len(modes) == len([*FILES, *TOKENIZER, "README.md"])
    assert set(modes.values()) == {mode}


def test_finding_the_command_does_not_import_torch():
    code = "import sys, app.training.commands; print('torch' in sys.modules)"
    command = [sys.executable, "-P", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout == "False\n"


def test_a_folder_whose_name_is_no_text(tmp_path: Path):
    save(tmp_path / "c.pt", small(), None)
    out = tmp_path / os.fsdecode(b"m\xe9")
    export_checkpoint(tmp_path / "c.pt", out)
    assert "\n# m?\n" in (out / "README.md").read_text()


def replace_until(folder: Path, source: Path, operations: int) -> bool:
    """Write the files of `source` as an export to `folder`, in a process that ends itself.

    It ends before a file is renamed or removed for the n-th time. Return whether it came to that.
    """
    if (child := os.fork()) == 0:
        left = iter(range(operations))

        def end_at_last(event: str, _: object) -> None:
            if event in ("os.remove", "os.rename") and next(left, None) is None:
                os._exit(9)

        with replaced_export(folder) as staging:
            for file in source.iterdir():
                shutil.copy(file, staging)
            sys.addaudithook(end_at_last)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_an_export_that_is_killed_leaves_a_folder_for_the_next_one(
    tmp_path: Path, word_tokenizer: PretrainedTokenizer
):
    save(tmp_path / "c.pt", small(), word_tokenizer)
    source, out = tmp_path / "source", tmp_path / "out"
    run_export(tmp_path / "c.pt", source)
    expected = {path.name: path.read_bytes() for path in source.iterdir()}
    killed_at = 0
    while replace_until(out, source, killed_at):
        with replaced_export(out) as staging:
            assert [path.name for path in out.glob(".*")] == [staging.name]
            for file in source.iterdir():
                shutil.copy(file, staging)
        assert {path.name: path.read_bytes() for path in out.iterdir()} == expected
        killed_at += 1
    assert killed_at == len(expected) + len([*FILES, *TOKENIZER])


def test_two_exports_do_not_write_to_one_folder(tmp_path: Path):
    save(tmp_path / "c.pt", small(), None)
    with replaced_export(tmp_path / "out"):
        refused = run_export(tmp_path / "c.pt", tmp_path / "out")
    assert refused.exit_code == 4
    assert refused.stderr == (
        f"error: {tmp_path / 'out'} cannot be written: another export writes to it; "
        "choose another folder\n"
    )
