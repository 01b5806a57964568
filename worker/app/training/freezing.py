"""Parameters that a run leaves as they are."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from app.training.errors import ResumeError
from app.transformer.errors import ConfigError, FieldProblem

logger = logging.getLogger(__name__)

_SHOWN = 4


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Keep the parameters whose names match a pattern out of training.

    They get no gradient and no optimizer state.

    Raises:
        ConfigError: A pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            examples = ", ".join(names[:_SHOWN])
            rule = f"{pattern!r} matches no parameter; names are {examples} and so on"
            raise ConfigError([FieldProblem("freeze", f"`freeze`: {rule}")])
    frozen = [name for name in names if _matches(name, patterns)]
    if len(frozen) == len(names):
        rule = f"{list(patterns)} match every parameter; leave something to train"
        raise ConfigError([FieldProblem("freeze", f"`freeze`: {rule}")])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not _matches(name, patterns))
    if frozen:
        logger.info("%d of %d tensors are frozen: %s", len(frozen), len(names), ", ".join(frozen))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


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
