import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from training_engine.v1 import config_pb2 as _config_pb2
from training_engine.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Dataset(_message.Message):
    __slots__ = ("dataset_id", "name", "size_bytes", "sha256", "created_at")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    name: str
    size_bytes: int
    sha256: str
    created_at: _timestamp_pb2.Timestamp
    def __init__(self, dataset_id: _Optional[str] = ..., name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DatasetHeader(_message.Message):
    __slots__ = ("name", "sha256", "request_id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    request_id: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UploadDatasetRequest(_message.Message):
    __slots__ = ("header", "data")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    header: DatasetHeader
    data: bytes
    def __init__(self, header: _Optional[_Union[DatasetHeader, _Mapping]] = ..., data: _Optional[bytes] = ...) -> None: ...

class UploadDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class GetDatasetRequest(_message.Message):
    __slots__ = ("dataset_id",)
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    def __init__(self, dataset_id: _Optional[str] = ...) -> None: ...

class GetDatasetResponse(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: Dataset
    def __init__(self, dataset: _Optional[_Union[Dataset, _Mapping]] = ...) -> None: ...

class ListDatasetsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDatasetsResponse(_message.Message):
    __slots__ = ("datasets", "next_page_token")
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    datasets: _containers.RepeatedCompositeFieldContainer[Dataset]
    next_page_token: str
    def __init__(self, datasets: _Optional[_Iterable[_Union[Dataset, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDatasetRequest(_message.Message):
    __slots__ = ("dataset_id", "request_id")
    DATASET_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    dataset_id: str
    request_id: str
    def __init__(self, dataset_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class DeleteDatasetResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class InspectDatasetRequest(_message.Message):
    __slots__ = ("config", "config_document", "dataset_path")
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    CONFIG_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DATASET_PATH_FIELD_NUMBER: _ClassVar[int]
    config: _config_pb2.TrainingConfig
    config_document: str
    dataset_path: str
    def __init__(self, config: _Optional[_Union[_config_pb2.TrainingConfig, _Mapping]] = ..., config_document: _Optional[str] = ..., dataset_path: _Optional[str] = ...) -> None: ...

class InspectedFile(_message.Message):
    __slots__ = ("path", "use", "size_bytes", "form", "reason", "documents", "characters", "tokens", "complete", "read_share")
    PATH_FIELD_NUMBER: _ClassVar[int]
    USE_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FORM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    READ_SHARE_FIELD_NUMBER: _ClassVar[int]
    path: str
    use: str
    size_bytes: int
    form: str
    reason: str
    documents: int
    characters: int
    tokens: int
    complete: bool
    read_share: float
    def __init__(self, path: _Optional[str] = ..., use: _Optional[str] = ..., size_bytes: _Optional[int] = ..., form: _Optional[str] = ..., reason: _Optional[str] = ..., documents: _Optional[int] = ..., characters: _Optional[int] = ..., tokens: _Optional[int] = ..., complete: _Optional[bool] = ..., read_share: _Optional[float] = ...) -> None: ...

class LengthCount(_message.Message):
    __slots__ = ("tokens_from", "documents")
    TOKENS_FROM_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    tokens_from: int
    documents: int
    def __init__(self, tokens_from: _Optional[int] = ..., documents: _Optional[int] = ...) -> None: ...

class InspectedSource(_message.Message):
    __slots__ = ("path", "share", "estimated_tokens", "epochs")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    path: str
    share: float
    estimated_tokens: int
    epochs: float
    def __init__(self, path: _Optional[str] = ..., share: _Optional[float] = ..., estimated_tokens: _Optional[int] = ..., epochs: _Optional[float] = ...) -> None: ...

class WindowSegment(_message.Message):
    __slots__ = ("text", "trained")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    text: str
    trained: bool
    def __init__(self, text: _Optional[str] = ..., trained: _Optional[bool] = ...) -> None: ...

class InspectedWindow(_message.Message):
    __slots__ = ("tokens", "segments")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    segments: _containers.RepeatedCompositeFieldContainer[WindowSegment]
    def __init__(self, tokens: _Optional[int] = ..., segments: _Optional[_Iterable[_Union[WindowSegment, _Mapping]]] = ...) -> None: ...

class InspectDatasetResponse(_message.Message):
    __slots__ = ("files", "more_files", "documents", "empty_documents", "duplicate_documents", "characters", "tokens", "complete", "estimated_tokens", "lengths", "tokenizer", "vocabulary_used", "unknown_share", "rare_share", "epochs", "windows", "problems", "warnings", "sources")
    FILES_FIELD_NUMBER: _ClassVar[int]
    MORE_FILES_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    EMPTY_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CHARACTERS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    VOCABULARY_USED_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_SHARE_FIELD_NUMBER: _ClassVar[int]
    RARE_SHARE_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[InspectedFile]
    more_files: int
    documents: int
    empty_documents: int
    duplicate_documents: int
    characters: int
    tokens: int
    complete: bool
    estimated_tokens: int
    lengths: _containers.RepeatedCompositeFieldContainer[LengthCount]
    tokenizer: str
    vocabulary_used: int
    unknown_share: float
    rare_share: float
    epochs: float
    windows: _containers.RepeatedCompositeFieldContainer[InspectedWindow]
    problems: _containers.RepeatedCompositeFieldContainer[_config_pb2.FieldProblem]
    warnings: _containers.RepeatedCompositeFieldContainer[_config_pb2.FieldProblem]
    sources: _containers.RepeatedCompositeFieldContainer[InspectedSource]
    def __init__(self, files: _Optional[_Iterable[_Union[InspectedFile, _Mapping]]] = ..., more_files: _Optional[int] = ..., documents: _Optional[int] = ..., empty_documents: _Optional[int] = ..., duplicate_documents: _Optional[int] = ..., characters: _Optional[int] = ..., tokens: _Optional[int] = ..., complete: _Optional[bool] = ..., estimated_tokens: _Optional[int] = ..., lengths: _Optional[_Iterable[_Union[LengthCount, _Mapping]]] = ..., tokenizer: _Optional[str] = ..., vocabulary_used: _Optional[int] = ..., unknown_share: _Optional[float] = ..., rare_share: _Optional[float] = ..., epochs: _Optional[float] = ..., windows: _Optional[_Iterable[_Union[InspectedWindow, _Mapping]]] = ..., problems: _Optional[_Iterable[_Union[_config_pb2.FieldProblem, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[_config_pb2.FieldProblem, _Mapping]]] = ..., sources: _Optional[_Iterable[_Union[InspectedSource, _Mapping]]] = ...) -> None: ...
