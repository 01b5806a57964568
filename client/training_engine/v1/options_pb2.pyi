from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor
CALL_STATUS_FIELD_NUMBER: _ClassVar[int]
call_status: _descriptor.FieldDescriptor

class CallStatus(_message.Message):
    __slots__ = ("grpc_code", "http_status", "retryable")
    GRPC_CODE_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    RETRYABLE_FIELD_NUMBER: _ClassVar[int]
    grpc_code: str
    http_status: int
    retryable: bool
    def __init__(self, grpc_code: _Optional[str] = ..., http_status: _Optional[int] = ..., retryable: _Optional[bool] = ...) -> None: ...
