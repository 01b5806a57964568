"""Sampled text in pieces that know their tokens, for the blocking and the asyncio SDK alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training_engine._record_base import Plain


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A sampled token and the tokens that were likeliest at its place."""

    token_id: int
    text: str
    """Of the token alone; U+FFFD for a part of a character."""
    logprob: float
    """Natural logarithm of its probability."""
    top_logprobs: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at its place, the likeliest first."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt and the tokens that were likeliest at its place."""

    token_id: int
    text: str
    """Of the token alone; U+FFFD for a part of a character."""
    logprob: float | None
    """Natural logarithm of its probability behind the tokens before it; None of the first that the
    model sees, and of those that it does not see."""
    top_logprobs: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at its place, the likeliest first."""


class TextPiece(str):
    """A piece of sampled text: a str that also says which tokens it was made from.

    Attributes:
        token_ids: Ids of its tokens; several where a character takes more than one, or where its
            text could have been the beginning of a stop text.
        finish_reason: Of the last piece of a sample, which may be empty: `length` after
            `max_tokens`, `stop` at an end token or a stop text. None of all others.
        sample: Which sample it belongs to, counts from 0.
        prompt_index: Which of several prompts it belongs to, counts from 0.
        prompt_tokens: On the first piece of a sample: tokens of the prompt. None on all others.
        dropped_prompt_tokens: On the first piece of a sample: tokens at the beginning of the prompt
            that the model did not see, since its context is shorter. None on all others.
        logprobs: Of its tokens, where asked for.
        prompt_logprobs: On the first piece of a sample, where asked for: all tokens of the prompt.
        prompt_text: Then also: the prompt's text, as its tokens give it; of `messages`, as the chat
            template wrote them.
    """

    __slots__ = (
        "dropped_prompt_tokens",
        "finish_reason",
        "logprobs",
        "prompt_index",
        "prompt_logprobs",
        "prompt_text",
        "prompt_tokens",
        "sample",
        "token_ids",
    )
    token_ids: tuple[int, ...]
    finish_reason: str | None
    sample: int
    prompt_index: int
    prompt_tokens: int | None
    dropped_prompt_tokens: int | None
    logprobs: tuple[TokenLogprob, ...]
    prompt_logprobs: tuple[PromptToken, ...]
    prompt_text: str | None

    def __new__(
        cls,
        text: str = "",
        token_ids: tuple[int, ...] = (),
        finish_reason: str | None = None,
        *,
        sample: int = 0,
        prompt_index: int = 0,
        prompt_tokens: int | None = None,
        dropped_prompt_tokens: int | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
        prompt_logprobs: tuple[PromptToken, ...] = (),
        prompt_text: str | None = None,
    ) -> TextPiece:
        piece = super().__new__(cls, text)
        piece.token_ids, piece.finish_reason, piece.sample = token_ids, finish_reason, sample
        piece.prompt_tokens, piece.dropped_prompt_tokens = prompt_tokens, dropped_prompt_tokens
        piece.logprobs, piece.prompt_index = logprobs, prompt_index
        piece.prompt_logprobs, piece.prompt_text = prompt_logprobs, prompt_text
        return piece


class TextPieces:
    """Makes pieces from single tokens, some of which add no text yet."""

    def __init__(self) -> None:
        self._waiting: dict[int, list[Plain]] = {}

    def take(self, token: Plain) -> TextPiece | None:
        """Return the piece that the token completes; None inside a character."""
        number = token.get("prompt_index") or 0
        tokens = self._waiting.setdefault(number, [])
        tokens.append(token)
        text, reason = token.get("text") or "", token.get("finish_reason") or None
        if not text and not reason:
            return None
        del self._waiting[number]
        return TextPiece(
            text,
            tuple(each["token_id"] for each in tokens),
            reason,
            sample=token.get("sample") or 0,
            prompt_index=number,
            prompt_tokens=tokens[0].get("prompt_tokens"),
            dropped_prompt_tokens=tokens[0].get("dropped_prompt_tokens"),
            logprobs=tuple(_logprob(each) for each in tokens if each.get("logprob") is not None),
            prompt_logprobs=tuple(map(_of_prompt, tokens[0].get("prompt_logprobs") or ())),
            prompt_text=tokens[0].get("prompt_text"),
        )


def whole_texts(prompt: str, prompts: Sequence[str], pieces: Sequence[TextPiece]) -> Plain:
    """Return what REST says of texts that it sends whole: those of the prompt, or of each."""
    if not prompts:
        return {"prompt": prompt, **whole_text(pieces)}
    rows = [[piece for piece in pieces if piece.prompt_index == n] for n in range(len(prompts))]
    answers = [{"prompt": text, **whole_text(row)} for text, row in zip(prompts, rows, strict=True)]
    return {**answers[0], "answers": answers}


def whole_text(pieces: Sequence[TextPiece]) -> Plain:
    """Return the first sample of a prompt, and all of them."""
    samples: list[list[TextPiece]] = []
    for piece in pieces:
        if piece.sample >= len(samples):
            samples.append([])
        samples[piece.sample].append(piece)
    rows = [_sample(each) for each in samples] or [_sample([])]
    first = pieces[0] if pieces else TextPiece()
    return {
        **{name: rows[0][name] for name in ("text", "token_ids", "finish_reason")},
        "prompt_tokens": first.prompt_tokens,
        "dropped_prompt_tokens": first.dropped_prompt_tokens,
        "prompt_logprobs": [_plain(each) for each in first.prompt_logprobs] or None,
        "prompt_text": first.prompt_text,
        "samples": rows,
    }


def _sample(pieces: Sequence[TextPiece]) -> Plain:
    return {
        "text": "".join(pieces),
        "token_ids": [token_id for piece in pieces for token_id in piece.token_ids],
        "finish_reason": pieces[-1].finish_reason if pieces else None,
        "logprobs": [_plain(each) for piece in pieces for each in piece.logprobs] or None,
    }


def _plain(token: TokenLogprob | PromptToken) -> Plain:
    return {
        "token_id": token.token_id,
        "text": token.text,
        "logprob": token.logprob,
        "top_logprobs": [
            {"token_id": each.token_id, "text": each.text, "logprob": each.logprob}
            for each in token.top_logprobs
        ],
    }


def _logprob(token: Plain) -> TokenLogprob:
    return TokenLogprob(token["token_id"], token["token_text"], token["logprob"], _top(token))


def _of_prompt(token: Plain) -> PromptToken:
    return PromptToken(token["token_id"], token["text"], token["logprob"], _top(token))


def _top(token: Plain) -> tuple[TokenLogprob, ...]:
    return tuple(TokenLogprob(**each) for each in token["top_logprobs"])
