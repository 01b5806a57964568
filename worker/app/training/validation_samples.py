"""Text that the model writes after each evaluation, so that one sees what it learns.

The draws have a seed of their own: a step's texts are what `generate` makes of its checkpoint with
the same seed, and the training that they interrupt goes on as without them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from app.training.config import TrainingConfig
from app.training.distributed import Ranks
from app.training.rng import isolated
from app.training.sampled_text import SampledPiece, sample_pieces
from app.training.tokenizer import Tokenizer
from app.transformer.errors import ConfigError, FieldProblem
from app.transformer.model import GPTModel

_MOST_CHARACTERS = 4000
"""Of a text; what is longer is cut. A token may be a hundred spaces."""


@dataclass(frozen=True, slots=True)
class PromptSample:
    """What the model made of a prompt."""

    prompt: str
    text: str
    """The continuation, without the prompt."""


class PromptSampler:
    """Continues the prompts of a configuration, each process some of them.

    Raises:
        ConfigError: the tokenizer cannot express a prompt, or there is none.
    """

    def __init__(
        self, model: GPTModel, tokenizer: Tokenizer | None, config: TrainingConfig, ranks: Ranks
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._config, self._ranks = config, ranks
        for number, prompt in enumerate(config.sample_prompts):
            self._check(number, prompt)

    @property
    def rounds(self) -> int:
        """Prompts that the busiest process continues, one after the other."""
        return -(-len(self._config.sample_prompts) // self._ranks.world_size)

    def run(
        self, interrupted: Callable[[], bool], on_round: Callable[[int], object]
    ) -> tuple[PromptSample, ...] | None:
        """Return the samples of all prompts, in rank 0; elsewhere nothing.

        `on_round` is called with the rounds done. Returns None if `interrupted` returns True before
        the end, in all processes in the same round.
        """
        prompts, size = self._config.sample_prompts, self._ranks.world_size
        mine = prompts[self._ranks.rank :: size]
        texts: dict[str, str] = {}
        was_training = self._model.training
        self._model.eval()
        try:
            for done in range(self.rounds):
                if interrupted():
                    return None
                if done < len(mine):
                    texts[str(self._ranks.rank + done * size)] = self._continue(mine[done])
                on_round(done + 1)
        finally:
            self._model.train(was_training)
        every = dict(chain.from_iterable(part.items() for part in self._ranks.gather(texts)))
        return tuple(PromptSample(prompts[int(n)], every[n]) for n in sorted(every, key=int))

    def _continue(self, prompt: str) -> str:
        with isolated():
            return "".join(piece.text for piece in self._pieces(prompt))[:_MOST_CHARACTERS]

    def _pieces(self, prompt: str) -> Iterator[SampledPiece]:
        config = self._config
        return sample_pieces(
            self._model,
            self._tokenizer,
            prompt,
            max_tokens=config.sample_tokens,
            temperature=config.sample_temperature,
            seed=config.sample_seed,
        )

    def _check(self, number: int, prompt: str) -> None:
        """Raise before the first step where a prompt has no ids."""
        field = f"sample_prompts[{number}]"
        if self._tokenizer is None:
            what = f"`{field}` is {prompt!r}, and the training data are ids without a tokenizer"
            remedy = "train on text, name the tokenizer of the ids, or leave the prompts out"
            raise ConfigError([FieldProblem(field, f"{what}; {remedy}")])
        try:
            self._pieces(prompt)
        except ValueError as error:
            raise ConfigError([FieldProblem(field, f"`{field}`: {error}")]) from None
