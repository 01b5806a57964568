"""Uploaded datasets."""

from __future__ import annotations

from pydantic import Field

from gateway.schemas import examples
from gateway.schemas.base import Answer, PageToken, Query, with_example


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

    model_config = with_example(examples.DATASET)

    dataset_id: str = Field(description="Its id.")
    name: str = Field(description="The file name it was uploaded as.")
    size_bytes: int = Field(description="Size of the file.")
    sha256: str = Field(description="SHA-256 of the file, lower-case hex.")
    created_at: str | None = Field(description="When it was uploaded, RFC 3339, UTC.")


class DatasetPage(Answer):
    """Datasets, newest first."""

    model_config = with_example({"datasets": [examples.DATASET], "next_page_token": None})

    datasets: list[Dataset] = Field(description="The rows.")
    next_page_token: PageToken
