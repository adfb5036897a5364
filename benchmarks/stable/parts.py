"""Finished parts of an experiment, on disk: a run that was killed goes on after them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from bayespot.files import load_arrays, save_arrays
from benchmarks.common import plain


class Parts:
    """Of one case.

    Attributes:
        folder: where they are kept.
        depends: what they were made with; others are made anew, and with them all that follow.
    """

    def __init__(self, folder: Path, depends: Any) -> None:
        self.folder, self.depends = folder, plain(depends)
        folder.mkdir(parents=True, exist_ok=True)
        known = folder / "depends.json"
        if known.exists() and json.loads(known.read_text()) != self.depends:
            for old in (*folder.glob("*.npz"), *folder.glob("*.json")):
                old.unlink()
        known.write_text(json.dumps(self.depends))

    def __call__(
        self, name: str, make: Callable[[Path], tuple[Any, dict]], like: Any = None
    ) -> tuple[Any, dict]:
        """(parameters like ``like``, numbers): stored, or made.

        Args:
            name: of the part.
            make: given a file to keep a checkpoint in.
            like: None where there are no parameters.
        """
        where = self.folder / f"{name}.npz"
        if where.exists():
            arrays, header = load_arrays(where)
            leaves = [jnp.asarray(x) for x in arrays]
            return jax.tree.unflatten(jax.tree.structure(like), leaves), header
        print(f"{self.folder.name}: {name}", flush=True)
        params, told = make(self.folder / f"{name}.checkpoint.npz")
        told = plain(told)
        save_arrays(where, jax.tree.leaves(params), told)
        return params, told
