"""Records of instruction data as conversations. Standard library only, see `survey`.

    {messages: [{role, content}, …]}         or `conversations`, with `from` and `value`; and
                                             `weight`, 0 or 1, whether an answer is trained on;
                                             content is a text, or a list of parts of type text
    {prompt, completion}                     or `response`; both texts, or both lists of messages
    {instruction, input, output}             or `context` and `response`; what is added may be empty

The names of a dataset's columns show which of them it holds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from app.training.data.errors import DataError
from app.training.data.parts import Place

Role = Literal["system", "user", "assistant", "tool"]

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "system",
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "chatgpt", "bing", "bard"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}
_ROLE_NAMES: Final = ("role", "from")
_CONTENT_NAMES: Final = ("content", "value")
_TEXT_PARTS: Final = ("text", "input_text", "output_text")
"""Types of parts in OpenAI's form, for chats and for responses."""


class Message(NamedTuple):
    """A turn of a conversation."""

    role: Role
    content: str
    is_trained: bool = True
    """Whether an answer counts in the loss; False for one with OpenAI's `weight: 0`."""


@dataclass(frozen=True, slots=True)
class ConversationColumns:
    """The columns that make the conversations of a dataset."""

    question: str
    """Holds the whole conversation where there is no `answer`."""
    answer: str | None = None
    added: str | None = None
    """A text that follows the question, if it is not empty."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [name for name in (self.question, self.answer, self.added) if name is not None]


_PAIRS: Final = (
    ("prompt", ("completion", "response"), ()),
    ("instruction", ("output", "response"), ("input", "context")),
)


def conversation_columns(columns: Collection[str]) -> ConversationColumns | None:
    """Return the columns that make conversations; None for records of another kind."""
    for name in ("messages", "conversations"):
        if name in columns:
            return ConversationColumns(name)
    for question, answers, additions in _PAIRS:
        answer = _first(answers, columns)
        if question in columns and answer is not None:
            return ConversationColumns(question, answer, _first(additions, columns))
    return None


def _first(names: Sequence[str], columns: Collection[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def conversation_of(record: Mapping[str, Any], place: Place) -> list[Message]:
    """Return the turns of a record, at least one of them the assistant's.

    Raises:
        DataError: The record is not a conversation.
    """
    columns = conversation_columns(record)
    if columns is None:
        raise DataError(
            f"{place} has the fields {sorted(record)}; it must have `messages`, `prompt` and "
            "`completion`, or `instruction` and `output`; repair or remove the record"
        )
    turns = _turns(record, columns.question, "user", place)
    if columns.added is not None and turns:
        turns[-1] = _with_addition(turns[-1], record.get(columns.added), columns.added, place)
    if columns.answer is not None:
        turns += _turns(record, columns.answer, "assistant", place)
    if not any(turn.role == "assistant" for turn in turns):
        raise DataError(
            f"{place} has no turn of the assistant, so there is nothing to train on; add one, or "
            "remove the record"
        )
    return turns


def _turns(record: Mapping[str, Any], name: str, role: Role, place: Place) -> list[Message]:
    """Return what a column holds: a text is one turn of `role`."""
    value = record.get(name)
    if isinstance(value, list):
        return [_message(each, f"{name}[{i}]", place) for i, each in enumerate(value)]
    if name in ("messages", "conversations"):
        raise _wrong(place, name, "a list of messages", value)
    return [Message(role, _text(value, name, place))]


def _message(value: object, name: str, place: Place) -> Message:
    if not isinstance(value, Mapping):
        raise _wrong(place, name, "an object with `role` and `content`", value)
    role_name = _first(_ROLE_NAMES, value) or "role"
    content_name = _first(_CONTENT_NAMES, value) or "content"
    role = value.get(role_name)
    if not isinstance(role, str) or role not in _ROLES:
        raise _wrong(place, f"{name}.{role_name}", f"one of {', '.join(_ROLES)}", role)
    content = _content(value.get(content_name), f"{name}.{content_name}", place)
    return Message(_ROLES[role], content, _is_trained(value.get("weight"), name, place))


def _content(value: object, name: str, place: Place) -> str:
    """Return the text of a message, of which OpenAI's form allows parts; nothing is put between."""
    if not isinstance(value, list) or not value:
        return _text(value, name, place)
    return "".join(_part(each, f"{name}[{i}]", place) for i, each in enumerate(value))


def _part(value: object, name: str, place: Place) -> str:
    if not isinstance(value, Mapping) or value.get("type") not in _TEXT_PARTS:
        rule = "an object of type `text` with its `text`; images, sound and calls are not read"
        raise _wrong(place, name, rule, value)
    return _text(value.get("text"), f"{name}.text", place)


def turns_of(messages: Sequence[tuple[str, str]]) -> list[Message]:
    """Return the turns of a conversation that is given as roles and contents.

    Raises:
        DataError: There is no such role.
    """
    for number, (role, _) in enumerate(messages):
        if role not in _ROLES:
            raise DataError(
                f"`messages[{number}].role` is {role!r}; it must be one of {', '.join(_ROLES)}; "
                "name who speaks"
            )
    return [Message(_ROLES[role], content) for role, content in messages]


def _is_trained(weight: object, name: str, place: Place) -> bool:
    if weight is None:  # columns have a null where a record has no such field
        return True
    if isinstance(weight, bool) or weight not in (0, 1):
        rule = "0 (its turn is not trained on) or 1"
        raise _wrong(place, f"{name}.weight", rule, weight)
    return weight == 1


def _with_addition(turn: Message, added: object, name: str, place: Place) -> Message:
    text = "" if added is None else _text(added, name, place)
    return turn._replace(content=f"{turn.content}\n\n{text}") if text else turn


def _text(value: object, name: str, place: Place) -> str:
    if not isinstance(value, str):
        raise _wrong(place, name, "a string", value)
    if not value.isascii():
        _require_whole(value, name, place)
    return value


def _require_whole(value: str, name: str, place: Place) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"`{name}` in {place} holds {value[error.start]!r} at character {error.start}, half of "
            "a surrogate pair; text must be whole Unicode; write the character itself, or leave "
            "the half out"
        ) from None


def _wrong(place: Place, name: str, rule: str, value: object) -> DataError:
    shown = "missing" if value is None else repr(value)[:60]
    return DataError(
        f"`{name}` in {place} is {shown}; it must be {rule}; repair or remove the record"
    )
