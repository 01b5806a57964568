"""Compiles llama.cpp from the source package of llama-cpp-python, and no more of it than needed.

The package's own build also compiles the common library, the server and multi-modal models, and
all of it with -O3: hours on a busy machine. `libllama` alone, with -O1, takes minutes.
"""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
    "-DCMAKE_C_FLAGS_RELEASE=-O2 -DNDEBUG",
    "-DBUILD_SHARED_LIBS=ON",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",
    "-DGGML_LLAMAFILE=OFF",
    "-DLLAMA_CURL=OFF",
    *(f"-DLLAMA_BUILD_{part}=OFF" for part in ("COMMON", "TESTS", "EXAMPLES", "TOOLS", "SERVER")),
)


def build_llama(python: Path, requirement: str, folder: Path) -> None:
    """Compile `libllama` into the folder `build/bin` of `folder`, with low priority."""
    source = folder / "source"
    download = ["download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python"]
    subprocess.run([python, "-m", "pip", *download, "--dest", source, requirement], check=True)
    (package,) = source.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        archive.extractall(source, filter="data")
    (tree,) = source.glob("*/vendor/llama.cpp")
    configure = ["cmake", "-S", tree, "-B", folder / "build", *_FLAGS]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    build = ["nice", "-n", "15", "cmake", "--build", folder / "build", "--target", "llama"]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
