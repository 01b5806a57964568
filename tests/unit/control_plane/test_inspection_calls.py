"""InspectDataset looks into data in a process of its own, under the allowed folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failure import failure_of
from started import TINY

from control_plane.settings import ControlPlaneSettings
from training_engine.v1 import dataset_pb2


def request_of(data: str, **config: Any) -> dataset_pb2.InspectDatasetRequest:
    document = json.dumps(TINY | config)
    return dataset_pb2.InspectDatasetRequest(config_document=document, dataset_path=data)


async def test_data_is_looked_into(stubs: Any, data_root: Path) -> None:
    lines = [{"text": "one document"}, {"text": "one document"}, {"text": ""}]
    (data_root / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = await stubs.datasets.InspectDataset(request_of("a.jsonl", sequence_length=8))
    assert (found.documents, found.empty_documents, found.duplicate_documents) == (3, 1, 1)
    assert (found.tokens, found.estimated_tokens, found.complete) == (26, 26, True)
    assert [(Path(file.path).name, file.use, file.form) for file in found.files] == [
        ("a.jsonl", "train", "json lines")
    ]
    assert [segment.text for segment in found.windows[0].segments] == ["one docum"]
    assert not found.problems
    assert "1 of 3 documents are equal" in found.warnings[-2].message
    (data_root / "a.jsonl").write_text('{"text": 3}')
    found = await stubs.datasets.InspectDataset(request_of("a.jsonl"))
    assert "`text` in line 1 of" in found.problems[-1].message


async def test_a_path_is_enough(stubs: Any) -> None:
    request = dataset_pb2.InspectDatasetRequest(dataset_path="corpus.txt")
    found = await stubs.datasets.InspectDataset(request)
    assert found.tokens
    assert found.tokenizer == "byte"


async def test_what_may_not_be_read_is_refused(stubs: Any, data_root: Path) -> None:
    (data_root / "link").mkdir()
    (data_root / "link" / "a.txt").symlink_to("/etc/passwd")
    for data, reason in (("/etc/passwd", "PATH_NOT_ALLOWED"), ("no.txt", "PATH_NOT_FOUND")):
        failure = await failure_of(stubs.datasets.InspectDataset(request_of(data)))
        assert failure.reason == reason
    failure = await failure_of(stubs.datasets.InspectDataset(request_of("a.txt", max_steps=0)))
    assert (failure.reason, list(failure.fields)) == ("INVALID_CONFIG", ["max_steps"])
    found = await stubs.datasets.InspectDataset(request_of("link"))
    assert not found.tokens
    assert "leads out of the folder" in found.problems[0].message


@pytest.fixture
def far_away(plane_settings: ControlPlaneSettings) -> None:
    """The workers see other files than the control plane."""
    plane_settings.roots_visible = False


@pytest.mark.usefixtures("far_away")
async def test_files_out_of_sight_are_looked_into_elsewhere(stubs: Any) -> None:
    failure = await failure_of(stubs.datasets.InspectDataset(request_of("corpus.txt")))
    assert failure.reason == "WORKER_UNAVAILABLE"
    assert "training-engine inspect PATH --local" in failure.message
