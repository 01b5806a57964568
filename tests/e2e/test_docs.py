"""Every block of README.md and docs/ is run against one real stack, or listed here with why not.

`docs/quick-reference.md` has its own test in tests/integration, `docs/deployment.md` its own with
the manifests that it describes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from docs_blocks import (
    ILLUSTRATIONS,
    RUN,
    Reader,
    Shell,
    blocks_of,
    commands_of,
    first_missing,
    inside,
)
from paced import Pace
from running_stack import RunningStack, clean_environment, running_stack

ROOT = Path(__file__).parents[2]
OWN_TESTS = {"quick-reference.md", "deployment.md"}
PAGES = sorted(
    [
        ROOT / "README.md",
        *(page for page in (ROOT / "docs").glob("*.md") if page.name not in OWN_TESTS),
    ]
)

# Blocks that this test does not run, by page and first line. Each says where else it is run, or
# why it cannot be.
ELSEWHERE: dict[tuple[str, str], str] = {
    ("README.md", "make demo"): "both make an environment of their own; CI runs them on a clone",
    ("README.md", "$ source .venv/bin/activate"): "`up`: the stack that all pages talk to is one",
    ("quickstart.md", "make install"): "makes an environment; this test runs in what it makes",
    ("quickstart.md", "training-engine up"): "the stack that all pages talk to is one",
    ("export.md", "task: local_documents"): (
        "a task of lm_eval, not a configuration; tests/readers/with_lm_eval.py runs such a one"
    ),
    ("operations.md", "export TRAINING_ENGINE_REDIS_URL=redis://127.0.0.1:6379/0"): (
        "needs the customary ports; the tests of control plane, gateway and worker start each of "
        "the three like this"
    ),
    ("operations.md", "pip install 'training-engine[control-plane,worker,s3]'"): (
        "needs a bucket; tests/chaos/test_kills_over_bucket.py starts workers like this"
    ),
    ("operations.md", "training-engine recover --data-dir DATA-DIR"): (
        "needs a stack that lost its server; tests/unit/local_stack/test_recover_command.py"
    ),
    ("operations.md", "python -P -m control_plane --recover --artifact-root /srv/artifacts"): (
        "needs an empty server; `training-engine recover` runs it in the same test"
    ),
}

# A page shows what fits a laptop; the same runs here in moments.
SMALLER = [
    (r"topics\.values\(\)", "list(topics.values())[:6]"),
    (r"(\"?hidden_size\"?[:=] ?)128\b", r"\g<1>32"),
    (r"(\"?num_layers\"?[:=] ?)4\b", r"\g<1>1"),
    (r"(\"?num_heads\"?[:=] ?)4\b", r"\g<1>2"),
    (r"(\"?max_position_embeddings\"?[:=] ?)64\b", r"\g<1>16"),
    # Cheap steps, and enough of them, each with a pause (see `stack`), for a job to be stopped on
    # its way; the command line, which takes half a second to start, gets more (see `folder`).
    (r"(\"?max_steps\"?[:=] ?)300\b", r"\g<1>500"),
    (r"(\"?(?:eval|save)_steps\"?[:=] ?)100\b", r"\g<1>250"),
    (r"(\"?logging_steps\"?[:=] ?)10\b", r"\g<1>50"),
]

# Their output is sampled from a model, and no shape can be told of it.
SAMPLED = (r"^training-engine generate",)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack of its own: two workers on a machine give each trainer half of its cores, and tiny
    models train fastest on one."""
    folder = tmp_path_factory.mktemp("docs")
    pace = Pace(folder)
    pace.set(0.003)
    paced = pace.environment()
    with running_stack(folder / "data", "--workers=2", environment=paced) as running:
        yield running


@pytest.fixture(scope="module")
def folder(stack: RunningStack) -> Path:
    """The folder that the stack was started in, looking like a checkout."""
    folder = stack.data_dir.parent
    (folder / "examples").mkdir()
    text = (ROOT / "examples/tiny.yaml").read_text()
    for shown, smaller in [(r"max_steps: 300\b", "max_steps: 1000"), *SMALLER]:
        text = re.sub(shown, smaller, text)
    (folder / "examples/tiny.yaml").write_text(text)
    shutil.copy(ROOT / "train.py", folder)
    return folder


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, stack: RunningStack, folder: Path) -> None:
    host = urlsplit(stack.url).netloc
    addresses = [
        (r"(?:localhost|127\.0\.0\.1):50051", stack.address),
        (r"(?:localhost|127\.0\.0\.1):8000", host),
    ]
    own = {"TRAINING_ENGINE_ADDRESS": stack.address, "OMP_NUM_THREADS": "1"}
    path = f"{Path(sys.executable).parent}:{clean_environment()['PATH']}"
    environment = {**clean_environment(), **own, "PATH": path, "COLUMNS": "100"}
    shell = Shell(environment, folder)
    reader = Reader(shell, [*addresses, *SMALLER], SAMPLED)
    run = 0
    try:
        with inside(folder, {**own, "TRAINING_ENGINE_URL": stack.url}):
            for block in blocks_of(page):
                if block.language in RUN and (page.name, block.first_line) not in ELSEWHERE:
                    reader.read(block)
                    run += 1
    finally:
        shell.close()
    left_out = [block for block in blocks_of(page) if block.language in ILLUSTRATIONS]
    excepted = [name for name, _ in ELSEWHERE if name == page.name]
    assert run + len(left_out) + len(excepted) == len(blocks_of(page))


def test_every_exception_is_a_block_that_exists_once() -> None:
    blocks = [
        (page.name, block.first_line)
        for page in PAGES
        for block in blocks_of(page)
        if block.language in RUN
    ]
    assert {key: blocks.count(key) for key in ELSEWHERE} == dict.fromkeys(ELSEWHERE, 1)


def test_every_block_says_what_it_is() -> None:
    unknown = [
        block.place
        for page in PAGES
        for block in blocks_of(page)
        if block.language not in (*RUN, *ILLUSTRATIONS)
    ]
    assert unknown == []


SEVEN_VERBS = {
    "command line": "training-engine (?:up|start|watch|stop|resume|generate|download)",
    "Python": r"(?:\.stream_metrics|\.wait|jobs\.start|\.stop|\.resume|\.generate|\.download)\(",
    "REST": "/(?:status|start|stream|stop|resume|generate|download)\\b",
    "gRPC": "/(?:GetJob|StartJob|StreamMetrics|StopJob|ResumeJob|Generate|DownloadCheckpoint)\\b",
}
"""Start, look or wait, train, watch, stop, resume, sample, download: how each door spells them."""


@pytest.mark.parametrize(
    ("door", "page", "begin", "end"),
    [
        ("command line", "README.md", "## A working session", "## How it fits"),
        ("Python", "docs/sdk.md", "", ""),
        ("REST", "docs/rest.md", "", ""),
        ("gRPC", "docs/grpc.md", "", ""),
    ],
)
def test_every_door_is_shown_with_every_verb(door: str, page: str, begin: str, end: str) -> None:
    """In blocks that are run, not in prose."""
    text = (ROOT / page).read_text()
    part = text[text.index(begin) : text.index(end) if end else None]
    run = "".join(re.findall(r"^```(?:bash|console|python)\n(.*?)^```", part, re.M | re.S))
    assert len(set(re.findall(SEVEN_VERBS[door], run))) == 7


def test_the_readme_stays_short() -> None:
    lines = len((ROOT / "README.md").read_text().splitlines())
    assert lines <= 180, f"README.md has {lines} lines, at most 180 fit; move a part to docs/"


LINKED = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "client/README.md"})


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def test_links_lead_somewhere() -> None:
    broken = []
    for page in LINKED:
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)", page.read_text()):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if not file.exists() or (anchor and anchor not in anchors_of(file)):
                broken.append(f"{page.name}: {target}")
    assert broken == []


@pytest.mark.parametrize(
    ("script", "page"),
    [
        ("generate_configuration.py", "configuration.md"),
        ("generate_settings.py", "operations.md"),
        ("generate_errors.py", "grpc.md"),
        ("generate_routes.py", "grpc.md"),
        ("generate_routes.py", "rest.md"),
        ("generate_commands.py", "cli.md"),
        ("generate_metrics.py", "training.md"),
    ],
)
def test_generated_tables_are_up_to_date(script: str, page: str, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-P", ROOT / "docs" / script, tmp_path / page], check=True, timeout=60
    )
    fresh = (tmp_path / page).read_text()
    assert fresh == (ROOT / "docs" / page).read_text(), f"run: python docs/{script}"


def test_shapes_let_values_differ_and_nothing_else() -> None:
    one, other = "job_" + "0" * 26, "job_" + "z" * 26
    ids: dict[str, str] = {}
    assert first_missing([f"started job {one}"], ["note", f"started job {other}"], ids) is None
    assert ids == {one: other}
    assert first_missing([f"{one} stopped"], [f"{other} stopped"], ids) is None
    assert first_missing([f"{one} stopped"], [f"{one} stopped"], ids) == f"{one} stopped"
    line = "step 10/300  loss 4.349  704 tokens/s"
    assert first_missing([line], ["step 50/500  loss 3.1  1,556 tokens/s"], {}) is None
    assert first_missing([line], ["step 50/500  loss nan  1,556 tokens/s"], {}) == line
    assert first_missing(["b", "a"], ["a", "b"], {}) == "a"
    assert first_missing(["a", "…", "b …"], ["a", "x", "b 3 min 2 s ago"], {}) is None


def test_commands_of_a_console_block() -> None:
    text = "$ one \\\n>   --two\nprinted\n$ three\n"
    assert commands_of(text) == [("one \\\n  --two", ["printed"]), ("three", [])]


def test_references_name_all_there_is(stack: RunningStack) -> None:
    import httpx
    import typer.main

    from training_engine.cli.app import app
    from training_engine.v1 import errors_pb2

    pages = {page.stem: page.read_text() for page in PAGES}
    commands = typer.main.get_command(app).list_commands(None)  # type: ignore[attr-defined, arg-type]
    assert [name for name in commands if not re.search(rf"\| `{name}[ `]", pages["cli"])] == []
    reasons = [
        name.removeprefix("ERROR_REASON_")
        for name, number in errors_pb2.ErrorReason.items()
        if number
    ]
    assert [name for name in reasons if f"`{name}`" not in pages["grpc"]] == []
    paths = httpx.get(f"{stack.url}/openapi.json").json()["paths"]
    assert [path for path in paths if f"{path}" not in pages["rest"]] == []
    methods = {
        name.replace(".", "/")
        for path in paths.values()
        for route in path.values()
        for name in route.get("x-grpc-methods", ())
    }
    assert len(methods) > 20
    assert [name for name in methods if f"`{name}`" not in pages["grpc"]] == []
