"""What can be told before a run about its data, its tokenizer and their fit, without reading much.

Asked by `train.py` before it imports torch, and by a control plane at `StartJob` and
`ValidateConfig`. What only reading all of the data can tell is refused by `load_dataset`, before
the first step. Never imports torch or numpy.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from app.training import fit
from app.training.config import TrainingConfig
from app.training.data.errors import DataError
from app.training.data.formats import ReadOptions
from app.training.data.selection import Role
from app.training.data.survey import SEPARATOR_BYTES, Survey, survey
from app.training.tokenizer_files import TokenizerError, gpt2_files, is_path, known_tokenizer
from app.transformer.errors import FieldProblem

_TOKENIZED = frozenset({"text", "conversation"})


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found, each with the field that it is about."""

    problems: list[FieldProblem] = field(default_factory=list)
    """What keeps the run from its first step, for certain."""
    warnings: list[FieldProblem] = field(default_factory=list)
    """What is allowed and probably not meant."""

    def add_warning(self, warning: FieldProblem | None) -> None:
        """Add a warning where there is one."""
        if warning is not None:
            self.warnings.append(warning)


@dataclass(frozen=True, slots=True)
class VisibleData:
    """The files of a run as far as this process can see them; None for what it cannot."""

    train: Path | None = None
    validation: Path | None = None
    sources: tuple[Path | None, ...] = ()
    """Of `data.sources`, in their order."""
    tokenizer: bool = False
    """Whether the tokenizer's path means the same file here as where the run trains."""
    gpt2: bool = False
    """Whether the files of `gpt2` that are installed here are those that the run will use."""

    @classmethod
    def here(cls, config: TrainingConfig) -> VisibleData:
        """Return the files of a run on this machine."""
        named = (config.dataset_path, config.val_dataset_path)
        train, validation = (Path(path) if path else None for path in named)
        sources = tuple(Path(source.path) for source in config.data.sources)
        return cls(train, validation, sources, tokenizer=True, gpt2=True)


def inspect_run(config: TrainingConfig, visible: VisibleData) -> Findings:
    """Look at what a valid configuration is going to train on."""
    found = Findings()
    size = _tokenizer_size(config, visible, found)
    names = [f"data.sources[{number}].path" for number in range(len(visible.sources))]
    for name, path in zip(["dataset_path", *names], [visible.train, *visible.sources], strict=True):
        if path is not None:
            train = _survey(name, path, config, found)
            _fit_vocabulary(config, size, train, found)
            _fit_data(config, _NamedPath(name, path), train, found)
    if visible.train is None and not any(visible.sources):
        _fit_vocabulary(config, size, None, found)
    if visible.validation is not None:
        validation = _survey("val_dataset_path", visible.validation, config, found)
        _fit_validation(config, visible.validation, validation, found)
    return found


def _tokenizer_size(config: TrainingConfig, visible: VisibleData, found: Findings) -> int | None:
    """How many ids the tokenizer has, if that is known."""
    spec = config.tokenizer
    try:
        if spec == "gpt2":
            _look_for_gpt2(visible, found)
        elif is_path(spec) and not visible.tokenizer:
            return None
        known = known_tokenizer(spec)
        found.add_warning(FieldProblem("tokenizer", known.warning) if known.warning else None)
        return known.size
    except TokenizerError as error:
        found.problems.append(FieldProblem("tokenizer", str(error)))
    except OSError:
        pass  # gone, or out of reach, since a moment ago
    return None


def _look_for_gpt2(visible: VisibleData, found: Findings) -> None:
    try:
        gpt2_files()
    except TokenizerError as error:
        if visible.gpt2:
            raise
        found.warnings.append(
            FieldProblem("tokenizer", f"{error}; this holds of the service's machine")
        )


def _survey(name: str, path: Path, config: TrainingConfig, found: Findings) -> Survey | None:
    role: Role = "validation" if name == "val_dataset_path" else "train"
    options = ReadOptions.of(config)
    try:
        found_there = survey(path, options, role)
    except DataError as error:
        found.problems.append(FieldProblem(name, str(error)))
        return None
    found.warnings.extend(FieldProblem(name, warning) for warning in found_there.warnings)
    return found_there


def _fit_vocabulary(
    config: TrainingConfig, size: int | None, train: Survey | None, found: Findings
) -> None:
    """Ids of files are not the tokenizer's work; a tokenizer that does not fit them is left out."""
    if size is None or (train is not None and train.content == "input_ids"):
        return
    too_small = fit.too_small_vocabulary(config, config.tokenizer, size)
    if too_small is not None and train is not None and train.content in _TOKENIZED:
        if not config.resume_from_checkpoint:
            found.problems.append(too_small)
    else:
        found.add_warning(too_small or fit.unused_vocabulary(config, config.tokenizer, size))


class _NamedPath(NamedTuple):
    field: str
    path: Path


def _fit_data(
    config: TrainingConfig, named: _NamedPath, train: Survey | None, found: Findings
) -> None:
    most = None if train is None else _most_tokens(config, train)
    if train is None or most is None:
        return
    count, exact = most
    if train.has_validation:
        config = dataclasses.replace(config, val_fraction=0.0)
    if problem := fit.too_short(named.path, count, config, "" if exact else "at most "):
        found.problems.append(FieldProblem(named.field, problem))
        return
    split = fit.split_at(count, config)
    if split < count:
        if problem := fit.too_short_validation(named.path, count - split):
            found.problems.append(FieldProblem("val_fraction", problem))
        elif exact:
            found.add_warning(fit.short_validation(named.path, count - split, config))
    if not config.data.sources:  # those repeat, each in its own time
        found.add_warning(_step_beyond(config, split))


def _step_beyond(config: TrainingConfig, tokens: int) -> FieldProblem | None:
    processes = (config.distributed.processes or 1) if config.distributed else 1
    windows = fit.window_count(tokens, config.get_sequence_length())
    accumulation = config.gradient_accumulation_steps
    return fit.step_beyond_data(windows, config.batch_size * processes, accumulation)


def _fit_validation(
    config: TrainingConfig, path: Path, data: Survey | None, found: Findings
) -> None:
    most = None if data is None else _most_tokens(config, data)
    if most is None:
        return
    if problem := fit.too_short_validation(path, most[0]):
        found.problems.append(FieldProblem("val_dataset_path", problem))
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
    if is_path(config.tokenizer):  # any other makes at most one id of a byte
        return None
    return data.most, data.exact and config.tokenizer == "byte"
