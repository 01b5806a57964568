"""Starts with `initial_weights`: the record has their model; what cannot be used is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from failure import failure_of
from started import TINY, running_job, tiny_request
from test_job_calls import checkpoint_of

from app.transformer import GPTModel, TransformerConfig
from app.transformer.huggingface import export_model
from job_store.attempts import AttemptStore
from job_store.ids import new_id
from training_engine.v1 import config_pb2

WITHOUT_MODEL = {"max_steps": 20, "warmup_steps": 2, "logging_steps": 1}


@pytest.fixture
def model(data_root: Path) -> Path:
    """A Qwen3 form with a byte-level tokenizer beside it."""
    shape = TransformerConfig(
        vocab_size=256, hidden_size=16, num_layers=1, num_heads=2, max_position_embeddings=2048,
        position_encoding_type="rotary", layer_norm_type="rms_norm", activation="swiglu",
        bias=False, qk_norm=True,
    )  # fmt: skip
    folder = data_root / "model"
    export_model(GPTModel(shape), folder)
    letters = {letter: index for index, letter in enumerate(sorted(set("to be or not to be\n")))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(letters, []))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def start_with(weights: object, **fields: Any) -> Any:
    document = WITHOUT_MODEL | {"sequence_length": 64, "initial_weights": str(weights)} | fields
    return tiny_request(config_document=json.dumps(document))


async def test_the_record_has_the_model_and_tokenizer_of_the_folder(
    stubs: Any, model: Path
) -> None:
    job = (await stubs.jobs.StartJob(start_with("model"))).job
    assert job.config.initial_weights == str(model)
    assert job.config.tokenizer == str(model)
    assert job.config.model_config.hidden_size == 16
    assert job.config.model_config.qk_norm_weights
    assert job.config.sequence_length == 64
    assert "parameters" in job.model_summary


async def test_a_stored_configuration_keeps_what_it_leaves_out(stubs: Any, model: Path) -> None:
    document = json.dumps(WITHOUT_MODEL | {"initial_weights": "model", "sequence_length": 1500})
    request = config_pb2.CreateConfigRequest(name="tuned", config_document=document)
    stored = (await stubs.configs.CreateConfig(request)).config
    assert not stored.config.model_config.HasField("vocab_size")
    validated = await stubs.configs.ValidateConfig(
        config_pb2.ValidateConfigRequest(config_document=document)
    )
    assert validated.num_parameters == 8256
    started = await stubs.jobs.StartJob(tiny_request(config_id=stored.config_id))
    assert started.job.config.model_config.vocab_size == 256


async def test_a_checkpoint_gives_the_model_of_its_job(stubs: Any, attempts: AttemptStore) -> None:
    _, token = await running_job(stubs, attempts)
    record = checkpoint_of(token, 5)
    attempts.register_checkpoint(token, record)
    named = f"checkpoint://{record.checkpoint_id}"
    wider = start_with(named, model_config={"hidden_size": 48})
    refused = await failure_of(stubs.jobs.StartJob(wider))
    assert "token_embedding.weight is [256, " in refused.fields["initial_weights"]
    job = (await stubs.jobs.StartJob(start_with(named))).job
    assert job.config.initial_weights == named
    assert job.config.model_config.hidden_size == TINY["model_config"]["hidden_size"]
    gone = await failure_of(stubs.jobs.StartJob(start_with(f"checkpoint://{new_id('checkpoint')}")))
    assert gone.reason == "CHECKPOINT_NOT_FOUND"


async def test_what_cannot_be_used_is_refused_at_once(
    stubs: Any, model: Path, tmp_path: Path
) -> None:
    async def refusal(weights: object, **fields: Any) -> tuple[str, str]:
        failure = await failure_of(stubs.jobs.StartJob(start_with(weights, **fields)))
        return failure.reason, failure.fields.get("initial_weights", "")

    (tmp_path / "outside").mkdir()
    reason, message = await refusal(tmp_path / "outside")
    assert reason == "PATH_NOT_ALLOWED"
    assert "name a checkpoint as checkpoint://ID" in message
    assert (await refusal("gone"))[0] == "PATH_NOT_FOUND"
    reason, message = await refusal("model/model.safetensors")
    assert reason == "INVALID_CONFIG"
    assert "is a file of a Hugging Face model and no checkpoint; name its folder" in message
    description = model / "config.json"
    values = json.loads(description.read_text())
    description.write_text(json.dumps(values | {"model_type": "mamba"}))
    reason, message = await refusal("model")
    assert reason == "INVALID_CONFIG"
    assert "`model_type` is 'mamba'; one of 'gpt2', 'llama'" in message
    description.unlink()
    description.symlink_to(tmp_path / "outside.json")
    (tmp_path / "outside.json").write_text(json.dumps(values))
    assert (await refusal("model"))[0] == "PATH_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"model_config": {"hidden_size": 32}},
            "it does not fit: token_embedding.weight is [256, 16] there and [256, 32] here; ",
        ),
        (
            {"model_config": {"rope_theta": 5.0}},
            "`rope_theta` is 10000.0 there and 5.0 here; leave",
        ),
        (
            {"model_config": {"vocab_size": 300}},
            "token_embedding.weight is [256, 16] there and [300, 16] here; set `resize",
        ),
    ],
)
async def test_what_does_not_fit_is_listed_at_the_start(
    stubs: Any, model: Path, fields: dict[str, Any], message: str
) -> None:
    failure = await failure_of(stubs.jobs.StartJob(start_with("model", **fields)))
    assert failure.reason == "INVALID_CONFIG"
    assert message in failure.fields["initial_weights"]
    resized = start_with("model", model_config={"vocab_size": 300}, resize_vocabulary=True)
    assert (await stubs.jobs.StartJob(resized)).job.config.model_config.vocab_size == 300


async def test_a_checkpoint_file_is_left_to_the_worker(stubs: Any, data_root: Path) -> None:
    (data_root / "checkpoint_step_5.pt").write_bytes(b"read by the worker")
    job = (await stubs.jobs.StartJob(start_with("checkpoint_step_5.pt"))).job
    assert job.config.initial_weights == str(data_root / "checkpoint_step_5.pt")
    assert not job.config.model_config.HasField("vocab_size")
    assert job.model_summary == ""


async def test_adapters_need_weights_and_an_adapter_that_fits(
    stubs: Any, model: Path, data_root: Path
) -> None:
    job = (await stubs.jobs.StartJob(start_with("model", lora={"targets": ["query"]}))).job
    assert job.config.lora.rank == 8
    assert job.config.lora.targets == ["query"]
    assert "and 256 of adapters, which alone are trained" in job.model_summary
    lost = await failure_of(stubs.jobs.StartJob(tiny_request(config_document='{"freeze": ["x"]}')))
    assert lost.fields["freeze"].startswith("`freeze`: 'x' matches no parameter; names are")
    alone = await failure_of(stubs.jobs.StartJob(tiny_request(config_document='{"lora": {}}')))
    assert alone.fields["initial_weights"].startswith("`initial_weights` is not set and `lora` is")
    (data_root / "adapter").mkdir()
    fields = {"lora": {}, "initial_adapter": "adapter"}
    broken = await failure_of(stubs.jobs.StartJob(start_with("model", **fields)))
    assert "has no adapter_config.json" in broken.fields["initial_adapter"]
    outside = fields | {"initial_adapter": "/"}
    document = json.dumps(WITHOUT_MODEL | {"initial_weights": "model"} | outside)
    found = await stubs.configs.ValidateConfig(
        config_pb2.ValidateConfigRequest(config_document=document)
    )
    assert [error.field for error in found.errors] == ["initial_adapter"]
    assert "move the adapter there" in found.errors[0].message
