"""The examples' first losses have the bits that are in git.

A difference is not always a fault: a faster kernel may sum in another order, and an example may
change. It is always something to look at, and to say in the commit that runs `make golden-curves`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import write_curves

KNOWN = write_curves.HERE / write_curves.file_name()


def _by_example(text: str) -> dict[str, list[str]]:
    sections = (section.splitlines() for section in text.split("\n\n")[1:])
    return {lines[0]: lines[1:] for lines in sections}


@pytest.mark.slow
@pytest.mark.skipif(
    not KNOWN.is_file(),
    reason=f"no golden curves for {write_curves.environment()}; `make golden-curves` writes them",
)
def test_the_first_losses_of_the_examples_are_those_in_git(tmp_path: Path) -> None:
    # In a process of its own: other tests may have changed torch's threads and switches.
    command = [sys.executable, "-P", write_curves.__file__, str(tmp_path)]
    subprocess.run(command, check=True)
    expected, found = (
        _by_example(KNOWN.read_text()),
        _by_example((tmp_path / KNOWN.name).read_text()),
    )
    assert found.keys() == expected.keys()
    differing = {
        example: next(
            f"step {step}: {here} instead of {there}"
            for step, (here, there) in enumerate(zip(losses, expected[example], strict=True), 1)
            if here != there
        )
        for example, losses in found.items()
        if losses != expected[example]
    }
    assert not differing, f"run `make golden-curves` if this is meant: {differing}"
