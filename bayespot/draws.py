"""Posterior draws: a chain x draw store in NetCDF, through ArviZ."""

from __future__ import annotations

import dataclasses
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot.errors import UserError
from bayespot.files import write_atomically


@dataclasses.dataclass(frozen=True)
class Draws:
    """Draws of all chains with their health.

    Attributes:
        params: pytree with leading axes (chain, draw), numpy.
        log_density: (chain, draw) tempered log density (mini-batch estimate) between two draws.
        healthy: (chain,) False for chains that diverged; they are stored, and never used.
        verdicts: one sentence a chain.
        provenance: configuration, data fingerprint, versions, seeds: anything JSON can hold.
    """

    params: Any
    log_density: np.ndarray
    healthy: np.ndarray
    verdicts: tuple[str, ...]
    provenance: dict[str, Any]

    @property
    def num_chains(self) -> int:
        """All chains, healthy or not."""
        return len(self.healthy)

    @property
    def num_draws(self) -> int:
        """Draws per chain."""
        return len(jax.tree.leaves(self.params)[0][0])

    def by_chain(self) -> Any:
        """Parameters of the healthy chains, leading axes (chain, draw).

        Raises:
            UserError: no chain is healthy.
        """
        if not self.healthy.any():
            raise UserError(
                f"all {self.num_chains} chains diverged ({self.verdicts[0]})",
                "Lower the step sizes in [sampler], or look at the data for outliers",
            )
        return jax.tree.map(lambda x: x[self.healthy], self.params)

    def flat(self, limit: int | None = None) -> Any:
        """Draws of the healthy chains along one axis, at most ``limit``, spread evenly over
        chains and within each chain."""
        params = self.by_chain()
        chains, draws = jax.tree.leaves(params)[0].shape[:2]
        if limit is None or limit >= chains * draws:
            return jax.tree.map(lambda x: x.reshape(chains * draws, *x.shape[2:]), params)
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        # Round-robin over chains: pick k of chain k % chains.  Counted from the last draw back,
        # at even spacing.
        chain = np.arange(limit) % chains
        rank = np.arange(limit) // chains
        spacing = draws / np.ceil(limit / chains)
        draw = draws - 1 - np.floor(rank * spacing).astype(int)
        order = np.lexsort((draw, chain))
        return jax.tree.map(lambda x: x[chain[order], draw[order]], params)

    def to_arviz(self) -> Any:
        """ArviZ's object (``InferenceData`` or, from ArviZ 1.0 on, xarray's ``DataTree``)."""
        import arviz

        az: Any = arviz  # its two object models have different signatures
        groups = {
            "posterior": {name: np.asarray(x) for name, x in _named(self.params)},
            "sample_stats": {
                "lp": self.log_density,
                "healthy": np.repeat(self.healthy[:, None], self.log_density.shape[1], 1),
            },
        }
        # ArviZ 0.x takes groups as keywords, 1.x as one dictionary.
        with warnings.catch_warnings():
            # an ensemble has more chains than draws, and should
            warnings.filterwarnings("ignore", "More chains .* than draws", UserWarning)
            old = int(version("arviz").split(".")[0]) < 1
            data = az.from_dict(**groups) if old else az.from_dict(groups)
        datasets = [data[group] for group in groups]
        for dataset in datasets:
            dataset.attrs.pop("created_at", None)  # equal runs give equal files
        header = {"verdicts": self.verdicts, "provenance": self.provenance}
        datasets[0].attrs["bayespot"] = json.dumps(header)
        return data

    def save(self, path: Path) -> None:
        """Write NetCDF, atomically."""
        data = self.to_arviz()
        write_atomically(path, lambda partial: data.to_netcdf(str(partial), engine="h5netcdf"))

    @classmethod
    def load(cls, path: Path, like: Any, *, partly: bool = False) -> Draws:
        """Read what ``save`` wrote.

        Args:
            path: NetCDF file.
            like: pytree of one draw (arrays or shapes), for instance
                ``jax.eval_shape(posterior.init, key)``.
            partly: the file may hold more parameters than ``like``.

        Raises:
            UserError: the file holds other parameters.
        """
        try:
            return cls._read(path, like, partly)
        except (OSError, KeyError) as error:
            raise UserError(
                f"{path} cannot be read as posterior draws ({error})",
                "Remove it and run again: the stage that made it is repeated",
            ) from error

    @classmethod
    def _read(cls, path: Path, like: Any, partly: bool) -> Draws:
        import xarray as xr

        with (
            xr.open_dataset(path, group="posterior", engine="h5netcdf") as posterior,
            xr.open_dataset(path, group="sample_stats", engine="h5netcdf") as stats,
        ):
            leaves = []
            wanted = _named(like)
            extra = sorted({str(n) for n in posterior.data_vars} - {n for n, _ in wanted})
            if extra and not partly:
                raise UserError(
                    f"{path} holds a parameter {extra[0]} that this potential lacks",
                    "It belongs to another potential: use the configuration it was made with",
                )
            for name, shape in wanted:
                if name not in posterior or posterior[name].shape[2:] != shape.shape:
                    raise UserError(
                        f"{path} holds no parameter {name} of shape {shape.shape}",
                        "It belongs to another potential: use the configuration it was made with",
                    )
                leaves.append(posterior[name].values)
            header = json.loads(posterior.attrs["bayespot"])
            return cls(
                jax.tree.unflatten(jax.tree.structure(like), leaves),
                stats["lp"].values,
                stats["healthy"].values[:, 0].astype(bool),
                tuple(header["verdicts"]),
                header["provenance"],
            )


def _named(tree: Any) -> list[tuple[str, Any]]:
    """Leaves with names like ``potential.0.block0_in.w``."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [
        (jax.tree_util.keystr(path, simple=True, separator=".").replace("/", "."), leaf)
        for path, leaf in paths
    ]
