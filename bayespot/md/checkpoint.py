"""Checkpoint of a batched simulation: its carry, and the averages of each finished block."""

from __future__ import annotations

import dataclasses
import hashlib
import re
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

    def __init__(
        self, folder: Path | None, plan: Any, arrays: Any, skin: float, fingerprint: str
    ) -> None:
        """Args:
        folder: where to.
        plan: what is compiled.
        arrays: everything else that the trajectories depend on: keys, parameters, conditions,
            starts.
        skin: Angstrom.
        fingerprint: the caller's own.
        """
        self.folder = None if folder is None else Path(folder)
        self.identity: dict[str, str] = {}
        if folder is None:
            return
        digest = hashlib.sha256()
        for path, x in jax.tree_util.tree_leaves_with_path(arrays):
            x = np.asarray(x)
            digest.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode())
            digest.update(np.ascontiguousarray(x).tobytes())
        # functions inside print their address, which is another in another process
        settings = re.sub(r" at 0x[0-9a-f]+", "", repr(plan)) + f" skin {skin}"
        self.identity = {
            "settings": hashlib.sha256(settings.encode()).hexdigest(),
            "starts, parameters or conditions": digest.hexdigest(),
            "fingerprint": fingerprint,
        }

    def load(self, carry: Any) -> tuple[int, Any, list[Any], tuple[int, int] | None]:
        """(finished blocks, carry, their averages, chunk they were made in)."""
        if self.folder is None or not (self.folder / "state.npz").exists():
            return 0, carry, [], None
        leaves, header = load_arrays(self.folder / "state.npz")
        stored = header["identity"]
        other = [name for name, value in self.identity.items() if stored.get(name) != value]
        if other:
            raise UserError(
                f"{self.folder} holds a simulation with other {', '.join(other)}",
                "Remove the folder or choose another one",
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
        return header["blocks"], carry, blocks, tuple(header["chunk"])

    def save(self, blocks: int, carry: Any, block: Any, chunk: tuple[int, int]) -> None:
        """After block number ``blocks`` (counted from 1).

        Chunks are kept too: sums of another shape would round otherwise.
        """
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        means, temperature = block
        names = [(name, key) for name, group in means.items() for key in group]
        arrays = [means[name][key] for name, key in names]
        save_arrays(
            self.folder / f"block_{blocks - 1:05d}.npz", [*arrays, temperature], {"names": names}
        )
        header: dict[str, Any] = {"identity": self.identity, "blocks": blocks, "chunk": chunk}
        if isinstance(carry.neighbors, NeighborList) and carry.neighbors.grid is not None:
            header["grid"] = dataclasses.asdict(carry.neighbors.grid)
        save_arrays(self.folder / "state.npz", jax.tree.leaves(carry), header)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
