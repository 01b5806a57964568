"""Training configurations."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from gateway.schemas import examples
from gateway.schemas.base import Answer, Body, FieldProblem, PageToken, RequestId, with_example

SHOWN_AS = "x-shown-as"
"""Marks a schema that OpenAPI replaces by a reference to the named one."""


class TransformerConfig(Answer):
    """The model's shape."""

    vocab_size: int | None = Field(None, description="Number of token ids. Default 50257.")
    hidden_size: int | None = Field(None, description="Width of the residual stream. Default 768.")
    num_layers: int | None = Field(None, description="Number of blocks. Default 12.")
    num_heads: int | None = Field(None, description="Query heads in each attention. Default 12.")
    num_kv_heads: int | None = Field(
        None, description="Key and value heads; divides num_heads. Default num_heads."
    )
    intermediate_size: int | None = Field(
        None, description="Width of the feed-forward layer. Default 4 x hidden_size."
    )
    max_position_embeddings: int | None = Field(
        None, description="Longest sequence in tokens. Default 1024."
    )
    activation: str | None = Field(
        None, description="gelu_approximate (default), gelu, relu, relu_squared or swiglu."
    )
    dropout_rate: float | None = Field(
        None, description="Probability of dropping an activation, in [0, 1). Default 0."
    )
    position_encoding_type: str | None = Field(
        None, description="learned (default), sinusoidal or rotary."
    )
    layer_norm_type: str | None = Field(None, description="layer_norm (default) or rms_norm.")
    qk_norm: bool | None = Field(None, description="Normalise queries and keys. Default false.")
    bias: bool | None = Field(None, description="Biases in linear layers and norms. Default true.")
    tie_word_embeddings: bool | None = Field(
        None, description="Share the token embedding with the output layer. Default true."
    )
    initializer_range: float | None = Field(
        None, description="Standard deviation of initial weights. Default 0.02."
    )
    zero_init_output_projections: bool | None = Field(
        None, description="Start each block as the identity. Default false."
    )


class DataSource(Answer):
    """One of several datasets that are mixed."""

    path: str | None = Field(None, description="A path under an allowed root, or dataset://ID.")
    weight: float | None = Field(
        None, description="Its share of the samples, as part of the sum of weights. Default 1."
    )


class DataConfig(Answer):
    """Which documents of dataset_path are trained on, and how they follow each other."""

    files: list[str] | None = Field(
        None, description="Patterns relative to dataset_path; empty: told by names and contents."
    )
    split: str | None = Field(
        None, description="The part of the folder to train on; null for train."
    )
    document_separator: str | None = Field(
        None, description="Text between documents; null for the end-of-text id or a blank line."
    )
    max_documents: int | None = Field(None, description="The first so many; null for all.")
    shuffle_documents: bool | None = Field(
        None, description="An order of documents drawn from the seed. Default false."
    )
    sources: list[DataSource] | None = Field(
        None, description="Several datasets that are mixed, in place of dataset_path."
    )
    allow_skipped: bool | None = Field(
        None, description="Train although more bytes are skipped than read. Default false."
    )
    loss_on: str | None = Field(
        None, description="Of conversations: completion or all; null for completion."
    )
    chat_template: str | None = Field(
        None, description="Jinja; null for the one beside the tokenizer.json, else ChatML."
    )
    pack: bool | None = Field(
        None, description="Whether several conversations may share a window. Default true."
    )
    attend_across_documents: bool | None = Field(
        None,
        description="Whether a conversation sees those before it in its window. Default false.",
    )


class DistributedConfig(Answer):
    """How a job spreads over processes."""

    strategy: str | None = Field(None, description="ddp or fsdp.")
    processes: int | None = Field(None, description="Processes on one machine.")


class TrainingConfig(BaseModel):
    """A whole training run. Absent fields take the default named with each."""

    # `model_config` is pydantic's own name for settings, hence the underscore and the alias.
    model_config = {**with_example(examples.CONFIG), "extra": "forbid"}

    transformer: TransformerConfig | None = Field(
        None, alias="model_config", description="The model."
    )
    batch_size: int | None = Field(
        None, description="Sequences in a micro-batch on each device. Default 8."
    )
    learning_rate: float | None = Field(None, description="Peak learning rate. Default 6e-4.")
    max_steps: int | None = Field(None, description="Optimizer steps. Default 100000.")
    warmup_steps: int | None = Field(None, description="Steps of linear warm-up. Default 2000.")
    optimizer_type: str | None = Field(None, description="adamw, the only one.")
    weight_decay: float | None = Field(None, description="Decoupled decay. Default 0.01.")
    adam_beta1: float | None = Field(None, description="AdamW's beta1. Default 0.9.")
    adam_beta2: float | None = Field(None, description="AdamW's beta2. Default 0.999.")
    adam_epsilon: float | None = Field(None, description="AdamW's epsilon. Default 1e-8.")
    scheduler_type: str | None = Field(None, description="cosine (default), linear or constant.")
    min_lr_ratio: float | None = Field(
        None, description="Final learning rate as a fraction of the peak. Default 0.1."
    )
    gradient_accumulation_steps: int | None = Field(
        None, description="Micro-batches in one optimizer step. Default 1."
    )
    max_grad_norm: float | None = Field(
        None, description="Clip the gradient's norm at this. Default 1.0."
    )
    mixed_precision: str | None = Field(None, description="fp16 or bf16; null for full precision.")
    logging_steps: int | None = Field(
        None, description="Log metrics every so many steps. Default 100."
    )
    save_steps: int | None = Field(
        None, description="Save a checkpoint every so many steps. Default 1000."
    )
    eval_steps: int | None = Field(None, description="Validate every so many steps. Default 500.")
    eval_batches: int | None = Field(
        None, description="Micro-batches in one evaluation; 0 for the whole set. Default 64."
    )
    full_final_eval: bool | None = Field(
        None, description="Evaluate the last step on the whole validation set. Default true."
    )
    checkpoint_dir: str | None = Field(
        None, description="Where the library writes; ignored by the service, with a warning."
    )
    max_checkpoints_to_keep: int | None = Field(None, description="Checkpoints kept. Default 5.")
    resume_from_checkpoint: bool | None = Field(
        None, description="Continue from the newest checkpoint; the service decides this itself."
    )
    wandb_project: str | None = Field(
        None, description="Weights & Biases project; null for no tracking."
    )
    wandb_entity: str | None = Field(None, description="Weights & Biases team or user.")
    wandb_run_name: str | None = Field(None, description="Weights & Biases run name.")
    wandb_mode: str | None = Field(None, description="online, offline or disabled.")
    seed: int | None = Field(
        None, description="Seed of weights, data order and dropout. Default 1337."
    )
    dataset_path: str | None = Field(
        None, description="Training data: a path under an allowed root, or dataset://ID."
    )
    val_dataset_path: str | None = Field(
        None, description="Validation data; null for the last val_fraction of the training data."
    )
    val_fraction: float | None = Field(
        None, description="Share of the data held out for validation. Default 0.1."
    )
    tokenizer: str | None = Field(
        None, description="byte (default), char, gpt2, or the path of a tokenizer.json."
    )
    text_column: str | None = Field(
        None, description="Field of records with the text; a.b is within a struct. Default text."
    )
    token_dtype: str | None = Field(
        None, description="Type of the ids in .bin files without a header; null for what they show."
    )
    data: DataConfig | None = Field(
        None, description="Which files and documents of dataset_path are trained on."
    )
    sequence_length: int | None = Field(
        None, description="Tokens in a training window; null for the model's maximum."
    )
    num_workers: int | None = Field(None, description="Data loader processes. Default 0.")
    compile: bool | None = Field(
        None, description="Compile the model with torch.compile. Default false."
    )
    gradient_checkpointing: bool | None = Field(
        None, description="Recompute activations in the backward pass. Default false."
    )
    deterministic: bool | None = Field(
        None, description="Refuse operations without a deterministic form. Default false."
    )
    device: str | None = Field(None, description="Where it trains; auto by default.")
    best_metric: str | None = Field(
        None, description="The metric that marks the best checkpoint. Default val_loss."
    )
    distributed: DistributedConfig | None = Field(
        None, description="Processes of the run; null for one."
    )


def _object_or_text(value: Any) -> Any:
    if isinstance(value, dict | str):
        return value
    raise ValueError("should be an object, or the text of a YAML or JSON document")


# It passes through as it came: the control plane alone validates, so that every door lists the
# same problems. OpenAPI shows what it may hold.
ObjectOrText = Annotated[dict[str, Any] | str, BeforeValidator(_object_or_text)]
ConfigDocument = Annotated[
    ObjectOrText,
    WithJsonSchema(
        {
            "anyOf": [
                {SHOWN_AS: "TrainingConfig"},
                {"type": "string", "description": "The same as the text of a YAML or JSON file."},
            ]
        }
    ),
]
"""A configuration as its author wrote it: an object, or the text of a YAML or JSON file."""


class CreateConfigBody(Body):
    """A configuration to store."""

    model_config = with_example(
        {"name": "char-small", "config": examples.CONFIG}, extra="forbid", strict=True
    )

    name: str = Field(description="A name to find it by, 1 to 200 characters.")
    config: ConfigDocument = Field(description="The configuration, an object or its text.")
    request_id: RequestId = ""


class ValidateConfigBody(Body):
    """A configuration to check."""

    model_config = with_example({"config": examples.CONFIG}, extra="forbid", strict=True)

    config: ObjectOrText = Field(
        description="An object, or the text of a YAML or JSON file: what makes it no valid "
        "configuration is the answer."
    )
    dataset_path: str | None = Field(
        None, description="Training data, as a start would name it; wins over the configuration's."
    )
    val_dataset_path: str | None = Field(None, description="Validation data, likewise.")


class Config(Answer):
    """A stored configuration, every field resolved."""

    model_config = with_example(examples.STORED_CONFIG)

    config_id: str = Field(description="Its id.")
    name: str = Field(description="Its name.")
    config: TrainingConfig = Field(description="Every field, the absent ones with their defaults.")
    created_at: str = Field(description="RFC 3339, UTC.")


class CreatedConfig(Config):
    """The stored configuration and what was questionable about it."""

    model_config = with_example({**examples.STORED_CONFIG, "warnings": [examples.WARNING]})

    warnings: list[FieldProblem] = Field(description="Questionable values that were accepted.")


class ConfigPage(Answer):
    """Configurations, newest first."""

    model_config = with_example({"configs": [examples.STORED_CONFIG], "next_page_token": None})

    configs: list[Config] = Field(description="The rows.")
    next_page_token: PageToken


class MemoryEstimate(Answer):
    """A rough account of the memory that training takes, in bytes."""

    model_config = with_example(examples.VALIDATION["memory_estimate"])

    parameters_bytes: int = Field(description="The weights.")
    gradients_bytes: int = Field(description="Their gradients.")
    optimizer_bytes: int = Field(description="The optimizer's state.")
    activations_bytes: int = Field(description="Of one micro-batch.")
    total_bytes: int = Field(description="All of it.")


class Validation(Answer):
    """Whether a configuration would be accepted."""

    model_config = with_example(examples.VALIDATION)

    valid: bool = Field(description="Whether it would be accepted.")
    errors: list[FieldProblem] = Field(description="Every fault.")
    warnings: list[FieldProblem] = Field(description="Questionable values that would be accepted.")
    num_parameters: int | None = Field(description="Null where the model is invalid.")
    memory_estimate: MemoryEstimate | None = Field(description="Null where it is invalid.")
