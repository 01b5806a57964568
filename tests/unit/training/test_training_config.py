"""The configuration answers with every problem at once, and says what would do instead."""

from __future__ import annotations

import dataclasses
import difflib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.training.config import DataSource, DistributedConfig, TrainingConfig
from app.training.document import parse_document
from app.transformer import ConfigError, TransformerConfig

CONTRACT = {
    "batch_size": 8,
    "learning_rate": 6e-4,
    "max_steps": 100000,
    "warmup_steps": 2000,
    "optimizer_type": "adamw",
    "muon_learning_rate": 0.02,
    "muon_momentum": 0.95,
    "muon_iterations": 5,
    "weight_decay": 0.01,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-8,
    "scheduler_type": "cosine",
    "min_lr_ratio": 0.1,
    "cooldown_steps": None,
    "gradient_accumulation_steps": 1,
    "max_grad_norm": 1.0,
    "z_loss": 0.0,
    "ema_decay": None,
    "alerts": [],
    "alert_webhook": None,
    "sample_prompts": [],
    "sample_tokens": 64,
    "sample_temperature": 0.8,
    "sample_seed": 1337,
    "freeze": [],
    "lora": None,
    "initial_adapter": None,
    "initial_weights": None,
    "resize_vocabulary": False,
    "mixed_precision": None,
    "logging_steps": 100,
    "save_steps": 1000,
    "eval_steps": 500,
    "eval_batches": 64,
    "full_final_eval": True,
    "checkpoint_dir": "./checkpoints",
    "max_checkpoints_to_keep": 5,
    "resume_from_checkpoint": False,
    "wandb_project": None,
    "wandb_entity": None,
    "wandb_run_name": None,
    "wandb_mode": None,
    "trackers": [],
    "mlflow_experiment": None,
    "mlflow_run_name": None,
    "seed": 1337,
    "dataset_path": None,
    "val_dataset_path": None,
    "val_fraction": 0.1,
    "tokenizer": "byte",
    "text_column": "text",
    "token_dtype": None,
    "data": {
        "files": [],
        "split": None,
        "document_separator": None,
        "max_documents": None,
        "shuffle_documents": False,
        "allow_skipped": False,
        "sources": [],
        "loss_on": None,
        "chat_template": None,
        "pack": True,
        "attend_across_documents": False,
    },
    "sequence_length": None,
    "num_workers": 0,
    "compile": False,
    "gradient_checkpointing": False,
    "deterministic": False,
    "device": "auto",
    "best_metric": "val_loss",
    "early_stopping": None,
    "distributed": None,
}


def problems_of(document: str) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig.from_document(document)
    return {problem.field: problem.message for problem in caught.value.problems}


def test_fields_and_defaults_are_the_contract() -> None:
    values = TrainingConfig().to_dict()
    assert values == dataclasses.asdict(TrainingConfig())
    assert values.pop("model_config") == TransformerConfig().to_dict()
    assert values == CONTRACT
    TrainingConfig().validate()


def test_import_is_quick_and_free_of_torch() -> None:
    code = (
        "import sys, time; start = time.process_time(); import app.training.config; "
        "print(time.process_time() - start, 'torch' in sys.modules, 'yaml' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    # CPU seconds: those of the wall also count what else the machine does.
    seconds, torch_loaded, yaml_loaded = done.stdout.split()
    assert (torch_loaded, yaml_loaded) == ("False", "False")
    assert float(seconds) < 0.2


def test_every_problem_is_listed_in_one_error() -> None:
    found = problems_of(
        """
        batch_sise: 3
        learning_rate: -6e-4
        max_steps: soon
        optimizer_type: sgd
        seed: true
        model_config: {num_heads: 5, hidden: 3}
        distributed: {strategy: tp, processes: 0}
        data: {file: a, files: [../a, 3], max_documents: 0}
        sequence_length: 5000
        """
    )
    assert found == {
        "batch_sise": "`batch_sise` is not a known key; did you mean `batch_size`?",
        "learning_rate": "`learning_rate` is -0.0006; it must be above 0 and finite; "
        "try 6e-4 for a 124M model",
        "max_steps": found["max_steps"],
        "optimizer_type": "`optimizer_type` is 'sgd'; it must be one of 'adamw', 'muon'",
        "seed": "`seed` is True; it must be an integer",
        "model_config.num_heads": "`num_heads` is 5; it must divide hidden_size=768; try 4 or 6",
        "model_config.hidden": found["model_config.hidden"],
        "distributed.strategy": found["distributed.strategy"],
        "distributed.processes": "`distributed.processes` is 0; it must be at least 1 and below "
        "2**53; try 1, or leave it out for one for each GPU",
        "data.file": "`file` is not a known key; did you mean `files`?",
        "data.files": "`files` is ['../a', 3]; it must be a list of texts",
        "data.max_documents": "`data.max_documents` is 0; it must be at least 1 and below 2**53; "
        "try 1000, or leave it out for all",
        "sequence_length": "`sequence_length` is 5000; it must not exceed "
        "model_config.max_position_embeddings=1024; shorten it, or lengthen the model's positions",
    }
    assert "'soon'" in found["max_steps"]
    assert "an integer" in found["max_steps"]
    assert "did you mean `hidden_size`?" in found["model_config.hidden"]
    assert "'ddp', 'fsdp'" in found["distributed.strategy"]


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("learning_rate", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0 and finite"),
        ("batch_size", 0, "at least 1"),
        ("batch_size", 10**30, "below 2**53"),
        ("adam_beta1", 1.0, "below 1"),
        ("min_lr_ratio", 1.5, "between 0 and 1"),
        ("warmup_steps", -1, "at least 0"),
        ("max_grad_norm", -1.0, "at least 0"),
        ("seed", -1, "below 2**63"),
        ("ema_decay", 1.0, "above 0 and below 1; try 0.999"),
        ("best_metric", "ema_val_loss", "and `ema_decay` is not set; set it, or take val_loss"),
        ("muon_learning_rate", 0.0, "above 0"),
        ("muon_momentum", 1.0, "below 1"),
        ("muon_iterations", 6, "between 1 and 5"),
        ("z_loss", -1e-4, "at least 0 and finite"),
        ("cooldown_steps", -1, "at least 0"),
        ("cooldown_steps", 100001, "not exceed max_steps=100000; try 20000"),
        ("device", "gpu", "auto, cpu, cuda"),
        ("val_fraction", 1.0, "below 1"),
        ("checkpoint_dir", "", "not empty"),
        ("mixed_precision", "fp8", "'fp16', 'bf16'"),
        ("batch_size", "8", "an integer"),
        ("data", None, "a mapping of keys"),
    ],
)
def test_validate_names_field_value_and_rule(field: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**{field: value}).validate()
    (problem,) = caught.value.problems
    assert problem.field == field
    assert repr(value) in problem.message
    assert rule in problem.message


def test_early_stopping_is_checked_field_by_field() -> None:
    found = problems_of("early_stopping: {metric: accuracy, patience: 0, min_delta: -1, wait: 3}")
    assert found == {
        "early_stopping.metric": found["early_stopping.metric"],
        "early_stopping.patience": "`early_stopping.patience` is 0; it must be at least 1 and "
        "below 2**53; try 5",
        "early_stopping.min_delta": "`early_stopping.min_delta` is -1.0; it must be at least 0 and "
        "finite; try 0",
        "early_stopping.wait": "`wait` is not a known key; known keys are metric, min_delta, "
        "patience",
    }
    assert "'val_loss', 'val_perplexity', 'ema_val_loss'" in found["early_stopping.metric"]


@pytest.mark.parametrize("pattern", ["/etc/*", "a/../../*", "", "a\0"])
def test_patterns_of_files_stay_in_the_folder(pattern: str) -> None:
    found = problems_of(json.dumps({"data": {"files": pattern}}))
    assert "must be patterns relative to `dataset_path`, without `..`" in found["data.files"]
    assert TrainingConfig.from_document("data: {files: a/*}").data.files == ["a/*"]


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        ("data: {sources: a.txt}", "data.sources", "`sources` is 'a.txt'; it must be a list of"),
        ("data: {sources: [3]}", "data.sources[0]", "is 3; it must be a mapping of keys"),
        (
            "data: {sources: [{path: a, wight: 1}]}",
            "data.sources[0].wight",
            "did you mean `weight`?",
        ),
        ("data: {sources: [{weight: 1}]}", "data.sources[0].path", "is ''; it must be text that"),
        ("data: {sources: [a, {path: b, weight: x}]}", "data.sources[1].weight", "a number"),
        ("data: {sources: [a, {path: b, weight: 0}]}", "data.sources[1].weight", "above 0"),
        ("data: {sources: [a, {path: b, weight: 1e-6}]}", "data.sources[1].weight", "1e-06 of 1;"),
        ("dataset_path: c\ndata: {sources: [a]}", "data.sources", "one of the two; put the path"),
        ("tokenizer: char\ndata: {sources: [a, b]}", "tokenizer", "made of one dataset"),
    ],
)
def test_sources_are_checked_one_by_one(document: str, field: str, said: str) -> None:
    found = problems_of(document)
    assert list(found) == [field]
    assert said in found[field]


def test_sources_are_read_and_written() -> None:
    config = TrainingConfig.from_document("data: {sources: [a, {path: b, weight: 2}]}")
    assert config.data.sources == [DataSource("a", 1.0), DataSource("b", 2.0)]
    assert TrainingConfig.from_document(config.to_yaml()) == config
    assert TrainingConfig.from_dict(config.to_dict()) == config


LONG = "9" * 400


@pytest.mark.parametrize(
    ("document", "field", "rule"),
    [
        (f"learning_rate: {LONG}", "learning_rate", "(402 characters); it must be a number"),
        (f'{{"learning_rate": {LONG}}}', "learning_rate", "a number of at most 18 digits"),
        ("max_steps: 0x" + "f" * 30_000, "max_steps", "(30004 characters); it must be an integer"),
        ("max_steps: 0b" + "1" * 9_000, "max_steps", "it must be an integer"),
        ("max_steps: 1" + ":59" * 500, "max_steps", "it must be an integer"),
        ("weight_decay: 1" + ":59" * 500 + ".5", "weight_decay", "it must be a number"),
        (f'{{"max_steps": {"1" * 9_000}}}', "max_steps", "it must be an integer"),
        ("learning_rate: 1e400", "learning_rate", "is inf; it must be above 0 and finite"),
        ("model_config: {vocab_size: 1e30}", "model_config.vocab_size", "at most 2147483648"),
        (f"model_config: {{hidden_size: {2**62}}}", "model_config.hidden_size", "at most 1048576"),
        (f"max_steps: {2**63 - 1}", "max_steps", "below 2**53"),
        ("batch_size: 1e9", "batch_size", "at most 16777216"),
        ("num_workers: 100000", "num_workers", "at most 1024"),
    ],
)
def test_numbers_beyond_all_use_are_named_by_their_field(
    document: str, field: str, rule: str
) -> None:
    found = problems_of(document)
    assert list(found) == [field]
    assert rule in found[field]
    assert len(found[field]) < 400


@pytest.mark.parametrize("digits", [400, 6000])
@pytest.mark.parametrize(
    "field", ["learning_rate", "weight_decay", "adam_beta1", "val_fraction", "max_steps", "seed"]
)
def test_numbers_beyond_floats_and_text_in_python_too(field: str, digits: int) -> None:
    (problem,) = TrainingConfig(**{field: 10**digits}).problems()
    assert problem.field == field
    assert f"is a number of {digits + 1} digits" in problem.message


def test_numbers_that_yaml_takes_for_text() -> None:
    config = TrainingConfig.from_document(
        "learning_rate: 6e-4\nmax_steps: 1e5\nweight_decay: 1\nmodel_config: {dropout_rate: 1e-1}"
    )
    assert config.learning_rate == 6e-4
    assert (config.max_steps, type(config.max_steps)) == (100000, int)
    assert (config.weight_decay, type(config.weight_decay)) == (1.0, float)
    assert config.model_config.dropout_rate == 0.1


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "it holds nothing"),
        ("- 1", "it holds a list"),
        ("just words", "it holds a str"),
        ("a: [", "line 1, column 5"),
        ("x: &a 1\ny: *a", "alias *a is not allowed"),
        ("!!python/object/apply:os.system ['true']", "neither YAML nor JSON"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_a_document_that_is_no_mapping_is_one_clear_problem(document: str, message: str) -> None:
    found = problems_of(document)
    assert list(found) == ["document"]
    assert message in found["document"]


@pytest.mark.parametrize("document", ["seed: 1\nseed: 2", '{"seed": 1, "seed": 2}'])
def test_a_key_that_stands_twice_is_a_problem(document: str) -> None:
    message = "`seed` appears twice in the document; keep one of the two"
    assert problems_of(document) == {"seed": message}


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_thousands_of_wrong_keys_are_named_without_a_search_for_each(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []
    close_matches = difflib.get_close_matches

    def counted(word: str, *rest: Any, **options: Any) -> list[str]:
        searched.append(word)
        return close_matches(word, *rest, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    keys = [f"sed{n}" for n in range(3000)] * 2
    pairs = [f'"{key}": 1' for key in keys]
    document = "{" + ", ".join(pairs) + "}" if form == "json" else "\n".join(pairs)
    found = problems_of(document)
    assert len(found) == 3000
    assert found["sed2999"] == "`sed2999` is not a known key; leave it out"
    assert searched == keys[:20]
    _, problems = TrainingConfig.read_document(document)
    messages = [problem.message for problem in problems]
    assert "`sed7` is not a known key; did you mean `seed`?" in messages
    assert "`sed2999` appears twice in the document; keep one of the two" in messages


def test_repeated_keys_are_found_in_one_pass() -> None:
    pairs = ", ".join(f'"key {n}": 1' for n in [*range(60_000), 7])
    began = time.process_time()
    _, problems = parse_document("{" + pairs + "}")
    assert time.process_time() - began < 10  # counting each key anew takes a minute
    assert [problem.field for problem in problems] == ["key 7"]


def test_yaml_and_dict_round_trips(tmp_path: Path) -> None:
    config = TrainingConfig(
        model_config=TransformerConfig(hidden_size=64, num_heads=4),
        learning_rate=1e-5,
        adam_epsilon=1e-10,
        distributed=DistributedConfig("fsdp", 2),
        wandb_run_name="größer: [yes]",
    )
    config.to_yaml(tmp_path / "config.yaml")
    assert TrainingConfig.from_yaml(tmp_path / "config.yaml") == config
    assert TrainingConfig.from_dict(config.to_dict()) == config
    assert TrainingConfig.from_document(json.dumps(config.to_dict())) == config


def test_fields_given_tells_what_was_set() -> None:
    read = TrainingConfig.from_document("batch_size: 8\nmodel_config: {num_layers: 2}")
    assert read.fields_given() == {"batch_size", "model_config.num_layers"}
    assert TrainingConfig(batch_size=9).fields_given() == {"batch_size"}


def test_effective_batch_size_counts_accumulation_and_processes() -> None:
    config = TrainingConfig(batch_size=4, gradient_accumulation_steps=8)
    assert config.get_effective_batch_size() == 32
    config.distributed = DistributedConfig("ddp", 2)
    assert config.get_effective_batch_size() == 64


def test_questionable_values_are_warnings_not_problems() -> None:
    config = TrainingConfig(max_steps=100, save_steps=30, eval_steps=20)
    config.validate()
    found = {warning.field: warning.message for warning in config.warnings()}
    assert set(found) == {"warmup_steps", "save_steps"}
    assert "try 2" in found["warmup_steps"]
    assert "try save_steps=40" in found["save_steps"]
    (warning,) = TrainingConfig(cooldown_steps=5).warnings()
    assert warning.message == (
        "`cooldown_steps` is 5 and `scheduler_type` is 'cosine', which has no cooldown; "
        "try scheduler_type wsd"
    )
