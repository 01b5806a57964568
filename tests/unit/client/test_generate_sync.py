"""The blocking SDK is what the generator makes of the asyncio SDK, and reads like it."""

from __future__ import annotations

import inspect
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from training_engine import AsyncJob, AsyncTrainingEngine, Job, TrainingEngine

ROOT = Path(__file__).parents[3]
GENERATOR = runpy.run_path(str(ROOT / "client" / "generate_sync.py"))
RESOURCES = ["configs", "jobs", "metrics", "checkpoints", "datasets", "workers"]


def _run(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = root / "client" / "generate_sync.py"
    return subprocess.run(
        [sys.executable, "-P", script, *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The generator and the modules it reads and writes, to be changed."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "client").mkdir()
    shutil.copy(ROOT / "client" / "generate_sync.py", tmp_path / "client")
    shutil.copytree(ROOT / "client" / "training_engine", tmp_path / "client" / "training_engine")
    return tmp_path


def test_the_committed_modules_are_current() -> None:
    done = _run(ROOT, "--check")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_blocking_module_that_was_edited_is_named_and_written_again(copy: Path) -> None:
    module = copy / "client" / "training_engine" / "_jobs.py"
    original = module.read_text()
    module.write_text(original.replace("Queue a new attempt", "Queue an attempt"))
    done = _run(copy, "--check")
    assert done.returncode == 1
    assert done.stderr == "_jobs.py: not what the asyncio modules give; run: make sync\n"
    assert _run(copy).returncode == 0
    assert module.read_text() == original


def test_a_change_of_an_asyncio_module_makes_its_twin_stale(copy: Path) -> None:
    source = copy / "client" / "training_engine" / "_aio_jobs.py"
    source.write_text(source.read_text().replace("Queue a new attempt", "Queue an attempt"))
    done = _run(copy, "--check")
    assert done.returncode == 1
    assert done.stderr.startswith("_jobs.py: ")


@pytest.mark.parametrize(
    ("asyncio", "blocking"),
    [
        ("async with AsyncTrainingEngine() as engine:", "with TrainingEngine() as engine:"),
        ("    job = await engine.jobs.start()", "    job = engine.jobs.start()"),
        ("async def __aenter__(self) -> Self:", "def __enter__(self) -> Self:"),
        ("act: Callable[[str], Awaitable[object]],", "act: Callable[[str], object],"),
        ("await asyncio.sleep(delay)", "time.sleep(delay)"),
        ("await asyncio.to_thread(part.finish)", "part.finish()"),
        ("await asyncio.to_thread(\n    part.write, offset, data\n)", "part.write(offset, data\n)"),
        (
            "from training_engine._aio_link import AsyncLink",
            "from training_engine._link import Link",
        ),
        ("await FirstStatus(method(parts())).answer()", "method(parts())"),
        ("channel: grpc.aio.Channel | None", "channel: grpc.Channel | None"),
        ("await response.aread()", "response.read()"),
        ("What an asyncio engine needs", "What a blocking engine needs"),
    ],
)
def test_words_are_translated(asyncio: str, blocking: str) -> None:
    assert GENERATOR["blocking_words"](asyncio) == blocking


def test_a_word_without_a_translation_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"no blocking form is known for: x = anext\(await_all\)"):
        GENERATOR["blocking_words"]("pass\nx = anext(await_all)\n")


def _public(kind: type) -> Iterator[tuple[str, object]]:
    yield "the class", kind
    for name, member in inspect.getmembers(kind, inspect.isfunction):
        if not name.startswith("_"):
            yield name, member


@pytest.fixture
async def twins() -> list[tuple[type, type]]:
    """Each asyncio class that a user meets, with its blocking twin."""
    with TrainingEngine("localhost:1") as blocking:
        async with AsyncTrainingEngine("localhost:1") as asyncio:
            pairs = [(getattr(asyncio, name), getattr(blocking, name)) for name in RESOURCES]
    kinds = [(type(one), type(other)) for one, other in pairs]
    return [(AsyncTrainingEngine, TrainingEngine), (AsyncJob, Job), *kinds]


async def test_both_sdks_document_the_same_methods_fully(twins: list[tuple[type, type]]) -> None:
    for asyncio, blocking in twins:
        assert asyncio.__name__ == f"Async{blocking.__name__}"
        ours, theirs = dict(_public(asyncio)), dict(_public(blocking))
        assert ours.keys() == theirs.keys()
        for name, member in theirs.items():
            text, source = inspect.getdoc(member), inspect.getdoc(ours[name])
            assert source, f"{asyncio.__name__}.{name} has no docstring"
            assert text is not None
            assert GENERATOR["blocking_words"](source) == text
            assert not re.search("await|async", text, re.IGNORECASE)


async def test_both_sdks_take_the_same_arguments(twins: list[tuple[type, type]]) -> None:
    for asyncio, blocking in twins:
        for name, member in _public(asyncio):
            twin = blocking if name == "the class" else getattr(blocking, name)
            assert inspect.signature(member).parameters.keys() == (
                inspect.signature(twin).parameters.keys()
            )
