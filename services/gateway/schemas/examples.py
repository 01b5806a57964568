"""What the OpenAPI document shows: one small run, the same in every example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Example = dict[str, Any]
Schemas = Mapping[str, dict[str, Any]]

JOB_ID = "job_01jz8h4t6v3n5q7r9s2w4x6y8z"
CONFIG_ID = "cfg_01jz8h4a0b1c2d3e4f5g6h7j8k"
CHECKPOINT_ID = "ckpt_01jz8h9p2q4r6s8t0v1w3x5y7z"
DATASET_ID = "ds_01jz8h3m5n7p9q1r3s5t7v9w1x"
WORKER_ID = "worker_01jz8h2k4m6n8p0q2r4s6t8v0w"
IDS = {
    "job_id": JOB_ID,
    "config_id": CONFIG_ID,
    "checkpoint_id": CHECKPOINT_ID,
    "dataset_id": DATASET_ID,
    "worker_id": WORKER_ID,
}
CREATED_AT = "2030-01-01T12:00:00Z"
LOGGED_AT = "2030-01-01T12:00:25.250Z"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

CONFIG: Example = {
    "model_config": {"vocab_size": 256, "hidden_size": 128, "num_layers": 4, "num_heads": 4},
    "batch_size": 12,
    "learning_rate": 0.001,
    "max_steps": 2000,
    "warmup_steps": 100,
    "tokenizer": "byte",
}

WARNING: Example = {
    "field": "warmup_steps",
    "message": "`warmup_steps` is 2000 and `max_steps` 2000: the run ends while it warms up",
}

STORED_CONFIG: Example = {
    "config_id": CONFIG_ID,
    "name": "char-small",
    "config": CONFIG,
    "created_at": CREATED_AT,
}

VALIDATION: Example = {
    "valid": True,
    "errors": [],
    "warnings": [],
    "num_parameters": 957_184,
    "memory_estimate": {
        "parameters_bytes": 3_828_736,
        "gradients_bytes": 3_828_736,
        "optimizer_bytes": 7_657_472,
        "activations_bytes": 150_994_944,
        "total_bytes": 166_309_888,
    },
}

EXECUTION: Example = {
    "priority": "default",
    "processes": 1,
    "nodes": 1,
    "device": "auto",
    "max_retries": 3,
    "stop_timeout_seconds": 300.0,
    "stall_timeout_seconds": 600.0,
}

JOB: Example = {
    "job_id": JOB_ID,
    "name": "first-run",
    "status": "running",
    "current_step": 420,
    "max_steps": 2000,
    "progress": 0.21,
    "attempt": 1,
    "worker_id": WORKER_ID,
    "created_at": CREATED_AT,
    "started_at": "2030-01-01T12:00:01Z",
    "updated_at": LOGGED_AT,
    "eta_seconds": 93.5,
    "running_seconds": 24.6,
    "phase": "validating",
    "phase_done": 12,
    "phase_total": 64,
    "phase_per_second": 16.0,
    "config_id": CONFIG_ID,
    "dataset_path": "/data/shakespeare.txt",
    "execution": EXECUTION,
    "warnings": [],
    "config": CONFIG,
}

LOG_LINE: Example = {
    "sequence": 17,
    "attempt": 1,
    "stream": "stderr",
    "text": "step 420: loss 2.31",
    "created_at": LOGGED_AT,
}

METRIC_POINT: Example = {
    "step": 420,
    "loss": 2.31,
    "perplexity": 10.07,
    "lr": 0.00096,
    "grad_norm": 0.41,
    "tokens_per_second": 13_100.0,
    "steps_per_second": 17.1,
    "tokens_seen": 322_560,
    "attempt": 1,
    "created_at": LOGGED_AT,
    "custom": {"weight_norm": 41.7},
}

CHECKPOINT: Example = {
    "checkpoint_id": CHECKPOINT_ID,
    "job_id": JOB_ID,
    "step": 400,
    "loss": 2.33,
    "val_loss": 2.37,
    "size_bytes": 11_534_336,
    "sha256": SHA256,
    "created_at": LOGGED_AT,
    "is_best": True,
    "attempt": 1,
}

DATASET: Example = {
    "dataset_id": DATASET_ID,
    "name": "shakespeare.txt",
    "size_bytes": 1_115_394,
    "sha256": SHA256,
    "created_at": CREATED_AT,
}

WORKER: Example = {
    "worker_id": WORKER_ID,
    "state": "busy",
    "device": "cpu",
    "hostname": "trainer-0",
    "pid": 4242,
    "job_id": JOB_ID,
    "attempt": 1,
    "last_heartbeat": LOGGED_AT,
    "started_at": "2030-01-01T11:58:00Z",
}

GENERATED_SAMPLE: Example = {
    "text": " Tis",
    "token_ids": [32, 84, 105, 115],
    "finish_reason": "length",
    "logprobs": None,
}

EVALUATION: Example = {
    "loss": 2.41,
    "perplexity": 11.13,
    "bits_per_byte": 1.17,
    "tokens": 9000,
    "context": 512,
    "stride": 256,
}

_ANSWERS: Schemas = {
    "TrainingConfig": CONFIG,
    "Config": STORED_CONFIG,
    "CreatedConfig": {**STORED_CONFIG, "warnings": [WARNING]},
    "FieldProblem": WARNING,
    "Validation": VALIDATION,
    "MemoryEstimate": VALIDATION["memory_estimate"],
    "Job": JOB,
    "JobSummary": JOB,
    "JobStatus": JOB,
    "StoppedJob": {**JOB, "status": "stopping"},
    "ResumedJob": {**JOB, "status": "queued", "attempt": 2, "resumed_from_step": 400},
    "Execution": EXECUTION,
    "LogLine": LOG_LINE,
    "Rewind": {
        "to_step": 400,
        "attempt": 2,
        "reason": "attempt 1 lost its worker; attempt 2 continues from step 400",
    },
    "MetricPoint": METRIC_POINT,
    "Metrics": {
        **METRIC_POINT,
        "job_id": JOB_ID,
        "val_loss": 2.37,
        "val_perplexity": 10.7,
        "attempt": None,
        "created_at": None,
    },
    "History": {"job_id": JOB_ID},
    "Alert": {
        "rule": 0,
        "text": "val_loss is 5.2 at step 400, above 5",
        "step": 400,
        "value": 5.2,
        "alert_id": "alert_3f786850e387550fdab836ed7e6dc881de23001b",
        "delivery": "delivered",
        "delivery_tries": 1,
        "delivery_problem": None,
    },
    "Alerts": {"job_id": JOB_ID},
    "SampledText": {"prompt": "ROMEO:", "text": " What light"},
    "SampledStep": {"step": 400, "created_at": LOGGED_AT, "attempt": 1},
    "SamplePage": {"job_id": JOB_ID},
    "Throughput": {**METRIC_POINT, "job_id": JOB_ID},
    "Checkpoint": CHECKPOINT,
    "GeneratedToken": {"token_id": 84, "text": "T"},
    "EvaluationProgress": {"tokens_done": 512, "tokens_total": 9000},
    "Evaluation": EVALUATION,
    "MeasuredCheckpoint": {"checkpoint_id": CHECKPOINT_ID, **EVALUATION},
    "GeneratedText": {
        "checkpoint_id": CHECKPOINT_ID,
        "prompt": "ROMEO:",
        "text": " Tis",
        "token_ids": [32, 84, 105, 115],
        "finish_reason": "length",
        "prompt_tokens": 6,
        "dropped_prompt_tokens": 0,
        "samples": [GENERATED_SAMPLE],
    },
    "GeneratedSample": GENERATED_SAMPLE,
    "Dataset": DATASET,
    "Worker": WORKER,
    "Problem": {
        "type": "urn:training-engine:problem:job_not_found",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no job 'job_x'; list the jobs to see which exist",
        "reason": "job_not_found",
        "errors": [],
    },
    "SessionState": {
        "required": True,
        "authenticated": True,
        "expires_at": "2030-01-08T12:00:00Z",
    },
    "Health": {"status": "ok"},
}
_BODIES: Schemas = {
    "CreateConfigBody": {"name": "char-small", "config": CONFIG},
    "ValidateConfigBody": {"config": CONFIG},
    "StartJobBody": {
        "config": CONFIG,
        "dataset_path": "/data/shakespeare.txt",
        "name": "first-run",
    },
    "ForkJobBody": {
        "checkpoint_id": CHECKPOINT_ID,
        "config": {"learning_rate": 0.0003, "max_steps": 4000},
        "optimizer": "kept",
        "name": "lower-rate",
    },
    "StartSweepBody": {
        "document": {
            "config": CONFIG,
            "parameters": {"learning_rate": {"log_uniform": [0.0001, 0.01]}, "batch_size": [8, 16]},
            "trials": 16,
            "seed": 1,
            "halving": {"first_rung": 200, "factor": 3},
        },
        "dataset_path": "/data/shakespeare.txt",
        "name": "rates",
    },
    "ResumeJobBody": {"max_steps": 4000},
    "UpdateJobBody": {"add_tags": ["baseline"], "remove_tags": ["draft"], "notes": "As the paper."},
    "EvaluateBody": {"dataset_path": "/data/shakespeare.txt", "stride": 256},
    "GenerateBody": {"prompt": "ROMEO:", "max_tokens": 100, "temperature": 0.8, "seed": 1},
    "SessionBody": {"token": "a-token-of-this-gateway"},
}


def example(name: str, schemas: Schemas) -> Example:
    """Return an example of a schema of the document; empty for a part of a configuration or a body.

    A required field without a written example is null, or is made of the examples of the schemas
    that it refers to.
    """
    if name in _BODIES:
        return _BODIES[name]
    written = _ANSWERS.get(name, {})
    properties = schemas[name].get("properties", {})
    must_have = schemas[name].get("required", [])
    return {
        field: written[field] if field in written else _of_field(schema, schemas)
        for field, schema in properties.items()
        if field in written or field in must_have
    }


def _of_field(schema: dict[str, Any], schemas: Schemas) -> Any:
    if choices := schema.get("anyOf"):
        return None if {"type": "null"} in choices else _of_field(choices[0], schemas)
    if "$ref" in schema:
        return example(schema["$ref"].rpartition("/")[2], schemas)
    if schema["type"] == "array":
        rows = schema["items"]
        return [_of_field(rows, schemas)] if "$ref" in rows else []
    return {"object": {}, "string": "", "boolean": False}.get(schema["type"], 0)
