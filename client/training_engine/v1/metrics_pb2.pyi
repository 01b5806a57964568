import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from training_engine.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SeriesAxis(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERIES_AXIS_UNSPECIFIED: _ClassVar[SeriesAxis]
    SERIES_AXIS_STEP: _ClassVar[SeriesAxis]
    SERIES_AXIS_TOKENS: _ClassVar[SeriesAxis]
    SERIES_AXIS_TIME: _ClassVar[SeriesAxis]
    SERIES_AXIS_WALL_TIME: _ClassVar[SeriesAxis]
    SERIES_AXIS_LINEAGE_STEP: _ClassVar[SeriesAxis]
SERIES_AXIS_UNSPECIFIED: SeriesAxis
SERIES_AXIS_STEP: SeriesAxis
SERIES_AXIS_TOKENS: SeriesAxis
SERIES_AXIS_TIME: SeriesAxis
SERIES_AXIS_WALL_TIME: SeriesAxis
SERIES_AXIS_LINEAGE_STEP: SeriesAxis

class MetricPoint(_message.Message):
    __slots__ = ("step", "loss", "perplexity", "lr", "grad_norm", "tokens_per_second", "steps_per_second", "tokens_seen", "val_loss", "val_perplexity", "gpu_memory_allocated_gb", "mfu", "attempt", "created_at", "custom", "val_bits_per_byte", "ema_val_loss")
    class CustomEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    STEP_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    PERPLEXITY_FIELD_NUMBER: _ClassVar[int]
    LR_FIELD_NUMBER: _ClassVar[int]
    GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_SEEN_FIELD_NUMBER: _ClassVar[int]
    VAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    VAL_PERPLEXITY_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_ALLOCATED_GB_FIELD_NUMBER: _ClassVar[int]
    MFU_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CUSTOM_FIELD_NUMBER: _ClassVar[int]
    VAL_BITS_PER_BYTE_FIELD_NUMBER: _ClassVar[int]
    EMA_VAL_LOSS_FIELD_NUMBER: _ClassVar[int]
    step: int
    loss: float
    perplexity: float
    lr: float
    grad_norm: float
    tokens_per_second: float
    steps_per_second: float
    tokens_seen: int
    val_loss: float
    val_perplexity: float
    gpu_memory_allocated_gb: float
    mfu: float
    attempt: int
    created_at: _timestamp_pb2.Timestamp
    custom: _containers.ScalarMap[str, float]
    val_bits_per_byte: float
    ema_val_loss: float
    def __init__(self, step: _Optional[int] = ..., loss: _Optional[float] = ..., perplexity: _Optional[float] = ..., lr: _Optional[float] = ..., grad_norm: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., steps_per_second: _Optional[float] = ..., tokens_seen: _Optional[int] = ..., val_loss: _Optional[float] = ..., val_perplexity: _Optional[float] = ..., gpu_memory_allocated_gb: _Optional[float] = ..., mfu: _Optional[float] = ..., attempt: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., custom: _Optional[_Mapping[str, float]] = ..., val_bits_per_byte: _Optional[float] = ..., ema_val_loss: _Optional[float] = ...) -> None: ...

class GetMetricsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetMetricsResponse(_message.Message):
    __slots__ = ("metrics",)
    METRICS_FIELD_NUMBER: _ClassVar[int]
    metrics: MetricPoint
    def __init__(self, metrics: _Optional[_Union[MetricPoint, _Mapping]] = ...) -> None: ...

class ListMetricsRequest(_message.Message):
    __slots__ = ("job_id", "page_size", "page_token", "after_step", "from_step", "to_step", "max_points")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_POINTS_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    page_size: int
    page_token: str
    after_step: int
    from_step: int
    to_step: int
    max_points: int
    def __init__(self, job_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after_step: _Optional[int] = ..., from_step: _Optional[int] = ..., to_step: _Optional[int] = ..., max_points: _Optional[int] = ...) -> None: ...

class ListMetricsResponse(_message.Message):
    __slots__ = ("points", "next_page_token")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[MetricPoint]
    next_page_token: str
    def __init__(self, points: _Optional[_Iterable[_Union[MetricPoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetSeriesRequest(_message.Message):
    __slots__ = ("job_ids", "metrics", "x_axis", "max_points", "smoothing", "from_x", "to_x", "log_x", "after")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    X_AXIS_FIELD_NUMBER: _ClassVar[int]
    MAX_POINTS_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_FIELD_NUMBER: _ClassVar[int]
    FROM_X_FIELD_NUMBER: _ClassVar[int]
    TO_X_FIELD_NUMBER: _ClassVar[int]
    LOG_X_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    metrics: _containers.RepeatedScalarFieldContainer[str]
    x_axis: SeriesAxis
    max_points: int
    smoothing: float
    from_x: float
    to_x: float
    log_x: bool
    after: str
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ..., metrics: _Optional[_Iterable[str]] = ..., x_axis: _Optional[_Union[SeriesAxis, str]] = ..., max_points: _Optional[int] = ..., smoothing: _Optional[float] = ..., from_x: _Optional[float] = ..., to_x: _Optional[float] = ..., log_x: _Optional[bool] = ..., after: _Optional[str] = ...) -> None: ...

class Series(_message.Message):
    __slots__ = ("job_id", "metric", "x", "y", "from_start", "count", "last", "min", "min_step", "max", "max_step", "best", "best_step")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    METRIC_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    FROM_START_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MIN_STEP_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    MAX_STEP_FIELD_NUMBER: _ClassVar[int]
    BEST_FIELD_NUMBER: _ClassVar[int]
    BEST_STEP_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    metric: str
    x: _containers.RepeatedScalarFieldContainer[float]
    y: _containers.RepeatedScalarFieldContainer[float]
    from_start: bool
    count: int
    last: float
    min: float
    min_step: int
    max: float
    max_step: int
    best: float
    best_step: int
    def __init__(self, job_id: _Optional[str] = ..., metric: _Optional[str] = ..., x: _Optional[_Iterable[float]] = ..., y: _Optional[_Iterable[float]] = ..., from_start: _Optional[bool] = ..., count: _Optional[int] = ..., last: _Optional[float] = ..., min: _Optional[float] = ..., min_step: _Optional[int] = ..., max: _Optional[float] = ..., max_step: _Optional[int] = ..., best: _Optional[float] = ..., best_step: _Optional[int] = ...) -> None: ...

class GetSeriesResponse(_message.Message):
    __slots__ = ("series", "metric_names", "cursor")
    SERIES_FIELD_NUMBER: _ClassVar[int]
    METRIC_NAMES_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    series: _containers.RepeatedCompositeFieldContainer[Series]
    metric_names: _containers.RepeatedScalarFieldContainer[str]
    cursor: str
    def __init__(self, series: _Optional[_Iterable[_Union[Series, _Mapping]]] = ..., metric_names: _Optional[_Iterable[str]] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListSystemMetricsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class SystemSample(_message.Message):
    __slots__ = ("created_at", "attempt", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    created_at: _timestamp_pb2.Timestamp
    attempt: int
    values: _containers.ScalarMap[str, float]
    def __init__(self, created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., values: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ListSystemMetricsResponse(_message.Message):
    __slots__ = ("samples",)
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    samples: _containers.RepeatedCompositeFieldContainer[SystemSample]
    def __init__(self, samples: _Optional[_Iterable[_Union[SystemSample, _Mapping]]] = ...) -> None: ...

class ListSamplesRequest(_message.Message):
    __slots__ = ("job_id", "page_size", "page_token", "from_step", "to_step")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FROM_STEP_FIELD_NUMBER: _ClassVar[int]
    TO_STEP_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    page_size: int
    page_token: str
    from_step: int
    to_step: int
    def __init__(self, job_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., from_step: _Optional[int] = ..., to_step: _Optional[int] = ...) -> None: ...

class SampledText(_message.Message):
    __slots__ = ("prompt", "text")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    text: str
    def __init__(self, prompt: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class SampledStep(_message.Message):
    __slots__ = ("step", "created_at", "attempt", "samples")
    STEP_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    step: int
    created_at: _timestamp_pb2.Timestamp
    attempt: int
    samples: _containers.RepeatedCompositeFieldContainer[SampledText]
    def __init__(self, step: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt: _Optional[int] = ..., samples: _Optional[_Iterable[_Union[SampledText, _Mapping]]] = ...) -> None: ...

class ListSamplesResponse(_message.Message):
    __slots__ = ("steps", "next_page_token")
    STEPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[SampledStep]
    next_page_token: str
    def __init__(self, steps: _Optional[_Iterable[_Union[SampledStep, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetThroughputRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    def __init__(self, job_id: _Optional[str] = ...) -> None: ...

class GetThroughputResponse(_message.Message):
    __slots__ = ("step", "steps_per_second", "tokens_per_second", "tokens_seen")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_SEEN_FIELD_NUMBER: _ClassVar[int]
    step: int
    steps_per_second: float
    tokens_per_second: float
    tokens_seen: int
    def __init__(self, step: _Optional[int] = ..., steps_per_second: _Optional[float] = ..., tokens_per_second: _Optional[float] = ..., tokens_seen: _Optional[int] = ...) -> None: ...

class StreamMetricsRequest(_message.Message):
    __slots__ = ("job_id", "after", "after_step")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    AFTER_STEP_FIELD_NUMBER: _ClassVar[int]
    job_id: str
    after: str
    after_step: int
    def __init__(self, job_id: _Optional[str] = ..., after: _Optional[str] = ..., after_step: _Optional[int] = ...) -> None: ...

class StreamMetricsResponse(_message.Message):
    __slots__ = ("cursor", "point", "rewound_to_step")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    REWOUND_TO_STEP_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    point: MetricPoint
    rewound_to_step: int
    def __init__(self, cursor: _Optional[str] = ..., point: _Optional[_Union[MetricPoint, _Mapping]] = ..., rewound_to_step: _Optional[int] = ...) -> None: ...
