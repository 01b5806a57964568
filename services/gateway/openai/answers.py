"""Answers of OpenAI's API, made of sampled tokens: whole, or a chunk a token."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

from gateway.openai.bodies import ChatBody, CompletionBody
from training_engine.messages import enum_words
from training_engine.v1 import generation_pb2

Plain = dict[str, Any]
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_REASONS = enum_words(generation_pb2.FinishReason.DESCRIPTOR)


@dataclass
class Choice:
    """One text, as far as it has come."""

    index: int
    text: str = ""
    finish_reason: str | None = None
    tokens: list[Any] = field(default_factory=list)
    """The sampled tokens, as the control plane sent them."""
    offsets: list[int] = field(default_factory=lambda: [0])
    """Characters of all token texts before each token, and of all."""

    def add(self, token: Any) -> None:
        """Take the next token."""
        self.tokens.append(token)
        self.offsets.append(self.offsets[-1] + len(token.token_text))
        self.text += token.text
        self.finish_reason = _REASONS.get(token.finish_reason)


class Answer(ABC):
    """What is said of all tokens of one request. Take each token, in order."""

    kind: str
    chunk_kind: str
    id_prefix: str

    def __init__(self, body: CompletionBody | ChatBody, model: str) -> None:
        self._has_logprobs = body.most_likely is not None
        self._has_usage = body.has_usage
        self._of_each = body.choices_of_each
        self._echoed = body.echoed if isinstance(body, CompletionBody) else []
        self._choices: dict[int, Choice] = {}
        self._prompt_tokens = self._completion_tokens = 0
        self._warnings: list[str] = []
        self._head = {
            "id": f"{self.id_prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    def take(self, prompt: int, token: Any) -> list[Plain]:
        """Add a sampled token of a prompt; return the chunks that a stream has for it."""
        index = prompt * self._of_each + token.sample
        choice = self._choices.setdefault(index, Choice(index))
        if token.HasField("prompt_tokens") and not token.sample:
            self._count_prompt(token)
        if self._echoed and not choice.tokens:
            token.text = self._echoed[prompt] + token.text
        choice.add(token)
        self._completion_tokens += 1
        is_first = len(choice.tokens) == 1
        if not (is_first or token.text or choice.finish_reason or self._has_logprobs):
            return []
        return [self._chunk(each) for each in self.pieces(choice)]

    def whole(self) -> Plain:
        """Return the answer once all tokens were taken."""
        choices = [self.choice(each) for _, each in sorted(self._choices.items())]
        return {**self._answer(self.kind, choices), "usage": self.usage()}

    def last_chunks(self) -> list[Plain]:
        """Return what a stream ends with: the counts, where they were asked for."""
        return [{**self._answer(self.chunk_kind, []), "usage": self.usage()}] * self._has_usage

    def usage(self) -> Plain:
        """Return the counts of tokens; a prompt counts once, whatever the number of its choices."""
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": self._completion_tokens,
            "total_tokens": self._prompt_tokens + self._completion_tokens,
        }

    @abstractmethod
    def choice(self, choice: Choice) -> Plain:
        """Return a text as the whole answer has it."""

    @abstractmethod
    def pieces(self, choice: Choice) -> list[Plain]:
        """Return what a stream says of the last token of a choice."""

    @abstractmethod
    def logprobs(self, choice: Choice, begin: int) -> Plain:
        """Return the log-probabilities of a choice's tokens from a place on."""

    def scores(self, choice: Choice, begin: int = 0) -> Plain | None:
        """Return `logprobs` where they were asked for."""
        return self.logprobs(choice, begin) if self._has_logprobs else None

    def _chunk(self, piece: Plain) -> Plain:
        chunk = self._answer(self.chunk_kind, [piece])
        return {**chunk, "usage": None} if self._has_usage else chunk

    def _answer(self, kind: str, choices: list[Plain]) -> Plain:
        warnings = {"warnings": self._warnings} if self._warnings else {}
        return {**self._head, "object": kind, "choices": choices, **warnings}

    def _count_prompt(self, token: Any) -> None:
        self._prompt_tokens += token.prompt_tokens
        if token.dropped_prompt_tokens:
            seen = token.prompt_tokens - token.dropped_prompt_tokens
            self._warnings.append(
                f"the prompt has {token.prompt_tokens} tokens; the model saw the last {seen}, "
                "which are all that its context takes"
            )


class Completion(Answer):
    """Of `POST /v1/completions`."""

    kind = chunk_kind = "text_completion"
    id_prefix = "cmpl"

    def choice(self, choice: Choice) -> Plain:
        return {
            "index": choice.index,
            "text": choice.text,
            "logprobs": self.scores(choice),
            "finish_reason": choice.finish_reason,
        }

    def pieces(self, choice: Choice) -> list[Plain]:
        scores, reason = self.scores(choice, len(choice.tokens) - 1), choice.finish_reason
        said = {"text": choice.tokens[-1].text, "logprobs": scores, "finish_reason": reason}
        return [{"index": choice.index, **said}]

    def logprobs(self, choice: Choice, begin: int) -> Plain:
        tokens = choice.tokens[begin:]
        return {
            "tokens": [token.token_text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [_by_text(token) for token in tokens],
            "text_offset": choice.offsets[begin:-1],
        }


class ChatCompletion(Answer):
    """Of `POST /v1/chat/completions`."""

    kind, chunk_kind = "chat.completion", "chat.completion.chunk"
    id_prefix = "chatcmpl"

    def choice(self, choice: Choice) -> Plain:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "content": choice.text, "refusal": None},
            "logprobs": self.scores(choice),
            "finish_reason": choice.finish_reason,
        }

    def pieces(self, choice: Choice) -> list[Plain]:
        begin = {"role": "assistant", "content": "", "refusal": None}
        last = len(choice.tokens) - 1
        said = [] if last else [self._piece(choice, begin)]
        if (text := choice.tokens[last].text) or self._has_logprobs:
            said.append(self._piece(choice, {"content": text}, self.scores(choice, last)))
        if choice.finish_reason:
            said.append({**self._piece(choice, {}), "finish_reason": choice.finish_reason})
        return said

    def logprobs(self, choice: Choice, begin: int) -> Plain:
        return {"content": [_scored(token) for token in choice.tokens[begin:]], "refusal": None}

    def _piece(self, choice: Choice, delta: Plain, scores: Plain | None = None) -> Plain:
        said = {"delta": delta, "logprobs": scores, "finish_reason": None}
        return {"index": choice.index, **said}


def _by_text(token: Any) -> Plain:
    """Return log-probabilities by text, the sampled token's too; of equal texts the likeliest."""
    found: Plain = {}
    for top in token.top_logprobs:
        found.setdefault(top.text, top.logprob)
    found.setdefault(token.token_text, token.logprob)
    return found


def _scored(token: Any) -> Plain:
    tops = [_text_and_score(top.text, top.logprob) for top in token.top_logprobs]
    return {**_text_and_score(token.token_text, token.logprob), "top_logprobs": tops}


def _text_and_score(text: str, logprob: float) -> Plain:
    known = _REPLACEMENT not in text  # the text of a part of a character does not tell its bytes
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if known else None}
