"""Writes the comments of the protos where programs can read them: descriptors do not carry them.

python client/generate_descriptions.py FILE

The file is JSON, from the full name of each message, field, enum, value, service and method to its
comment. `training_engine.descriptions` reads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.api import http_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

PROTOS = Path(__file__).parents[1] / "protos"
GOOGLE_PROTOS = Path(http_pb2.__file__).parents[2]


def compiled() -> FileDescriptorSet:
    """Every file of the contract, with the places of its comments."""
    files = sorted(map(str, (PROTOS / "training_engine/v1").glob("*.proto")))
    with tempfile.NamedTemporaryFile() as out:
        protoc = [sys.executable, "-P", "-m", "grpc_tools.protoc"]
        options = [f"-I{PROTOS}", f"-I{GOOGLE_PROTOS}"]
        options += ["--include_source_info", f"--descriptor_set_out={out.name}"]
        subprocess.run([*protoc, *options, *files], check=True)
        return FileDescriptorSet.FromString(Path(out.name).read_bytes())


def comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Yield the full name of each element that has a comment, and the comment."""
    for place in file.source_code_info.location:
        # A path of pairs (field, index) leads to an element; others lead to parts of one.
        if place.leading_comments and place.path and len(place.path) % 2 == 0:
            yield full_name(file, place.path), one_line(place.leading_comments)


def full_name(file: FileDescriptorProto, path: Sequence[int]) -> str:
    """Return the name of the element at `path`; an enum's value is named below its enum."""
    element, names = file, [file.package]
    for number, index in zip(path[::2], path[1::2], strict=True):
        element = getattr(element, element.DESCRIPTOR.fields_by_number[number].name)[index]
        names.append(element.name)
    return ".".join(names)


def one_line(comment: str) -> str:
    """Return a comment without its line breaks; paragraphs stay apart."""
    return "\n\n".join(" ".join(part.split()) for part in comment.strip().split("\n\n"))


if __name__ == "__main__":
    texts = dict(pair for file in compiled().file for pair in comments(file))
    text = json.dumps(texts, indent=1, ensure_ascii=False) + "\n"
    Path(sys.argv[1]).write_text(text, encoding="utf-8")
