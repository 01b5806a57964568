"""Conversations as text, by a chat template in Jinja, with the places of what the assistant wrote.

A template is code of the tokenizer's author: it runs in Jinja's immutable sandbox, sees the
conversation and the names of special tokens, and no clock, so that it gives the same text always.

Where the template marks what the assistant generates, by `{% generation %}` as `transformers`
knows it, the marks decide. Elsewhere a turn of the assistant is what the text of the conversation
up to it has more than that of the turns before, with their `add_generation_prompt`. That is exact
as long as a template writes a turn in the same way whatever follows it; one that does not is
refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, cast

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.training.data.conversations import Message
from app.training.data.errors import DataError
from app.training.data.parts import Place

CHATML: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""The template where neither the tokenizer nor the configuration has one."""

CHATML_TOKENS: Final = ("<|im_start|>", "<|im_end|>")

_BEGIN: Final = "\ufdd0"
_END: Final = "\ufdd1"
"""Characters that Unicode keeps for a program's own use: no text has them."""
_ANSWER: Final = "\ufdd2"
_MARKED: Final = re.compile(r"\{%[-+]?\s*generation\b")


@dataclass(frozen=True, slots=True)
class RenderedConversation:
    """A conversation as text."""

    text: str
    spans: list[tuple[int, int]]
    """Where in the text is what the assistant wrote, and is trained on: characters, from and up
    to."""


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template that is ready to render.

    Raises `DataError` where the source is not a template.
    """

    source: str
    tokens: Mapping[str, str] = field(default_factory=dict)
    """Special tokens by the names that templates use: `bos_token`, `eos_token` and others."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "_template", _environment().from_string(self.source))
        except TemplateSyntaxError as error:
            raise DataError(
                f"the chat template is not Jinja ({error.message} in line {error.lineno}); "
                "`data.chat_template` must be a template such as that of a tokenizer_config.json; "
                "correct it, or leave it out for ChatML"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """Return the template as JSON-able values, for a checkpoint."""
        return {"source": self.source, "tokens": dict(self.tokens)}

    def render(self, messages: Sequence[Message], place: Place) -> RenderedConversation:
        """Return the text of a conversation.

        Raises:
            DataError: The template cannot write it.
        """
        for message in messages:
            _require_unmarked(message, place)
        if _MARKED.search(self.source):
            found = _without_marks(self._write(messages, place))
        else:
            found = self._by_turns(messages, place)
        return _weighted(found, messages, place)

    def prompt(self, messages: Sequence[Message], place: Place) -> str:
        """Return the text after which a model writes the assistant's next turn."""
        text = self._write(messages, place, add_generation_prompt=True)
        return _without_marks(text).text

    def end_of_answer(self, messages: Sequence[Message], place: Place) -> str:
        """Return what is written behind the assistant's next turn, without white space around it.

        Empty where nothing is.
        """
        text = self._write([*messages, Message("assistant", _ANSWER)], place)
        return _without_marks(text).text.rpartition(_ANSWER)[2].strip()

    def _by_turns(self, messages: Sequence[Message], place: Place) -> RenderedConversation:
        whole, spans = self._write(messages, place), []
        for index, message in enumerate(messages):
            if message.role == "assistant":
                before = self._write(messages[:index], place, add_generation_prompt=True)
                up_to_it = self._write(messages[: index + 1], place)
                if not (up_to_it.startswith(before) and whole.startswith(up_to_it)):
                    _refuse_to_guess(index, place)
                spans.append((len(before), len(up_to_it)))
        return RenderedConversation(whole, spans)

    def _write(
        self, messages: Sequence[Message], place: Place, *, add_generation_prompt: bool = False
    ) -> str:
        template = cast("Any", self)._template
        try:
            return str(
                template.render(
                    messages=[{"role": m.role, "content": m.content} for m in messages],
                    add_generation_prompt=add_generation_prompt,
                    tools=None,
                    documents=None,
                    **self.tokens,
                )
            )
        except Exception as error:  # whatever an expression of the template raises
            raise DataError(
                f"the chat template cannot write {place} ({type(error).__name__}: {error}); the "
                "record must be a conversation that it takes; repair the record, or set "
                "`data.chat_template` to another template"
            ) from error


def _without_marks(text: str) -> RenderedConversation:
    parts = re.split(f"([{_BEGIN}{_END}])", text)
    plain, spans, length, begun = [], [], 0, 0
    for part in parts:
        if part == _BEGIN:
            begun = length
        elif part == _END:
            spans.append((begun, length))
        else:
            plain.append(part)
            length += len(part)
    return RenderedConversation("".join(plain), spans)


def _weighted(
    found: RenderedConversation, messages: Sequence[Message], place: Place
) -> RenderedConversation:
    """Return the conversation without the spans of answers that are not trained on."""
    answers = [message for message in messages if message.role == "assistant"]
    if all(answer.is_trained for answer in answers):
        return found
    if len(found.spans) != len(answers):
        raise DataError(
            f"{place} has a `weight` of 0, and the chat template marks {len(found.spans)} parts "
            f"for {len(answers)} turns of the assistant, so its turns cannot be told apart; mark "
            "each turn once in `data.chat_template`, or leave `weight` out"
        )
    spans = zip(found.spans, answers, strict=True)
    return RenderedConversation(found.text, [span for span, turn in spans if turn.is_trained])


def _require_unmarked(message: Message, place: Place) -> None:
    if _BEGIN in message.content or _END in message.content:
        raise DataError(
            f"{place} holds U+FDD0 or U+FDD1, which Unicode keeps out of texts; remove the "
            "character"
        )


def _refuse_to_guess(index: int, place: Place) -> NoReturn:
    raise DataError(
        f"the chat template writes turn {index + 1} of {place} in another way when turns follow "
        "it, or without the beginning that it gives to a turn to be generated, so what the "
        "assistant wrote cannot be recognized; mark it in `data.chat_template` with "
        "{% generation %} and {% endgeneration %}"
    )


class _Generation(Extension):
    """`{% generation %}…{% endgeneration %}`: what is within is the assistant's."""

    tags = {"generation"}  # noqa: RUF012  as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

    def _marked(self, caller: Any) -> str:
        return f"{_BEGIN}{caller()}{_END}"


def _environment() -> ImmutableSandboxedEnvironment:
    """As `transformers` makes it, but for `strftime_now`: a text must not depend on the day."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _to_json(value: Any, indent: int | None = None) -> str:
    import json

    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    """Raise the error of a template that refuses a conversation."""
    raise TemplateError(message)
