"""Symmetry functions and a network for each element (Behler and Parrinello 2007, Behler 2011)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors, allocate
from bayespot.potentials.basis import directions, polynomial_envelope
from bayespot.potentials.network import HaikuNetwork
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class BehlerParrinello(HaikuNetwork):
    """Fixed features of each atom's surroundings through a dense network of its element.

    Radial, for each element of the neighbour: ``G2 = sum_j exp(-eta (d_ij - d_s)^2) s(d_ij)``.
    Angular, for each unordered pair of elements, over unordered pairs of neighbours:
    ``2^(1-zeta) sum_jk (1 + lambda cos)^zeta exp(-eta (d_ij^2 + d_ik^2)) s(d_ij) s(d_ik)`` (G5),
    in G4 also with ``exp(-eta d_jk^2) s(d_jk)``.  The cut-off ``s`` is the polynomial envelope:
    the papers' cosine has a jump in its second derivative.

    The angular part costs ``atoms * slots^2``, in G4 for each function, in G5 for each different
    (lambda, zeta) only, whatever the number of etas and elements.

    Attributes:
        species: atomic numbers it knows.
        range: cut-off in Angstrom.
        radial: (eta in 1/Angstrom^2, shift in Angstrom) of each radial function.
        angular: (eta in 1/Angstrom^2, lambda, whole zeta) of each angular function.
        form: "G4" or "G5".
        hidden: widths of the hidden layers.
        means, spreads: what features are centred and divided by: a row for each species; empty
            for raw features.  ``from_data`` sets them.
        scale: energy unit of the network's output, eV.
    """

    species: tuple[int, ...] = ()
    range: float = 6.0
    radial: tuple[tuple[float, float], ...] = (
        (0.01, 0.0),
        (0.1, 0.0),
        (0.3, 0.0),
        (0.8, 0.0),
        (4.0, 1.0),
        (4.0, 1.5),
        (4.0, 2.0),
        (4.0, 2.5),
        (4.0, 3.0),
    )
    angular: tuple[tuple[float, float, int], ...] = (
        (0.01, 1.0, 1),
        (0.01, -1.0, 1),
        (0.01, 1.0, 4),
        (0.01, -1.0, 4),
        (0.1, 1.0, 1),
        (0.1, -1.0, 1),
        (0.1, 1.0, 4),
        (0.1, -1.0, 4),
    )
    form: str = "G5"
    hidden: tuple[int, ...] = (32, 32)
    means: tuple[tuple[float, ...], ...] = ()
    spreads: tuple[tuple[float, ...], ...] = ()
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in ("G4", "G5"):
            raise ValueError(f'form must be "G4" or "G5", not "{self.form}"')
        if any(zeta != int(zeta) or zeta < 1 for _, _, zeta in self.angular):
            raise ValueError("zeta must be a whole number from 1 on")

    @classmethod
    def from_data(
        cls, systems: Sequence[System], species: tuple[int, ...], **settings: Any
    ) -> BehlerParrinello:
        """With features centred and scaled over the atoms of sample systems, element by element.

        Args:
            systems: single configurations, at best all of one size.
            species: atomic numbers.
            settings: the other attributes.
        """
        raw = cls(species, **settings)
        shape = jax.jit(raw.features)
        rows = [np.asarray(shape(s, allocate(s, raw.range)), np.float64) for s in systems]
        features = np.concatenate(rows)
        numbers = np.concatenate([np.asarray(s.species) for s in systems])
        mean = np.zeros((len(species), features.shape[1]))
        spread = np.ones_like(mean)
        for row, number in enumerate(species):
            if np.any(numbers == number):
                mine = features[numbers == number]
                mean[row], found = mine.mean(axis=0), mine.std(axis=0)
                # what never varies in the samples must not be blown up elsewhere
                spread[row] = np.where(found > 1e-3 * np.abs(mine).max(axis=0), found, 1.0)
        means, spreads = (tuple(tuple(map(float, r)) for r in x) for x in (mean, spread))
        return dataclasses.replace(raw, means=means, spreads=spreads)

    def features(self, system: System, neighbors: Neighbors) -> Float[Array, "atoms features"]:
        """Raw symmetry functions: radial by neighbour's element, then angular by pair of elements.

        Order: ``[species, radial]`` flattened, then ``[pair, angular]`` flattened, with pairs
        (0, 0), (0, 1), .., (1, 1), ..
        """
        pairs = neighbors.pairs(system)
        d, dtype = pairs.distances, pairs.distances.dtype
        kind = pairs.gather(jax.nn.one_hot(self.rows(system), len(self.species), dtype=dtype))
        envelope = polynomial_envelope(d, self.range) * pairs.mask

        eta, shift = jnp.asarray(self.radial, dtype).reshape(-1, 2).T
        waves = jnp.exp(-eta * (d[..., None] - shift) ** 2) * envelope[..., None]
        kind = jnp.broadcast_to(kind, (*d.shape, len(self.species)))
        radial = jnp.einsum("ijs,ijf->isf", kind, waves).reshape(len(d), -1)
        if not self.angular:
            return radial

        unit = directions(pairs.vectors)
        cosine = jnp.einsum("ijx,ikx->ijk", unit, unit)
        others = 1 - jnp.eye(d.shape[1], dtype=dtype)
        if self.form == "G4":
            product = jnp.einsum("ijx,ikx->ijk", pairs.vectors, pairs.vectors)
            squared = d[:, :, None] ** 2 + d[:, None, :] ** 2 - 2 * product
            apart = squared > 0
            far = jnp.where(apart, jnp.sqrt(jnp.where(apart, squared, 1.0)), 0.0)
            others = others * polynomial_envelope(far, self.range)
        angles = {
            key: 2.0 ** (1 - key[1]) * (1 + key[0] * cosine) ** key[1] * others
            for key in dict.fromkeys((lam, int(zeta)) for _, lam, zeta in self.angular)
        }
        first, second = np.triu_indices(len(self.species))
        # ordered pairs of neighbours are summed: those of one element come twice
        count = jnp.asarray(np.where(first == second, 0.5, 1.0), dtype)
        angular = []
        for eta, lam, zeta in self.angular:
            angle = angles[lam, int(zeta)]
            if self.form == "G4":
                angle = angle * jnp.exp(-eta * squared)
            side = kind * (jnp.exp(-eta * d**2) * envelope)[..., None]
            table = jnp.einsum("ijs,ijt->ist", side, jnp.einsum("ijk,ikt->ijt", angle, side))
            angular.append(table[:, first, second] * count)
        return jnp.concatenate([radial, jnp.stack(angular, -1).reshape(len(d), -1)], axis=1)

    def _forward(self, system: System, neighbors: Neighbors) -> jax.Array:
        import haiku as hk

        x, index = self.features(system, neighbors), self.rows(system)
        dtype = x.dtype
        if self.means:
            x = (x - jnp.asarray(self.means, dtype)[index]) / jnp.asarray(self.spreads, dtype)[
                index
            ]
        # every element's network at once, with a leading axis of elements, then each atom's own
        x = x[None]
        for layer, width in enumerate((*self.hidden, 1)):
            fan_in = x.shape[-1]
            shape = (len(self.species), fan_in, width)
            init = hk.initializers.TruncatedNormal(fan_in**-0.5)
            w = hk.get_parameter(f"w{layer}", shape, dtype, init=init)
            b = hk.get_parameter(f"b{layer}", (shape[0], 1, width), dtype, init=jnp.zeros)
            x = x @ w + b
            if layer < len(self.hidden):
                x = jnp.tanh(x)
        return self.scale * x[index, jnp.arange(len(index)), 0]
