"""Warnings about the data of a run: for its log, and for whoever keeps them, such as a job."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace

from app.transformer.errors import FieldProblem

logger = logging.getLogger(__name__)

Keeper = Callable[[FieldProblem], None]


def _keep_none(warning: FieldProblem) -> None:
    """Do nothing: the log alone has the warning."""


_keeper: ContextVar[Keeper] = ContextVar("keeper_of_data_warnings", default=_keep_none)


@contextmanager
def warnings_to(keeper: Keeper) -> Iterator[None]:
    """Until the end of the block, give `keeper` each warning of this thread."""
    token = _keeper.set(keeper)
    try:
        yield
    finally:
        _keeper.reset(token)


@contextmanager
def warnings_of(path_field: str) -> Iterator[None]:
    """Until the end of the block, say `path_field` in place of `dataset_path`."""
    outer = _keeper.get()

    def keep(warning: FieldProblem) -> None:
        is_path = warning.field == "dataset_path"
        outer(replace(warning, field=path_field) if is_path else warning)

    with warnings_to(keep):
        yield


def warn(field: str, message: str) -> None:
    """Log a warning about the data that `field` of the configuration names."""
    logger.warning("%s", message)
    _keeper.get()(FieldProblem(field, message))
