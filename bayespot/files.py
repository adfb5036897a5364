"""Files that are either whole or absent, whatever moment the process is killed at."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` on a name beside ``path``, flush it to disk, and rename it into place."""
    partial = path.with_name(path.name + ".part")
    write(partial)
    with open(partial, "rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """``text`` in UTF-8, atomically."""
    write_atomically(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_json(path: Path, content: Any, indent: int = 2) -> None:
    """``content`` as JSON, atomically; JSON knows no NaN: null instead."""
    write_text(path, json.dumps(_strict(content), indent=indent, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save_arrays(path: Path, arrays: Sequence[Any], header: dict[str, Any]) -> None:
    """Arrays in order and a JSON header, as npz, atomically."""
    named = {f"array_{i}": np.asarray(x) for i, x in enumerate(arrays)}

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, header=np.asarray(json.dumps(header)), **named)

    write_atomically(path, write)


def save_named(path: Path, arrays: dict[str, Any]) -> None:
    """Arrays by name, as npz that ``numpy.load`` reads, atomically."""

    def write(partial: Path) -> None:
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, **{k: np.asarray(x) for k, x in arrays.items()})

    write_atomically(path, write)


def load_arrays(path: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """What ``save_arrays`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        header = json.loads(str(file["header"]))
        return [file[f"array_{i}"] for i in range(len(file.files) - 1)], header
