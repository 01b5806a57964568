"""The part of `records` that is written by hand; the rest is generated from the protos.

How a plain dict becomes a record and a record a plain dict, the methods that some records have, and
the records that the protos do not have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from training_engine.errors import FieldProblem

if TYPE_CHECKING:
    from training_engine.records import JobStatus

Plain = dict[str, Any]
R = TypeVar("R")
T = TypeVar("T")

LEFT_OUT = {"left_out": True}
"""Metadata of a field that some answers leave out entirely, instead of giving None for it."""


class JobStatusMethods:
    """What a job's status can be asked."""

    @property
    def is_terminal(self) -> bool:
        """True where no worker will touch the job unless it is resumed."""
        return str(self) in ("stopped", "succeeded", "failed")


class JobMethods:
    """What a job's record can be asked."""

    status: JobStatus

    @property
    def is_terminal(self) -> bool:
        """True where no worker will touch the job unless it is resumed."""
        return self.status.is_terminal

    def to_dict(self) -> Plain:
        """Return plain JSON data with the names of the REST interface."""
        return dict(to_plain(self))


class DatasetMethods:
    """What a dataset's record can be asked."""

    __slots__ = ()
    dataset_id: str

    @property
    def path(self) -> str:
        """`dataset://ID`, to be passed as `dataset_path`."""
        return f"dataset://{self.dataset_id}"


def read(kind: type[R], plain: Mapping[str, Any]) -> R:
    """Return a record from a plain dict; null means absent, keys newer than this SDK are ignored.

    Raises:
        TypeError: A field that the record cannot do without is missing.
    """
    values = {}
    for spec in dataclasses.fields(kind):  # type: ignore[arg-type]
        value = plain.get(spec.name)
        if value is not None and spec.init:
            values[spec.name] = _read_value(spec, value)
    return kind(**values)


def _read_value(spec: dataclasses.Field[Any], value: Any) -> Any:
    if spec.type == "datetime | None":
        is_read = isinstance(value, datetime)
        return value if is_read else datetime.fromisoformat(value).astimezone(UTC)
    convert: Callable[[Any], Any] | None = spec.metadata.get("read")
    return convert(value) if convert else value


def read_as(kind: type[R]) -> Callable[[Mapping[str, Any]], R]:
    """Return what reads records of this kind."""
    return partial(read, kind)


def read_all(kind: type[R]) -> Callable[[Iterable[Mapping[str, Any]]], tuple[R, ...]]:
    """Return what reads lists of records of this kind."""
    return lambda rows: tuple(read(kind, row) for row in rows)


def read_problems(value: Any) -> tuple[FieldProblem, ...]:
    """Return the problems of a list; one that is only a text belongs to no field."""
    return tuple(
        FieldProblem(item.get("field", ""), item.get("message", ""))
        if isinstance(item, Mapping)
        else FieldProblem("", str(item))
        for item in value
    )


def to_plain(value: Any) -> Any:
    """Return a record as the plain JSON data that REST answers with.

    Keys are snake_case, times RFC 3339 in UTC, absent values null.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            spec.name: to_plain(getattr(value, spec.name))
            for spec in dataclasses.fields(value)
            if not spec.name.startswith("_") and not _left_out(spec, value)
        }
    if isinstance(value, datetime):
        return _time_text(value)
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def _left_out(spec: dataclasses.Field[Any], record: Any) -> bool:
    return spec.metadata.get("left_out", False) and getattr(record, spec.name) is None


def _time_text(time: datetime) -> str:
    """RFC 3339 in UTC, with as many digits of a second as protobuf's JSON: none, 3 or 6."""
    digits = "seconds" if time.microsecond == 0 else "microseconds"
    if time.microsecond and time.microsecond % 1000 == 0:
        digits = "milliseconds"
    return time.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list.

    Attributes:
        items: The rows.
        next_page_token: Asks for the next page; empty on the last.
    """

    items: tuple[T, ...]
    next_page_token: str = ""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one job of a bulk call.

    Attributes:
        job_id: The job.
        error: Why it was left as it was, None where the call succeeded.
    """

    job_id: str
    error: Exception | None = None
