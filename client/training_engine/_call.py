"""One call of the contract, as gRPC and as REST have it. The calls are generated into `_calls`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from training_engine._config_source import ConfigSource
from training_engine._texts import check_text
from training_engine.errors import InvalidArgumentError
from training_engine.records import Plain

T = TypeVar("T")
_FIELD_OF_PATH = re.compile(r"{(\w+)}")


def new_request_id() -> str:
    """Return an id under which a mutation may be sent again."""
    return uuid.uuid4().hex


def texts(name: str, given: Sequence[str] | None) -> list[str] | None:
    """Return a list of texts as it is sent; None for none.

    Raises:
        InvalidArgumentError: It is one text, which would be sent letter by letter, or no list.
    """
    if isinstance(given, str) or not (given is None or isinstance(given, Iterable)):
        raise InvalidArgumentError(f"{name} is {given!r}; it must be a list of texts: [{given!r}]")
    return [*given] if given else None


def present(plain: Mapping[str, Any]) -> Plain:
    """Return the entries that are not None.

    Raises:
        InvalidArgumentError: It is not a mapping.
    """
    if not isinstance(plain, Mapping):
        raise InvalidArgumentError(f"{plain!r} is given where a mapping of names to values must be")
    return {key: value for key, value in plain.items() if value is not None}


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        rpc: `Service/Method`.
        verb: The HTTP method.
        route: The HTTP path, with the names of fields in braces.
        fields: The fields of the request; None means absent.
        has_body: True where REST takes the fields as a JSON body, not as a query.
        request_id: Makes a mutation safe to repeat; empty for reads.
        answer: Field of the gRPC response that REST answers with directly.

    Raises:
        InvalidArgumentError: A field of the path is empty, which would address another thing, or a
            field holds what is not text.
    """

    rpc: str
    verb: str
    route: str
    fields: Plain
    has_body: bool = False
    request_id: str = ""
    answer: str = ""

    def __post_init__(self) -> None:
        for name, value in self.fields.items():
            check_text(name, value)
        for name in _FIELD_OF_PATH.findall(self.route):
            value = self.fields[name]
            if not isinstance(value, str) or not value:
                raise InvalidArgumentError(
                    f"{name} is {value!r}; it must be a non-empty string as the service returned it"
                )

    @property
    def message(self) -> Plain:
        """The fields of the gRPC request. A configuration goes as text."""
        fields = present(self.fields)
        if isinstance(source := fields.get("config"), ConfigSource):
            fields["config_document"] = source.document
            del fields["config"]
        return fields | ({"request_id": self.request_id} if self.request_id else {})

    @property
    def path(self) -> str:
        """The HTTP path."""
        return _FIELD_OF_PATH.sub(lambda name: quote(self.fields[name[1]], safe=""), self.route)

    @property
    def query(self) -> Plain:
        """The HTTP query. An empty text means absent, as it does in a gRPC request."""
        fields = {} if self.has_body else self._beside_path()
        return {name: value for name, value in fields.items() if value != ""}

    @property
    def body(self) -> Plain | None:
        """The JSON body, None for no body. A configuration goes as a mapping."""
        if not self.has_body:
            return None
        fields = self._beside_path()
        if isinstance(source := fields.get("config"), ConfigSource):
            fields["config"] = source.mapping
        return fields

    def _beside_path(self) -> Plain:
        in_path = _FIELD_OF_PATH.findall(self.route)
        fields = present(self.fields)
        return {name: value for name, value in fields.items() if name not in in_path}


@dataclass(frozen=True, kw_only=True)
class RecordCall(Call, Generic[T]):
    """A call that is answered with a record.

    Attributes:
        record: The class of the record.
    """

    record: type[T]


@dataclass(frozen=True, kw_only=True)
class ListCall(Call, Generic[T]):
    """A call that is answered with a page of a list.

    Attributes:
        rows: Field of the response that has the rows.
        record: The class of a row.
    """

    rows: str
    record: type[T]

    def of_page(self, token: str) -> ListCall[T]:
        """Return the same call for the page of a token."""
        return replace(self, fields={**self.fields, "page_token": token})
