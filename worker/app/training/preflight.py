"""What can be told before a run about its data, its tokenizer and their fit, without reading much.

Asked by `train.py` before it imports torch, and by a control plane at `StartJob` and
`ValidateConfig`. What only reading all of the data can tell is refused by `load_dataset`, before
the first step. Never imports torch or numpy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from app.training import fit
from app.training.config import TrainingConfig
from app.training.data.errors import DataError
from app.training.data.formats import ReadAs
from app.training.data.selection import Role
from app.training.data.survey import SEPARATOR_BYTES, Survey, survey
from app.training.tokenizer_files import TokenizerError, gpt2_files, known_tokenizer
from app.transformer.errors import Problem

_BYTES_BOUND_TOKENS = frozenset({"byte", "char", "gpt2"})
"""Tokenizers that make at most one id of a byte."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, each with the field that it is about."""

    problems: list[Problem] = field(default_factory=list)
    """What keeps the run from its first step, for certain."""
    warnings: list[Problem] = field(default_factory=list)
    """What is allowed and probably not meant."""

    def add_warning(self, warning: Problem | None) -> None:
        """Add a warning where there is one."""
        if warning is not None:
            self.warnings.append(warning)


@dataclass(frozen=True, slots=True)
class VisibleData:
    """The files of a run as far as this process can see them; None for what it cannot."""

    train: Path | None = None
    validation: Path | None = None
    tokenizer: bool = False
    """Whether the tokenizer's path means the same file here as where the run trains."""
    gpt2: bool = False
    """Whether the files of `gpt2` that are installed here are those that the run will use."""


def inspect_run(config: TrainingConfig, visible: VisibleData) -> Findings:
    """Look at what a valid configuration is going to train on."""
    found = Findings()
    size = _tokenizer_size(config, visible, found)
    train = _survey("dataset_path", visible.train, config, found)
    validation = _survey("val_dataset_path", visible.validation, config, found)
    _fit_vocabulary(config, size, train, found)
    if train is not None and visible.train is not None:
        _fit_data(config, visible.train, train, found)
    if validation is not None and visible.validation is not None:
        _fit_validation(config, visible.validation, validation, found)
    return found


def _tokenizer_size(config: TrainingConfig, visible: VisibleData, found: Findings) -> int | None:
    """How many ids the tokenizer has, if that is known."""
    spec = config.tokenizer
    try:
        if spec == "gpt2":
            _look_for_gpt2(visible, found)
        elif spec not in ("byte", "char") and not visible.tokenizer:
            return None
        known = known_tokenizer(spec)
        found.add_warning(Problem("tokenizer", known.warning) if known.warning else None)
        return known.size
    except TokenizerError as error:
        found.problems.append(Problem("tokenizer", str(error)))
    except OSError:
        pass  # gone, or out of reach, since a moment ago
    return None


def _look_for_gpt2(visible: VisibleData, found: Findings) -> None:
    try:
        gpt2_files()
    except TokenizerError as error:
        if visible.gpt2:
            raise
        found.warnings.append(Problem("tokenizer", f"{error}; this holds of the service's machine"))


def _survey(name: str, path: Path | None, config: TrainingConfig, found: Findings) -> Survey | None:
    if path is None:
        return None
    role: Role = "validation" if name == "val_dataset_path" else "train"
    how = ReadAs.of(config)
    try:
        found_there = survey(path, how, role)
    except DataError as error:
        found.problems.append(Problem(name, str(error)))
        return None
    found.warnings.extend(Problem(name, warning) for warning in found_there.warnings)
    return found_there


def _fit_vocabulary(
    config: TrainingConfig, size: int | None, train: Survey | None, found: Findings
) -> None:
    """Ids of files are not the tokenizer's work; a tokenizer that does not fit them is left out."""
    if size is None or (train is not None and train.content == "input_ids"):
        return
    too_small = fit.too_small_vocabulary(config, config.tokenizer, size)
    if too_small is not None and train is not None and train.content == "text":
        if not config.resume_from_checkpoint:
            found.problems.append(too_small)
    else:
        found.add_warning(too_small or fit.unused_vocabulary(config, config.tokenizer, size))


def _fit_data(config: TrainingConfig, path: Path, train: Survey, found: Findings) -> None:
    most = _most_tokens(config, train)
    if most is None:
        return
    count, exact = most
    if train.has_validation:
        config = dataclasses.replace(config, val_fraction=0.0)
    if problem := fit.too_short(path, count, config, "" if exact else "at most "):
        found.problems.append(Problem("dataset_path", problem))
        return
    split = fit.split_at(count, config)
    if split < count:
        if problem := fit.too_short_validation(path, count - split):
            found.problems.append(Problem("val_fraction", problem))
        elif exact:
            found.add_warning(fit.short_validation(path, count - split, config))
    processes = (config.distributed.processes or 1) if config.distributed else 1
    windows = fit.window_count(split, config.get_sequence_length())
    accumulation = config.gradient_accumulation_steps
    found.add_warning(fit.step_beyond_data(windows, config.batch_size * processes, accumulation))


def _fit_validation(config: TrainingConfig, path: Path, data: Survey, found: Findings) -> None:
    most = _most_tokens(config, data)
    if most is None:
        return
    if problem := fit.too_short_validation(path, most[0]):
        found.problems.append(Problem("val_dataset_path", problem))
    elif most[1]:
        found.add_warning(fit.short_validation(path, most[0], config))


def _most_tokens(config: TrainingConfig, data: Survey) -> tuple[int, bool] | None:
    """How many tokens the data have at most, and whether they have exactly so many."""
    if data.most is None or data.content is None:
        return None
    if data.content == "input_ids":
        return data.most, data.exact
    separator = config.data.document_separator or ""
    if len(separator.encode(errors="replace")) > SEPARATOR_BYTES and not data.exact:
        return None
    if config.tokenizer not in _BYTES_BOUND_TOKENS:
        return None
    return data.most, data.exact and config.tokenizer == "byte"
