"""Uploaded datasets."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas.base import Answer, PageToken, Query


class UploadQuery(Query):
    """What is about to be uploaded."""

    name: str = Field(description="A file name; its ending says what the file holds.")
    sha256: str = Field(
        "",
        pattern="^([0-9a-f]{64})?$",
        description="SHA-256 of the file, lower-case hex, to be checked on arrival.",
    )


class Dataset(Answer):
    """An uploaded dataset; `dataset://ID` names it."""

    dataset_id: str
    name: str
    size_bytes: int
    sha256: str
    created_at: str | None


class DatasetPage(Answer):
    """Datasets, newest first."""

    datasets: list[Dataset]
    next_page_token: PageToken
