import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from training_engine.v1 import job_pb2 as _job_pb2
from training_engine.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SweepStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SWEEP_STATUS_UNSPECIFIED: _ClassVar[SweepStatus]
    SWEEP_STATUS_RUNNING: _ClassVar[SweepStatus]
    SWEEP_STATUS_STOPPED: _ClassVar[SweepStatus]
    SWEEP_STATUS_SUCCEEDED: _ClassVar[SweepStatus]
    SWEEP_STATUS_DELETING: _ClassVar[SweepStatus]
SWEEP_STATUS_UNSPECIFIED: SweepStatus
SWEEP_STATUS_RUNNING: SweepStatus
SWEEP_STATUS_STOPPED: SweepStatus
SWEEP_STATUS_SUCCEEDED: SweepStatus
SWEEP_STATUS_DELETING: SweepStatus

class SweepChild(_message.Message):
    __slots__ = ("number", "values", "job_id", "status", "current_step", "rung", "score", "rank")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    RUNG_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    number: int
    values: _containers.ScalarMap[str, str]
    job_id: str
    status: _job_pb2.JobStatus
    current_step: int
    rung: int
    score: float
    rank: int
    def __init__(self, number: _Optional[int] = ..., values: _Optional[_Mapping[str, str]] = ..., job_id: _Optional[str] = ..., status: _Optional[_Union[_job_pb2.JobStatus, str]] = ..., current_step: _Optional[int] = ..., rung: _Optional[int] = ..., score: _Optional[float] = ..., rank: _Optional[int] = ...) -> None: ...

class SweepImportance(_message.Message):
    __slots__ = ("parameter", "value")
    PARAMETER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    parameter: str
    value: float
    def __init__(self, parameter: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Sweep(_message.Message):
    __slots__ = ("sweep_id", "name", "status", "message", "method", "metric", "goal", "parameters", "num_children", "max_parallel", "rung_steps", "rungs_decided", "best_child", "best_job_id", "created_at", "children", "importance", "document")
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    NUM_CHILDREN_FIELD_NUMBER: _ClassVar[int]
    MAX_PARALLEL_FIELD_NUMBER: _ClassVar[int]
    RUNG_STEPS_FIELD_NUMBER: _ClassVar[int]
    RUNGS_DECIDED_FIELD_NUMBER: _ClassVar[int]
    BEST_CHILD_FIELD_NUMBER: _ClassVar[int]
    BEST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    IMPORTANCE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    sweep_id: str
    name: str
    status: SweepStatus
    message: str
    method: str
    metric: str
    goal: str
    parameters: _containers.RepeatedScalarFieldContainer[str]
    num_children: int
    max_parallel: int
    rung_steps: _containers.RepeatedScalarFieldContainer[int]
    rungs_decided: int
    best_child: int
    best_job_id: str
    created_at: _timestamp_pb2.Timestamp
    children: _containers.RepeatedCompositeFieldContainer[SweepChild]
    importance: _containers.RepeatedCompositeFieldContainer[SweepImportance]
    document: str
    def __init__(self, sweep_id: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[_Union[SweepStatus, str]] = ..., message: _Optional[str] = ..., method: _Optional[str] = ..., metric: _Optional[str] = ..., goal: _Optional[str] = ..., parameters: _Optional[_Iterable[str]] = ..., num_children: _Optional[int] = ..., max_parallel: _Optional[int] = ..., rung_steps: _Optional[_Iterable[int]] = ..., rungs_decided: _Optional[int] = ..., best_child: _Optional[int] = ..., best_job_id: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., children: _Optional[_Iterable[_Union[SweepChild, _Mapping]]] = ..., importance: _Optional[_Iterable[_Union[SweepImportance, _Mapping]]] = ..., document: _Optional[str] = ...) -> None: ...

class StartSweepRequest(_message.Message):
    __slots__ = ("document", "dataset_path", "val_dataset_path", "name", "request_id")
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    VAL_DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    document: str
    dataset_path: str
    val_dataset_path: str
    name: str
    request_id: str
    def __init__(self, document: _Optional[str] = ..., dataset_path: _Optional[str] = ..., val_dataset_path: _Optional[str] = ..., name: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartSweepResponse(_message.Message):
    __slots__ = ("sweep",)
    SWEEP_FIELD_NUMBER: _ClassVar[int]
    sweep: Sweep
    def __init__(self, sweep: _Optional[_Union[Sweep, _Mapping]] = ...) -> None: ...

class GetSweepRequest(_message.Message):
    __slots__ = ("sweep_id",)
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    sweep_id: str
    def __init__(self, sweep_id: _Optional[str] = ...) -> None: ...

class GetSweepResponse(_message.Message):
    __slots__ = ("sweep",)
    SWEEP_FIELD_NUMBER: _ClassVar[int]
    sweep: Sweep
    def __init__(self, sweep: _Optional[_Union[Sweep, _Mapping]] = ...) -> None: ...

class ListSweepsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSweepsResponse(_message.Message):
    __slots__ = ("sweeps", "next_page_token")
    SWEEPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sweeps: _containers.RepeatedCompositeFieldContainer[Sweep]
    next_page_token: str
    def __init__(self, sweeps: _Optional[_Iterable[_Union[Sweep, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StopSweepRequest(_message.Message):
    __slots__ = ("sweep_id", "request_id")
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    sweep_id: str
    request_id: str
    def __init__(self, sweep_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class StopSweepResponse(_message.Message):
    __slots__ = ("sweep",)
    SWEEP_FIELD_NUMBER: _ClassVar[int]
    sweep: Sweep
    def __init__(self, sweep: _Optional[_Union[Sweep, _Mapping]] = ...) -> None: ...

class ResumeSweepRequest(_message.Message):
    __slots__ = ("sweep_id", "request_id")
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    sweep_id: str
    request_id: str
    def __init__(self, sweep_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class ResumeSweepResponse(_message.Message):
    __slots__ = ("sweep",)
    SWEEP_FIELD_NUMBER: _ClassVar[int]
    sweep: Sweep
    def __init__(self, sweep: _Optional[_Union[Sweep, _Mapping]] = ...) -> None: ...

class DeleteSweepRequest(_message.Message):
    __slots__ = ("sweep_id", "request_id")
    SWEEP_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    sweep_id: str
    request_id: str
    def __init__(self, sweep_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteSweepResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
