"""The configuration of a training run: its fields, its rules, and its way to and from YAML.

Never imports torch, so that a control plane can validate what a worker will run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, cast, get_args

from app.training.alert_rules import alert_problems
from app.training.document import parse_document, read_document_file, read_numbers
from app.training.rules import (
    freeze_problems,
    lora_problems,
    range_problems,
    relation_problems,
    run_warnings,
    size_problems,
    source_problems,
)
from app.training.tokenizer_files import trained_name
from app.transformer.config import TransformerConfig
from app.transformer.errors import ConfigError, FieldProblem
from app.transformer.fields import read_known, shown, to_plain, type_problems
from app.transformer.lora_layout import LoraConfig

__all__ = [
    "AlertRule",
    "ConfigError",
    "DataConfig",
    "DataSource",
    "DistributedConfig",
    "FieldProblem",
    "LoraConfig",
    "TrainingConfig",
]

Optimizer = Literal["adamw", "muon"]
Scheduler = Literal["cosine", "linear", "wsd", "constant"]
Precision = Literal["fp16", "bf16"]
WandbMode = Literal["online", "offline", "disabled"]
BestMetric = Literal["val_loss", "val_perplexity", "ema_val_loss", "loss", "perplexity"]
Strategy = Literal["ddp", "fsdp"]
LossOn = Literal["completion", "all"]
AlertCause = Literal["above", "below", "not_finite", "stalled", "failed", "finished"]
TokenDtype = Literal["uint8", "uint16", "uint32", "int32", "int64"]

_MODEL = "model_config."
_MODEL_FIELDS = frozenset(each.name for each in fields(TransformerConfig))


@dataclass
class DistributedConfig:
    """How one run spreads over several processes."""

    strategy: Strategy = "ddp"
    """"ddp" keeps a whole model in each process; "fsdp" (FSDP2) shards it where one does not fit.
    A run may change it when it resumes."""

    processes: int | None = None
    """Number of processes, >= 1, each with `batch_size` sequences and, on GPUs, one of its own.
    None means one for each GPU of the machine, or one on CPU; under torchrun, as many as it
    starts on all nodes."""


@dataclass
class EarlyStoppingConfig:
    """When a run ends before its last step because it no longer gets better."""

    metric: BestMetric = "val_loss"
    """What has to fall. Those of validation are measured every `eval_steps`, over the batches that
    all evaluations share; `loss` and `perplexity`, of one step, at each step that is reported."""

    patience: int = 5
    """Measurements in a row without an improvement after which the run ends, >= 1."""

    min_delta: float = 0.0
    """An improvement is a fall by more than this, >= 0."""


@dataclass
class AlertRule:
    """When the service says something about a run; the library alone does not look at it."""

    when: AlertCause = "failed"
    """What happens: a metric is `above` or `below` a value, or `not_finite`; the run has `stalled`,
    `failed` or `finished`."""

    metric: str | None = None
    """Of `above`, `below` and `not_finite`: a metric's name, yours included. None, which only
    `not_finite` allows: the loss."""

    value: float | None = None
    """Of `above` and `below`: the metric is compared with it."""

    points: int = 1
    """Of a metric: logged points in a row for which it holds, 1 to 1000."""

    seconds: float | None = None
    """Of `stalled`: seconds without a step or another sign of life, >= 1. It says so; the run is
    ended by the job's `stall_timeout_seconds`."""


@dataclass
class TrainedTokenizer:
    """A tokenizer that is trained on the data."""

    train: Literal["bpe"] = "bpe"
    """Byte-level BPE is the one kind there is."""

    vocab_size: int = 4096
    """Ids that it has at most, >= 257."""

    @property
    def name(self) -> str:
        """The tokenizer as one text, as it is stored: "bpe:4096"."""
        return trained_name(self.vocab_size)


@dataclass
class DataSource:
    """One of several datasets that are mixed."""

    path: str = ""
    """A file or folder, as `dataset_path` would name it."""

    weight: float = 1.0
    """Its share of the training samples, as part of the sum of all weights, > 0."""


@dataclass
class DataConfig:
    """Which documents of `dataset_path` are trained on, and how they follow each other."""

    files: list[str] = field(default_factory=list)
    """Files of the folder `dataset_path`: patterns relative to it, such as `data/*.parquet` or
    `**/*.jsonl`; one may also be written without a list. Each must match something. What matches
    none is left alone, files for validation included. Empty: names and contents of the files
    decide."""

    split: str | None = None
    """The part of the folder to train on, by the word in the names of files or folders: `train`,
    `test`, `train_sft`. None: `train`, where names divide the data."""

    document_separator: str | None = None
    """Text between two documents; special tokens in it count as such, and "" joins them. None: the
    tokenizer's end-of-text id where it has one, else a blank line. Records of ids have none."""

    max_documents: int | None = None
    """Train on no more than so many documents, the first ones in the order of the files, >= 1.
    None: all."""

    shuffle_documents: bool = False
    """Put the documents into an order drawn from `seed`, after `max_documents` and before the
    validation part is held back. For data that is sorted by subject or date."""

    allow_skipped: bool = False
    """Train although more bytes of the folder are skipped than read; False refuses that."""

    sources: list[DataSource] = field(default_factory=list)
    """Several datasets in place of `dataset_path`, each with a `path` and a `weight`; a path alone
    weighs 1. The other fields of this block hold for each of them."""

    loss_on: LossOn | None = None
    """Of conversations: "completion" trains on what the assistant wrote, "all" on every token.
    None: "completion"."""

    chat_template: str | None = None
    """How a conversation is written: a template in Jinja, as in a tokenizer_config.json. None: the
    one beside the tokenizer.json, else ChatML."""

    pack: bool = True
    """Whether several conversations may share a window. False gives each a window of its own."""

    attend_across_documents: bool = False
    """Whether a conversation sees those that are before it in its window."""

    def __post_init__(self) -> None:
        self._unread: list[FieldProblem] = []
        if isinstance(cast("Any", self.files), str):
            self.files = [cast("Any", self.files)]
        if isinstance(cast("Any", self.sources), list):
            self.sources = [self._read_source(*each) for each in enumerate(self.sources)]

    def _read_source(self, number: int, source: Any) -> Any:
        if isinstance(source, str):
            return DataSource(source)
        if not isinstance(source, Mapping):
            return source
        known, unknown = read_known(DataSource, read_numbers(DataSource, source))
        self._unread += [problem.under(f"sources[{number}]") for problem in unknown]
        return DataSource(**known)

    def problems(self) -> list[FieldProblem]:
        """Return a problem for each wrong key or type; fields are named relative to this block."""
        problems = self._unread + type_problems(self)
        if not isinstance(cast("Any", self.sources), list):
            rule = f"`sources` is {shown(self.sources)}; it must be a list of mappings"
            return [*problems, FieldProblem("sources", f"{rule} with `path` and `weight`")]
        for number, source in enumerate(self.sources):
            problems += _part_problems(f"sources[{number}]", source, DataSource)
        return problems


@dataclass
class TrainingConfig:
    """Everything that decides what a run computes and where it writes."""

    model_config: TransformerConfig = field(default_factory=TransformerConfig)
    """Shape of the model. GPT-2 small by default; with `initial_weights` what is left out is
    theirs."""

    initial_weights: str | None = None
    """Begin with the weights of another model: a Hugging Face folder, a checkpoint file, or in the
    service `checkpoint://ID`. Optimizer, schedule and data begin afresh. None: draw them."""

    resize_vocabulary: bool = False
    """Whether `vocab_size` may be another than that of `initial_weights`: surplus rows are cut off,
    new ones are the mean of the others."""

    freeze: list[str] = field(default_factory=list)
    """Parameters that stay as they are: patterns of their names in a checkpoint, such as
    `token_embedding.*` or `blocks.[0-3].*`, each of which must match something."""

    lora: LoraConfig | None = None
    """Train low-rank adapters beside the weights of `initial_weights`, which stay. None: train the
    weights."""

    initial_adapter: str | None = None
    """Begin with the adapters in a folder of `peft`, whose rank, alpha and layers are those of
    `lora`. None: B is zero, and the model begins as it was."""

    batch_size: int = 8
    """Sequences in a micro-batch, on each device, >= 1."""

    learning_rate: float = 6e-4
    """Peak learning rate, > 0. GPT-2 small's customary value."""

    max_steps: int = 100000
    """Optimizer steps of the whole run, >= 1; micro-batches are not counted."""

    warmup_steps: int = 2000
    """Steps of linear warm-up from 0, >= 0. Shorten it for short runs."""

    optimizer_type: Optimizer = "adamw"
    """"adamw" (Loshchilov & Hutter 2019) for everything; or "muon" (Jordan et al. 2024) for the
    matrices of the blocks, with AdamW for embeddings, output head, norms and biases."""

    muon_learning_rate: float = 0.02
    """Muon's peak rate, > 0; it follows the same schedule as `learning_rate`, which stays that of
    AdamW."""

    muon_momentum: float = 0.95
    """Decay of Muon's mean of gradients, in [0, 1)."""

    muon_iterations: int = 5
    """Steps by which Muon makes an update orthogonal, 1 to 5. With 3 it is only roughly so; a small
    batch on a CPU learns as much from that, in less time."""

    weight_decay: float = 0.01
    """Decoupled weight decay, >= 0, on matrices only: norms and biases are left alone."""

    adam_beta1: float = 0.9
    """Decay of AdamW's mean of gradients, in [0, 1)."""

    adam_beta2: float = 0.999
    """Decay of AdamW's mean of squared gradients, in [0, 1)."""

    adam_epsilon: float = 1e-8
    """AdamW's guard against division by zero, > 0."""

    scheduler_type: Scheduler = "cosine"
    """How the learning rate falls after warm-up: "cosine" and "linear" over the whole run, "wsd"
    (warm-up, stable, decay) over the last `cooldown_steps`, "constant" never. A run that stopped
    before its cooldown can be made longer without a trace."""

    min_lr_ratio: float = 0.1
    """Where it ends, as a fraction of `learning_rate`, in [0, 1]. "constant" has no use for it."""

    cooldown_steps: int | None = None
    """Last steps of the run, in which "wsd" lets the rate fall in a straight line, >= 0. None: a
    fifth of `max_steps`."""

    gradient_accumulation_steps: int = 1
    """Micro-batches in one optimizer step, >= 1. Multiplies `batch_size` at no cost of memory."""

    max_grad_norm: float = 1.0
    """Gradients are scaled down to this total norm, >= 0. 0 turns clipping off."""

    z_loss: float = 0.0
    """Weight of log(Z)^2 beside the cross-entropy, Z being softmax's normaliser, >= 0; 1e-4 keeps
    logits from drifting in half precision (PaLM, Chowdhery et al. 2022). Logged losses do not
    include it."""

    ema_decay: float | None = None
    """Keep an exponential moving average of the weights, which each step moves by 1 minus this, in
    (0, 1); 0.999 is customary. It is saved beside the weights and validated as `ema_val_loss`.
    None: no average."""

    mixed_precision: Precision | None = None
    """Autocast to "bf16" (A100 and later) or "fp16" (with loss scaling). None is fp32."""

    logging_steps: int = 100
    """Steps between logged metrics, >= 1. The last step is always logged."""

    save_steps: int = 1000
    """Steps between checkpoints, >= 1. The last step is always saved."""

    eval_steps: int = 500
    """Steps between evaluations on the validation data, >= 1. The last step is always evaluated."""

    eval_batches: int = 64
    """Micro-batches of `batch_size` in one evaluation, >= 0, evenly spaced over the validation set
    and always the same. 0 takes the whole set. By default an evaluation takes about a twentieth
    of the time of the 500 steps between two of them."""

    full_final_eval: bool = True
    """Evaluate the last step on the whole validation set. False takes `eval_batches` there too."""

    sample_prompts: list[str] = field(default_factory=list)
    """Texts that the model continues after each evaluation, at most 8 of at most 2,000 characters;
    one may be written without a list. The training goes on as without them."""

    sample_tokens: int = 64
    """Tokens that are sampled for each of `sample_prompts`, 1 to 512."""

    sample_temperature: float = 0.8
    """How freely they are drawn, >= 0; 0 takes the most likely token."""

    sample_seed: int = 1337
    """Seed of their draws, the same at each evaluation and for each prompt, in [0, 2**63)."""

    checkpoint_dir: str = "./checkpoints"
    """Folder of the run: config.yaml, checkpoints with their manifests, metrics.jsonl."""

    max_checkpoints_to_keep: int = 5
    """Complete checkpoints kept, the best one included, >= 1."""

    resume_from_checkpoint: bool | str = False
    """True: from the newest sound checkpoint in `checkpoint_dir`, if there is any. A path: from
    that file, or from the newest sound checkpoint in that folder."""

    wandb_project: str | None = None
    """Weights & Biases project. None: nothing is sent."""

    wandb_entity: str | None = None
    """Weights & Biases team or user. None: the account's default."""

    wandb_run_name: str | None = None
    """Name of the run at Weights & Biases. None: it invents one."""

    wandb_mode: WandbMode | None = None
    """None leaves it to the WANDB_MODE variable, which means "online" unless set."""

    trackers: list[str] = field(default_factory=list)
    """Where metrics go besides metrics.jsonl: any of `csv`, `tensorboard` and `mlflow`; one may be
    written without a list. Files are in the folder `trackers` of `checkpoint_dir`; MLflow's server
    is the one that MLFLOW_TRACKING_URI names."""

    mlflow_experiment: str | None = None
    """MLflow experiment, made where there is none. None: the server's default one."""

    mlflow_run_name: str | None = None
    """Name of the run at MLflow. None: it invents one."""

    seed: int = 1337
    """Seed of initial weights, data order and dropout, in [0, 2**63)."""

    dataset_path: str | None = None
    """Training text or tokens: a file or folder, see `app.training.data.load_dataset`."""

    val_dataset_path: str | None = None
    """Validation data. None: the last `val_fraction` of the training data."""

    val_fraction: float = 0.1
    """Share of the data held back for validation, in [0, 1). 0 holds nothing back."""

    tokenizer: str = "byte"
    """"byte", "char", "gpt2" where its files are installed, or a path to a tokenizer.json; or
    `{train: bpe, vocab_size: 4096}`, in short "bpe:4096", which is trained on the data."""

    text_column: str = "text"
    """Field or column of records that holds the text; `a.b` is `b` within the struct `a`."""

    token_dtype: TokenDtype | None = None
    """Type of the ids in files without a header (`.bin`, `.ds`, `.npy`). None: what an index beside
    or the file shows, else uint16, or uint32 where `vocab_size` is above 65,536."""

    data: DataConfig = field(default_factory=DataConfig)
    """Which files and documents of `dataset_path` are trained on."""

    sequence_length: int | None = None
    """Tokens a sequence is trained on, >= 1. None: the model's `max_position_embeddings`."""

    num_workers: int = 0
    """Processes that load data, >= 0. 0 loads in the training process, best for mapped files."""

    compile: bool = False
    """Run the model through torch.compile: slow to start, faster afterwards."""

    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""

    deterministic: bool = False
    """Refuse GPU kernels whose bits change from run to run. CPU runs are exact anyway."""

    device: str = "auto"
    """"auto" (CUDA, else CPU), "cpu", "cuda", "cuda:N" or "mps"."""

    best_metric: BestMetric = "val_loss"
    """The smallest value of this marks the best checkpoint, which rotation never deletes."""

    early_stopping: EarlyStoppingConfig | None = None
    """End the run, as one that succeeded, once a metric no longer improves. None: never."""

    alerts: list[AlertRule] = field(default_factory=list)
    """When the service says something about the run, at most 20 rules. A rule without more than its
    `when` may be written as one word."""

    alert_webhook: str | None = None
    """The http or https address that the service sends the run's alerts to, at a host of the
    service's allow-list. None: the one that the service has for all runs, if any."""

    distributed: DistributedConfig | None = None
    """Several processes for one run. None: one process."""

    def __post_init__(self) -> None:
        self._unread: list[FieldProblem] = []
        self._given: frozenset[str] | None = None
        if isinstance(cast("Any", self.trackers), str):
            self.trackers = [cast("Any", self.trackers)]
        if isinstance(cast("Any", self.model_config), Mapping):
            self.model_config = self._read_part("model_config", TransformerConfig)
        if isinstance(cast("Any", self.sample_prompts), str):
            self.sample_prompts = [cast("Any", self.sample_prompts)]
        if isinstance(cast("Any", self.freeze), str):
            self.freeze = [cast("Any", self.freeze)]
        if isinstance(cast("Any", self.alerts), list):
            self.alerts = [self._read_alert(*each) for each in enumerate(self.alerts)]
        if isinstance(cast("Any", self.lora), Mapping):
            self.lora = self._read_part("lora", LoraConfig)
        if isinstance(cast("Any", self.distributed), Mapping):
            self.distributed = self._read_part("distributed", DistributedConfig)
        if isinstance(cast("Any", self.early_stopping), Mapping):
            self.early_stopping = self._read_part("early_stopping", EarlyStoppingConfig)
        if isinstance(cast("Any", self.tokenizer), Mapping):
            self.tokenizer = self._read_trained_tokenizer()
        if isinstance(cast("Any", self.data), Mapping):
            self.data = self._read_part("data", DataConfig)

    def _read_part(self, name: str, owner: type) -> Any:
        """Return the nested configuration that the plain mapping in field `name` describes.

        Unknown keys are added to `_unread`.
        """
        known, unknown = read_known(owner, read_numbers(owner, getattr(self, name)))
        self._unread += [problem.under(name) for problem in unknown]
        return owner(**known)

    def _read_alert(self, number: int, rule: Any) -> Any:
        if isinstance(rule, str):
            return AlertRule(cast("Any", rule))
        if not isinstance(rule, Mapping):
            return rule
        known, unknown = read_known(AlertRule, read_numbers(AlertRule, rule))
        path = f"alerts[{number}]"
        self._unread += [problem.under(path) for problem in unknown]
        if "when" not in rule and not unknown:
            causes = ", ".join(get_args(AlertCause))
            text = f"`{path}.when` is left out; it says what happens and must be one of {causes}"
            self._unread.append(FieldProblem(f"{path}.when", text))
        return AlertRule(**known)

    def _alert_problems(self) -> list[FieldProblem]:
        if not isinstance(cast("Any", self.alerts), list):
            message = f"`alerts` is {shown(self.alerts)}; it must be a list of rules with `when`"
            return [FieldProblem("alerts", message)]
        parts = enumerate(self.alerts)
        return [p for n, rule in parts for p in _part_problems(f"alerts[{n}]", rule, AlertRule)]

    def _read_trained_tokenizer(self) -> str:
        part = self._read_part("tokenizer", TrainedTokenizer)
        problems = [problem.under("tokenizer") for problem in type_problems(part)]
        self._unread += problems
        return TrainedTokenizer().name if problems else part.name

    def problems(self) -> list[FieldProblem]:
        """Return everything that keeps this run from starting; empty for a valid configuration."""
        problems = self._unread + type_problems(self)
        problems += self._model_problems() + self._alert_problems()
        problems += _part_problems("data", self.data, DataConfig)
        if self.lora is not None:
            problems += _part_problems("lora", self.lora, LoraConfig)
        if self.distributed is not None:
            problems += _part_problems("distributed", self.distributed, DistributedConfig)
        if self.early_stopping is not None:
            problems += _part_problems("early_stopping", self.early_stopping, EarlyStoppingConfig)
        bad = {problem.field for problem in problems}
        rules = (
            range_problems, size_problems, source_problems, relation_problems, freeze_problems,
            lora_problems, alert_problems,
        )  # fmt: skip
        for of_values in rules:
            more = of_values(self, bad)
            problems += more
            bad |= {problem.field for problem in more}
        return problems

    def _model_problems(self) -> list[FieldProblem]:
        model = cast("Any", self.model_config)
        if isinstance(model, TransformerConfig) and self.has_open_model():
            return [problem.under("model_config") for problem in model.problems_of_fields()]
        return _part_problems("model_config", model, TransformerConfig)

    def warnings(self) -> list[FieldProblem]:
        """Return allowed settings that are probably mistakes. The configuration must be valid."""
        return run_warnings(self)

    def validate(self) -> None:
        """Raise one `ConfigError` that lists every problem, if there is any."""
        problems = self.problems()
        if problems:
            raise ConfigError(problems)

    def get_effective_batch_size(self) -> int:
        """Return the sequences in one optimizer step, over all processes."""
        processes = (self.distributed.processes or 1) if self.distributed else 1
        return self.batch_size * self.gradient_accumulation_steps * processes

    def get_sequence_length(self) -> int:
        """Return the tokens of a sequence: `sequence_length`, or its default."""
        return self.sequence_length or self.model_config.max_position_embeddings

    def fields_given(self) -> frozenset[str]:
        """Return the dotted paths of fields that were set on purpose.

        The document that this came from names them; in a configuration that was built in Python
        they are those that differ from the default.
        """
        if self._given is not None:
            return self._given
        mine, default = flatten(self.to_dict()), flatten(TrainingConfig().to_dict())
        return frozenset(path for path, value in mine.items() if value != default.get(path))

    def has_named_tokenizer(self) -> bool:
        """Whether the tokenizer was set on purpose, by name or as one to train."""
        return any(path.split(".")[0] == "tokenizer" for path in self.fields_given())

    def has_open_model(self) -> bool:
        """Whether fields of the model come from `initial_weights` and are not known yet."""
        names = {name.split(".")[1] for name in self.fields_given() if name.startswith(_MODEL)}
        return self.initial_weights is not None and names < _MODEL_FIELDS

    def take_model(self, model: TransformerConfig, tokenizer: str | None) -> None:
        """Fill in what `initial_weights` say of the model and its tokenizer, where nobody did."""
        given = self.fields_given()
        for name in _MODEL_FIELDS:
            if not any(path.startswith(_MODEL + name) for path in given):
                setattr(self.model_config, name, getattr(model, name))
        if tokenizer is not None and not self.has_named_tokenizer():
            self.tokenizer = tokenizer
        self._given = given | {_MODEL + name for name in _MODEL_FIELDS} | {"tokenizer"}

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name, in order, as plain values; the inverse of `from_dict`."""
        values: dict[str, Any] = to_plain(self)
        return values

    def to_known_dict(self) -> dict[str, Any]:
        """Return the same without what `initial_weights` will say of model and tokenizer."""
        values, given = self.to_dict(), self.fields_given()
        if self.has_open_model():
            model = values["model_config"]
            known = {n: v for n, v in model.items() if any(p.startswith(_MODEL + n) for p in given)}
            values["model_config"] = known
            if "tokenizer" not in given:
                del values["tokenizer"]
        return values

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> tuple[TrainingConfig, list[FieldProblem]]:
        """Return the configuration that `values` describe, and everything wrong with it."""
        known, unknown = read_known(cls, read_numbers(cls, values))
        config = cls(**known)
        config._given = frozenset(flatten(known))
        return config, unknown + config.problems()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingConfig:
        """Build from field names and values; fields left out keep their defaults.

        Raises:
            ConfigError: It lists unknown keys, wrong types and wrong values together.
        """
        if not isinstance(cast("Any", values), Mapping):
            rule = "a configuration must be a mapping of keys to values"
            raise ConfigError([FieldProblem("config", f"{rule}; it is a {type(values).__name__}")])
        config, problems = cls.read(values)
        if problems:
            raise ConfigError(problems)
        return config

    @classmethod
    def read_document(cls, text: str) -> tuple[TrainingConfig, list[FieldProblem]]:
        """Return the configuration in a YAML or JSON text, and everything that is wrong with it."""
        values, of_form = parse_document(text)
        config, of_values = cls.read(values)
        return config, of_form + of_values

    @classmethod
    def from_document(cls, text: str) -> TrainingConfig:
        """Build from YAML or JSON text.

        Raises:
            ConfigError: It lists every problem.
        """
        config, problems = cls.read_document(text)
        if problems:
            raise ConfigError(problems)
        return config

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str]) -> TrainingConfig:
        """Build from a YAML or JSON file.

        Raises:
            ConfigError: A configuration that cannot be used; `problems` lists every reason, not
                only the first.
            OSError: Without the file.
        """
        return cls.from_document(read_document_file(path))

    def to_yaml(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return the configuration as YAML text, every field spelled out.

        Written to `path` if given.
        """
        import yaml

        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8")
        return text


def _part_problems(path: str, part: Any, owner: type) -> list[FieldProblem]:
    """Return the problems of a nested configuration; fields get the prefix `path`."""
    if not isinstance(part, owner):
        rule = f"it must be a mapping of keys to values (in Python {owner.__name__} as well)"
        return [FieldProblem(path, f"`{path}` is {shown(part)}; {rule}")]
    if isinstance(part, TransformerConfig | DataConfig):
        problems = part.problems()
    else:
        problems = type_problems(part)
    return [problem.under(path) for problem in problems]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping as one of dotted paths: `{"a": {"b": 1}}` becomes `{"a.b": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
