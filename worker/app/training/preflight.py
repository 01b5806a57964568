"""Checks of a run's data, its tokenizer and their fit before the run, which read little.

`train.py` makes them before it imports torch, and a control plane at `StartJob` and
`ValidateConfig`. Faults that show only when all of the data is read are refused by `load_dataset`,
before the first step. Never imports torch or numpy.
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
from app.training.home import expanded
from app.training.tokenizer_files import TokenizerError, gpt2_files, is_path, known_tokenizer
from app.transformer.errors import FieldProblem

_TOKENIZED = frozenset({"text", "conversation"})


@dataclass(frozen=True, slots=True)
class Findings:
    """Problems and warnings about a run, each with its field."""

    problems: list[FieldProblem] = field(default_factory=list)
    """Faults that are certain to keep the run from its first step."""
    warnings: list[FieldProblem] = field(default_factory=list)
    """Settings that are allowed and probably a mistake."""
    lacks_validation: bool = False
    """Whether nothing is held back or named to validate on, as far as can be seen."""

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
    """Return the findings about the data and the tokenizer of a valid configuration."""
    findings = Findings()
    size = _tokenizer_size(config, visible, findings)
    names = [f"data.sources[{number}].path" for number in range(len(visible.sources))]
    found = []
    for name, path in zip(["dataset_path", *names], [visible.train, *visible.sources], strict=True):
        if path is not None:
            train = _survey(name, path, config, findings)
            _fit_vocabulary(config, size, train, findings)
            _fit_data(config, _NamedPath(name, path), train, findings)
            found.append(train)
    if _lacks_validation(config, found):
        findings.problems.extend(fit.needs_of_validation(config))
        findings = dataclasses.replace(findings, lacks_validation=True)
    if visible.train is None and not any(visible.sources):
        _fit_vocabulary(config, size, None, findings)
    if visible.validation is not None:
        validation = _survey("val_dataset_path", visible.validation, config, findings)
        _fit_validation(config, visible.validation, validation, findings)
    return findings


def _tokenizer_size(config: TrainingConfig, visible: VisibleData, findings: Findings) -> int | None:
    """Return how many ids the tokenizer has, or None where that is unknown."""
    spec = config.tokenizer
    try:
        if spec == "gpt2":
            _look_for_gpt2(visible, findings)
        elif is_path(spec) and not visible.tokenizer:
            return None
        tokenizer = known_tokenizer(spec)
        findings.add_warning(
            FieldProblem("tokenizer", tokenizer.warning) if tokenizer.warning else None
        )
        return tokenizer.size
    except TokenizerError as error:
        findings.problems.append(FieldProblem("tokenizer", str(error)))
    except OSError:
        pass  # gone, or out of reach, since a moment ago
    return None


def _look_for_gpt2(visible: VisibleData, findings: Findings) -> None:
    try:
        gpt2_files()
    except TokenizerError as error:
        if visible.gpt2:
            raise
        findings.warnings.append(
            FieldProblem("tokenizer", f"{error}; this holds of the service's machine")
        )


def _survey(name: str, path: Path, config: TrainingConfig, findings: Findings) -> Survey | None:
    role: Role = "validation" if name == "val_dataset_path" else "train"
    options = ReadOptions.of(config)
    try:
        data = survey(path, options, role)
    except DataError as error:
        findings.problems.append(FieldProblem(name, str(error)))
        return None
    findings.warnings.extend(FieldProblem(name, warning) for warning in data.warnings)
    return data


def _fit_vocabulary(
    config: TrainingConfig, size: int | None, train: Survey | None, findings: Findings
) -> None:
    """Ids of files are not the tokenizer's work; a tokenizer that does not fit them is left out."""
    if size is None or (train is not None and train.content == "input_ids"):
        return
    too_small = fit.too_small_vocabulary(config, config.tokenizer, size)
    is_certain = train is not None and train.content in _TOKENIZED and not _continues(config)
    if too_small is not None and is_certain:
        findings.problems.append(too_small)
    else:
        findings.add_warning(too_small or fit.unused_vocabulary(config, config.tokenizer, size))


def _continues(config: TrainingConfig) -> bool:
    """Whether a checkpoint is there to resume from: its run may have used the rows that it has."""
    where = config.resume_from_checkpoint
    if not where:
        return False
    path = expanded(config.checkpoint_dir if where is True else where)
    return path.is_file() or any(path.glob("checkpoint_step_*.pt"))


class _NamedPath(NamedTuple):
    field: str
    path: Path


def _fit_data(
    config: TrainingConfig, named: _NamedPath, train: Survey | None, findings: Findings
) -> None:
    most = None if train is None else _most_tokens(config, train)
    if train is None or most is None:
        return
    count, exact = most
    if train.has_validation:
        config = dataclasses.replace(config, val_fraction=0.0)
    if problem := fit.too_short(named.path, count, config, "" if exact else "at most "):
        findings.problems.append(FieldProblem(named.field, problem))
        return
    split = fit.split_at(count, config)
    if split < count:
        if problem := fit.too_short_validation(named.path, count - split):
            findings.problems.append(FieldProblem("val_fraction", problem))
        elif exact:
            findings.add_warning(fit.short_validation(named.path, count - split, config))
    if not config.data.sources:  # those repeat, each in its own time
        findings.add_warning(_step_beyond(config, split))


def _lacks_validation(config: TrainingConfig, found: list[Survey | None]) -> bool:
    """Whether none of the training data, all of which were seen, gives something to validate on."""
    if config.val_fraction or config.val_dataset_path is not None:
        return False
    if not found or len(found) < len(config.data.sources):
        return False
    return all(each and each.content is not None and not each.has_validation for each in found)


def _step_beyond(config: TrainingConfig, tokens: int) -> FieldProblem | None:
    processes = (config.distributed.processes or 1) if config.distributed else 1
    windows = fit.window_count(tokens, config.get_sequence_length())
    accumulation = config.gradient_accumulation_steps
    return fit.step_beyond_data(windows, config.batch_size * processes, accumulation)


def _fit_validation(
    config: TrainingConfig, path: Path, data: Survey | None, findings: Findings
) -> None:
    most = None if data is None else _most_tokens(config, data)
    if most is None:
        return
    if problem := fit.too_short_validation(path, most[0]):
        findings.problems.append(FieldProblem("val_dataset_path", problem))
    elif most[1]:
        findings.add_warning(fit.short_validation(path, most[0], config))


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
