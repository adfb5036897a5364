"""Where draws go: memory, or files that a kill at any moment leaves readable and resumable.

A folder holds ``draws_<dtype>.npy`` and ``info_<dtype>.npy``, one row a draw or a period with all
leaves side by side, and ``state.npz``.  Rows are written in place and ``state.npz`` is replaced
last and atomically; rows it does not count do not exist.  Nothing is held in memory, and the
draws of a finished run are memory-mapped.
"""

import json
import math
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any


class Rows:
    """Records of one pytree, appended block by block.

    Args:
        like: one record's pytree of shapes and dtypes.
        folder, name: where; ``folder=None`` keeps them in memory.
    """

    def __init__(self, folder: Path | None, name: str, like: Tree) -> None:
        leaves, self._treedef = jax.tree.flatten(like)
        self._shapes = [tuple(x.shape) for x in leaves]
        self._dtypes = [np.dtype(x.dtype) for x in leaves]
        self._folder, self._name = folder, name
        self._memory: list[list[np.ndarray]] = []

    def write(self, start: int, rows: Tree) -> int:
        """Write ``rows`` (leading row axis) from row ``start`` on; returns the rows there are."""
        leaves = [np.asarray(x) for x in jax.tree.leaves(rows)]
        count = len(leaves[0]) if leaves else 0
        if self._folder is None:
            if count:
                self._memory.append(leaves)
            return start + count
        self._folder.mkdir(parents=True, exist_ok=True)
        for dtype in sorted(set(self._dtypes), key=str):
            flat = np.concatenate(
                [
                    x.reshape(count, math.prod(shape))
                    for x, shape in zip(leaves, self._shapes, strict=True)
                    if x.dtype == dtype
                ],
                axis=1,
            )
            if flat.shape[1]:
                self._write_file(dtype, start, flat)
        return start + count

    def _path(self, dtype: np.dtype) -> Path:
        assert self._folder is not None
        return self._folder / f"{self._name}_{dtype.name}.npy"

    def _write_file(self, dtype: np.dtype, start: int, flat: np.ndarray) -> None:
        path = self._path(dtype)
        with open(path, "r+b" if path.exists() else "w+b") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (start + len(flat), flat.shape[1]),
            }
            # numpy pads the header so that it can be rewritten with more rows
            np.lib.format.write_array_header_1_0(file, header)
            file.seek(file.tell() + start * flat.shape[1] * dtype.itemsize)
            file.write(np.ascontiguousarray(flat).data)
            file.flush()
            os.fsync(file.fileno())

    def read(self, count: int) -> Tree:
        """The first ``count`` records, with a leading row axis; memory-mapped from files."""
        if self._folder is None:
            leaves = [
                np.concatenate([block[i] for block in self._memory])
                if self._memory
                else np.zeros((0, *shape), dtype)
                for i, (shape, dtype) in enumerate(zip(self._shapes, self._dtypes, strict=True))
            ]
            return jax.tree.unflatten(self._treedef, leaves)
        maps = {
            dtype: np.load(self._path(dtype), mmap_mode="r")
            if count and self._width(dtype)
            else np.zeros((count, self._width(dtype)), dtype)
            for dtype in set(self._dtypes)
        }
        used = dict.fromkeys(maps, 0)
        leaves = []
        for shape, dtype in zip(self._shapes, self._dtypes, strict=True):
            begin = used[dtype]
            used[dtype] = begin + math.prod(shape)
            leaves.append(maps[dtype][:count, begin : used[dtype]].reshape(count, *shape))
        return jax.tree.unflatten(self._treedef, leaves)

    def _width(self, dtype: np.dtype) -> int:
        pairs = zip(self._shapes, self._dtypes, strict=True)
        return sum(math.prod(shape) for shape, other in pairs if other == dtype)


class Store:
    """Draws, infos and the state to resume from.

    Args:
        folder: None keeps draws in memory and resumes nothing.
        fingerprint: what a stored state must agree with.
        draw, watched, info: one record's shapes and dtypes (leading chain axis).
    """

    def __init__(
        self, folder: Path | None, fingerprint: str, draw: Tree, watched: Tree, info: Tree
    ) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.draws = Rows(folder, "draws", draw)
        self.watched = Rows(folder, "watched", watched)
        self.infos = Rows(folder, "info", info)
        self.num_draws = 0
        self.period = 0
        self.stopped = ""
        self.sizes: dict[str, Any] = {}  # see ``run.Between``

    def load(self, carry: Any, may_grow: bool = False) -> Any:
        """The stored carry, or the given one where nothing is stored.

        Args:
            carry: what a run starts with.
            may_grow: whether axes of its arrays may have become longer.
        """
        if self.folder is None or not (self.folder / "state.npz").exists():
            return carry
        with np.load(self.folder / "state.npz") as file:
            header = json.loads(str(file["header"]))
            leaves = [file[f"leaf_{i}"] for i in range(header["leaves"])]
        expected, treedef = jax.tree.flatten(carry)
        look = (lambda x: (x.ndim, x.dtype)) if may_grow else (lambda x: (x.shape, x.dtype))
        same = [look(x) for x in leaves] == [look(x) for x in expected]
        if header["fingerprint"] != self.fingerprint or not same:
            raise ValueError(
                f"{self.folder} holds a checkpoint of another run (configuration, data or version"
                " differ); remove the folder or choose another one"
            )
        self.period, self.num_draws = header["period"], header["draws"]
        self.stopped, self.sizes = header["stopped"], header["sizes"]
        return jax.tree.unflatten(treedef, [jnp.asarray(x) for x in leaves])

    def append(self, carry: Any, draws: Tree, watched: Tree, infos: Tree, periods: int) -> None:
        """Add a block: its draws (rows as many as were kept) and its ``periods`` infos."""
        self.watched.write(self.num_draws, watched)
        self.num_draws = self.draws.write(self.num_draws, draws)
        self.infos.write(self.period, infos)
        self.period += periods
        self._save_state(carry)

    def stop(self, carry: Any, reason: str) -> None:
        """Note that the run ended early, so that a resumed one does not go on."""
        self.stopped = reason
        self._save_state(carry)

    def _save_state(self, carry: Any) -> None:
        if self.folder is None:
            return
        leaves = [np.asarray(x) for x in jax.tree.leaves(carry)]
        header = {
            "fingerprint": self.fingerprint,
            "period": self.period,
            "draws": self.num_draws,
            "leaves": len(leaves),
            "stopped": self.stopped,
            "sizes": self.sizes,
        }
        arrays = {f"leaf_{i}": x for i, x in enumerate(leaves)}
        partial = self.folder / "state.part"
        with open(partial, "wb") as file:
            np.savez(file, allow_pickle=False, header=np.asarray(json.dumps(header)), **arrays)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / "state.npz")

    def collect(self) -> tuple[Tree, np.ndarray, Tree]:
        """(draws, watched, infos) with leading axes (chain, row)."""
        return (
            _chains_first(self.draws.read(self.num_draws)),
            self.collect_watched(),
            _chains_first(self.infos.read(self.period)),
        )

    def collect_watched(self) -> np.ndarray:
        """(chain, draw, quantity)."""
        return _chains_first(self.watched.read(self.num_draws))


def _chains_first(rows: Tree) -> Any:
    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1), rows)
