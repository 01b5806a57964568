import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from training_engine.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RopeScaling(_message.Message):
    __slots__ = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    LOW_FREQ_FACTOR_FIELD_NUMBER: _ClassVar[int]
    HIGH_FREQ_FACTOR_FIELD_NUMBER: _ClassVar[int]
    ORIGINAL_MAX_POSITION_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int
    def __init__(self, factor: _Optional[float] = ..., low_freq_factor: _Optional[float] = ..., high_freq_factor: _Optional[float] = ..., original_max_position_embeddings: _Optional[int] = ...) -> None: ...

class TransformerConfig(_message.Message):
    __slots__ = ("vocab_size", "hidden_size", "num_layers", "num_heads", "num_kv_heads", "intermediate_size", "max_position_embeddings", "activation", "dropout_rate", "position_encoding_type", "layer_norm_type", "qk_norm", "bias", "tie_word_embeddings", "initializer_range", "zero_init_output_projections", "head_dim", "rope_theta", "rope_scaling", "norm_epsilon", "qk_norm_weights", "qkv_bias", "ngram_size", "ngram_rows", "mix_in_embedding")
    VOCAB_SIZE_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_SIZE_FIELD_NUMBER: _ClassVar[int]
    NUM_LAYERS_FIELD_NUMBER: _ClassVar[int]
    NUM_HEADS_FIELD_NUMBER: _ClassVar[int]
    NUM_KV_HEADS_FIELD_NUMBER: _ClassVar[int]
    INTERMEDIATE_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_POSITION_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_RATE_FIELD_NUMBER: _ClassVar[int]
    POSITION_ENCODING_TYPE_FIELD_NUMBER: _ClassVar[int]
    LAYER_NORM_TYPE_FIELD_NUMBER: _ClassVar[int]
    QK_NORM_FIELD_NUMBER: _ClassVar[int]
    BIAS_FIELD_NUMBER: _ClassVar[int]
    TIE_WORD_EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    INITIALIZER_RANGE_FIELD_NUMBER: _ClassVar[int]
    ZERO_INIT_OUTPUT_PROJECTIONS_FIELD_NUMBER: _ClassVar[int]
    HEAD_DIM_FIELD_NUMBER: _ClassVar[int]
    ROPE_THETA_FIELD_NUMBER: _ClassVar[int]
    ROPE_SCALING_FIELD_NUMBER: _ClassVar[int]
    NORM_EPSILON_FIELD_NUMBER: _ClassVar[int]
    QK_NORM_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    QKV_BIAS_FIELD_NUMBER: _ClassVar[int]
    NGRAM_SIZE_FIELD_NUMBER: _ClassVar[int]
    NGRAM_ROWS_FIELD_NUMBER: _ClassVar[int]
    MIX_IN_EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    intermediate_size: int
    max_position_embeddings: int
    activation: str
    dropout_rate: float
    position_encoding_type: str
    layer_norm_type: str
    qk_norm: bool
    bias: bool
    tie_word_embeddings: bool
    initializer_range: float
    zero_init_output_projections: bool
    head_dim: int
    rope_theta: float
    rope_scaling: RopeScaling
    norm_epsilon: float
    qk_norm_weights: bool
    qkv_bias: bool
    ngram_size: int
    ngram_rows: int
    mix_in_embedding: bool
    def __init__(self, vocab_size: _Optional[int] = ..., hidden_size: _Optional[int] = ..., num_layers: _Optional[int] = ..., num_heads: _Optional[int] = ..., num_kv_heads: _Optional[int] = ..., intermediate_size: _Optional[int] = ..., max_position_embeddings: _Optional[int] = ..., activation: _Optional[str] = ..., dropout_rate: _Optional[float] = ..., position_encoding_type: _Optional[str] = ..., layer_norm_type: _Optional[str] = ..., qk_norm: _Optional[bool] = ..., bias: _Optional[bool] = ..., tie_word_embeddings: _Optional[bool] = ..., initializer_range: _Optional[float] = ..., zero_init_output_projections: _Optional[bool] = ..., head_dim: _Optional[int] = ..., rope_theta: _Optional[float] = ..., rope_scaling: _Optional[_Union[RopeScaling, _Mapping]] = ..., norm_epsilon: _Optional[float] = ..., qk_norm_weights: _Optional[bool] = ..., qkv_bias: _Optional[bool] = ..., ngram_size: _Optional[int] = ..., ngram_rows: _Optional[int] = ..., mix_in_embedding: _Optional[bool] = ...) -> None: ...

class DataSource(_message.Message):
    __slots__ = ("path", "weight")
    PATH_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    path: str
    weight: float
    def __init__(self, path: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class DataConfig(_message.Message):
    __slots__ = ("files", "split", "document_separator", "max_documents", "shuffle_documents", "allow_skipped", "sources", "loss_on", "chat_template", "pack", "attend_across_documents")
    FILES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_SEPARATOR_FIELD_NUMBER: _ClassVar[int]
    MAX_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SHUFFLE_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_SKIPPED_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LOSS_ON_FIELD_NUMBER: _ClassVar[int]
    CHAT_TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    PACK_FIELD_NUMBER: _ClassVar[int]
    ATTEND_ACROSS_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedScalarFieldContainer[str]
    split: str
    document_separator: str
    max_documents: int
    shuffle_documents: bool
    allow_skipped: bool
    sources: _containers.RepeatedCompositeFieldContainer[DataSource]
    loss_on: str
    chat_template: str
    pack: bool
    attend_across_documents: bool
    def __init__(self, files: _Optional[_Iterable[str]] = ..., split: _Optional[str] = ..., document_separator: _Optional[str] = ..., max_documents: _Optional[int] = ..., shuffle_documents: _Optional[bool] = ..., allow_skipped: _Optional[bool] = ..., sources: _Optional[_Iterable[_Union[DataSource, _Mapping]]] = ..., loss_on: _Optional[str] = ..., chat_template: _Optional[str] = ..., pack: _Optional[bool] = ..., attend_across_documents: _Optional[bool] = ...) -> None: ...

class DistributedConfig(_message.Message):
    __slots__ = ("strategy", "processes")
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    strategy: str
    processes: int
    def __init__(self, strategy: _Optional[str] = ..., processes: _Optional[int] = ...) -> None: ...

class EarlyStoppingConfig(_message.Message):
    __slots__ = ("metric", "patience", "min_delta")
    METRIC_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    MIN_DELTA_FIELD_NUMBER: _ClassVar[int]
    metric: str
    patience: int
    min_delta: float
    def __init__(self, metric: _Optional[str] = ..., patience: _Optional[int] = ..., min_delta: _Optional[float] = ...) -> None: ...

class LoraConfig(_message.Message):
    __slots__ = ("rank", "alpha", "targets", "dropout")
    RANK_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    TARGETS_FIELD_NUMBER: _ClassVar[int]
    DROPOUT_FIELD_NUMBER: _ClassVar[int]
    rank: int
    alpha: float
    targets: _containers.RepeatedScalarFieldContainer[str]
    dropout: float
    def __init__(self, rank: _Optional[int] = ..., alpha: _Optional[float] = ..., targets: _Optional[_Iterable[str]] = ..., dropout: _Optional[float] = ...) -> None: ...

class AlertRule(_message.Message):
    __slots__ = ("when", "metric", "value", "points", "seconds")
    WHEN_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    when: str
    metric: str
    value: float
    points: int
    seconds: float
    def __init__(self, when: _Optional[str] = ..., metric: _Optional[str] = ..., value: _Optional[float] = ..., points: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class TrainingConfig(_message.Message):
    __slots__ = ("model_config", "batch_size", "learning_rate", "max_steps", "warmup_steps", "optimizer_type", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "scheduler_type", "min_lr_ratio", "gradient_accumulation_steps", "max_grad_norm", "mixed_precision", "logging_steps", "save_steps", "eval_steps", "checkpoint_dir", "max_checkpoints_to_keep", "resume_from_checkpoint", "wandb_project", "wandb_entity", "wandb_run_name", "wandb_mode", "seed", "dataset_path", "val_dataset_path", "val_fraction", "tokenizer", "sequence_length", "num_workers", "compile", "gradient_checkpointing", "deterministic", "device", "best_metric", "distributed", "eval_batches", "full_final_eval", "text_column", "token_dtype", "data", "cooldown_steps", "muon_learning_rate", "muon_momentum", "z_loss", "early_stopping", "ema_decay", "muon_iterations", "trackers", "mlflow_experiment", "mlflow_run_name", "initial_weights", "resize_vocabulary", "freeze", "lora", "initial_adapter", "sample_prompts", "sample_tokens", "sample_temperature", "sample_seed", "alerts", "alert_webhook")
    MODEL_CONFIG_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_TYPE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_DECAY_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA1_FIELD_NUMBER: _ClassVar[int]
    ADAM_BETA2_FIELD_NUMBER: _ClassVar[int]
    ADAM_EPSILON_FIELD_NUMBER: _ClassVar[int]
    SCHEDULER_TYPE_FIELD_NUMBER: _ClassVar[int]
    MIN_LR_RATIO_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_ACCUMULATION_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    MIXED_PRECISION_FIELD_NUMBER: _ClassVar[int]
    LOGGING_STEPS_FIELD_NUMBER: _ClassVar[int]
    SAVE_STEPS_FIELD_NUMBER: _ClassVar[int]
    EVAL_STEPS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_DIR_FIELD_NUMBER: _ClassVar[int]
    MAX_CHECKPOINTS_TO_KEEP_FIELD_NUMBER: _ClassVar[int]
    RESUME_FROM_CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    WANDB_PROJECT_FIELD_NUMBER: _ClassVar[int]
    WANDB_ENTITY_FIELD_NUMBER: _ClassVar[int]
    WANDB_RUN_NAME_FIELD_NUMBER: _ClassVar[int]
    WANDB_MODE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_FRACTION_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_LENGTH_FIELD_NUMBER: _ClassVar[int]
    NUM_WORKERS_FIELD_NUMBER: _ClassVar[int]
    COMPILE_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_CHECKPOINTING_FIELD_NUMBER: _ClassVar[int]
    DETERMINISTIC_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    BEST_METRIC_FIELD_NUMBER: _ClassVar[int]
    DISTRIBUTED_FIELD_NUMBER: _ClassVar[int]
    EVAL_BATCHES_FIELD_NUMBER: _ClassVar[int]
    FULL_FINAL_EVAL_FIELD_NUMBER: _ClassVar[int]
    TEXT_COLUMN_FIELD_NUMBER: _ClassVar[int]
    TOKEN_DTYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_STEPS_FIELD_NUMBER: _ClassVar[int]
    MUON_LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    MUON_MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    Z_LOSS_FIELD_NUMBER: _ClassVar[int]
    EARLY_STOPPING_FIELD_NUMBER: _ClassVar[int]
    EMA_DECAY_FIELD_NUMBER: _ClassVar[int]
    MUON_ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    TRACKERS_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_EXPERIMENT_FIELD_NUMBER: _ClassVar[int]
    MLFLOW_RUN_NAME_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    RESIZE_VOCABULARY_FIELD_NUMBER: _ClassVar[int]
    FREEZE_FIELD_NUMBER: _ClassVar[int]
    LORA_FIELD_NUMBER: _ClassVar[int]
    INITIAL_ADAPTER_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_SEED_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    ALERT_WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    model_config: TransformerConfig
    batch_size: int
    learning_rate: float
    max_steps: int
    warmup_steps: int
    optimizer_type: str
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    scheduler_type: str
    min_lr_ratio: float
    gradient_accumulation_steps: int
    max_grad_norm: float
    mixed_precision: str
    logging_steps: int
    save_steps: int
    eval_steps: int
    checkpoint_dir: str
    max_checkpoints_to_keep: int
    resume_from_checkpoint: bool
    wandb_project: str
    wandb_entity: str
    wandb_run_name: str
    wandb_mode: str
    seed: int
    dataset_path: str
    val_dataset_path: str
    val_fraction: float
    tokenizer: str
    sequence_length: int
    num_workers: int
    compile: bool
    gradient_checkpointing: bool
    deterministic: bool
    device: str
    best_metric: str
    distributed: DistributedConfig
    eval_batches: int
    full_final_eval: bool
    text_column: str
    token_dtype: str
    data: DataConfig
    cooldown_steps: int
    muon_learning_rate: float
    muon_momentum: float
    z_loss: float
    early_stopping: EarlyStoppingConfig
    ema_decay: float
    muon_iterations: int
    trackers: _containers.RepeatedScalarFieldContainer[str]
    mlflow_experiment: str
    mlflow_run_name: str
    initial_weights: str
    resize_vocabulary: bool
    freeze: _containers.RepeatedScalarFieldContainer[str]
    lora: LoraConfig
    initial_adapter: str
    sample_prompts: _containers.RepeatedScalarFieldContainer[str]
    sample_tokens: int
    sample_temperature: float
    sample_seed: int
    alerts: _containers.RepeatedCompositeFieldContainer[AlertRule]
    alert_webhook: str
    def __init__(self, model_config: _Optional[_Union[TransformerConfig, _Mapping]] = ..., batch_size: _Optional[int] = ..., learning_rate: _Optional[float] = ..., max_steps: _Optional[int] = ..., warmup_steps: _Optional[int] = ..., optimizer_type: _Optional[str] = ..., weight_decay: _Optional[float] = ..., adam_beta1: _Optional[float] = ..., adam_beta2: _Optional[float] = ..., adam_epsilon: _Optional[float] = ..., scheduler_type: _Optional[str] = ..., min_lr_ratio: _Optional[float] = ..., gradient_accumulation_steps: _Optional[int] = ..., max_grad_norm: _Optional[float] = ..., mixed_precision: _Optional[str] = ..., logging_steps: _Optional[int] = ..., save_steps: _Optional[int] = ..., eval_steps: _Optional[int] = ..., checkpoint_dir: _Optional[str] = ..., max_checkpoints_to_keep: _Optional[int] = ..., resume_from_checkpoint: _Optional[bool] = ..., wandb_project: _Optional[str] = ..., wandb_entity: _Optional[str] = ..., wandb_run_name: _Optional[str] = ..., wandb_mode: _Optional[str] = ..., seed: _Optional[int] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ..., val_fraction: _Optional[float] = ..., tokenizer: _Optional[str] = ..., sequence_length: _Optional[int] = ..., num_workers: _Optional[int] = ..., compile: _Optional[bool] = ..., gradient_checkpointing: _Optional[bool] = ..., deterministic: _Optional[bool] = ..., device: _Optional[str] = ..., best_metric: _Optional[str] = ..., distributed: _Optional[_Union[DistributedConfig, _Mapping]] = ..., eval_batches: _Optional[int] = ..., full_final_eval: _Optional[bool] = ..., text_column: _Optional[str] = ..., token_dtype: _Optional[str] = ..., data: _Optional[_Union[DataConfig, _Mapping]] = ..., cooldown_steps: _Optional[int] = ..., muon_learning_rate: _Optional[float] = ..., muon_momentum: _Optional[float] = ..., z_loss: _Optional[float] = ..., early_stopping: _Optional[_Union[EarlyStoppingConfig, _Mapping]] = ..., ema_decay: _Optional[float] = ..., muon_iterations: _Optional[int] = ..., trackers: _Optional[_Iterable[str]] = ..., mlflow_experiment: _Optional[str] = ..., mlflow_run_name: _Optional[str] = ..., initial_weights: _Optional[str] = ..., resize_vocabulary: _Optional[bool] = ..., freeze: _Optional[_Iterable[str]] = ..., lora: _Optional[_Union[LoraConfig, _Mapping]] = ..., initial_adapter: _Optional[str] = ..., sample_prompts: _Optional[_Iterable[str]] = ..., sample_tokens: _Optional[int] = ..., sample_temperature: _Optional[float] = ..., sample_seed: _Optional[int] = ..., alerts: _Optional[_Iterable[_Union[AlertRule, _Mapping]]] = ..., alert_webhook: _Optional[str] = ...) -> None: ...

class Config(_message.Message):
    __slots__ = ("config_id", "name", "config", "created_at")
    CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    config_id: str
    name: str
    config: TrainingConfig
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, config_id: _Optional[str] = ..., name: _Optional[str] = ..., config: _Optional[_Union[TrainingConfig, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FieldProblem(_message.Message):
    __slots__ = ("field", "message")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    field: str
    message: str
    def __init__(self, field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class MemoryEstimate(_message.Message):
    __slots__ = ("parameters_bytes", "gradients_bytes", "optimizer_bytes", "activations_bytes", "total_bytes")
    PARAMETERS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    parameters_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    total_bytes: int
    def __init__(self, parameters_bytes: _Optional[int] = ..., gradients_bytes: _Optional[int] = ..., optimizer_bytes: _Optional[int] = ..., activations_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class CreateConfigRequest(_message.Message):
    __slots__ = ("name", "config", "config_document", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    config: TrainingConfig
    config_document: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., config: _Optional[_Union[TrainingConfig, _Mapping]] = ..., config_document: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateConfigResponse(_message.Message):
    __slots__ = ("config", "warnings")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    config: Config
    warnings: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    def __init__(self, config: _Optional[_Union[Config, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ...) -> None: ...

class GetConfigRequest(_message.Message):
    __slots__ = ("config_id",)
    CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    config_id: str
    def __init__(self, config_id: _Optional[str] = ...) -> None: ...

class GetConfigResponse(_message.Message):
    __slots__ = ("config",)
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    config: Config
    def __init__(self, config: _Optional[_Union[Config, _Mapping]] = ...) -> None: ...

class ListConfigsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConfigsResponse(_message.Message):
    __slots__ = ("configs", "next_page_token")
    CONFIGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    configs: _containers.RepeatedCompositeFieldContainer[Config]
    next_page_token: str
    def __init__(self, configs: _Optional[_Iterable[_Union[Config, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteConfigRequest(_message.Message):
    __slots__ = ("config_id", "request_id")
    CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    config_id: str
    request_id: str
    def __init__(self, config_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteConfigResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ValidateConfigRequest(_message.Message):
    __slots__ = ("config", "config_document", "dataset_path", "val_dataset_path")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    config: TrainingConfig
    config_document: str
    dataset_path: str
    val_dataset_path: str
    def __init__(self, config: _Optional[_Union[TrainingConfig, _Mapping]] = ..., config_document: _Optional[str] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ...) -> None: ...

class ValidateConfigResponse(_message.Message):
    __slots__ = ("valid", "errors", "warnings", "num_parameters", "memory_estimate")
    VALID_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    NUM_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    errors: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    warnings: _containers.RepeatedCompositeFieldContainer[FieldProblem]
    num_parameters: int
    memory_estimate: MemoryEstimate
    def __init__(self, valid: _Optional[bool] = ..., errors: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[FieldProblem, _Mapping]]] = ..., num_parameters: _Optional[int] = ..., memory_estimate: _Optional[_Union[MemoryEstimate, _Mapping]] = ...) -> None: ...
