"""What the scripts of all readers do: go through the models, compare, print. No package needed
but NumPy."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Expected = dict[str, Any]


def each_model(read: Callable[[Path, str, Expected], dict[str, Any]]) -> None:
    """Call `read` with the folder of the models, a name, and what is expected; print its row."""
    folder = Path(sys.argv[1])
    for path in sorted(folder.glob("*.json")):
        if path.stem == "documents":
            continue
        try:
            row = read(folder, path.stem, json.loads(path.read_text()))
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        print(json.dumps({"model": path.stem, **row}), flush=True)


def difference(logits: Any, expected: Expected) -> float:
    """The largest difference of logits, in the ids that the tokenizer has."""
    ours = np.array(expected["logits"])
    return float(np.abs(np.asarray(logits)[:, : ours.shape[1]] - ours).max())
