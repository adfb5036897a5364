"""Neighbourhoods: parts of a system that are samples of their own (localized estimator).

A broken molecule among many hardly moves an average over all, and its energy drowns in theirs.
Taken by itself, with the energies of its own atoms, it is one sample of many (StABlE, Raja et al.,
section 2.1 and appendix A.2; water in A.6).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from bayespot.errors import UserError
from bayespot.neighbors import Lists
from bayespot.observables import Context, Frame, Observable
from bayespot.observables.geometry import bond_lengths
from bayespot.potentials import Potential
from bayespot.reweight import Samples
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class Neighborhoods:
    """Groups of atoms that are alike, such as the molecules of water.

    Observables see one group as if it were the system: their indices of atoms are places in it.

    Balance makes a law of its own: averages and covariances are those of a law with as many
    samples at every deviation, where broken groups count as much as healthy ones.

    Attributes:
        groups: atoms of each, in the same order.
        bonds: pairs of places in a group.
        lengths: their equilibrium lengths, Angstrom; a group deviates by its worst bond.
        bins: of deviations, from 0 to the largest.
        per_bin: groups drawn from each bin, or as many as it holds; None takes all groups.
    """

    groups: tuple[tuple[int, ...], ...]
    bonds: tuple[tuple[int, int], ...] = ()
    lengths: tuple[float, ...] = ()
    bins: int = 100
    per_bin: int | None = 5

    def __post_init__(self) -> None:
        sizes = {len(group) for group in self.groups}
        if len(sizes) != 1 or 0 in sizes:
            raise UserError(
                f"neighbourhoods have {sorted(sizes) or 'no'} atoms", "Give groups of equal size"
            )
        if self.per_bin is None:
            return
        if self.bins < 1 or self.per_bin < 1:
            raise UserError(
                f"{self.per_bin} neighbourhoods from each of {self.bins} bins", "Give 1 or more"
            )
        inside = np.asarray(self.bonds, int).reshape(-1, 2)
        if not len(inside) or len(inside) != len(self.lengths):
            raise UserError(
                f"neighbourhoods have {len(inside)} bonds and {len(self.lengths)} lengths to be"
                " balanced by",
                "Give a length for each bond, or per_bin=None",
            )
        if inside.min() < 0 or inside.max() >= sizes.pop():
            raise UserError(
                "a bond of the neighbourhoods is not between two of their atoms",
                "Bonds are pairs of places in a group, from 0",
            )

    def check(self, system: System, observables: Sequence[Observable]) -> None:
        """Refuse groups of atoms that ``system`` lacks, and observables of more than a group.

        Raises:
            UserError: there is one.
        """
        index, atoms = np.asarray(self.groups), int(np.sum(np.asarray(system.mask)))
        if index.min() < 0 or index.max() >= atoms:
            raise UserError(
                f"neighbourhoods hold atoms {index.min()} to {index.max()}, and there are {atoms}",
                f"Give indices from 0 to {atoms - 1}",
            )
        one = jax.tree.map(lambda x: x[0], _parts(system, index))
        for observable in observables:
            try:
                jax.eval_shape(lambda o=observable: o.snapshot(Frame(one, jnp.zeros(()))))
            except (AssertionError, AttributeError, TypeError) as error:
                raise UserError(
                    f"{observable.name} needs more than the positions in a neighbourhood",
                    "Learn it without neighbourhoods",
                ) from error

    def snapshots(
        self,
        observables: Sequence[Observable],
        potential: Potential,
        params: Any,
        system: System,
        samples: Samples,
        lists: Lists,
        batch_size: int = 8,
    ) -> tuple[Any, Float[Array, " samples"], Float[Array, " samples"], Bool[Array, ""]]:
        """What each observable averages, by name; energies (eV) and deviations (Angstrom) of all
        groups of all frames; whether ``lists`` were too small.

        Arguments as for ``reweight.snapshots``.
        """
        index = np.asarray(self.groups)

        def group(here: System, energy: jax.Array) -> Any:
            frame = Frame(here, energy)
            deviation = jnp.zeros((), here.positions.dtype)
            if self.bonds:
                stretch = bond_lengths(here, self.bonds) - jnp.asarray(self.lengths)
                deviation = jnp.max(jnp.abs(stretch)).astype(deviation.dtype)
            return {o.name: o.snapshot(frame) for o in observables}, energy, deviation

        def one(frame: tuple[jax.Array, jax.Array]) -> Any:
            here = system.replace(positions=frame[0], cell=frame[1])
            built = lists.update(here)
            energies = potential.atomic_energies(params, here, built)
            local = jnp.sum(energies[index], axis=1)
            return jax.vmap(group)(_parts(here, index), local), built.overflow

        frames = len(samples.positions)
        found, crowded = jax.lax.map(
            jax.checkpoint(one),
            (samples.positions, samples.cell),
            batch_size=min(batch_size, frames),
        )
        flat = jax.tree.map(lambda x: x.reshape(frames * len(index), *x.shape[2:]), found)
        return *flat, jnp.any(crowded)

    def choose(
        self, deviation: Float[Array, " samples"], key: jax.Array
    ) -> Bool[Array, " samples"]:
        """Up to ``per_bin`` of each bin, at random."""
        size = len(deviation)
        if self.per_bin is None:
            return jnp.ones(size, bool)
        share = deviation / jnp.maximum(jnp.max(deviation), jnp.finfo(deviation.dtype).tiny)
        bins = jnp.clip(share * self.bins, 0, self.bins - 1).astype(jnp.int32)
        order = jnp.lexsort((jax.random.uniform(key, (size,)), bins))
        in_order = bins[order]
        rank = jnp.arange(size) - jnp.searchsorted(in_order, in_order, side="left")
        return jnp.zeros(size, bool).at[order].set(rank < self.per_bin)


@dataclasses.dataclass(frozen=True)
class PerNeighborhood(Observable):
    """An observable of one neighbourhood, averaged over all of them without any balance.

    Attributes:
        inner: of one.
        groups: atoms of each.
    """

    inner: Observable
    groups: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, inner: Observable, groups: tuple[tuple[int, ...], ...]) -> PerNeighborhood:
        """With the name of ``inner``."""
        return cls(inner.name, inner, groups)

    @property
    def unit(self) -> str:
        """That of one."""
        return self.inner.unit

    @property
    def axis(self) -> np.ndarray | None:
        """That of one."""
        return self.inner.axis

    @property
    def axis_label(self) -> str:
        """That of one."""
        return self.inner.axis_label

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one."""
        return self.inner.shape

    @property
    def components(self) -> tuple[str, ...]:
        """Those of one."""
        return self.inner.components

    @property
    def title(self) -> str:
        """For figures."""
        return self.inner.title

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Mean over the neighbourhoods."""
        assert frame.potential is not None
        assert frame.neighbors is not None
        index = np.asarray(self.groups)
        energies = frame.potential.atomic_energies(frame.params, frame.system, frame.neighbors)
        local = jnp.sum(energies[index], axis=1)
        made = jax.vmap(lambda s, e: self.inner.snapshot(Frame(s, e)))(
            _parts(frame.system, index), local
        )
        return jax.tree.map(lambda x: jnp.mean(x, axis=0), made)

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Of a system of one."""
        return self.inner.reduce(
            mean, dataclasses.replace(context, num_atoms=len(self.groups[0]), energy_shift=0.0)
        )


def _parts(system: System, index: np.ndarray) -> System:
    """(groups, ...) leading axis."""
    return system.replace(
        positions=system.positions[index],
        species=system.species[index],
        masses=system.masses[index],
        cell=jnp.broadcast_to(system.cell, (len(index), 3, 3)),
    )
