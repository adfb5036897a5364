"""Blocks of draws in memory or on disk, written so that a kill at any moment loses one block."""

import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Checkpoint:
    """Backend of the loop: ``folder=None`` keeps the blocks in memory, else one npz a block.

    ``state.npz`` is replaced last and atomically; a block it does not name does not exist.
    """

    def __init__(self, folder: Path | None, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self._blocks: list[dict[str, np.ndarray]] = []
        self._count = 0

    def load(self, carry: Any) -> tuple[Any, int]:
        """The stored carry and period, or the given ones and 0 where nothing is stored."""
        if self.folder is None or not (self.folder / "state.npz").exists():
            return carry, 0
        with np.load(self.folder / "state.npz") as file:
            header = json.loads(str(file["header"]))
            leaves = [file[f"leaf_{i}"] for i in range(header["leaves"])]
        expected, treedef = jax.tree.flatten(carry)
        if header["fingerprint"] != self.fingerprint or len(leaves) != len(expected):
            raise ValueError(
                f"{self.folder} holds a checkpoint of another run (configuration, data or version"
                " differ); remove the folder or choose another one"
            )
        self._count = header["blocks"]
        return jax.tree.unflatten(treedef, [jnp.asarray(x) for x in leaves]), header["period"]

    def append(self, period: int, carry: Any, draws: Any, info: Any) -> None:
        """Add one block of (draw, chain, ...) draws and (period, chain) infos."""
        block = {f"draw_{i}": x for i, x in enumerate(jax.tree.leaves(draws))}
        block |= {f"info_{name}": x for name, x in info._asdict().items()}
        if self.folder is None:
            self._blocks.append(block)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _save(self.folder / f"block_{self._count:05d}.npz", block)
        self._count += 1
        leaves = [np.asarray(x) for x in jax.tree.leaves(carry)]
        header = {
            "fingerprint": self.fingerprint,
            "period": period,
            "blocks": self._count,
            "leaves": len(leaves),
        }
        state = {f"leaf_{i}": x for i, x in enumerate(leaves)}
        _save(self.folder / "state.npz", {"header": np.asarray(json.dumps(header)), **state})

    def collect(self, draws_like: Any) -> tuple[Any, Any]:
        """All draws, as the pytree ``draws_like`` with leading (draw, chain), and all infos."""
        from samplers.base import Info

        blocks = self._blocks
        if self.folder is not None:
            blocks = []
            for i in range(self._count):
                with np.load(self.folder / f"block_{i:05d}.npz") as file:
                    blocks.append(dict(file))
        treedef = jax.tree.structure(draws_like)
        draws = [
            np.concatenate([b[f"draw_{i}"] for b in blocks]) for i in range(treedef.num_leaves)
        ]
        info = Info(*(np.concatenate([b[f"info_{n}"] for b in blocks]) for n in Info._fields))
        return jax.tree.unflatten(treedef, draws), info


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    partial = path.with_suffix(".part")
    with open(partial, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
