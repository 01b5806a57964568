"""Text sampled from a model: prompts and conversations go in, pieces of text come out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor

from app.training.cores import YieldingThreads
from app.training.data.conversations import turns_of
from app.training.data.errors import DataError
from app.training.data.parts import Place
from app.training.inference import LoadedModel
from app.training.stop_texts import before_stop
from app.training.tokenizer import PretrainedTokenizer, Tokenizer
from app.transformer.generation import Step, sample
from app.transformer.model import GPTModel
from app.transformer.sampling import Sampling, SamplingOptions
from app.transformer.scoring import score_tokens

_PROMPTS_AT_ONCE = 8
MOST_LOGPROBS = 20
"""Most of the likeliest tokens that are reported for each sampled one."""
_MOST_PROMPT_SCORES = 50_000
"""They travel in one message."""


class NotSampledError(ValueError):
    """Text cannot be sampled as requested; the message is for the client."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token that could have come."""

    token_id: int
    text: str
    """Of the token alone; U+FFFD for a part of a character, empty for a special token."""
    logprob: float
    """Natural logarithm of its probability."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of the prompt."""

    token_id: int
    text: str
    """Of the token alone, as in `TokenLogprob`."""
    logprob: float | None
    """Natural logarithm of its probability behind the tokens before it; None of the first that the
    model sees, and of those that it does not see."""
    top_logprobs: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens at its place, the likeliest first."""


@dataclass(frozen=True, slots=True)
class SampledPiece:
    """What one sampled token adds to the text."""

    index: int
    """Counts from 0 in each sample."""
    token_id: int
    text: str
    """May be empty inside a character, and while it may be the beginning of a stop text."""
    finish_reason: str = ""
    """On the last piece of a sample: "length" or "stop"."""
    sample: int = 0
    """Which sample it belongs to, counts from 0."""
    prompt_tokens: int | None = None
    """On the first piece of a sample: ids of the prompt, those that were left out included."""
    dropped_prompt_tokens: int | None = None
    """On the first piece of a sample: ids at the beginning of the prompt that the model does not
    see, since its context is shorter."""
    logprob: float | None = None
    """Where asked for: natural logarithm of the token's probability."""
    token_text: str = ""
    """Where log-probabilities are asked for: text of the token alone, see `TokenLogprob`."""
    top_logprobs: tuple[TokenLogprob, ...] = ()
    """Where asked for: the likeliest tokens, the likeliest first."""
    prompt_index: int = 0
    """Which of several prompts it belongs to, counts from 0."""
    prompt_logprobs: tuple[PromptToken, ...] = ()
    """Where asked for, on the first piece of a sample: all tokens of the prompt."""
    prompt_text: str | None = None
    """Then also: the prompt's text, as its tokens give it."""


def sample_pieces(
    model: GPTModel,
    tokenizer: Tokenizer | None,
    prompt: str | Sequence[int],
    *,
    max_tokens: int = 256,
    stop: Sequence[str] = (),
    stop_token_ids: Sequence[int] = (),
    num_samples: int = 1,
    logprobs: int | None = None,
    prompt_logprobs: int | None = None,
    **options: Unpack[SamplingOptions],
) -> Iterator[SampledPiece]:
    """Continue `prompt` token by token, up to `max_tokens` or the tokenizer's end of text.

    A piece comes as soon as its text is certain. Ids beyond the tokenizer are never sampled. Of a
    prompt that is longer than the model's context, the model sees the end.

    Args:
        prompt: a text, or its ids; empty for a text from its beginning.
        stop: texts that end a sample, also where several tokens make them; never part of its text.
        stop_token_ids: ids that end a sample, besides the tokenizer's end of text.
        num_samples: continuations of the same prompt, one after the other. Sample i has the seed
            `seed + i`, so it is what that seed gives alone.
        logprobs: report each token's log-probability, and so many of the likeliest ones with
            theirs, 0 to 20. They are those of the model: before temperature, penalty and cuts.
        prompt_logprobs: report the same of the prompt's tokens, 0 to 20.
        options: of `app.transformer.sampling.Sampling`, such as `temperature`.

    Raises:
        NotSampledError: the model has no tokenizer.
        ValueError: an argument is out of range, or the tokenizer cannot express the prompt.
    """
    if tokenizer is None:
        raise NotSampledError(
            "the checkpoint has no tokenizer: it was trained on token ids of unknown origin; "
            "train on text, or name the tokenizer in the configuration"
        )
    _check(model, max_tokens, stop, stop_token_ids, num_samples, logprobs, prompt_logprobs)
    ids = tokenizer.encode(prompt) if isinstance(prompt, str) else _known(prompt, tokenizer)
    sampling = replace(Sampling(**options), vocab_size=tokenizer.vocab_size)
    continuation = _Continuation(
        model,
        tokenizer,
        [int(token) for token in ids] or [_first_token(tokenizer)],
        max_tokens,
        (*_end_ids(tokenizer, stop), *stop_token_ids),
        logprobs,
        prompt_logprobs,
    )
    _check_scores(len(continuation.prompt), prompt_logprobs)
    return (
        replace(piece, sample=number)
        for number in range(num_samples)
        for piece in before_stop(stop, continuation.pieces(_of_sample(sampling, number)))
    )


def sample_batch(
    model: GPTModel, tokenizer: Tokenizer | None, prompts: Sequence[str], **options: Any
) -> Iterator[SampledPiece]:
    """Continue several prompts, a token of each in turn; `options` as `sample_pieces` takes them.

    Each gets to the bit what it would get alone, so rows are not multiplied together. A few prompts
    are under way at a time, the others follow: each has keys and values of its own.

    Raises:
        NotSampledError, ValueError: as by `sample_pieces`, for the first prompt that is at fault.
    """
    waiting = deque(
        (number, sample_pieces(model, tokenizer, prompt, **options))
        for number, prompt in enumerate(prompts)
    )
    return _in_turns(waiting)


def _in_turns(waiting: deque[tuple[int, Iterator[SampledPiece]]]) -> Iterator[SampledPiece]:
    under_way = deque[tuple[int, Iterator[SampledPiece]]]()
    while waiting or under_way:
        while waiting and len(under_way) < _PROMPTS_AT_ONCE:
            under_way.append(waiting.popleft())
        number, pieces = under_way.popleft()
        if (piece := next(pieces, None)) is not None:
            yield replace(piece, prompt_index=number)
            under_way.append((number, pieces))


def answer_pieces(
    loaded: LoadedModel,
    messages: Sequence[tuple[str, str]],
    *,
    stop: Sequence[str] = (),
    **options: Any,
) -> Iterator[SampledPiece]:
    """Answer a conversation as a model does that was trained on such, token by token.

    The checkpoint's chat template writes the turns; what it writes behind an answer ends this one.

    Args:
        messages: role and content of each turn.
        stop, options: as `sample_pieces` takes them.

    Raises:
        NotSampledError: the checkpoint has no chat template, or that cannot write the turns.
        ValueError: as by `sample_pieces`.
    """
    template = loaded.chat_template
    if template is None:
        raise NotSampledError(
            "the checkpoint has no chat template: its model was not trained on conversations; give "
            "a `prompt` to continue, or train on `messages`"
        )
    try:
        turns = turns_of(messages)
        place = Place(Path("messages"), "turn", len(turns))
        prompt, end = template.prompt(turns, place), template.end_of_answer(turns, place)
    except DataError as error:
        raise NotSampledError(str(error)) from None
    stops = (*stop, end) if end else tuple(stop)
    return sample_pieces(loaded.model, loaded.tokenizer, prompt, stop=stops, **options)


def _check(
    model: GPTModel,
    max_tokens: int,
    stop: Sequence[str],
    stop_token_ids: Sequence[int],
    num_samples: int,
    logprobs: int | None,
    prompt_logprobs: int | None,
) -> None:
    ids, most = model.config.vocab_size, MOST_LOGPROBS
    foreign = [token for token in stop_token_ids if not 0 <= token < ids]
    for name, value, holds, rule in (
        ("max_tokens", max_tokens, max_tokens >= 1, "at least 1; try 256"),
        ("num_samples", num_samples, num_samples >= 1, "at least 1"),
        ("logprobs", logprobs, 0 <= (logprobs or 0) <= most, f"0 to {most}; leave it out for none"),
        (
            "prompt_logprobs",
            prompt_logprobs,
            0 <= (prompt_logprobs or 0) <= most,
            f"0 to {most}; leave it out for none",
        ),
        ("stop", [*stop], all(stop), "texts of at least one character; leave it out for none"),
        ("stop_token_ids", foreign, not foreign, f"ids of the model, 0 to {ids - 1}"),
    ):
        if not holds:
            raise ValueError(f"`{name}` is {value}; it must be {rule}")


def _check_scores(tokens: int, likeliest: int | None) -> None:
    if likeliest is not None and tokens * (likeliest + 1) > _MOST_PROMPT_SCORES:
        raise ValueError(
            f"`prompt_logprobs` is {likeliest} for a prompt of {tokens} tokens; its tokens times "
            f"one more than that must be at most {_MOST_PROMPT_SCORES}; ask for fewer, or shorten "
            "the prompt"
        )


def _known(ids: Sequence[int], tokenizer: Tokenizer) -> Sequence[int]:
    foreign = [token for token in ids if not 0 <= token < tokenizer.vocab_size]
    if foreign:
        rule = f"ids must be those of the tokenizer, 0 to {tokenizer.vocab_size - 1}"
        raise ValueError(f"`prompt_ids` holds {foreign[0]}; {rule}; encode the text with it")
    return ids


def _of_sample(sampling: Sampling, number: int) -> Sampling:
    if sampling.seed is None:
        return sampling
    return replace(sampling, seed=(sampling.seed + number) % 2**63)


def _end_ids(tokenizer: Tokenizer, stop: Sequence[str]) -> tuple[int, ...]:
    """Return the ids that end a text: the tokenizer's own, and special tokens among `stop`.

    A special token has no text, so looking for it in the text would not find it.
    """
    ends = () if tokenizer.end_of_text_id is None else (tokenizer.end_of_text_id,)
    if not isinstance(tokenizer, PretrainedTokenizer):
        return ends
    encoded = (tokenizer.encode(text).tolist() for text in stop)
    return (*ends, *(ids[0] for ids in encoded if len(ids) == 1 and not tokenizer.decode(ids)))


def _first_token(tokenizer: Tokenizer) -> int:
    """Return what an empty prompt begins with: the end of a text before, or a line's end."""
    if tokenizer.end_of_text_id is not None:
        return tokenizer.end_of_text_id
    try:
        return int(tokenizer.encode("\n")[0])
    except (ValueError, IndexError):
        return 0


@dataclass(frozen=True, slots=True)
class _Continuation:
    """What all samples of a prompt share."""

    model: GPTModel
    tokenizer: Tokenizer
    prompt: list[int]
    max_tokens: int
    ends: tuple[int, ...]
    logprobs: int | None
    prompt_logprobs: int | None

    def pieces(self, sampling: Sampling) -> Iterator[SampledPiece]:
        """Yield the pieces of one sample, with fewer threads where others have the cores."""
        with YieldingThreads() as threads:
            for piece in self._pieces(sampling):
                yield piece
                threads.check()

    def _pieces(self, sampling: Sampling) -> Iterator[SampledPiece]:
        prompt = torch.tensor([self.prompt], device=next(self.model.parameters()).device)
        steps = sample(self.model, prompt, self.max_tokens, sampling, self.ends)
        stream, before = self.tokenizer.stream(), self.prompt[-1]
        for index, step in enumerate(steps):
            token = int(step.tokens)
            ended = token in self.ends
            text = "" if ended else stream.push(token)
            reason = "stop" if ended else "length" if index + 1 >= self.max_tokens else ""
            if reason:
                text += stream.finish()
            more = {**({} if index else self._of_prompt()), **self._scores(step, before, token)}
            yield SampledPiece(index, token, text, reason, **more)
            before = token

    def _of_prompt(self) -> dict[str, Any]:
        size = len(self.prompt)
        dropped = max(0, size - self.model.config.max_position_embeddings)
        counts = {"prompt_tokens": size, "dropped_prompt_tokens": dropped}
        if self.prompt_logprobs is None:
            return counts
        text = self.tokenizer.decode(self.prompt)
        scores = tuple(self._prompt_scores(dropped, self.prompt_logprobs))
        return {**counts, "prompt_logprobs": scores, "prompt_text": text}

    def _prompt_scores(self, dropped: int, count: int) -> Iterator[PromptToken]:
        known = min(self.tokenizer.vocab_size, self.model.config.vocab_size)
        seen = torch.tensor(self.prompt[dropped:], device=next(self.model.parameters()).device)
        scores = score_tokens(self.model, seen, known, min(count, known))
        rows = zip(*(part.tolist() for part in scores), strict=True)
        for place, token in enumerate(self.prompt):
            if not place:
                yield PromptToken(token, self.tokenizer.decode([token]), None)
                continue
            before = self.prompt[place - 1]
            text = _text_behind(self.tokenizer, before, token)
            if place <= dropped:
                yield PromptToken(token, text, None)
                continue
            logprob, ids, values = next(rows)
            yield PromptToken(token, text, logprob, self._likeliest(before, ids, values))

    def _scores(self, step: Step, before: int, token: int) -> dict[str, Any]:
        if self.logprobs is None:
            return {}
        known = min(self.tokenizer.vocab_size, step.logits.shape[-1])
        # Over all ids, as in a loss; those beyond the tokenizer keep what the model gives them.
        scores: Tensor = step.logits[0].float().log_softmax(-1)
        best = scores[:known].topk(min(self.logprobs, known))
        return {
            "logprob": float(scores[token]),
            "token_text": _text_behind(self.tokenizer, before, token),
            "top_logprobs": self._likeliest(before, best.indices.tolist(), best.values.tolist()),
        }

    def _likeliest(
        self, before: int, ids: Sequence[int], logprobs: Sequence[float]
    ) -> tuple[TokenLogprob, ...]:
        return tuple(
            TokenLogprob(each, _text_behind(self.tokenizer, before, each), logprob)
            for each, logprob in zip(ids, logprobs, strict=True)
        )


def _text_behind(tokenizer: Tokenizer, before: int, token: int) -> str:
    """Return the text of a token behind another one: some decoders drop a text's first space."""
    start, both = tokenizer.decode([before]), tokenizer.decode([before, token])
    return both[len(start) :] if both.startswith(start) else tokenizer.decode([token])
