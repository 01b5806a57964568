"""Makes a JobSet for each job over several nodes that waits, and deletes it once the job is over.

Nothing is remembered between two rounds: each round asks the control plane for jobs and the API
server for JobSets. So a launcher may die between any two calls, and two launchers do no harm: a
JobSet's name is made of its job's id, and it is deleted by its uid.

Only the control plane decides whether a job goes on. While it does not answer, the launcher makes
and deletes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from launcher.jobset import TEMPLATE_LABEL, Launched, TemplateError, jobset_of, launched
from launcher.kubernetes import JobSets, KubernetesError, Manifest, RefusedError
from launcher.settings import LauncherSettings
from service_runtime.logs import get_logger
from service_runtime.settings import SettingsError
from training_engine import AsyncJob, AsyncTrainingEngine
from training_engine.errors import NotFoundError, TrainingEngineError

EXPECTED = (KubernetesError, TemplateError, TrainingEngineError, SettingsError)
"""What a round raises while something outside of this process is wrong."""

_log = get_logger("launcher")
_PRIORITIES = ("high", "default", "low")
_PAGE = 1000
_MOST_REFUSALS = 10
"""After which a round makes no more JobSets: what is wrong concerns all of them."""


class Launcher:
    """Runs rounds; each opens its own connections, with tokens and certificates as they are now."""

    def __init__(self, settings: LauncherSettings) -> None:
        self._settings = settings

    async def look(self) -> None:
        """Run one round.

        Raises:
            KubernetesError: The API server does not answer, or refused a call about a JobSet; the
                round has made and deleted the others.
            TrainingEngineError: The control plane does not answer, or refuses.
            TemplateError: There is no template, or no copy can be made of it.
            SettingsError: The file of the token cannot be read.
        """
        given = self._settings
        timeout = given.timeout_seconds
        engine = AsyncTrainingEngine(
            given.control_plane_address, token=given.token(), timeout=timeout, retry_for=0
        )
        async with JobSets(given.kubernetes_url, given.account_folder, timeout) as jobsets, engine:
            # JobSets first: each of them was made for a job that the control plane knew before.
            found = await jobsets.list(TEMPLATE_LABEL, given.template)
            present = [one for one in map(launched, found) if one.job_id]
            waiting = {job.job_id: job for job in await _waiting(engine)}
            refusals = await _delete_superfluous(present, waiting, jobsets, engine)
            served = {one.job_id for one in present}
            lacking = [job for job_id, job in waiting.items() if job_id not in served]
            if given.kueue_queue or not served & waiting.keys():
                refusals += await self._make_for(lacking, jobsets)
        if refusals:
            raise refusals[0]

    async def _make_for(self, jobs: Sequence[AsyncJob], jobsets: JobSets) -> list[RefusedError]:
        """Make the JobSets of these jobs; without Kueue only the first.

        Two that wait for their pods to start could each hold a part of the machines that the other
        needs. Kueue lets a JobSet start only as a whole.
        """
        template = await self._template(jobsets) if jobs else {}
        refusals: list[RefusedError] = []
        for job in jobs:
            try:
                await self._make(job, template, jobsets)
            except RefusedError as error:
                refusals.append(error)
            else:
                if not self._settings.kueue_queue:
                    break
            if len(refusals) == _MOST_REFUSALS:
                break
        return refusals

    async def _template(self, jobsets: JobSets) -> Manifest:
        name = self._settings.template
        template = await jobsets.get(name)
        if template is None:
            raise TemplateError(
                f"there is no JobSet {name!r} to make copies of in namespace "
                f"{jobsets.namespace!r}; apply the overlay, or name the right one by --template"
            )
        return template

    async def _make(self, job: AsyncJob, template: Manifest, jobsets: JobSets) -> None:
        nodes = job.execution.nodes or 1
        copy = jobset_of(template, job.job_id, nodes, self._settings.kueue_queue)
        if await jobsets.create(copy):
            _log.info("made a JobSet", job_id=job.job_id, nodes=nodes)
        else:
            await self._require_own(copy["metadata"]["name"], jobsets)

    async def _require_own(self, name: str, jobsets: JobSets) -> None:
        """Refuse a JobSet that has a job's name and is not a copy of the template."""
        other = await jobsets.get(name)
        labels = other["metadata"].get("labels") or {} if other else {}
        if other and labels.get(TEMPLATE_LABEL) != self._settings.template:
            raise RefusedError(
                f"there is a JobSet {name!r} that this launcher did not make; the job of this name "
                f"gets its workers once that is deleted (label {TEMPLATE_LABEL})"
            )


async def _waiting(engine: AsyncTrainingEngine) -> list[AsyncJob]:
    """Return the queued jobs over several nodes: by priority, then the oldest first."""
    queued = [job async for job in engine.jobs.list(status="queued", page_size=_PAGE)]
    several = [job for job in reversed(queued) if (job.execution.nodes or 1) > 1]
    return sorted(several, key=lambda job: _PRIORITIES.index(job.execution.priority or "default"))


async def _delete_superfluous(
    present: Sequence[Launched],
    waiting: Mapping[str, AsyncJob],
    jobsets: JobSets,
    engine: AsyncTrainingEngine,
) -> list[RefusedError]:
    """Delete JobSets whose job is over, and those that run no pods any more."""
    refusals = []
    for one in present:
        if one.is_leaving:
            continue
        is_over = one.job_id not in waiting and await _is_over(one.job_id, engine)
        if not (is_over or one.has_ended):
            continue
        try:
            await jobsets.delete(one.name, one.uid)
        except RefusedError as error:
            refusals.append(error)
        else:
            _log.info("deleted a JobSet", job_id=one.job_id, job_is_over=is_over)
    return refusals


async def _is_over(job_id: str, engine: AsyncTrainingEngine) -> bool:
    """Ask for the job itself: one that changes its state may be on no page of a list."""
    try:
        return (await engine.jobs.get(job_id)).is_terminal
    except NotFoundError:
        return True
