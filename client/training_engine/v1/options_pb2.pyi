from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
CALL_STATUS_FIELD_NUMBER: _ClassVar[int]
call_status: _descriptor.FieldDescriptor
REST_ANSWER_FIELD_NUMBER: _ClassVar[int]
rest_answer: _descriptor.FieldDescriptor
REST_NAME_FIELD_NUMBER: _ClassVar[int]
rest_name: _descriptor.FieldDescriptor
REST_VIEW_FIELD_NUMBER: _ClassVar[int]
rest_view: _descriptor.FieldDescriptor
REST_FIELD_FIELD_NUMBER: _ClassVar[int]
rest_field: _descriptor.FieldDescriptor

class CallStatus(_message.Message):
    __slots__ = ("grpc_code", "http_status", "retryable")
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    grpc_code: str
    http_status: int
    retryable: bool
    def __init__(self, grpc_code: _Optional[str] = ..., http_status: _Optional[int] = ..., retryable: _Optional[bool] = ...) -> None: ...

class RestAnswer(_message.Message):
    __slots__ = ("status", "echo")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    ECHO_FIELD_NUMBER: _ClassVar[int]
    status: int
    echo: str
    def __init__(self, status: _Optional[int] = ..., echo: _Optional[str] = ...) -> None: ...

class RestView(_message.Message):
    __slots__ = ("name", "description", "fields", "without")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    description: str
    fields: _containers.RepeatedScalarFieldContainer[str]
    without: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., description: _Optional[str] = ..., fields: _Optional[_Iterable[str]] = ..., without: _Optional[_Iterable[str]] = ...) -> None: ...

class RestField(_message.Message):
    __slots__ = ("required", "minimum", "exclusive_minimum", "maximum", "max_length", "pattern", "view", "reason")
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    EXCLUSIVE_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    required: bool
    minimum: int
    exclusive_minimum: int
    maximum: int
    max_length: int
    pattern: str
    view: str
    reason: bool
    def __init__(self, required: _Optional[bool] = ..., minimum: _Optional[int] = ..., exclusive_minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., max_length: _Optional[int] = ..., pattern: _Optional[str] = ..., view: _Optional[str] = ..., reason: _Optional[bool] = ...) -> None: ...
