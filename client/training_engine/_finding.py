"""Which jobs or checkpoint a person means: by an id, its beginning, a name, or a status."""

from __future__ import annotations

import re
from collections.abc import Sequence

from training_engine import _calls
from training_engine._call import ListCall
from training_engine.errors import InvalidArgumentError, NotFoundError
from training_engine.records import Checkpoint, JobRecord, JobStatus, Page

#: Candidates that are listed where a name means several jobs.
SHOWN = 5
_WHOLE_ID = re.compile(r"job_[0-9a-z]{26}", re.ASCII)
_PART_OF_ID = re.compile(r"(job_)?[0-9a-z]{1,26}", re.ASCII)


def is_job_id(reference: str) -> bool:
    """Return True for what needs no looking up."""
    return isinstance(reference, str) and _WHOLE_ID.fullmatch(reference) is not None


def lookups(reference: str) -> list[ListCall[JobRecord]]:
    """Return the lists to look in, one after the other until one is not empty; a name wins.

    Raises:
        InvalidArgumentError: It is empty, which would mean every job.
    """
    if not isinstance(reference, str) or not reference.strip():
        raise InvalidArgumentError(f"the job is {reference!r}; give its id or its name")
    calls = [_calls.list_jobs(page_size=SHOWN + 1, name=reference)]
    if _PART_OF_ID.fullmatch(reference):
        calls.append(_calls.list_jobs(page_size=SHOWN + 1, job_id_prefix=_as_id(reference)))
    return calls


def chosen_job(reference: str, page: Page[JobRecord]) -> JobRecord | None:
    """Return the job that a lookup's answer means, None where the answer has none.

    Of several with the same name, the newest: a service gives a name once, but older records may
    share one.

    Raises:
        InvalidArgumentError: Several ids begin so.
    """
    # A service that is older than the filters ignores them and answers with whatever is newest.
    jobs = [job for job in page if _is_meant(reference, job)]
    if len(jobs) < 2 or jobs[0].name == reference.strip():
        return jobs[0] if jobs else None
    lines = [f"  {job.job_id}  {job.name}  {job.status}, {_when(job)}" for job in jobs[:SHOWN]]
    if len(jobs) > SHOWN:
        lines.append("  … and older ones")
    raise InvalidArgumentError(
        f"{reference!r} means more than one job; give the id of one:\n" + "\n".join(lines),
        code="ambiguous_job",
    )


def known_status(status: JobStatus | str | None) -> str | None:
    """Return the status as the contract spells it.

    Raises:
        InvalidArgumentError: There is no such status.
    """
    if status is None:
        return None
    try:
        return JobStatus(status.lower()).value
    except (AttributeError, ValueError):  # no text, or another word
        statuses = ", ".join(JobStatus)
        raise InvalidArgumentError(f"status is {status!r}; it must be one of {statuses}") from None


def is_checkpoint_id(reference: str) -> bool:
    """Return True for what names a checkpoint itself and not a job."""
    return isinstance(reference, str) and reference.startswith("ckpt_")


def is_sweep_id(reference: str) -> bool:
    """Return True for the id of a sweep."""
    return isinstance(reference, str) and reference.startswith("swp_")


def no_such_sweep(reference: str) -> NotFoundError:
    """Return the error for a name that no sweep has."""
    return NotFoundError(
        f"there is no sweep with the id or the name {reference!r}; see: training-engine sweep list",
        code="sweep_not_found",
    )


def best_of(reference: str, checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """Return a job's best checkpoint, or its newest where none was judged.

    Raises:
        NotFoundError: There are none.
    """
    if not checkpoints:
        raise NotFoundError(
            f"job {reference!r} has no checkpoints yet; it saves one each `save_steps` steps and "
            "when it stops",
            code="checkpoint_not_found",
        )
    return next((each for each in checkpoints if each.is_best), checkpoints[-1])


def _is_meant(reference: str, job: JobRecord) -> bool:
    return job.name == reference.strip() or job.job_id.startswith(_as_id(reference))


def _as_id(reference: str) -> str:
    return "job_" + reference.removeprefix("job_")


def _when(job: JobRecord) -> str:
    return f"created {job.created_at:%Y-%m-%d %H:%M:%S} UTC" if job.created_at else "created ?"


def no_such_job(reference: str) -> NotFoundError:
    """Return the error for a reference that nothing answers to."""
    return NotFoundError(
        f"there is no job with the id or the name {reference!r}; see: training-engine list",
        code="job_not_found",
    )
