"""Energy minimisation of many configurations at once."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.errors import UserError
from bayespot.md import NVT, Length, minimize, simulate
from bayespot.neighbors import allocate
from bayespot.potentials import LennardJones, energy_and_forces
from bayespot.system import System

ARGON = LennardJones(3.405, 0.010323, 8.0)


def test_a_cluster_relaxes_to_its_icosahedron():
    """Thirteen Lennard-Jones atoms: -44.326801 epsilon (Hoare & Pal 1971)."""
    phi = (1 + np.sqrt(5)) / 2
    corners = [np.roll([0, a, b * phi], k) for k in range(3) for a in (1, -1) for b in (1, -1)]
    shape = np.concatenate([np.zeros((1, 3)), corners]) / np.linalg.norm([1, phi]) * 3.7
    rng = np.random.default_rng(0)
    starts = shape + 0.3 * rng.normal(size=(1, 4, 13, 3))
    potential = LennardJones(3.405, 1.0, 400.0)
    system = System.from_ase(Atoms("Ar13", shape))
    made = minimize(
        potential, {}, system, starts=jnp.asarray(starts, float), force_tolerance=2e-4,
        max_steps=3000,
    )  # fmt: skip
    assert made.converged.all()
    assert 50 <= made.steps < 3000
    np.testing.assert_allclose(made.energy, -44.326801, rtol=1e-5)
    short = minimize(potential, {}, system, starts=jnp.asarray(starts, float), max_steps=1)
    assert not short.converged.any()


@pytest.mark.slow
def test_minimisation_parts_overlapping_atoms():
    atoms = bulk("Ar", "fcc", a=5.26, cubic=True).repeat((2, 2, 2))
    atoms.positions[1] = atoms.positions[0] + 0.05
    system = System.from_ase(atoms)
    with pytest.raises(UserError, match=r"replica 0 has two atoms 0\.08.* apart"):
        simulate(jax.random.key(0), ARGON, {}, system, NVT(10.0), Length(100, blocks=1), [])
    made = minimize(ARGON, {}, system, max_steps=2000, force_tolerance=0.005)
    assert made.converged.all()
    fine = simulate(
        jax.random.key(0), ARGON, {}, system, NVT(10.0), Length(100, blocks=1), [],
        starts=jnp.asarray(made.positions),
    )  # fmt: skip
    assert np.all(fine.reason == 0)


APART = np.array([[5, 5, 5], [5, 5, 25], [5, 25, 5], [25, 5, 5], [25, 25, 5], [25, 5, 25.0]])
TOGETHER = np.array([[5, 5, 5], [5, 5, 9], [5, 9, 5], [9, 5, 5], [9, 9, 5], [9, 5, 9.0]])
GAS = System.from_ase(Atoms("Ar6", APART, cell=[40.0] * 3, pbc=True))


def _energy(potential, positions, system=GAS):
    """(energy, largest force) by a list of the configuration's own."""
    here = system.replace(positions=jnp.asarray(positions, float))
    lists = allocate(here, potential.cutoff, 0.0)
    energy, forces = energy_and_forces(potential, {}, here, lists)
    return float(energy), float(np.linalg.norm(np.asarray(forces, float), axis=1).max())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_lists_hold_the_densest_start(order, compile_fast):
    """The first start may have no neighbours at all: a multiple of none is no room."""
    starts = np.stack([APART, TOGETHER])[list(order)]
    made = minimize(ARGON, {}, GAS, starts=jnp.asarray(starts, float)[None], max_steps=3000,
                    force_tolerance=1e-4)  # fmt: skip
    apart, together = order.index(0), order.index(1)
    assert made.converged.all()
    assert made.energy[0, apart] == 0
    np.testing.assert_array_equal(made.positions[0, apart], APART)
    # bound: no six atoms lie lower than the octahedron (Hoare & Pal 1971); the cut-off costs little
    assert -12.712 * 0.010323 < made.energy[0, together] < _energy(ARGON, TOGETHER)[0] - 0.02
    assert made.energy[0, together] == pytest.approx(
        _energy(ARGON, made.positions[0, together])[0], abs=1e-6
    )


@dataclasses.dataclass(frozen=True)
class Funnel(LennardJones):
    """Atoms that are also drawn to one place."""

    pull: float = 0.5

    def atomic_energies(self, params, system, neighbors):
        away = jnp.sum((system.positions - 13.0) ** 2, axis=1)
        return super().atomic_energies({}, system, neighbors) + self.pull * away


@pytest.mark.slow
def test_lists_grow_where_atoms_gather(monkeypatch, compile_fast):
    """From no neighbours to many, within one block: a list too small must be seen, not used."""
    module = importlib.import_module("bayespot.md.minimize")  # the package has the function
    grown = []
    real = module._grow
    monkeypatch.setattr(module, "_grow", lambda *a: grown.append(1) or real(*a))
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:14] * 10.0 + 3
    system = System.from_ase(Atoms("Ar14", grid, cell=[45.0] * 3, pbc=True))
    potential = Funnel(3.405, 0.1, 8.0)
    made = minimize(potential, {}, system, max_steps=2000, force_tolerance=0.02)
    assert grown
    assert made.converged.all()
    energy, force = _energy(potential, made.positions[0, 0], system)
    assert made.energy.item() == pytest.approx(energy, rel=1e-5)
    assert made.largest_force.item() == pytest.approx(force, abs=5e-3)
    near = np.linalg.norm(made.positions[0, 0] - made.positions[0, 0, :, None], axis=-1) < 8
    assert near.sum(axis=1).min() > 10  # of 14, itself one


@pytest.mark.parametrize("steps", [0, 50])
def test_what_has_not_converged_says_so(steps):
    """Energy and force are those of the positions handed back, whatever the skin."""
    made = minimize(ARGON, {}, GAS, starts=jnp.asarray(TOGETHER, float)[None, None], skin=0.0,
                    max_steps=steps, force_tolerance=1e-6)  # fmt: skip
    assert made.steps == steps
    assert not made.converged.any()
    energy, force = _energy(ARGON, made.positions[0, 0])
    assert made.energy.item() == pytest.approx(energy, abs=1e-7)
    assert made.largest_force.item() == pytest.approx(force, abs=1e-7)
    assert made.largest_force.item() > 1e-6
    moved = np.abs(made.positions[0, 0] - TOGETHER).max()
    assert (moved > 0.01) == (steps > 0)


@dataclasses.dataclass(frozen=True)
class Cliff(LennardJones):
    """No number beyond a plane."""

    def atomic_energies(self, params, system, neighbors):
        below = jnp.where(system.positions[:, 0] < 5.2, 1.0, jnp.nan)
        return super().atomic_energies({}, system, neighbors) * below


def test_what_breaks_down_stays_alone():
    """One start meets a NaN: it has not converged, and the other one has."""
    pair = System.from_ase(Atoms("Ar2", np.zeros((2, 3))))
    starts = np.array([[[3.0, 0, 0], [6.0, 0, 0]], [[0.0, 0, 0], [3.4, 0, 0]]])
    made = minimize(Cliff(3.405, 0.1, 8.0), {}, pair, starts=jnp.asarray(starts, float)[None],
                    max_steps=5000, force_tolerance=1e-4)  # fmt: skip
    assert made.converged.tolist() == [[False, True]]
    assert made.steps < 5000
    assert np.isfinite(made.positions).all()
    assert np.isnan(made.energy[0, 0])
    apart = np.linalg.norm(np.diff(made.positions[0, 1], axis=0))
    assert apart == pytest.approx(2 ** (1 / 6) * 3.405, abs=0.02)


@pytest.mark.parametrize("distance", [1e-3, 0.05])
def test_a_force_beyond_float32_still_parts_atoms(distance):
    """Its square is infinite: a cap by the norm would push with nothing."""
    pair = System.from_ase(Atoms("Ar2", [[0, 0, 0], [0, 0, distance]]))
    potential = LennardJones(3.405, 1e14, 8.0)
    assert _energy(potential, pair.positions, pair)[1] > 1e20
    made = minimize(potential, {}, pair, max_steps=200)
    assert np.linalg.norm(np.diff(made.positions[0, 0], axis=0)) > distance + 1


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"starts": jnp.asarray(TOGETHER)[None]}, r"starts must be \(draws, replicas, atoms, 3\)"),
        ({"starts": jnp.full((1, 2, 6, 3), jnp.nan)}, "draw 0, replica 0 .* not finite"),
        ({"system": GAS.replace(positions=GAS.positions.at[3, 1].set(jnp.nan))}, "atom 3"),
        ({"skin": -8.0}, "skin is -8"),
        ({"force_tolerance": float("nan")}, "tolerance is nan"),
        ({"force_tolerance": 20.0}, "below 10"),
        ({"max_steps": -1}, "max_steps is -1"),
        ({"params": {"a": jnp.zeros(3), "b": jnp.zeros(2)}}, r"params\['b'\] holds 2 draws"),
    ],
)
def test_bad_input_is_refused(change, match):
    given = {"params": {}, "system": GAS, **change}
    with pytest.raises(UserError, match=match):
        minimize(ARGON, given.pop("params"), given.pop("system"), **given)
