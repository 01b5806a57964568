# Generated from _aio_methods.py by client/generate_sync.py; run: make sync
# Generated from the protos by client/generate_methods.py; run: make protos
"""The blocking methods of unary calls that need no more than the call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from training_engine import _calls
from training_engine._config_source import ConfigLike, config_source
from training_engine._resource import JobResource, Resource
from training_engine.records import (
    Alerts,
    BatchGetJobsResponse,
    Checkpoint,
    Config,
    Dataset,
    LogLine,
    MetricPoint,
    Page,
    Plain,
    SampledStep,
    SeriesSet,
    Sweep,
    SystemMetrics,
    Throughput,
    Worker,
)

if TYPE_CHECKING:
    from training_engine._job import Job


class CheckpointMethods(Resource):
    """The calls of `CheckpointService`."""

    def list(self, job_id: str, *, page_size: int | None = None) -> Iterator[Checkpoint]:
        """Iterate over a job's checkpoints, ascending by step.

        Args:
            job_id: The job.
            page_size: Rows on the page, 1 to 1000; 0 for 50.
        """
        return self._link.rows(_calls.list_checkpoints(job_id, page_size=page_size))

    def page(
        self, job_id: str, *, page_size: int | None = None, page_token: str = ""
    ) -> Page[Checkpoint]:
        """Return one page of a job's checkpoints, ascending by step.

        Args:
            job_id: The job.
            page_size: Rows on the page, 1 to 1000; 0 for 50.
            page_token: next_page_token of the page before; empty for the first.
        """
        return self._link.page(
            _calls.list_checkpoints(job_id, page_size=page_size, page_token=page_token)
        )

    def get(self, checkpoint_id: str) -> Checkpoint:
        """Return one checkpoint.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.get_checkpoint(checkpoint_id))

    def delete(self, checkpoint_id: str) -> None:
        """Delete a checkpoint.

        Raises:
            ConflictError: For the one that an active job would resume from.
        """
        self._link.unary(_calls.delete_checkpoint(checkpoint_id))


class ConfigMethods(Resource):
    """The calls of `ConfigService`."""

    def get(self, config_id: str) -> Config:
        """Return one stored configuration.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.get_config(config_id))

    def list(self, *, page_size: int | None = None) -> Iterator[Config]:
        """Iterate over stored configurations, newest first.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
        """
        return self._link.rows(_calls.list_configs(page_size=page_size))

    def page(self, *, page_size: int | None = None, page_token: str = "") -> Page[Config]:
        """Return one page of stored configurations, newest first.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
            page_token: next_page_token of the page before; empty for the first.
        """
        return self._link.page(_calls.list_configs(page_size=page_size, page_token=page_token))

    def delete(self, config_id: str) -> None:
        """Delete one stored configuration.

        Jobs started from it keep their own copy.
        """
        self._link.unary(_calls.delete_config(config_id))


class DatasetMethods(Resource):
    """The calls of `DatasetService`."""

    def get(self, dataset_id: str) -> Dataset:
        """Return one dataset.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.get_dataset(dataset_id))

    def list(self, *, page_size: int | None = None) -> Iterator[Dataset]:
        """Iterate over datasets, newest first.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
        """
        return self._link.rows(_calls.list_datasets(page_size=page_size))

    def page(self, *, page_size: int | None = None, page_token: str = "") -> Page[Dataset]:
        """Return one page of datasets, newest first.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
            page_token: next_page_token of the page before; empty for the first.
        """
        return self._link.page(_calls.list_datasets(page_size=page_size, page_token=page_token))

    def delete(self, dataset_id: str) -> None:
        """Delete a dataset.

        Raises:
            ConflictError: While a job that has not ended names it.
        """
        self._link.unary(_calls.delete_dataset(dataset_id))


class JobMethods(JobResource):
    """The calls of `JobService`."""

    def batch_get(self, *, job_ids: Sequence[str] | None = None) -> BatchGetJobsResponse:
        """Return several jobs, their configurations included, in the order asked for.

        Args:
            job_ids: The jobs, 1 to 100.

        Raises:
            NotFoundError: One of them is not there.
        """
        return self._link.record(_calls.batch_get_jobs(job_ids=job_ids))

    def get(self, job_id: str) -> Job:
        """Return one job, its configuration included.

        Raises:
            NotFoundError: There is none.
        """
        return self._job(self._link.record(_calls.get_job(job_id)))

    def update(
        self,
        job_id: str,
        *,
        add_tags: Sequence[str] | None = None,
        remove_tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> Job:
        """Change the tags and the notes of a job, in any state; what is absent stays as it is.

        Args:
            job_id: Its id.
            add_tags: Tags to add, as in a start. A job has at most 20. One that it has stays where
                it is.
            remove_tags: Tags to take away; one that it lacks is ignored.
            notes: The notes in place of the present ones, up to 4096 bytes in UTF-8; empty text
                removes them.

        Raises:
            NotFoundError: There is none.
        """
        return self._whole(
            self._link.unary(
                _calls.update_job(job_id, add_tags=add_tags, remove_tags=remove_tags, notes=notes)
            )
        )

    def fork(
        self,
        *,
        checkpoint_id: str | None = None,
        job_id: str | None = None,
        config: ConfigLike | None = None,
        optimizer: str | None = None,
        dataset_path: str | None = None,
        val_dataset_path: str | None = None,
        name: str | None = None,
        execution: Plain | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
    ) -> Job:
        """Start a job from a checkpoint of another, with what changes in its configuration.

        Nothing changes in the other job.

        Args:
            checkpoint_id: The checkpoint; or give job_id.
            job_id: A job whose best checkpoint is taken, or its newest where none was judged.
            config: What changes in the configuration of the checkpoint's job. What is left out
                stays as it is there; null is the default. REST takes the text of a YAML or JSON
                document here too.
            optimizer: Whether the optimizer's state, the step count and the place in the data go
                on. Default: kept.
            dataset_path: Training data; wins over the configuration's. A path under an allowed root
                or dataset://ID.
            val_dataset_path: Validation data; wins over the configuration's.
            name: A name to find it by, up to 200 characters. Where another job has it, a number is
                added.
            execution: How to run it. None fields are those of the checkpoint's job.
            tags: Words to find it by, as in a start; those of its parent are not taken over.
            notes: What to remember about it, as in a start.

        Raises:
            NotFoundError: The checkpoint was deleted.
        """
        return self._whole(
            self._link.unary(
                _calls.fork_job(
                    checkpoint_id=checkpoint_id,
                    job_id=job_id,
                    config=config_source(config) if config is not None else None,
                    optimizer=optimizer,
                    dataset_path=dataset_path,
                    val_dataset_path=val_dataset_path,
                    name=name,
                    execution=execution,
                    tags=tags,
                    notes=notes,
                )
            )
        )

    def stop(self, job_id: str) -> Job:
        """Ask a job to save a checkpoint at the next step boundary and stop.

        A queued job stops at once.

        Raises:
            StateForbidsError: For a job that has ended.
        """
        return self._whole(self._link.unary(_calls.stop_job(job_id)))

    def delete(self, job_id: str) -> None:
        """Delete a job that is not running: record, history, logs and checkpoints."""
        self._link.unary(_calls.delete_job(job_id))

    def logs(self, job_id: str, *, page_size: int | None = None) -> Iterator[LogLine]:
        """Iterate over what the trainer printed, oldest first.

        Args:
            job_id: The job.
            page_size: Lines on the page, 1 to 10000; 0 for 1000.
        """
        return self._link.rows(_calls.list_logs(job_id, page_size=page_size))

    def alerts(self, job_id: str) -> Alerts:
        """Return which rules of a job's alerts have fired.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.list_alerts(job_id))


class MetricsMethods(Resource):
    """The calls of `MetricsService`."""

    def get(self, job_id: str) -> MetricPoint:
        """Return the latest value of each metric.

        Raises:
            NotFoundError: Before the first logged step.
        """
        return self._link.record(_calls.get_metrics(job_id))

    def history(
        self,
        job_id: str,
        *,
        after_step: int | None = None,
        from_step: int | None = None,
        to_step: int | None = None,
        max_points: int | None = None,
        page_size: int | None = None,
    ) -> Iterator[MetricPoint]:
        """Iterate over logged steps, ascending, each once.

        They come in full by pages, or downsampled by max_points.

        Args:
            job_id: The job.
            after_step: Only steps greater than this.
            from_step: Only steps from this on.
            to_step: Only steps up to this.
            max_points: Downsample to at most so many points, 2 or more, keeping each bucket's
                extremes: a bucket of several steps becomes two points that hold each metric's
                minimum and maximum; no paging then. None for every point, by pages.
            page_size: Points on the page, 1 to 10000; 0 for 1000.
        """
        return self._link.rows(
            _calls.list_metrics(
                job_id,
                after_step=after_step,
                from_step=from_step,
                to_step=to_step,
                max_points=max_points,
                page_size=page_size,
            )
        )

    def series(
        self,
        *,
        job_ids: Sequence[str] | None = None,
        metrics: Sequence[str] | None = None,
        x_axis: str | None = None,
        max_points: int | None = None,
        smoothing: float | None = None,
        from_x: float | None = None,
        to_x: float | None = None,
        log_x: bool | None = None,
        after: str | None = None,
    ) -> SeriesSet:
        """Return curves of several jobs, thinned to what a chart has room for.

        They are smoothed over all points before they are thinned, so that a part of a curve shows
        the same values as the whole.

        Args:
            job_ids: The jobs, 1 to 50.
            metrics: Names of metrics, those of the user included; none for every metric that the
                jobs have logged.
            x_axis: What the points are placed by; None for the step.
            max_points: Points of a curve at most, 2 to 10000; 0 for 1000, or fewer where all curves
                of the answer would have more than 400000. The axis is cut into half as many equal
                parts, and each keeps its least and its greatest value, so that no spike is lost.
            smoothing: Weight of the past in an exponential moving average, from 0 (none) to less
                than 1. It is divided by 1 - weight^n at the n-th value, as TensorBoard does, and
                passes over what is not finite.
            from_x: Only points from this place of the axis on, and the one before.
            to_x: Only points up to this place of the axis, and the one after.
            log_x: Whether the parts that thinning makes are equal on a logarithmic axis.
            after: Only what came after the answer with this cursor; empty for all.

        Raises:
            NotFoundError: One of the jobs is not there.
            InvalidArgumentError: `after` is of another call.
        """
        return self._link.record(
            _calls.get_series(
                job_ids=job_ids,
                metrics=metrics,
                x_axis=x_axis,
                max_points=max_points,
                smoothing=smoothing,
                from_x=from_x,
                to_x=to_x,
                log_x=log_x,
                after=after,
            )
        )

    def system(self, job_id: str) -> SystemMetrics:
        """Return what the job's processes used, each 5 seconds: CPU, memory, disk, network, GPUs.

        Samples go by time and are no part of the history of steps.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.list_system_metrics(job_id))

    def samples(
        self,
        job_id: str,
        *,
        from_step: int | None = None,
        to_step: int | None = None,
        page_size: int | None = None,
    ) -> Iterator[SampledStep]:
        """Iterate over what the model made of sample_prompts after each evaluation.

        Steps ascend, each comes once.

        Args:
            job_id: The job.
            from_step: Only steps from this one on.
            to_step: Only steps up to this one.
            page_size: Steps on the page, 1 to 20; 0 for 20.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.rows(
            _calls.list_samples(job_id, from_step=from_step, to_step=to_step, page_size=page_size)
        )

    def throughput(self, job_id: str) -> Throughput:
        """Return how fast the job trains, over its latest logging interval."""
        return self._link.record(_calls.get_throughput(job_id))


class SweepMethods(Resource):
    """The calls of `SweepService`."""

    def get(self, sweep_id: str) -> Sweep:
        """Return one sweep with its children, their scores and ranks.

        Raises:
            NotFoundError: There is none.
        """
        return self._link.record(_calls.get_sweep(sweep_id))

    def list(self, *, page_size: int | None = None) -> Iterator[Sweep]:
        """Iterate over sweeps, newest first, without their children.

        Args:
            page_size: Rows on the page, 1 to 100; 0 for 50.
        """
        return self._link.rows(_calls.list_sweeps(page_size=page_size))

    def page(self, *, page_size: int | None = None, page_token: str = "") -> Page[Sweep]:
        """Return one page of sweeps, newest first, without their children.

        Args:
            page_size: Rows on the page, 1 to 100; 0 for 50.
            page_token: next_page_token of the page before; empty for the first.
        """
        return self._link.page(_calls.list_sweeps(page_size=page_size, page_token=page_token))

    def stop(self, sweep_id: str) -> Sweep:
        """Stop all children, each with a checkpoint; no other is started.

        Raises:
            StateForbidsError: For a sweep that does not run.
        """
        return self._link.record(_calls.stop_sweep(sweep_id))

    def resume(self, sweep_id: str) -> Sweep:
        """Continue a stopped sweep, its failed children included.

        Raises:
            StateForbidsError: For another one.
        """
        return self._link.record(_calls.resume_sweep(sweep_id))

    def delete(self, sweep_id: str) -> None:
        """Delete a sweep that does not run, with all its children.

        Raises:
            StateForbidsError: For one that does.
        """
        self._link.unary(_calls.delete_sweep(sweep_id))


class WorkerMethods(Resource):
    """The calls of `WorkerService`."""

    def list(self, *, page_size: int | None = None) -> Iterator[Worker]:
        """Iterate over the workers that were heard of lately.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
        """
        return self._link.rows(_calls.list_workers(page_size=page_size))

    def page(self, *, page_size: int | None = None, page_token: str = "") -> Page[Worker]:
        """Return one page of the workers that were heard of lately.

        Args:
            page_size: Rows on the page, 1 to 1000; 0 for 50.
            page_token: next_page_token of the page before; empty for the first.
        """
        return self._link.page(_calls.list_workers(page_size=page_size, page_token=page_token))
