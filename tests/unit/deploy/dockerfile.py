"""Reads a Dockerfile, and runs the steps of a build stage in a folder instead of an image.

No container engine is needed: COPY takes files from the checkout (those that `.dockerignore` lets
through) or from the folders of other stages, and RUN runs with every absolute path of the image
moved into the test's folder. What differs from a real build is the base image.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
IMAGE_FOLDERS = ("/wheels", "/opt", "/source")


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        """The arguments of each such instruction, in order."""
        return [rest for name, rest in self.steps if name == instruction]

    def environment(self) -> dict[str, str]:
        """What ENV sets."""
        return dict(word.split("=", 1) for line in self.all("ENV") for word in shlex.split(line))

    def command(self, instruction: str) -> list[str]:
        """The words of an ENTRYPOINT or a HEALTHCHECK in exec form."""
        return list(json.loads(re.sub(r"^[^\[]*", "", self.all(instruction)[-1])))


class Dockerfile:
    """The stages of `deploy/docker/Dockerfile.ROLE`."""

    def __init__(self, role: str) -> None:
        self.text = (ROOT / "deploy" / "docker" / f"Dockerfile.{role}").read_text()
        self.arguments: dict[str, str] = {}
        self.stages: list[Stage] = []
        joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", self.text, flags=re.MULTILINE))
        for line in filter(None, joined.splitlines()):
            self._read(*line.split(maxsplit=1))

    def _read(self, instruction: str, rest: str) -> None:
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            self.stages.append(Stage(base, name))
            return
        if instruction == "ARG":
            name, _, default = rest.partition("=")
            self.arguments[name] = default
        if self.stages:
            self.stages[-1].steps.append((instruction, rest))

    @property
    def final(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]

    def stage(self, name: str) -> Stage:
        """A stage by its name."""
        return next(stage for stage in self.stages if stage.name == name)

    def build(self, name: str, folder: Path, variables: Mapping[str, str] | None = None) -> None:
        """Run the COPY and RUN steps of a stage, `folder` standing for the image's root."""
        stage = self.stage(name)
        work = folder / "source" / name
        work.mkdir(parents=True)
        environment = {
            **os.environ,
            **self.arguments,
            # The image's `python` is its base's; here it is a plain one of this version.
            "PIP_NO_COMPILE": "1",  # what is run here is run once
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **(variables or {}),
        }
        for instruction, rest in stage.steps:
            if instruction == "COPY" and not rest.startswith("--from"):
                _copy(rest.split(), work)
            elif instruction == "RUN":
                _run(_moved(rest, folder), work, environment)


def ignored(path: str) -> bool:
    """Whether `.dockerignore` keeps a file of the checkout away from the build."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        rule = line.strip()
        if not rule or rule.startswith("#"):
            continue
        pattern = rule.removeprefix("!")
        if _matches(path, pattern):
            verdict = not rule.startswith("!")
    return verdict


def _matches(path: str, pattern: str) -> bool:
    parts = path.split("/")
    beginnings = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatch(part, pattern[3:]) for part in parts)
    return any(fnmatch.fnmatch(beginning, pattern) for beginning in beginnings)


def _copy(words: list[str], work: Path) -> None:
    *sources, target = words
    for source in sources:
        place = ROOT / source
        files = [p for p in place.rglob("*") if p.is_file()] if place.is_dir() else [place]
        for file in files:
            inside = file.relative_to(place) if place.is_dir() else Path(file.name)
            wanted = work / target / inside
            if ignored(str(file.relative_to(ROOT))):
                continue
            wanted.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, wanted)


def _moved(command: str, folder: Path) -> str:
    """`command` with the image's absolute paths below `folder`."""
    for top in IMAGE_FOLDERS:
        command = re.sub(rf"(?<![\w/.]){top}\b", str(folder) + top, command)
    return command


def _run(command: str, work: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=work, env=dict(environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
