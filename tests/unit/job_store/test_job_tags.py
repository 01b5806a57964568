"""Tags and notes of jobs: changed in any state, kept, and what lists are narrowed by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_store_bench import Bench, new_job

from job_store import listing
from job_store.errors import InvalidPageTokenError, NotFoundError, TooManyTagsError
from job_store.records import JobFilter, JobRecord, JobStatus, NewJob, Request


def tagged(name: str, *tags: str, notes: str = "") -> NewJob:
    return replace(new_job(name=name), tags=tags, user_notes=notes)


async def changed(bench: Bench, job: JobRecord, **change: object) -> tuple[tuple[str, ...], str]:
    record = await bench.jobs.update(job.job_id, most_tags=3, **change)  # type: ignore[arg-type]
    assert await bench.jobs.get(job.job_id) == record
    return record.tags, record.user_notes


async def test_what_is_not_given_stays_as_it_is(bench: Bench) -> None:
    job = await bench.jobs.create(tagged("a", "x", "y", notes="why"))
    assert (job.tags, job.user_notes) == (("x", "y"), "why")
    assert await changed(bench, job, add_tags=["z", "x"]) == (("x", "y", "z"), "why")
    assert await changed(bench, job, remove_tags=["x", "unknown"]) == (("y", "z"), "why")
    assert await changed(bench, job, notes="ü\n") == (("y", "z"), "ü\n")
    assert await changed(bench, job, remove_tags=["y", "z"], notes="") == ((), "")
    with pytest.raises(TooManyTagsError, match="would have 4 tags; it may have 3; remove others"):
        await changed(bench, job, add_tags=["a", "b", "c", "d"])
    assert await changed(bench, job) == ((), "")
    with pytest.raises(NotFoundError):
        await bench.jobs.update("job_" + "0" * 26, most_tags=3)


async def test_a_repeated_change_is_made_once(bench: Bench) -> None:
    job = await bench.jobs.create(tagged("a"))
    request = Request("r", "body")
    for _ in range(2):
        assert await changed(bench, job, add_tags=["x"], request=request) == (("x",), "")
    await bench.jobs.update(job.job_id, remove_tags=["x"], most_tags=3)
    again = await bench.jobs.update(job.job_id, add_tags=["x"], most_tags=3, request=request)
    assert again.tags == ("x",), "the first answer"
    assert (await bench.jobs.get(job.job_id)).tags == ()


async def test_a_change_says_when_it_was_made_unless_a_worker_holds_the_job(bench: Bench) -> None:
    waiting, held = [await bench.jobs.create(tagged(name)) for name in "ab"]
    bench.attempts.claim(held.job_id, 1, "worker", "claim")
    for job in (waiting, held):
        await bench.connection.command("HSET", f"te:job:{job.job_id}", "updated_at", 1)
    assert (await bench.jobs.update(waiting.job_id, most_tags=3)).updated_at > 1
    # Where its worker is lost, the job has run until its worker's last report.
    assert (await bench.jobs.update(held.job_id, most_tags=3, notes="n")).updated_at == 1


async def test_tags_stay_when_a_job_is_resumed(bench: Bench) -> None:
    job = await bench.jobs.create(tagged("a", "x", notes="why"))
    await bench.jobs.request_stop(job.job_id)
    resumed = await bench.jobs.resume(job.job_id)
    assert (resumed.attempt, resumed.tags, resumed.user_notes) == (2, ("x",), "why")


async def test_a_list_has_the_jobs_that_pass_every_filter(bench: Bench) -> None:
    async def names(**wanted: object) -> list[str]:
        page = await bench.jobs.list(JobFilter(**wanted))  # type: ignore[arg-type]
        assert page.next_page_token == ""
        return [job.name for job in page.items]

    tiny = await bench.jobs.create(tagged("tiny-GPT", "lr:3e-4", "base", notes="two\nlines"))
    await bench.jobs.create(tagged("Größe", "lr:3e-4", notes="Ångström"))
    await bench.jobs.create(tagged("plain"))
    old = await bench.jobs.create(tagged("old"))  # a record of an earlier release
    new_fields = ("tags", "user_notes", "folded_name", "folded_notes")
    await bench.connection.command("HDEL", f"te:job:{old.job_id}", *new_fields)

    assert await names(tags=("lr:3e-4",)) == ["Größe", "tiny-GPT"]
    assert await names(tags=("lr:3e-4", "base")) == ["tiny-GPT"]
    assert await names(tags=("lr",)) == [], "a tag is meant as a whole"
    assert await names(search="TINY gpt") == ["tiny-GPT"], "words in any order"
    assert await names(search="grösse ÅNG") == ["Größe"]
    assert await names(search="LINES lr:3") == ["tiny-GPT"]
    assert await names(search=tiny.job_id[-9:].upper()) == ["tiny-GPT"]
    assert await names(search=tiny.job_id[-3:]) == [], "short words would often be in an id"
    assert await names(search="%a.*") == [], "no pattern"
    assert await names(search="old", status=JobStatus.STOPPED) == []
    assert await names(name="old", status=JobStatus.QUEUED, search="OLD") == ["old"]
    assert await names(id_prefix=tiny.job_id, tags=("base",)) == ["tiny-GPT"]
    await bench.jobs.update(tiny.job_id, remove_tags=["base"], most_tags=20, notes="ÄRGER")
    assert await names(tags=("base",)) == []
    assert await names(search="ärger") == ["tiny-GPT"]


async def test_pages_of_a_search_have_each_job_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        await bench.jobs.create(tagged(str(number), *["even"] * (number % 2 == 0)))
    even = JobFilter(tags=("even",))
    search = JobFilter(search="even")
    pages: list[list[str]] = []
    monkeypatch.setattr(listing, "_LOOK", 3)
    # A page that is filled by several looks, pages of one look each, and a list of its own.
    for looks, chosen in ((20, search), (1, search), (20, even)):
        monkeypatch.setattr(listing, "_LOOKS", looks)
        names, token, count = list[str](), "", 0
        while token or not count:
            page = await bench.jobs.list(chosen, page_size=2, page_token=token)
            names += [job.name for job in page.items]
            assert len(page.items) <= 2
            token, count = page.next_page_token, count + 1
            if count == 1:
                await bench.jobs.create(tagged(f"later {len(pages)}", "even"))
        pages.append(names)
    assert pages[0] == ["10", "8", "6", "4", "2", "0"]
    assert pages[1] == ["later 0", *pages[0]]
    assert pages[2] == ["later 1", *pages[1]]
    assert len((await bench.jobs.list(page_size=1000)).items) == 15, "a page of several looks"
    first = await bench.jobs.list(even, page_size=2)
    with pytest.raises(InvalidPageTokenError, match="it belongs to 'search:"):
        await bench.jobs.list(JobFilter(tags=("odd",)), page_token=first.next_page_token)


async def test_deleted_jobs_leave_no_list_of_a_tag(bench: Bench) -> None:
    job = await bench.jobs.create(tagged("a", "x", "y"))
    await bench.jobs.update(job.job_id, add_tags=["z"], remove_tags=["y"], most_tags=3)
    lists = await bench.connection.command("KEYS", "te:jobs:tag:*")
    assert sorted(lists) == [b"te:jobs:tag:x", b"te:jobs:tag:z"]
    await bench.jobs.delete(job.job_id)
    assert await bench.connection.command("KEYS", "te:jobs:tag:*") == []
