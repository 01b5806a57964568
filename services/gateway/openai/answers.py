"""Answers of OpenAI's API, made of sampled tokens: whole, or a chunk a token."""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gateway.openai.bodies import ChatBody, CompletionBody
from training_engine.messages import enum_words
from training_engine.v1 import generation_pb2

Plain = dict[str, Any]
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_REASONS = enum_words(generation_pb2.FinishReason.DESCRIPTOR)


class Score(NamedTuple):
    """A token's text alone, its log-probability, and the likeliest tokens at its place."""

    text: str
    logprob: float | None
    """None of a prompt's first token."""
    top: Sequence[Any]


def _score(text: str, token: Any) -> Score:
    return Score(text, token.logprob if token.HasField("logprob") else None, token.top_logprobs)


@dataclass
class Choice:
    """One text, as far as it has come."""

    index: int
    text: str = ""
    finish_reason: str | None = None
    new_text: str = ""
    """What the last token added."""
    scores: list[Score] = field(default_factory=list)
    """Of its tokens; of those of the prompt before them, where that is echoed."""
    offsets: list[int] = field(default_factory=lambda: [0])
    """Characters of all token texts before each of `scores`, and of all."""

    def add(self, token: Any, echoed: str) -> None:
        """Take the next token; `echoed` is the prompt's text where that begins the choice."""
        is_first = not self.scores
        prompt = [_score(each.text, each) for each in token.prompt_logprobs] if is_first else []
        for score in (*prompt, _score(token.token_text, token)):
            self.scores.append(score)
            self.offsets.append(self.offsets[-1] + len(score.text))
        self.new_text = echoed + token.text if is_first else token.text
        self.text += self.new_text
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
        self._echoed = body.prompt if isinstance(body, CompletionBody) and body.echo else []
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
        begin = len(choice.scores)
        choice.add(token, self._echo(prompt, token))
        self._completion_tokens += 1
        if begin and not (token.text or choice.finish_reason or self._has_logprobs):
            return []
        return [self._chunk(each) for each in self.pieces(choice, begin)]

    def _echo(self, prompt: int, token: Any) -> str:
        """Return the prompt's text where it is echoed; of ids, that of its tokens."""
        given = self._echoed[prompt] if self._echoed else ""
        return given if isinstance(given, str) else str(token.prompt_text)

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
    def pieces(self, choice: Choice, begin: int) -> list[Plain]:
        """Return what a stream says of the last token of a choice, with scores from a place on."""

    @abstractmethod
    def logprobs(self, choice: Choice, begin: int) -> Plain:
        """Return a choice's scores from a place on."""

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

    def pieces(self, choice: Choice, begin: int) -> list[Plain]:
        scores, reason = self.scores(choice, begin), choice.finish_reason
        said = {"text": choice.new_text, "logprobs": scores, "finish_reason": reason}
        return [{"index": choice.index, **said}]

    def logprobs(self, choice: Choice, begin: int) -> Plain:
        scores = choice.scores[begin:]
        return {
            "tokens": [score.text for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [_by_text(score) for score in scores],
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

    def pieces(self, choice: Choice, begin: int) -> list[Plain]:
        role = {"role": "assistant", "content": "", "refusal": None}
        said = [] if begin else [self._piece(choice, role)]
        if (text := choice.new_text) or self._has_logprobs:
            said.append(self._piece(choice, {"content": text}, self.scores(choice, begin)))
        if choice.finish_reason:
            said.append({**self._piece(choice, {}), "finish_reason": choice.finish_reason})
        return said

    def logprobs(self, choice: Choice, begin: int) -> Plain:
        return {"content": [_scored(score) for score in choice.scores[begin:]], "refusal": None}

    def _piece(self, choice: Choice, delta: Plain, scores: Plain | None = None) -> Plain:
        said = {"delta": delta, "logprobs": scores, "finish_reason": None}
        return {"index": choice.index, **said}


def _by_text(score: Score) -> Plain | None:
    """Return log-probabilities by text, the token's own too; of equal texts the likeliest."""
    if score.logprob is None:
        return None
    found: Plain = {}
    for top in score.top:
        found.setdefault(top.text, top.logprob)
    found.setdefault(score.text, score.logprob)
    return found


def _scored(score: Score) -> Plain:
    tops = [_text_and_score(top.text, top.logprob) for top in score.top]
    return {**_text_and_score(score.text, score.logprob), "top_logprobs": tops}


def _text_and_score(text: str, logprob: float | None) -> Plain:
    known = _REPLACEMENT not in text  # the text of a part of a character does not tell its bytes
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if known else None}
