"""The rules a training configuration must keep: ranges, relations between fields, and warnings.

Each rule names the value, what it must be, and a value that would do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.training.alert_rules import alert_warnings
from app.training.devices import DEVICES, is_device
from app.training.freezing import pattern_problems
from app.training.tokenizer_files import SMALLEST_BPE, is_made_of_text, trained_size
from app.transformer.errors import FieldProblem
from app.transformer.fields import shown
from app.transformer.lora_layout import target_problems

if TYPE_CHECKING:
    from app.training.config import DataSource, TrainingConfig

_LARGEST_BPE = 2**20
_LONGEST_TEMPLATE = 2**16
_TRACKERS = frozenset({"csv", "tensorboard", "mlflow"})
_MOST_SAMPLED = 2_000_000
"""Tokens of all samples of a run: some 8 MB of text, which the service keeps in memory."""
_LARGEST_FLOAT = sys.float_info.max  # `math.isfinite` raises for a Python integer beyond it


@dataclass(frozen=True)
class _Rule:
    """What holds of one field alone; `None` is always allowed where the type allows it."""

    field: str
    holds: Callable[[Any], bool]
    rule: str
    remedy: str

    def check(self, value: Any) -> FieldProblem | None:
        if value is None or self.holds(value):
            return None
        message = f"`{self.field}` is {shown(value)}; it must be {self.rule}; {self.remedy}"
        return FieldProblem(self.field, message)


def _at_least(low: int, field: str, remedy: str) -> _Rule:
    # The upper end is where JSON's numbers stop being exact.
    return _Rule(field, lambda v: low <= v < 2**53, f"at least {low} and below 2**53", remedy)


def _above_zero(field: str, remedy: str) -> _Rule:
    return _Rule(field, lambda v: 0 < v <= _LARGEST_FLOAT, "above 0 and finite", remedy)


def _below_one(field: str, remedy: str) -> _Rule:
    return _Rule(field, lambda v: 0 <= v < 1, "at least 0 and below 1", remedy)


def _not_negative(field: str, remedy: str) -> _Rule:
    return _Rule(field, lambda v: 0 <= v <= _LARGEST_FLOAT, "at least 0 and finite", remedy)


def _not_empty(field: str, remedy: str) -> _Rule:
    return _Rule(
        field, lambda v: bool(v.strip()) and "\0" not in v, "text that is not empty", remedy
    )


def _is_within(pattern: str) -> bool:
    """Whether a pattern stays in the folder that it is relative to."""
    parts = pattern.split("/")
    return bool(pattern.strip()) and parts[0] != "" and ".." not in parts and "\0" not in pattern


def _is_prompt(text: str) -> bool:
    return len(text) <= 2000 and not any("\ud800" <= letter <= "\udfff" for letter in text)


_RULES = (
    _at_least(1, "batch_size", "try 8"),
    _above_zero("learning_rate", "try 6e-4 for a 124M model"),
    _at_least(1, "max_steps", "try 10000"),
    _at_least(0, "warmup_steps", "try a fiftieth of max_steps, or 0 for none"),
    _not_negative("weight_decay", "try 0.01, or 0 for none"),
    _below_one("adam_beta1", "try 0.9"),
    _below_one("adam_beta2", "try 0.999"),
    _above_zero("adam_epsilon", "try 1e-8"),
    _above_zero("muon_learning_rate", "try 0.02"),
    _at_least(1, "lora.rank", "try 8"),
    _above_zero("lora.alpha", "try twice the rank"),
    _below_one("lora.dropout", "try 0.05, or 0 for none"),
    _at_least(1, "early_stopping.patience", "try 5"),
    _not_negative("early_stopping.min_delta", "try 0"),
    _below_one("muon_momentum", "try 0.95"),
    _Rule("muon_iterations", lambda v: 1 <= v <= 5, "between 1 and 5", "try 3 on a CPU, else 5"),
    _at_least(0, "cooldown_steps", "try a fifth of max_steps, or leave it out"),
    _Rule("min_lr_ratio", lambda v: 0 <= v <= 1, "between 0 and 1", "try 0.1"),
    _at_least(1, "gradient_accumulation_steps", "try 1"),
    _not_negative("max_grad_norm", "try 1.0, or 0 for no clipping"),
    _not_negative("z_loss", "try 1e-4, or 0 for none"),
    _Rule("ema_decay", lambda v: 0 < v < 1, "above 0 and below 1", "try 0.999, or leave it out"),
    _at_least(1, "logging_steps", "try 100"),
    _at_least(1, "save_steps", "try 1000"),
    _at_least(1, "eval_steps", "try 500"),
    _at_least(0, "eval_batches", "try 64, or 0 for the whole validation set"),
    _not_empty("checkpoint_dir", "try ./checkpoints"),
    _at_least(1, "max_checkpoints_to_keep", "try 5"),
    _Rule("seed", lambda v: 0 <= v < 2**63, "at least 0 and below 2**63", "try 1337"),
    _not_empty("dataset_path", "give a file or folder, or leave it out"),
    _not_empty("val_dataset_path", "give a file or folder, or leave it out"),
    _below_one("val_fraction", "try 0.1, or 0 to hold nothing back"),
    _not_empty("initial_weights", "give a folder or a checkpoint, or leave it out"),
    _not_empty("initial_adapter", "give a folder of peft, or leave it out"),
    _not_empty("text_column", "name the field that holds the text, or leave it out"),
    _not_empty("tokenizer", "try byte, char, gpt2 or the path of a tokenizer.json"),
    _Rule(
        "tokenizer",
        lambda v: (size := trained_size(v)) is None or SMALLEST_BPE <= size <= _LARGEST_BPE,
        f"of at least {SMALLEST_BPE} and at most {_LARGEST_BPE:,} ids",
        "try bpe:4096",
    ),
    _Rule(
        "data.files",
        lambda v: all(_is_within(pattern) for pattern in v),
        "patterns relative to `dataset_path`, without `..`",
        'try ["**/*.jsonl"], or leave it out',
    ),
    _not_empty("data.split", "try train, or leave it out"),
    _Rule(
        "data.chat_template",
        lambda v: "{{" in v and len(v) <= _LONGEST_TEMPLATE,
        f"a template in Jinja of at most {_LONGEST_TEMPLATE:,} characters, its text and no path",
        "leave it out for ChatML",
    ),
    _at_least(1, "data.max_documents", "try 1000, or leave it out for all"),
    _Rule(
        "sample_prompts",
        lambda v: len(v) <= 8 and all(map(_is_prompt, v)),
        "at most 8 texts of at most 2,000 characters of valid Unicode",
        "leave some out, or shorten them",
    ),
    _Rule("sample_tokens", lambda v: 1 <= v <= 512, "between 1 and 512", "try 64"),
    _not_negative("sample_temperature", "try 0.8, or 0 for the most likely token"),
    _Rule("sample_seed", lambda v: 0 <= v < 2**63, "at least 0 and below 2**63", "try 1337"),
    _at_least(1, "sequence_length", "leave it out for the model's maximum"),
    _at_least(0, "num_workers", "try 0 to load in the training process"),
    _Rule("device", is_device, DEVICES, "try auto"),
    _Rule(
        "resume_from_checkpoint",
        lambda v: isinstance(v, bool) or bool(v.strip()),
        "true, false or the path of a checkpoint",
        "try true",
    ),
    _not_empty("wandb_project", "give a name, or leave it out to send nothing"),
    _Rule(
        "trackers",
        lambda v: set(v) <= _TRACKERS and len(set(v)) == len(v),
        "a list of csv, tensorboard and mlflow, each once",
        "leave others out; `wandb_project` turns Weights & Biases on",
    ),
    _not_empty("mlflow_experiment", "give a name, or leave it out"),
    _not_empty("mlflow_run_name", "give a name, or leave it out"),
    _at_least(1, "distributed.processes", "try 1, or leave it out for one for each GPU"),
)


def range_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Values of the right type that are out of their own range; `bad` fields are passed over."""
    checked = (r.check(_at(config, r.field)) for r in _RULES if not _touches(r.field, bad))
    return [problem for problem in checked if problem is not None]


_LARGEST = {
    "batch_size": 2**24,
    "gradient_accumulation_steps": 2**24,
    "num_workers": 1024,
    "lora.rank": 2**16,
    "distributed.processes": 2**16,
}
"""Far above what any run uses: a slip of the keyboard is refused before it takes a machine down."""


def size_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Count beyond every machine; `bad` fields are passed over."""
    return [
        FieldProblem(field, f"`{field}` is {value}; it must be at most {most}; try a smaller one")
        for field, most in _LARGEST.items()
        if not _touches(field, bad) and (value := _at(config, field)) is not None and value > most
    ]


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = getattr(config, name, None)
    return config


def _touches(path: str, bad: set[str]) -> bool:
    return path in bad or path.split(".")[0] in bad


_MOST_SOURCES = 1000
_SMALLEST_SHARE = 1e-5


def source_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return what is wrong with the list of sources.

    Passed over where one is not of the right type.
    """
    if any(path == "data" or path.startswith("data.sources") for path in bad):
        return []
    sources, problems = config.data.sources, []
    if len(sources) > _MOST_SOURCES:
        message = f"`data.sources` has {len(sources)} entries; it must have at most {_MOST_SOURCES}"
        return [FieldProblem("data.sources", f"{message}; put files into folders")]
    for number, source in enumerate(sources):
        at = f"data.sources[{number}]"
        weight = _above_zero(f"{at}.weight", "leave a source out that is not wanted")
        path = _not_empty(f"{at}.path", "give a file or folder")
        checked = (path.check(source.path), weight.check(source.weight))
        problems += [problem for problem in checked if problem is not None]
    return problems or _tiny_shares(sources)


def _tiny_shares(sources: Sequence[DataSource]) -> list[FieldProblem]:
    total = sum(source.weight for source in sources)
    return [
        FieldProblem(
            f"data.sources[{number}].weight",
            f"`data.sources[{number}].weight` is {shown(source.weight)} of {total:g}; a share must "
            "be at least 1 of 100,000 samples; raise it, or leave the source out",
        )
        for number, source in enumerate(sources)
        if source.weight < total * _SMALLEST_SHARE
    ]


def relation_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Fields that are fine alone and do not fit each other."""
    found = [_too_long_sequence(config, bad), _too_long_cooldown(config, bad)]
    found += [_sampled_shards(config, bad), _too_many_samples(config, bad)]
    found += _unmeasured_averages(config, bad)
    if "data" not in bad and config.data.sources:
        found += [_two_datasets(config, bad), _alphabet_of_many(config, bad)]
    return [problem for problem in found if problem is not None]


def _two_datasets(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    if "dataset_path" in bad or config.dataset_path is None:
        return None
    return FieldProblem(
        "data.sources",
        f"`dataset_path` is {shown(config.dataset_path)} and `data.sources` names "
        f"{len(config.data.sources)} more; there must be one of the two; put the path among the "
        "sources, or leave them out",
    )


def _alphabet_of_many(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    if "tokenizer" in bad or not is_made_of_text(config.tokenizer):
        return None
    return FieldProblem(
        "tokenizer",
        f"`tokenizer` is {config.tokenizer!r}, which is made of one dataset, and `data.sources` "
        f"names {len(config.data.sources)}; take 'byte' or a tokenizer.json",
    )


def _too_long_sequence(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    longest = "model_config.max_position_embeddings"
    if bad & {"sequence_length", "model_config", longest} or config.sequence_length is None:
        return None
    if config.has_open_model() and longest not in config.fields_given():
        return None
    positions = config.model_config.max_position_embeddings
    if config.sequence_length <= positions:
        return None
    message = (
        f"`sequence_length` is {config.sequence_length}; it must not exceed {longest}={positions}; "
        "shorten it, or lengthen the model's positions"
    )
    return FieldProblem("sequence_length", message)


def _too_long_cooldown(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    cooldown = config.cooldown_steps
    if bad & {"cooldown_steps", "max_steps"} or not cooldown or cooldown <= config.max_steps:
        return None
    return FieldProblem(
        "cooldown_steps",
        f"`cooldown_steps` is {cooldown}; it must not exceed max_steps={config.max_steps}; "
        f"try {max(config.max_steps // 5, 1)}",
    )


def _sampled_shards(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    if _touches("distributed.strategy", bad) or "sample_prompts" in bad:
        return None
    if not config.sample_prompts or config.distributed is None:
        return None
    if config.distributed.strategy != "fsdp":
        return None
    return FieldProblem(
        "sample_prompts",
        f"`sample_prompts` has {len(config.sample_prompts)} and `distributed.strategy` is 'fsdp', "
        "where no process has a whole model to sample from; leave the prompts out and sample from "
        "checkpoints (`training-engine generate`), or take the strategy ddp",
    )


def _too_many_samples(config: TrainingConfig, bad: set[str]) -> FieldProblem | None:
    if bad & {"sample_prompts", "sample_tokens", "max_steps", "eval_steps"}:
        return None
    evaluations = -(-config.max_steps // config.eval_steps)
    tokens = evaluations * len(config.sample_prompts) * config.sample_tokens
    if tokens <= _MOST_SAMPLED:
        return None
    return FieldProblem(
        "sample_prompts",
        f"`sample_prompts` has {len(config.sample_prompts)}, with `sample_tokens` "
        f"{config.sample_tokens} in {evaluations:,} evaluations: {tokens:,} tokens; a run may "
        f"sample at most {_MOST_SAMPLED:,}; ask for fewer of them, or raise eval_steps",
    )


def _unmeasured_averages(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return a problem for each field that names the metric of an average that there is not."""
    if config.ema_decay is not None or "ema_decay" in bad:
        return []
    return [
        FieldProblem(
            field,
            f"`{field}` is 'ema_val_loss' and `ema_decay` is not set; set it, or take val_loss",
        )
        for field in ("best_metric", "early_stopping.metric")
        if not _touches(field, bad) and _at(config, field) == "ema_val_loss"
    ]


def freeze_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return patterns of `freeze` that match nothing, or everything."""
    if "freeze" in bad or any(path.startswith("model_config") for path in bad):
        return []
    if not config.freeze or config.lora is not None or not _is_model_known(config):
        return []
    return pattern_problems(config.model_config, config.freeze)


def _is_model_known(config: TrainingConfig) -> bool:
    """Whether the configuration says which model it is.

    Otherwise initial weights say it, or `Trainer(model=…)`, and the run looks again.
    """
    is_given = any(path.startswith("model_config") for path in config.fields_given())
    return is_given and not config.has_open_model()


def lora_problems(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return what keeps adapters from being trained."""
    if "initial_adapter" not in bad and config.initial_adapter is not None and config.lora is None:
        what = f"`initial_adapter` is {shown(config.initial_adapter)} and `lora` is not set"
        remedy = "set its rank, alpha and targets as in adapter_config.json"
        return [FieldProblem("lora", f"{what}; {remedy}")]
    if config.lora is None or any(path.startswith("lora") for path in bad):
        return []
    found = _problems_beside_adapters(config, bad)
    if any(path.startswith("model_config") for path in bad) or not _is_model_known(config):
        return found
    return found + target_problems(config.model_config, config.lora)


def _problems_beside_adapters(config: TrainingConfig, bad: set[str]) -> list[FieldProblem]:
    """Return a problem for each field that says otherwise what is trained."""
    found = []
    if "optimizer_type" not in bad and config.optimizer_type == "muon":
        rule = "`optimizer_type` is 'muon', which makes updates of whole matrices orthogonal"
        message = f"{rule}; with `lora` it must be 'adamw'"
        found.append(FieldProblem("optimizer_type", message))
    if "freeze" not in bad and config.freeze:
        rule = f"`freeze` is {shown(config.freeze)}; with `lora` all but the adapters is frozen"
        found.append(FieldProblem("freeze", f"{rule}; leave one of the two out"))
    return found


def run_warnings(config: TrainingConfig) -> list[FieldProblem]:
    """Values that are allowed and probably not meant."""
    found = []
    if config.scheduler_type != "constant" and config.warmup_steps >= config.max_steps:
        found.append(_long_warmup(config))
    if config.cooldown_steps is not None and config.scheduler_type != "wsd":
        found.append(_unused_cooldown(config))
    if "val_" in config.best_metric and config.save_steps % config.eval_steps:
        found.append(_unmeasured_checkpoints(config))
    if config.mixed_precision == "fp16" and config.device == "cpu":
        message = "`mixed_precision` is 'fp16' on a CPU, where it is slow; leave it out"
        found.append(FieldProblem("mixed_precision", message))
    if config.learning_rate > 0.1:
        message = f"`learning_rate` is {config.learning_rate}; training may diverge; try 6e-4"
        found.append(FieldProblem("learning_rate", message))
    return found + alert_warnings(config)


def _long_warmup(config: TrainingConfig) -> FieldProblem:
    return FieldProblem(
        "warmup_steps",
        f"`warmup_steps` is {config.warmup_steps} and the run ends at max_steps="
        f"{config.max_steps}: the learning rate never reaches its peak; "
        f"try {max(config.max_steps // 50, 1)}",
    )


def _unused_cooldown(config: TrainingConfig) -> FieldProblem:
    return FieldProblem(
        "cooldown_steps",
        f"`cooldown_steps` is {config.cooldown_steps} and `scheduler_type` is "
        f"{config.scheduler_type!r}, which has no cooldown; try scheduler_type wsd",
    )


def _unmeasured_checkpoints(config: TrainingConfig) -> FieldProblem:
    nearest = config.eval_steps * max(round(config.save_steps / config.eval_steps), 1)
    return FieldProblem(
        "save_steps",
        f"`save_steps` is {config.save_steps}, not a multiple of eval_steps={config.eval_steps}: "
        f"checkpoints without a {config.best_metric} of their step cannot be the best; "
        f"try save_steps={nearest}",
    )
