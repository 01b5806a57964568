"""Parameters that a run leaves as they are. Importing this never imports torch."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from app.training.errors import ResumeError
from app.transformer.config import TransformerConfig
from app.transformer.errors import ConfigError, FieldProblem
from app.transformer.parameter_names import EMBEDDING, HEAD, parameter_names

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

_SHOWN = 4
_MOST_LAYERS = 1024
"""Of a model whose names are compared when a job starts: many layers take seconds."""


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Keep the parameters whose names match a pattern out of training.

    They get no gradient and no optimizer state. A tied embedding has the name of the head too.

    Raises:
        ConfigError: A pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    if problems := _problems(names, patterns):
        raise ConfigError(problems)
    frozen = [name for name in names if _is_frozen(name, names, patterns)]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if frozen:
        logger.info("%d of %d tensors are frozen: %s", len(frozen), len(names), ", ".join(frozen))


def not_named(frozen: Sequence[str], model: nn.Module, patterns: Sequence[str]) -> list[str]:
    """Return those of the frozen parameters that no pattern matches."""
    names = [name for name, _ in model.named_parameters()]
    return [name for name in frozen if not _is_frozen(name, names, patterns)]


def pattern_problems(model: TransformerConfig, patterns: Sequence[str]) -> list[FieldProblem]:
    """Return what `freeze` would refuse for a model of a valid configuration."""
    if not patterns or model.num_layers > _MOST_LAYERS:
        return []
    return _problems(parameter_names(model), patterns)


def _problems(names: Sequence[str], patterns: Sequence[str]) -> list[FieldProblem]:
    found = []
    for pattern in patterns:
        if not any(_is_frozen(name, names, [pattern]) for name in names):
            examples = ", ".join(names[:_SHOWN])
            rule = f"{pattern!r} matches no parameter; names are {examples} and so on"
            found.append(FieldProblem("freeze", f"`freeze`: {rule}"))
    if not found and all(_is_frozen(name, names, patterns) for name in names):
        rule = f"{list(patterns)} match every parameter; leave something to train"
        found.append(FieldProblem("freeze", f"`freeze`: {rule}"))
    return found


def _is_frozen(name: str, names: Sequence[str], patterns: Sequence[str]) -> bool:
    tied = name == EMBEDDING and names[-1] != HEAD  # the head comes last
    own = (EMBEDDING, HEAD) if tied else (name,)
    return any(fnmatch.fnmatchcase(each, pattern) for each in own for pattern in patterns)


def require_same_frozen(saved: Mapping[str, Any], patterns: Sequence[str], path: str) -> None:
    """Raise `ResumeError` where a checkpoint's run froze something else.

    Its optimizer has a state for the parameters that it trained, and for no others.
    """
    before = saved.get("freeze", [])
    if list(before) != list(patterns):
        raise ResumeError(
            f"`freeze` is {list(patterns)} and was {list(before)} in the checkpoint {path}; resume "
            f"with the same, or begin a run with `initial_weights: {path}`"
        )
