"""The asyncio resources of an engine, jobs apart."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from training_engine import _calls
from training_engine._aio_guard import closed_behind
from training_engine._aio_methods import (
    AsyncCheckpointMethods,
    AsyncConfigMethods,
    AsyncDatasetMethods,
    AsyncMetricsMethods,
    AsyncSweepMethods,
    AsyncWorkerMethods,
)
from training_engine._config_source import ConfigLike, config_source, sweep_source
from training_engine._files import PartialFile, Progress, destination, is_there, measure
from training_engine._finding import (
    best_of,
    is_checkpoint_id,
    is_sweep_id,
    no_such_sweep,
)
from training_engine._following import MetricsFollower
from training_engine._generation import TextPiece, TextPieces
from training_engine._home import data_path, expanded
from training_engine._polling import Polling
from training_engine.errors import TrainingEngineError
from training_engine.records import (
    Checkpoint,
    Config,
    ConfigReport,
    Dataset,
    Evaluation,
    Inspection,
    MetricPoint,
    Sweep,
    read,
)


class AsyncConfigs(AsyncConfigMethods):
    """Stored configurations."""

    async def create(self, name: str, config: ConfigLike) -> Config:
        """Validate a configuration and store it.

        Args:
            name: A name to find it by, 1 to 200 characters.
            config: A dict, a TrainingConfig, the path of a YAML file, or YAML text.

        Raises:
            InvalidConfigError: It has problems; every one is in `.problems`.
        """
        call = _calls.create_config(name=name, config=config_source(config))
        return await self._link.record(call)

    async def validate(
        self,
        config: ConfigLike,
        *,
        dataset_path: str | None = None,
        val_dataset_path: str | None = None,
    ) -> ConfigReport:
        """Say whether a start with these would be accepted, and what it would cost.

        Args:
            config: As for `jobs.start`.
            dataset_path: Training data; wins over the configuration's.
            val_dataset_path: Validation data, likewise.
        """
        call = _calls.validate_config(
            config=config_source(config),
            dataset_path=data_path("dataset_path", dataset_path or None),
            val_dataset_path=data_path("val_dataset_path", val_dataset_path or None),
        )
        return await self._link.record(call)


class AsyncMetrics(AsyncMetricsMethods):
    """What jobs measure."""

    def stream(
        self,
        job_id: str,
        *,
        after_step: int | None = None,
        on_rewind: Callable[[int], object] | None = None,
    ) -> AsyncIterator[MetricPoint]:
        """Replay logged steps, then follow them live, until the job ends.

        Steps come strictly increasing, each once, across lost connections and restarted services.
        When a job continues from a checkpoint (after a lost worker, say) it measures the steps
        past it again; an exact run measures the same values, so they are skipped. With
        `on_rewind` they are not: it is called with the last step that remains valid, then the
        steps past it are yielded again. `jobs.watch` always yields rewinds.

        Args:
            job_id: The job.
            after_step: Only steps greater than this.
            on_rewind: Called when history was cut below what was handed out.
        """
        follower = MetricsFollower(self._options.reconnect_for, after_step, on_rewind)
        return self._link.follow(job_id, _calls.stream_metrics(job_id), follower)


class AsyncCheckpoints(AsyncCheckpointMethods):
    """Checkpoints, text sampled from them, and their loss on data."""

    async def find(self, reference: str) -> Checkpoint:
        """Return the checkpoint that an id means; of a job, its best one.

        Args:
            reference: The id of a checkpoint, or the name or id of a job.

        Raises:
            NotFoundError: There is no such checkpoint or job, or the job has no checkpoint yet.
        """
        if is_checkpoint_id(reference):
            return await self.get(reference)
        return best_of(reference, [each async for each in self.list(await self._job_id(reference))])

    async def download(
        self,
        checkpoint_id: str,
        path: str | os.PathLike[str] | None = None,
        *,
        overwrite: bool = True,
        progress: Progress | None = None,
    ) -> Path:
        """Download a checkpoint's file and return where it is.

        A broken download is taken up where it broke, also by a later call: what has come is kept
        in a `.part` file beside the destination, which appears only when its SHA-256 is verified.

        Args:
            checkpoint_id: Which one.
            path: The file to write or the folder to write it in; default
                `checkpoint_step_N.pt` in the current folder.
            overwrite: Replace a file that is there and holds something else. Without it such a
                file is refused; one that is this checkpoint already is left and returned.
            progress: Called with (bytes so far, bytes in all).

        Raises:
            ArtifactDamagedError: What arrived differs from its checksum.
            ConflictError: Another file is there (`file_exists`), or another download writes the
                same one (`in_use`).
            InvalidArgumentError: The folder to write in does not exist.
        """
        checkpoint = await self.get(checkpoint_id)
        target = destination(path, checkpoint)
        if not overwrite and await asyncio.to_thread(is_there, target, checkpoint):
            return target
        with PartialFile(target, checkpoint, progress) as part:
            await self._link.download(_calls.download_checkpoint(checkpoint_id), part)
            return await asyncio.to_thread(part.finish)

    async def generate(
        self,
        checkpoint_id: str,
        prompt: str = "",
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        messages: Sequence[Mapping[str, str]] | None = None,
        stop: str | Sequence[str] = (),
        stop_token_ids: Sequence[int] = (),
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        num_samples: int | None = None,
        logprobs: int | None = None,
        prompts: Sequence[str] = (),
        averaged: bool | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        prompt_ids: Sequence[int] = (),
        prompt_logprobs: int | None = None,
    ) -> AsyncIterator[TextPiece]:
        """Sample text from a checkpoint and yield its pieces as they come.

        A piece is a str with `token_ids`, and the last one of a sample has its `finish_reason`; see
        `TextPiece`.

        Args:
            checkpoint_id: Which one; its job may still train.
            prompt: The text to continue; not part of what is yielded.
            max_tokens: Tokens to sample, 1 to 100000; default 256.
            temperature: 0 always takes the likeliest token; default 1.
            top_k: Sample among the k likeliest tokens; default all.
            top_p: Sample among the likeliest tokens that hold this probability, in (0, 1].
            seed: Equal seeds give equal text.
            messages: A conversation to answer, in place of `prompt`: turns with `role` and
                `content`, written by the chat template of a model that was trained on such.
            stop: Text, or texts, that end a sample and are not part of it.
            stop_token_ids: Tokens that end a sample, besides the tokenizer's end of text.
            min_p: Sample among tokens with at least this share of the likeliest one's probability.
            repetition_penalty: Above 1, tokens of the prompt and of the text so far are less
                likely; Hugging Face's definition.
            num_samples: Samples of the prompt, 1 to 64, one after the other; default 1. Sample i
                has the seed `seed + i`.
            logprobs: Have pieces say their tokens' log-probabilities, and those of so many of the
                likeliest tokens, 0 to 20.
            prompts: Several texts to continue, in place of `prompt`; their pieces come in turns,
                and each says its `prompt_index`.
            averaged: Sample from the average of the weights that `ema_decay` kept.
            frequency_penalty: Logits of a token fall by it for each time that it was sampled
                before, -2 to 2; OpenAI's definition.
            presence_penalty: Logits of a token fall by it where it was sampled before, -2 to 2.
            prompt_ids: Tokens to continue, in place of `prompt`.
            prompt_logprobs: Have the first piece of a sample say the log-probabilities of the
                prompt's own tokens, and those of so many of the likeliest tokens, 0 to 20.
        """
        call = _calls.generate(
            checkpoint_id,
            prompt=prompt,
            max_tokens=max_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            messages=[dict(message) for message in messages] if messages else None,
            stop=[stop] if isinstance(stop, str) else [*stop] or None,
            stop_token_ids=[*stop_token_ids] or None,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            num_samples=num_samples,
            logprobs=logprobs,
            prompts=[*prompts] or None,
            averaged=averaged,
            frequency_penalty=frequency_penalty,
            presence_penalty=presence_penalty,
            prompt_ids=[*prompt_ids] or None,
            prompt_logprobs=prompt_logprobs,
        )
        pieces = TextPieces()
        tokens = self._link.tokens(call)
        async with closed_behind(tokens):
            async for token in tokens:
                if (piece := pieces.take(token)) is not None:
                    yield piece

    async def evaluate(
        self,
        checkpoint_id: str,
        dataset_path: str,
        *,
        stride: int | None = None,
        averaged: bool | None = None,
        separate_documents: bool | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Measure how well a checkpoint's model predicts data, on a worker.

        Args:
            checkpoint_id: Which one; its job may still train.
            dataset_path: Text, records or ids, no conversations. A path under an allowed root or
                dataset://ID.
            stride: Tokens from the beginning of a window to that of the next; None for the model's
                context, so that windows do not overlap.
            averaged: Measure the average of the weights that `ema_decay` kept.
            separate_documents: Measure each document alone, as the tasks of lm_eval do.
            progress: Called with (tokens so far, tokens in all); in all there are 0 while a worker
                is waited for, or reads the model or the data.

        Raises:
            InvalidArgumentError: The data cannot be read or do not fit the model's tokenizer, or
                `stride` is out of range, or `separate_documents` is set and the tokenizer has no
                end of text.
            NotFoundError: There is no such checkpoint or dataset.
        """
        call = _calls.evaluate_checkpoint(
            checkpoint_id,
            dataset_path=data_path("dataset_path", dataset_path),
            stride=stride,
            averaged=averaged,
            separate_documents=separate_documents,
        )
        return read(Evaluation, await self._link.evaluation(call, progress))


class AsyncDatasets(AsyncDatasetMethods):
    """Uploaded datasets."""

    async def upload(self, path: str | os.PathLike[str], *, name: str | None = None) -> Dataset:
        """Upload one file; its checksum is verified on arrival.

        Args:
            path: The file.
            name: What to call it; its ending says what it holds. Default: the file's own name.
        """
        file = expanded(path)
        sha256, size = await asyncio.to_thread(measure, file)
        call = _calls.upload_dataset(name=name or file.name, sha256=sha256)
        return read(Dataset, await self._link.upload(call, file, size))

    async def inspect(
        self, dataset_path: str | None = None, *, config: ConfigLike | None = None
    ) -> Inspection:
        """Look into data where the service reads it, and say what training would learn of it.

        Args:
            dataset_path: A path under an allowed root or dataset://ID; wins over the
                configuration's.
            config: As for `jobs.start`; what it leaves out has its default.
        """
        source = None if config is None else config_source(config)
        return await self._link.record(
            _calls.inspect_dataset(
                config=source, dataset_path=data_path("dataset_path", dataset_path or None)
            )
        )


class AsyncWorkers(AsyncWorkerMethods):
    """The processes that train."""


class AsyncSweeps(AsyncSweepMethods):
    """Searches over values of a configuration; their children are jobs."""

    async def start(
        self,
        sweep: ConfigLike,
        *,
        dataset_path: str | None = None,
        val_dataset_path: str | None = None,
        name: str | None = None,
    ) -> Sweep:
        """Check a sweep and every child of it, store it and start the first children.

        Args:
            sweep: A dict, the path of a YAML file, or YAML text: config or config_id, parameters,
                method, trials, seed, metric, goal, halving, max_parallel, execution. A config
                that is a path means a file beside the sweep's, or in the current folder.
            dataset_path: Training data; wins over the document's.
            val_dataset_path: Validation data, likewise.
            name: A name to find it by; wins over the document's.

        Raises:
            InvalidConfigError: It has problems; every one is in `.problems`.
        """
        call = _calls.start_sweep(
            document=sweep_source(sweep).document,
            dataset_path=data_path("dataset_path", dataset_path),
            val_dataset_path=data_path("val_dataset_path", val_dataset_path),
            name=name,
        )
        return await self._link.record(call)

    async def find(self, reference: str) -> Sweep:
        """Return the sweep that an id or a name means; of several with a name, the newest.

        Raises:
            NotFoundError: Nothing has this id or this name.
        """
        if is_sweep_id(reference):
            return await self.get(reference)
        async for sweep in self.list():
            if sweep.name == reference:
                return await self.get(sweep.sweep_id)
        raise no_such_sweep(reference)

    async def wait(self, sweep_id: str, timeout: float | None = None) -> Sweep:
        """Wait until a sweep does not run any more, and return it.

        Raises:
            DeadlineExceededError: (a TimeoutError) It still runs after `timeout` seconds.
        """
        polling = Polling(f"sweep {sweep_id}", timeout, self._options.reconnect_for)
        while True:
            try:
                sweep = await self.get(sweep_id)
            except TrainingEngineError as error:
                await asyncio.sleep(polling.delay_after_failure(error))
                continue
            if sweep.status != "running":
                return sweep
            await asyncio.sleep(polling.delay_after_answer("running"))
