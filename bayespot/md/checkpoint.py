"""Checkpoint of a batched simulation: its carry, and the averages of each finished block."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.files import load_arrays, save_arrays
from bayespot.neighbors import Grid, NeighborList


class Store:
    """``folder=None`` stores nothing.  ``state.npz`` is replaced last and atomically."""

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self.folder, self.fingerprint = folder, fingerprint

    def load(self, carry: Any) -> tuple[int, Any, list[Any]]:
        """(finished blocks, carry, their averages)."""
        if self.folder is None or not (self.folder / "state.npz").exists():
            return 0, carry, []
        leaves, header = load_arrays(self.folder / "state.npz")
        if header["fingerprint"] != self.fingerprint:
            raise UserError(
                f"{self.folder} holds a simulation with other settings",
                "Remove the folder or choose another run directory",
            )
        lists = carry.neighbors
        if isinstance(lists, NeighborList):  # they may have grown, on another grid
            grid = Grid(**{k: _tuple(v) for k, v in header["grid"].items()})
            carry = carry._replace(neighbors=dataclasses.replace(lists, grid=grid))
        treedef = jax.tree.structure(carry)
        carry = jax.tree.unflatten(treedef, [jnp.asarray(x) for x in leaves])
        blocks = []
        for i in range(header["blocks"]):
            arrays, inner = load_arrays(self.folder / f"block_{i:05d}.npz")
            means: dict[str, dict[str, np.ndarray]] = {}
            for array, (name, key) in zip(arrays[:-1], inner["names"], strict=True):
                means.setdefault(name, {})[key] = array
            blocks.append((means, arrays[-1]))
        return header["blocks"], carry, blocks

    def save(self, blocks: int, carry: Any, block: Any) -> None:
        """After block number ``blocks`` (counted from 1)."""
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        means, temperature = block
        names = [(name, key) for name, group in means.items() for key in group]
        arrays = [means[name][key] for name, key in names]
        save_arrays(
            self.folder / f"block_{blocks - 1:05d}.npz", [*arrays, temperature], {"names": names}
        )
        header = {"fingerprint": self.fingerprint, "blocks": blocks}
        if isinstance(carry.neighbors, NeighborList) and carry.neighbors.grid is not None:
            header["grid"] = dataclasses.asdict(carry.neighbors.grid)
        save_arrays(self.folder / "state.npz", jax.tree.leaves(carry), header)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
