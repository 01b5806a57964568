"""Pages of jobs: by state, name or tag from an index, by words through a bounded look."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from job_store.codec import decode_job, json_fields
from job_store.connection import AsyncConnection
from job_store.paging import TokenKey, page_bounds
from job_store.records import JobFilter, JobRecord, Page
from job_store.unreadable import readable

MAX_PAGE = 1000
"""Jobs or checkpoints in a page at most; a larger `page_size` gets this many."""
_LOOK, _LOOKS = 200, 100
"""Jobs that one script looks at while other clients wait, and such scripts for a page."""
_ROWS = 100
"""Jobs that one script returns: a whole record costs as much as several looks."""


async def page_of_jobs(
    db: AsyncConnection, tokens: TokenKey, chosen: JobFilter, page_size: int, page_token: str
) -> Page[JobRecord]:
    """Return a page; see `JobStore.list`."""
    index, tests = _index_and_tests(chosen)
    is_scan = any(tests.values())
    subject = index
    if is_scan or chosen.name or chosen.tags:
        subject = f"{'name' if chosen.name else 'search'}:{_digest([index, tests])}"
    prefix = chosen.id_prefix
    above, below = (f"[{prefix}", f"({prefix}\x7f") if prefix else ("-", "+")
    if page_token:
        below = "(" + await tokens.position(page_token, "jobs", subject)
    size = page_bounds(page_size, MAX_PAGE)
    rows, last = list[bytes](), b""
    for _ in range(_LOOKS):
        count = min(size - len(rows) // 2, _ROWS)
        look = _LOOK if is_scan else count
        reply = await db.run("read_jobs", index, below, above, count, look, json.dumps(tests))
        last, *more = reply or [b""]
        rows += more
        if not last or len(rows) == 2 * size:
            break
        below = "(" + last.decode()
    token = (await tokens.codec()).encode("jobs", subject, last.decode()) if last else ""
    jobs = [(id.decode(), json_fields(job)) for id, job in zip(rows[::2], rows[1::2], strict=True)]
    return Page(tuple(readable(decode_job, jobs)), token)


def _index_and_tests(chosen: JobFilter) -> tuple[str, dict[str, Any]]:
    """Return the index to page through, and what its jobs have to pass, as `read_jobs` takes it."""
    status, tags = chosen.status.value if chosen.status else "", [*chosen.tags]
    index = status or "all"
    if chosen.name:
        index = f"name:{chosen.name}"
    elif tags:
        index = f"tag:{tags.pop(0)}"
    is_of_status = index in (status, "all")
    words = chosen.search.casefold().split()
    return index, {"status": "" if is_of_status else status, "tags": tags, "words": words}


def _digest(value: Any) -> str:
    """Return what binds a page token to a list; short, for a name may be long."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
