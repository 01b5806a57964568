import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from training_engine.v1 import checkpoint_pb2 as _checkpoint_pb2
from training_engine.v1 import config_pb2 as _config_pb2
from training_engine.v1 import metrics_pb2 as _metrics_pb2
from training_engine.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATUS_UNSPECIFIED: _ClassVar[JobStatus]
    JOB_STATUS_QUEUED: _ClassVar[JobStatus]
    JOB_STATUS_RUNNING: _ClassVar[JobStatus]
    JOB_STATUS_STOPPING: _ClassVar[JobStatus]
    JOB_STATUS_STOPPED: _ClassVar[JobStatus]
    JOB_STATUS_SUCCEEDED: _ClassVar[JobStatus]
    JOB_STATUS_FAILED: _ClassVar[JobStatus]

class JobPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_PHASE_UNSPECIFIED: _ClassVar[JobPhase]
    JOB_PHASE_STARTING: _ClassVar[JobPhase]
    JOB_PHASE_TRAINING: _ClassVar[JobPhase]
    JOB_PHASE_VALIDATING: _ClassVar[JobPhase]
    JOB_PHASE_SAVING: _ClassVar[JobPhase]
    JOB_PHASE_READING: _ClassVar[JobPhase]
    JOB_PHASE_TOKENIZING: _ClassVar[JobPhase]
    JOB_PHASE_TRAINING_TOKENIZER: _ClassVar[JobPhase]

class JobPriority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_PRIORITY_UNSPECIFIED: _ClassVar[JobPriority]
    JOB_PRIORITY_HIGH: _ClassVar[JobPriority]
    JOB_PRIORITY_DEFAULT: _ClassVar[JobPriority]
    JOB_PRIORITY_LOW: _ClassVar[JobPriority]

class ForkOptimizer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FORK_OPTIMIZER_UNSPECIFIED: _ClassVar[ForkOptimizer]
    FORK_OPTIMIZER_KEPT: _ClassVar[ForkOptimizer]
    FORK_OPTIMIZER_FRESH: _ClassVar[ForkOptimizer]

class AlertDelivery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALERT_DELIVERY_UNSPECIFIED: _ClassVar[AlertDelivery]
    ALERT_DELIVERY_PENDING: _ClassVar[AlertDelivery]
    ALERT_DELIVERY_DELIVERED: _ClassVar[AlertDelivery]
    ALERT_DELIVERY_FAILED: _ClassVar[AlertDelivery]
JOB_STATUS_UNSPECIFIED: JobStatus
JOB_STATUS_QUEUED: JobStatus
JOB_STATUS_RUNNING: JobStatus
JOB_STATUS_STOPPING: JobStatus
JOB_STATUS_STOPPED: JobStatus
JOB_STATUS_SUCCEEDED: JobStatus
JOB_STATUS_FAILED: JobStatus
JOB_PHASE_UNSPECIFIED: JobPhase
JOB_PHASE_STARTING: JobPhase
JOB_PHASE_TRAINING: JobPhase
JOB_PHASE_VALIDATING: JobPhase
JOB_PHASE_SAVING: JobPhase
JOB_PHASE_READING: JobPhase
JOB_PHASE_TOKENIZING: JobPhase
JOB_PHASE_TRAINING_TOKENIZER: JobPhase
JOB_PRIORITY_UNSPECIFIED: JobPriority
JOB_PRIORITY_HIGH: JobPriority
JOB_PRIORITY_DEFAULT: JobPriority
JOB_PRIORITY_LOW: JobPriority
FORK_OPTIMIZER_UNSPECIFIED: ForkOptimizer
FORK_OPTIMIZER_KEPT: ForkOptimizer
FORK_OPTIMIZER_FRESH: ForkOptimizer
ALERT_DELIVERY_UNSPECIFIED: AlertDelivery
ALERT_DELIVERY_PENDING: AlertDelivery
ALERT_DELIVERY_DELIVERED: AlertDelivery
ALERT_DELIVERY_FAILED: AlertDelivery

class Execution(_message.Message):
    __slots__ = ("priority", "processes", "nodes", "device", "max_retries", "stop_timeout_seconds", "stall_timeout_seconds")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    STOP_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STALL_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    priority: JobPriority
    processes: int
    nodes: int
    device: str
    max_retries: int
    stop_timeout_seconds: float
    stall_timeout_seconds: float
    def __init__(self, priority: _Optional[_Union[JobPriority, str]] = ..., processes: _Optional[int] = ..., nodes: _Optional[int] = ..., device: _Optional[str] = ..., max_retries: _Optional[int] = ..., stop_timeout_seconds: _Optional[float] = ..., stall_timeout_seconds: _Optional[float] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "name", "status", "current_step", "max_steps", "progress", "attempt", "worker_id", "resumed_from_step", "created_at", "started_at", "completed_at", "updated_at", "error", "eta_seconds", "running_seconds", "config", "config_id", "dataset_path", "val_dataset_path", "execution", "warnings", "exactness_notes", "consecutive_failures", "error_reason", "log_tail", "message", "phase", "phase_done", "phase_total", "data_summary", "model_summary", "phase_per_second", "tags", "notes", "parent_job_id", "parent_checkpoint_id", "fork_step", "fork_optimizer", "sweep_id", "sweep_child", "stop_at_step", "environment")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ETA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    EXACTNESS_NOTES_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_FAILURES_FIELD_NUMBER: _ClassVar[int]
    ERROR_REASON_FIELD_NUMBER: _ClassVar[int]
    LOG_TAIL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_DONE_FIELD_NUMBER: _ClassVar[int]
    PHASE_TOTAL_FIELD_NUMBER: _ClassVar[int]
    DATA_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    MODEL_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    PHASE_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    FORK_STEP_FIELD_NUMBER: _ClassVar[int]
    FORK_OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    SWEEP_CHILD_FIELD_NUMBER: _ClassVar[int]
    STOP_AT_STEP_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    name: str
    status: JobStatus
    current_step: int
    max_steps: int
    progress: float
    attempt: int
    worker_id: str
    resumed_from_step: int
    created_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    completed_at: _timestamp_pb2.Timestamp
    updated_at: _timestamp_pb2.Timestamp
    error: str
    eta_seconds: float
    running_seconds: float
    config: _config_pb2.TrainingConfig
    config_id: str
    dataset_path: str
    val_dataset_path: str
    execution: Execution
    warnings: _containers.RepeatedCompositeFieldContainer[_config_pb2.FieldProblem]
    exactness_notes: _containers.RepeatedScalarFieldContainer[str]
    consecutive_failures: int
    error_reason: str
    log_tail: str
    message: str
    phase: JobPhase
    phase_done: int
    phase_total: int
    data_summary: str
    model_summary: str
    phase_per_second: float
    tags: _containers.RepeatedScalarFieldContainer[str]
    notes: str
    parent_job_id: str
    parent_checkpoint_id: str
    fork_step: int
    fork_optimizer: ForkOptimizer
    sweep_id: str
    sweep_child: int
    stop_at_step: int
    environment: str
    def __init__(self, job_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[_Union[JobStatus, str]] = ..., current_step: _Optional[int] = ..., max_steps: _Optional[int] = ..., progress: _Optional[float] = ..., attempt: _Optional[int] = ..., worker_id: _Optional[str] = ..., resumed_from_step: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., updated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[str] = ..., eta_seconds: _Optional[float] = ..., running_seconds: _Optional[float] = ..., config: _Optional[_Union[_config_pb2.TrainingConfig, _Mapping]] = ..., config_id: _Optional[str] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[_config_pb2.FieldProblem, _Mapping]]] = ..., exactness_notes: _Optional[_Iterable[str]] = ..., consecutive_failures: _Optional[int] = ..., error_reason: _Optional[str] = ..., log_tail: _Optional[str] = ..., message: _Optional[str] = ..., phase: _Optional[_Union[JobPhase, str]] = ..., phase_done: _Optional[int] = ..., phase_total: _Optional[int] = ..., data_summary: _Optional[str] = ..., model_summary: _Optional[str] = ..., phase_per_second: _Optional[float] = ..., tags: _Optional[_Iterable[str]] = ..., notes: _Optional[str] = ..., parent_job_id: _Optional[str] = ..., parent_checkpoint_id: _Optional[str] = ..., fork_step: _Optional[int] = ..., fork_optimizer: _Optional[_Union[ForkOptimizer, str]] = ..., sweep_id: _Optional[str] = ..., sweep_child: _Optional[int] = ..., stop_at_step: _Optional[int] = ..., environment: _Optional[str] = ...) -> None: ...

class StartJobRequest(_message.Message):
    __slots__ = ("config", "config_document", "config_id", "dataset_path", "val_dataset_path", "name", "request_id", "execution", "tags", "notes")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    CONFIG_ID_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    config: _config_pb2.TrainingConfig
    config_document: str
    config_id: str
    dataset_path: str
    val_dataset_path: str
    name: str
    request_id: str
    execution: Execution
    tags: _containers.RepeatedScalarFieldContainer[str]
    notes: str
    def __init__(self, config: _Optional[_Union[_config_pb2.TrainingConfig, _Mapping]] = ..., config_document: _Optional[str] = ..., config_id: _Optional[str] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ..., name: _Optional[str] = ..., request_id: _Optional[str] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., tags: _Optional[_Iterable[str]] = ..., notes: _Optional[str] = ...) -> None: ...

class StartJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ForkJobRequest(_message.Message):
    __slots__ = ("checkpoint_id", "job_id", "config", "config_document", "optimizer", "dataset_path", "val_dataset_path", "name", "execution", "request_id", "tags", "notes")
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    checkpoint_id: str
    job_id: str
    config: _config_pb2.TrainingConfig
    config_document: str
    optimizer: ForkOptimizer
    dataset_path: str
    val_dataset_path: str
    name: str
    execution: Execution
    request_id: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    notes: str
    def __init__(self, checkpoint_id: _Optional[str] = ..., job_id: _Optional[str] = ..., config: _Optional[_Union[_config_pb2.TrainingConfig, _Mapping]] = ..., config_document: _Optional[str] = ..., optimizer: _Optional[_Union[ForkOptimizer, str]] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ..., name: _Optional[str] = ..., execution: _Optional[_Union[Execution, _Mapping]] = ..., request_id: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., notes: _Optional[str] = ...) -> None: ...

class ForkJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class BatchGetJobsRequest(_message.Message):
    __slots__ = ("job_ids",)
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGetJobsResponse(_message.Message):
    __slots__ = ("jobs",)
    JOBS_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "status", "name", "job_id_prefix", "tags", "search")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_PREFIX_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    status: JobStatus
    name: str
    job_id_prefix: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    search: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., status: _Optional[_Union[JobStatus, str]] = ..., name: _Optional[str] = ..., job_id_prefix: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., search: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ("job_id", "request_id", "add_tags", "remove_tags", "notes")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ADD_TAGS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_TAGS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    add_tags: _containers.RepeatedScalarFieldContainer[str]
    remove_tags: _containers.RepeatedScalarFieldContainer[str]
    notes: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ..., add_tags: _Optional[_Iterable[str]] = ..., remove_tags: _Optional[_Iterable[str]] = ..., notes: _Optional[str] = ...) -> None: ...

class UpdateJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class StopJobRequest(_message.Message):
    __slots__ = ("job_id", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StopJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("job_id", "checkpoint_id", "max_steps", "request_id", "from_start")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    checkpoint_id: str
    max_steps: int
    request_id: str
    from_start: bool
    def __init__(self, job_id: _Optional[str] = ..., checkpoint_id: _Optional[str] = ..., max_steps: _Optional[int] = ..., request_id: _Optional[str] = ..., from_start: _Optional[bool] = ...) -> None: ...

class ResumeJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("job_id", "request_id")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    request_id: str
    def __init__(self, job_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("sequence", "attempt", "stream", "text", "created_at")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    attempt: int
    stream: str
    text: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, sequence: _Optional[int] = ..., attempt: _Optional[int] = ..., stream: _Optional[str] = ..., text: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListLogsRequest(_message.Message):
    __slots__ = ("job_id", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLogsResponse(_message.Message):
    __slots__ = ("lines", "next_page_token")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    next_page_token: str
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "after", "after_step")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after: str
    after_step: int
    def __init__(self, job_id: _Optional[str] = ..., after: _Optional[str] = ..., after_step: _Optional[int] = ...) -> None: ...

class Rewind(_message.Message):
    __slots__ = ("to_step", "attempt", "reason")
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    to_step: int
    attempt: int
    reason: str
    def __init__(self, to_step: _Optional[int] = ..., attempt: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class Alert(_message.Message):
    __slots__ = ("rule", "text", "step", "value", "attempt", "created_at", "alert_id", "delivery", "delivery_tries", "delivery_problem")
    RULE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ALERT_ID_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_TRIES_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    rule: int
    text: str
    step: int
    value: float
    attempt: int
    created_at: _timestamp_pb2.Timestamp
    alert_id: str
    delivery: AlertDelivery
    delivery_tries: int
    delivery_problem: str
    def __init__(self, rule: _Optional[int] = ..., text: _Optional[str] = ..., step: _Optional[int] = ..., value: _Optional[float] = ..., attempt: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alert_id: _Optional[str] = ..., delivery: _Optional[_Union[AlertDelivery, str]] = ..., delivery_tries: _Optional[int] = ..., delivery_problem: _Optional[str] = ...) -> None: ...

class ListAlertsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class ListAlertsResponse(_message.Message):
    __slots__ = ("alerts",)
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    alerts: _containers.RepeatedCompositeFieldContainer[Alert]
    def __init__(self, alerts: _Optional[_Iterable[_Union[Alert, _Mapping]]] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("cursor", "state", "metrics", "checkpoint", "log", "rewound", "alert")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    REWOUND_FIELD_NUMBER: _ClassVar[int]
    ALERT_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    state: Job
    metrics: _metrics_pb2.MetricPoint
    checkpoint: _checkpoint_pb2.Checkpoint
    log: LogLine
    rewound: Rewind
    alert: Alert
    def __init__(self, cursor: _Optional[str] = ..., state: _Optional[_Union[Job, _Mapping]] = ..., metrics: _Optional[_Union[_metrics_pb2.MetricPoint, _Mapping]] = ..., checkpoint: _Optional[_Union[_checkpoint_pb2.Checkpoint, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., rewound: _Optional[_Union[Rewind, _Mapping]] = ..., alert: _Optional[_Union[Alert, _Mapping]] = ...) -> None: ...
