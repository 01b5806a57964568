"""What the OpenAPI document shows: one small run, the same in every example."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

JOB_ID = "job_01jz8h4t6v3n5q7r9s2w4x6y8z"
CONFIG_ID = "cfg_01jz8h4a0b1c2d3e4f5g6h7j8k"
CHECKPOINT_ID = "ckpt_01jz8h9p2q4r6s8t0v1w3x5y7z"
DATASET_ID = "ds_01jz8h3m5n7p9q1r3s5t7v9w1x"
WORKER_ID = "worker_01jz8h2k4m6n8p0q2r4s6t8v0w"
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

JOB_STATUS: Example = {
    "job_id": JOB_ID,
    "name": "first-run",
    "status": "running",
    "current_step": 420,
    "max_steps": 2000,
    "progress": 0.21,
    "attempt": 1,
    "worker_id": WORKER_ID,
    "resumed_from_step": None,
    "created_at": CREATED_AT,
    "started_at": "2030-01-01T12:00:01Z",
    "completed_at": None,
    "error": None,
    "eta_seconds": 93.5,
    "running_seconds": 24.6,
    "phase": "validating",
    "phase_done": 12,
    "phase_total": 64,
    "message": None,
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

JOB_SUMMARY: Example = {
    **JOB_STATUS,
    "updated_at": LOGGED_AT,
    "config_id": CONFIG_ID,
    "dataset_path": "/data/shakespeare.txt",
    "val_dataset_path": None,
    "execution": EXECUTION,
    "warnings": [],
    "exactness_notes": [],
    "consecutive_failures": 0,
    "error_reason": None,
    "log_tail": None,
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
    "val_loss": None,
    "val_perplexity": None,
    "gpu_memory_allocated_gb": None,
    "mfu": None,
    "attempt": 1,
    "created_at": LOGGED_AT,
    "custom": {"weight_norm": 41.7},
}

LATEST_METRICS: Example = {
    **METRIC_POINT,
    "job_id": JOB_ID,
    "val_loss": 2.37,
    "val_perplexity": 10.7,
    "attempt": None,
    "created_at": None,
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
