"""What can go wrong in the job store, as one tree with stable codes.

JobStoreError
├── NotFoundError               no such job, config, checkpoint, dataset or worker
├── TransitionRefusedError      the state table forbids the action in the job's state
├── TooManyTagsError            a change would leave a job with more tags than it may have
├── RequestIdReusedError        the request_id was used within 24 h with another body
├── FencedError                 the attempt that writes is no longer the current one
├── InvalidCursorError          a stream cursor that this store did not issue for this job
├── InvalidPageTokenError       a page token that this store did not issue for this list
├── RecordVersionError     a record written in a format this version does not read
├── SegmentUnreadableError      the file of old metrics is gone or is not what was written
├── InferenceFailedError        a worker could not do what it was asked for (`inference_requests`)
├── InferenceTimeoutError       no worker did it in time (`inference_requests`)
├── FeedsClosedError            this process stops watching; another one can continue the stream
└── StoreUnavailableError       the Redis server is away, full, read-only or refuses the command
    ├── NotOnDiskError          a change is made, and the server has not said that it is on disk
    └── NotJournaledError       a change is made, and its journal entry could not be written
"""

from __future__ import annotations


class JobStoreError(Exception):
    """Base of every error of this package; `code` is stable and safe to show to clients."""

    code = "JOB_STORE_ERROR"


class NotFoundError(JobStoreError):
    """No record of this kind under this id."""

    code = "NOT_FOUND"

    def __init__(self, kind: str, id: str) -> None:
        self.kind = kind
        self.id = id
        shown = id if len(id) <= 80 else id[:77] + "..."
        super().__init__(f"there is no {kind} {shown!r}; list the {kind}s to see which exist")


class TransitionRefusedError(JobStoreError):
    """The state of a job, or of a sweep, does not allow the action."""

    code = "TRANSITION_REFUSED"

    def __init__(self, job_id: str, state: str, action: str, why: str = "") -> None:
        self.job_id = job_id
        self.state = state
        self.action = action
        self.why = why
        reason = f": {why}" if why else ""
        what = "sweep" if job_id.startswith("swp_") else "job"
        super().__init__(f"{what} {job_id} is {state}, which does not allow to {action} it{reason}")


class TooManyTagsError(JobStoreError):
    """A change would leave a job with more tags than it may have; nothing was changed."""

    code = "INVALID_ARGUMENT"

    def __init__(self, job_id: str, count: int, most: int) -> None:
        super().__init__(
            f"job {job_id} would have {count} tags; it may have {most}; remove others as well"
        )


class RequestIdReusedError(JobStoreError):
    """The same request_id came with another request within its 24 hours."""

    code = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(
            f"request_id {request_id[:80]!r} was already used for another request; "
            "a request_id names one request: send a new one, or repeat the first request unchanged"
        )


class FencedError(JobStoreError):
    """A write by an attempt that is not, or no longer, the job's current one: stop writing."""

    code = "FENCED"

    def __init__(self, job_id: str, attempt: int, state: str) -> None:
        self.job_id = job_id
        self.attempt = attempt
        self.state = state
        super().__init__(
            f"attempt {attempt} of job {job_id} no longer owns the job ({state}); "
            "nothing was written and this trainer must stop"
        )


class InvalidCursorError(JobStoreError):
    """A stream cursor that is damaged, of another job or not a cursor at all."""

    code = "INVALID_CURSOR"

    def __init__(self, cursor: str, why: str) -> None:
        self.cursor = cursor
        super().__init__(
            f"cursor {cursor[:80]!r} cannot be used: {why}; "
            "pass a cursor received on this job's stream, or none to start from the beginning"
        )


class InvalidPageTokenError(JobStoreError):
    """A page token that is damaged or of another list."""

    code = "INVALID_PAGE_TOKEN"

    def __init__(self, token: str, why: str) -> None:
        self.token = token
        super().__init__(
            f"page_token {token[:80]!r} cannot be used: {why}; "
            "pass next_page_token of the previous page of the same list, or none for the first"
        )


class RecordVersionError(JobStoreError):
    """A stored record has a version, or a shape, that this program does not read."""

    code = "RECORD_VERSION"

    def __init__(self, kind: str, id: str, found: str, expected: str) -> None:
        self.kind = kind
        self.id = id
        self.found = found
        self.expected = expected
        super().__init__(
            f"{kind} {id} is stored as {found}, and this program reads {expected}; "
            "run the version that wrote it, or delete it"
        )


class StoreUnavailableError(JobStoreError):
    """The Redis server cannot serve this request now; trying again later may work."""

    code = "STORE_UNAVAILABLE"

    def __init__(self, why: str) -> None:
        super().__init__(f"the job store's Redis server is not available: {why}; try again shortly")


class NotOnDiskError(StoreUnavailableError):
    """A change is made, but may be forgotten should the server die now: it is not acknowledged."""

    def __init__(self, seconds: float, replicas: int = 0) -> None:
        place = "on its disk and with a replica" if replicas else "on its disk"
        JobStoreError.__init__(
            self,
            "the change is made, but the job store's Redis server has not confirmed within "
            f"{seconds:g} s that it is {place}; repeat the call with the same request_id "
            "(Idempotency-Key): it gets the answer of this one once that is so",
        )


class NotJournaledError(StoreUnavailableError):
    """A change is made, but would be gone if Redis were lost now: it is not acknowledged."""

    def __init__(self, why: str) -> None:
        JobStoreError.__init__(
            self,
            f"the change is made, but not in the artifact store's journal: {why}; repeat the call "
            "with the same request_id (Idempotency-Key): it gets the answer of this one once the "
            "journal has the change",
        )


class SegmentUnreadableError(JobStoreError):
    """Old points of a job cannot be read from their file; those of other files can."""

    code = "ARTIFACT_DAMAGED"

    def __init__(self, artifact: str, first_step: int, last_step: int, why: str) -> None:
        self.artifact = artifact
        super().__init__(
            f"the metrics of steps {first_step} to {last_step} cannot be read from {artifact}: "
            f"{why}; restore that file, or read on with after_step={last_step}"
        )


class FeedsClosedError(JobStoreError):
    """The process shuts down in order: the stream continues elsewhere, from the last cursor."""

    code = "SHUTTING_DOWN"

    def __init__(self) -> None:
        super().__init__("this server is shutting down; reconnect with the last cursor received")
