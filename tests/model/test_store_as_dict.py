"""The store's Python face does what a plain dict would do: random calls, on a real server."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model.dict_of_store import Place, any_place, maybe_request, page, some_name
from model.job_rules import JobRules

from job_store.errors import (
    InvalidPageTokenError,
    NotFoundError,
)
from job_store.records import (
    JobFilter,
    JobStatus,
)


class StoreAsDict(JobRules):
    """Each call is made on the store and on `jobs` and `items`, which are dicts."""

    # Configurations and datasets

    @rule(kind=st.sampled_from(["config", "dataset"]), name=some_name, request_id=maybe_request)
    def store_item(self, kind: str, name: str, request_id: str | None) -> None:
        what = f"{kind} {name}"
        request = self.asked(request_id, what)

        def made() -> str:
            if kind == "config":
                return str(self.run(self.config_store.create(name, "{}", request)).config_id)
            created = self.dataset_store.create(name, 1, "ab", "data", request=request)
            return str(self.run(created).dataset_id)

        first = self.answers.get(request_id or "", ("", None))
        if first[0] == what and kind == "dataset" and first[1] not in self.items[kind]:
            self.refused(NotFoundError, made)  # it was deleted since
            return
        if self.again(request_id, what, made):
            return
        id = made()
        self.items[kind][id] = name
        self.remember(request_id, what, id)

    @precondition(lambda self: any(self.items.values()))
    @rule(place=any_place)
    def delete_item(self, place: int) -> None:
        kind = "config" if self.items["config"] else "dataset"
        id = sorted(self.items[kind])[place % len(self.items[kind])]
        store = self.catalog(kind)
        self.run(store.delete(id))
        del self.items[kind][id]
        self.refused(NotFoundError, lambda: self.run(store.get(id)))
        self.refused(NotFoundError, lambda: self.run(store.delete(id)))

    def catalog(self, kind: str) -> Any:
        return self.config_store if kind == "config" else self.dataset_store

    # Pages of lists that change meanwhile

    @rule(kind=st.sampled_from(["config", "dataset", "checkpoint"]), place=any_place, size=page)
    def open_list(self, kind: str, place: int, size: int) -> None:
        if kind == "checkpoint" and not self.jobs:
            return
        job_id = self.some_job(place) if kind == "checkpoint" else ""
        self.turn_to(kind, job_id, size)

    @precondition(lambda self: self.places)
    @rule(place=any_place, size=page)
    def turn_page(self, place: int, size: int) -> None:
        at = self.places.pop(place % len(self.places))
        if at.job_id and at.job_id not in self.jobs:
            read = self.store.list_checkpoints(at.job_id, size, at.token)
            self.refused(NotFoundError, lambda: self.run(read))
            return
        self.turn_to(at.kind, at.job_id, size, at)

    @precondition(lambda self: self.places)
    @rule(place=any_place)
    def mistake_a_token(self, place: int) -> None:
        at = self.places[place % len(self.places)]
        for kind in {"config", "dataset"} - {at.kind}:
            read = self.catalog(kind).list(1, at.token)
            self.refused(InvalidPageTokenError, lambda read=read: self.run(read))
        for job_id in [*self.jobs][:2]:
            if job_id != at.job_id:
                pages = self.store.list_checkpoints(job_id, 1, at.token)
                self.refused(InvalidPageTokenError, lambda pages=pages: self.run(pages))

    def turn_to(self, kind: str, job_id: str, size: int, at: Place | None = None) -> None:
        """Read the next page of a list, or its first."""
        token = at.token if at else ""
        if kind == "checkpoint":
            page = self.run(self.store.list_checkpoints(job_id, size, token))
            read: list[Any] = [one.step for one in page.checkpoints]
            steps = sorted(self.jobs[job_id].checkpoints.values())
            left: list[Any] = [step for step in steps if not at or step > at.after]
        else:
            page = self.run(self.catalog(kind).list(size, token))
            read = [getattr(one, f"{kind}_id") for one in page.items]
            ids = sorted(self.items[kind], reverse=True)
            left = [id for id in ids if not at or id < at.after]
        assert read == left[:size]
        assert bool(page.next_page_token) == (len(left) > size)
        if page.next_page_token:
            self.places.append(Place(kind, job_id, read[-1], page.next_page_token))

    # What is read

    @invariant()
    def lists_are_those_of_the_dict(self) -> None:
        if not hasattr(self, "jobs"):
            return
        expected = sorted(self.jobs, reverse=True)
        assert self.listed() == expected
        for status in JobStatus:
            chosen = [id for id in expected if self.jobs[id].status is status]
            assert self.listed(status) == chosen
            assert self.run(self.store.count(status)) == len(chosen)
        for kind in self.items:
            page = self.run(self.catalog(kind).list())
            ids = [getattr(one, f"{kind}_id") for one in page.items]
            assert ids == sorted(self.items[kind], reverse=True)

    def listed(self, status: JobStatus | None = None, **options: Any) -> list[str]:
        """All ids, read in pages of two."""
        ids, token = list[str](), ""
        while True:
            page = self.run(self.store.list(JobFilter(status, **options), 2, token))
            ids += [job.job_id for job in page.items]
            token = page.next_page_token
            if not token:
                return ids

    @rule(name=some_name, prefix=any_place)
    def search(self, name: str, prefix: int) -> None:
        if name:
            named = [id for id in sorted(self.jobs, reverse=True) if self.jobs[id].name == name]
            assert self.listed(name=name) == named
        if self.jobs:
            some = self.some_job(prefix)[: 20 + prefix % 10]
            found = [id for id in sorted(self.jobs, reverse=True) if id.startswith(some)]
            assert self.listed(id_prefix=some) == found

    @precondition(lambda self: self.jobs)
    @rule(place=any_place)
    def read(self, place: int) -> None:
        job_id = self.some_job(place)
        job, record = self.jobs[job_id], self.run(self.store.get(job_id))
        assert (record.status, record.attempt, record.name) == (job.status, job.attempt, job.name)
        assert record.consecutive_failures == job.failures
        assert bool(record.completed_at) == (not job.is_held and record.status.is_terminal)
        page = self.run(self.store.list_checkpoints(job_id))
        found = {one.checkpoint_id: one.step for one in page.checkpoints}
        assert found == job.checkpoints
        assert list(found.values()) == sorted(found.values())


def test_the_store_does_what_a_dict_would_do(redis_url: str) -> None:
    with asyncio.Runner() as loop:
        machine = type("Machine", (StoreAsDict,), {"url": redis_url, "loop": loop})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=25,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
