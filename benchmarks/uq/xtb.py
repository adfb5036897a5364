"""Frames from the distribution of GFN2-xTB at a temperature, by hybrid Monte Carlo.

Dynamics with GFN2-xTB would need a force at every half femtosecond, and hours.  Here a polynomial
in the distances of atoms, fitted to frames that were labelled, moves many walkers for some tens of
femtoseconds, and each end is accepted with the Metropolis probability of its *GFN2-xTB* energy
(Duane et al. 1987; a surrogate's forces, Rasmussen 2003): leapfrog with any forces of positions
keeps volumes and can be reversed, so what is sampled is exact, however crude the polynomial and
the time step; a poor one costs acceptance.  ``tblite`` is the extra ``reference``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ase import units

CHUNK = 100  # frames that a process labels at a time
STEP, FEWEST, MOST = 0.6, 40, 120  # fs; steps of a move, their number drawn anew for each

Label = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Positions (frames, atoms, 3) in Angstrom -> energies in eV, forces in eV/Angstrom."""


def gfn2(pool: Executor, numbers: np.ndarray) -> Label:
    """Labels of a molecule, by the processes of ``pool``; inf where charges do not converge."""

    def label(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chunks = [positions[i : i + CHUNK] for i in range(0, len(positions), CHUNK)]
        found = list(pool.map(_gfn2, itertools.repeat(np.asarray(numbers)), chunks))
        energy, forces = zip(*found, strict=True)
        return np.concatenate(energy), np.concatenate(forces)

    return label


def _gfn2(numbers: np.ndarray, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from tblite.interface import Calculator

    calculator = Calculator("GFN2-xTB", numbers, np.asarray(positions[0], float) / units.Bohr)
    calculator.set("verbosity", 0)
    energy, forces, last = [], [], None
    for x in positions:
        calculator.update(positions=np.asarray(x, float) / units.Bohr)
        try:
            last = calculator.singlepoint(last)  # from the last frame's charges
        except RuntimeError:
            last = None
            energy.append(np.inf)
            forces.append(np.zeros(x.shape))
            continue
        energy.append(float(last["energy"]) * units.Hartree)
        forces.append(-np.asarray(last["gradient"]) * units.Hartree / units.Bohr)
    return np.asarray(energy), np.asarray(forces)


class Surrogate:
    """A polynomial in all distances of a molecule's atoms."""

    def __init__(self, degree: int, positions: np.ndarray) -> None:
        """Args:
        degree: of the polynomial, 2 or more.
        positions: (frames, atoms, 3) that distances are centred and scaled by, Angstrom.
        """
        atoms = positions.shape[1]
        self._ends = np.triu_indices(atoms, 1)
        count = len(self._ends[0])
        self._terms = [
            np.asarray(list(itertools.combinations_with_replacement(range(count), n)))
            for n in range(1, degree + 1)
        ]
        d = np.asarray(jax.vmap(self._distances)(jnp.asarray(positions, float)))
        self._mean, self._scale = d.mean(0), d.std(0)
        self.weights: Any = None

    def _distances(self, x: jax.Array) -> jax.Array:
        i, j = self._ends
        return jnp.linalg.norm(x[i] - x[j], axis=-1)

    def features(self, x: jax.Array) -> jax.Array:
        """Monomials of one configuration (atoms, 3), the constant left out."""
        z = (self._distances(x) - self._mean) / self._scale
        return jnp.concatenate([jnp.prod(z[term], axis=-1) for term in self._terms])

    def fit(self, positions: np.ndarray, energy: np.ndarray, forces: np.ndarray) -> float:
        """Least squares of energies and forces.

        Returns:
            Root mean square of what is left of the forces, eV/Angstrom.
        """
        x = jnp.asarray(positions, float)
        rows = np.asarray(jax.jit(jax.vmap(self.features))(x), float)
        slopes = np.asarray(jax.jit(jax.vmap(jax.jacfwd(self.features)))(x), float)
        slopes = -np.moveaxis(slopes, 1, -1).reshape(-1, rows.shape[1])
        matrix = np.concatenate([rows - rows.mean(0), slopes])
        wanted = np.concatenate([energy - energy.mean(), forces.ravel()])
        self.weights = np.linalg.lstsq(matrix, wanted, rcond=1e-9)[0]
        return float(np.sqrt(np.mean((slopes @ self.weights - forces.ravel()) ** 2)))

    def energy(self, x: jax.Array) -> jax.Array:
        """Up to a constant, eV."""
        return self.features(x) @ jnp.asarray(self.weights, x.dtype)


class Walkers(NamedTuple):
    """Where they are: (walkers, atoms, 3) in Angstrom, eV, eV/Angstrom."""

    positions: np.ndarray
    energy: np.ndarray
    forces: np.ndarray


def mover(surrogate: Surrogate, masses: np.ndarray) -> Any:
    """``positions, velocities, steps -> ends of both``: leapfrog of each walker, compiled once."""
    force = jax.vmap(jax.grad(lambda x: -surrogate.energy(x)))
    mass, dt = jnp.asarray(masses, float)[:, None], STEP * units.fs

    @jax.jit
    def move(x: jax.Array, v: jax.Array, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(_: int, carry: Any) -> Any:
            x, v, f = carry
            v = v + 0.5 * dt * f / mass
            x = x + dt * v
            f = force(x)
            return x, v + 0.5 * dt * f / mass, f

        return jax.lax.fori_loop(0, steps, one, (x, v, force(x)))[:2]

    return move


def step(
    rng: np.random.Generator, at: Walkers, temperature: float, masses: np.ndarray, move: Any,
    label: Label,
) -> tuple[Walkers, float]:  # fmt: skip
    """One move of every walker, and the share that was accepted."""
    kt, mass = units.kB * temperature, np.asarray(masses)[:, None]
    v = np.sqrt(kt / mass) * rng.normal(size=at.positions.shape)
    steps = int(rng.integers(FEWEST, MOST + 1))
    x, w = (np.asarray(a, float) for a in move(jnp.asarray(at.positions, float),
                                              jnp.asarray(v, float), steps))  # fmt: skip
    fine = np.isfinite(x).all((1, 2)) & (np.abs(x - at.positions).max((1, 2)) < 5.0)
    x[~fine], w[~fine] = at.positions[~fine], v[~fine]  # labelled to no end, and not accepted
    energy, forces = label(x)
    kinetic = 0.5 * np.sum(mass * (w**2 - v**2), (1, 2))
    gain = energy - at.energy + kinetic
    accept = fine & (np.log(rng.random(len(x))) < -gain / kt)
    chosen = [np.where(accept.reshape(-1, *[1] * (np.ndim(new) - 1)), new, old)
              for new, old in zip((x, energy, forces), at, strict=True)]  # fmt: skip
    return Walkers(*chosen), float(accept.mean())


def equilibrium(
    rng: np.random.Generator, start: np.ndarray, masses: np.ndarray, walkers: int,
    temperature: float, label: Label, degree: int = 3, rounds: int = 4, moves: int = 10,
) -> tuple[Walkers, Any]:  # fmt: skip
    """Walkers in equilibrium, and the mover of a polynomial that was fitted on their way there.

    Args:
        rng: of all random numbers.
        start: equilibrium shape (atoms, 3), Angstrom.
        masses: of the atoms, u.
        walkers: their number.
        temperature: K.
        label: what is sampled.
        degree: of the last polynomials; the first is quadratic.
        rounds: of fits.
        moves: in each round.
    """
    x = start + 0.03 * rng.normal(size=(walkers, *np.shape(start)))
    at = Walkers(x, *label(x))
    seen = [at]
    move: Any = None
    for number in range(rounds):
        # the last fits forget where it all began
        known = Walkers(*(np.concatenate(column) for column in zip(*seen[-4:], strict=True)))
        use = known.energy < known.energy.min() + 30 * units.kB * temperature * len(masses)
        known = Walkers(*(column[use][-4000:] for column in known))
        surrogate = Surrogate(2 if number == 0 else degree, known.positions)
        surrogate.fit(*known)
        move = mover(surrogate, masses)
        for _ in range(moves):
            at, _ = step(rng, at, temperature, masses, move, label)
            seen.append(at)
    return at, move
