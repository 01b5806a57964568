"""Bodies of OpenAI's API, and the calls of the control plane that they ask for.

A parameter that would change the text and is not supported is refused by name, unless it has the
value that changes nothing. One that changes no text is ignored. Other names are refused, as by
OpenAI.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from gateway.problems import ProblemError
from gateway.schemas.base import Body
from training_engine.errors import FieldProblem
from training_engine.v1.generation_pb2 import GenerateRequest

MAX_CHOICES = 64
_DEFAULT_TOKENS = 16
"""Of completions, as OpenAI's."""
_SEEDS = 2**63
_Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Id = Annotated[int, Field(ge=0, le=2**63 - 1)]


_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "prediction": (),
    "reasoning_effort": ("none",),
    "refusal": (),
    "response_format": ({"type": "text"},),
    "suffix": ("",),
    "tool_call_id": (),
    "tool_calls": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}
"""Parameters that are not supported, and the values besides null that change nothing."""


class _Strict(Body):
    @field_validator(*_NEUTRAL, check_fields=False)
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> None:
        if value is not None and value not in _NEUTRAL[str(info.field_name)]:
            raise ValueError("should be left out, since it is not supported here")


def _texts(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return value
    raise ValueError("should be a text or a list of texts")


def _prompts(value: Any) -> Any:
    """Return a list of texts, or of lists of token ids."""
    if value is None or isinstance(value, str):
        return [value or ""]
    if isinstance(value, list) and value:
        if all(isinstance(each, str) for each in value) or all(map(_are_ids, value)):
            return value
        if _are_ids(value):
            return [value]
    raise ValueError("should be a text, a list of token ids, or a list of either")


def _are_ids(value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(type(each) is int and 0 <= each < _SEEDS for each in value)


def _stops(value: Any) -> Any:
    return [] if value in (None, []) else _texts(value)


def _list(value: Any) -> Any:
    """Return a list that may be null."""
    return [] if value is None else value


def _content(value: Any) -> Any:
    if isinstance(value, str):
        return value
    try:
        texts = [part["text"] for part in value if part["type"] == "text"]
        if len(texts) == len(value):
            return "".join(texts)
    except (KeyError, TypeError):
        pass
    raise ValueError("should be a text or a list of parts of type text; others are not taken here")


class StreamOptions(Body):
    """What a stream has besides the text."""

    include_usage: bool | None = None
    include_obfuscation: Any = None


class _Parameters(_Strict):
    """What both calls take."""

    model: str
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=MAX_CHOICES)
    max_tokens: _Count | None = None
    stop: Annotated[list[str], BeforeValidator(_stops)] = Field([])
    seed: int | None = None
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    # Not OpenAI's: the service's own.
    top_k: _Count | None = None
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, gt=0)
    stop_token_ids: Annotated[list[_Id], BeforeValidator(_list)] = Field([])

    logit_bias: Any = None

    # They change no text.
    metadata: Any = None
    user: Any = None

    @property
    def choices_of_each(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def has_usage(self) -> bool:
        """Whether a stream ends with counts."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    @abstractmethod
    def most_likely(self) -> int | None:
        """How many of the likeliest tokens are reported; None for no log-probabilities."""

    def options(self) -> dict[str, Any]:
        """Return the fields of `GenerateRequest` that are the same for both calls."""
        values: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "num_samples": self.n,
            "max_tokens": self.max_tokens,
            "stop": self.stop,
            "stop_token_ids": self.stop_token_ids,
            "seed": None if self.seed is None else self.seed % _SEEDS,
            "logprobs": self.most_likely,
        }
        return {name: value for name, value in values.items() if value is not None}

    @abstractmethod
    def requests(self, checkpoint_id: str) -> list[GenerateRequest]:
        """Return a call for each prompt."""


class CompletionBody(_Parameters):
    """Of `POST /v1/completions`."""

    prompt: Annotated[list[str] | list[list[int]], BeforeValidator(_prompts)] = Field([""])
    logprobs: int | None = Field(None, ge=0, le=20)
    echo: bool | None = None

    best_of: int | None = None
    suffix: Any = None

    @property
    def most_likely(self) -> int | None:
        return self.logprobs

    def options(self) -> dict[str, Any]:
        options = super().options()
        if self.echo and (self.logprobs is not None or not isinstance(self.prompt[0], str)):
            options["prompt_logprobs"] = self.logprobs or 0
        return options

    def requests(self, checkpoint_id: str) -> list[GenerateRequest]:
        self._check_best_of()
        if len(self.prompt) * self.choices_of_each > MAX_CHOICES:
            raise _invalid(
                "prompt",
                f"prompt has {len(self.prompt)} texts with {self.choices_of_each} choices each; "
                f"there may be {MAX_CHOICES} choices in all; send several requests",
            )
        options = {"max_tokens": _DEFAULT_TOKENS, **self.options()}
        return [
            GenerateRequest(checkpoint_id=checkpoint_id, prompt=each, **options)
            if isinstance(each, str)
            else GenerateRequest(checkpoint_id=checkpoint_id, prompt_ids=each, **options)
            for each in self.prompt
        ]

    def _check_best_of(self) -> None:
        if self.best_of not in (None, self.choices_of_each):
            rule = "the best of more texts are not chosen here; leave it out"
            raise _invalid(
                "best_of", f"best_of is {self.best_of} and n is {self.choices_of_each}; {rule}"
            )


class Message(_Strict):
    """A turn of a conversation."""

    role: str
    content: Annotated[str, BeforeValidator(_content)]
    name: Any = None
    refusal: Any = None
    tool_calls: Any = None
    tool_call_id: Any = None
    function_call: Any = None
    audio: Any = None
    annotations: Any = None

    def turn(self) -> dict[str, str]:
        """Return it as the service takes it; OpenAI's `developer` is its `system`."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content}


class ChatBody(_Parameters):
    """Of `POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: _Count | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)

    audio: Any = None
    function_call: Any = None
    functions: Any = None
    modalities: Any = None
    prediction: Any = None
    reasoning_effort: Any = None
    response_format: Any = None
    tool_choice: Any = None
    tools: Any = None
    verbosity: Any = None
    web_search_options: Any = None

    parallel_tool_calls: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    safety_identifier: Any = None
    service_tier: Any = None
    store: Any = None

    @property
    def most_likely(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    def requests(self, checkpoint_id: str) -> list[GenerateRequest]:
        if self.top_logprobs is not None and not self.logprobs:
            raise _invalid("top_logprobs", "top_logprobs is set without logprobs; set both")
        options = self.options()
        if self.max_completion_tokens is not None:
            options["max_tokens"] = self.max_completion_tokens
        turns: Sequence[Any] = [message.turn() for message in self.messages]
        return [GenerateRequest(checkpoint_id=checkpoint_id, messages=turns, **options)]


def _invalid(field: str, message: str) -> ProblemError:
    return ProblemError(message, errors=[FieldProblem(field, message)])
