"""Linear maps: hand-made numbers, refusals, and mean forces of a harmonic system."""

import numpy as np
import pytest

from bayespot.data import LinearMap
from bayespot.errors import UserError

HALVES = np.array([[0.75, 0.25, 0.0], [0.0, 0.25, 0.75]])  # the atom in the middle is shared


def _harmonic(seed=0, atoms=5):
    """Positive definite stiffness of atoms (each direction alike), eV/Angstrom^2."""
    root = np.random.default_rng(seed).normal(size=(atoms, atoms))
    return root @ root.T + 0.5 * np.eye(atoms)


def test_centres_and_chosen_atoms():
    made = LinearMap.from_groups(((0, 1), (3,)), 4, np.array([3.0, 1.0, 5.0, 2.0]))
    np.testing.assert_allclose(made.positions, [[0.75, 0.25, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(made.basic_forces, [[1, 1, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_allclose(made.masses(np.array([3.0, 1.0, 5.0, 2.0])), [4.0, 2.0])
    middle = LinearMap.from_groups(((0, 1),), 2)
    np.testing.assert_allclose(middle.positions, [[0.5, 0.5]])
    np.testing.assert_allclose(middle.masses(np.array([3.0, 1.0])), [3.0])  # 4/(1/3 + 1)
    two = np.arange(24.0).reshape(1, 8, 3)
    sites, forces = made.of_positions(two), made.of_forces(two)
    np.testing.assert_allclose(sites[0, :, 0], [0.75, 9.0, 12.75, 21.0])
    np.testing.assert_allclose(forces[0, :, 0], [3.0, 9.0, 27.0, 21.0])


def test_shared_atoms_give_no_forces_and_their_weight_to_others():
    """Noid et al.: forces come from atoms of one site alone, and are divided by their share."""
    made = LinearMap(HALVES)
    np.testing.assert_allclose(made.basic_forces, [[4 / 3, 0, 0], [0, 0, 4 / 3]])
    LinearMap(HALVES, made.basic_forces)
    with pytest.raises(UserError, match=r"sum_k d_0,k c_1,k is 0\.25 and should be 0"):
        LinearMap(HALVES, np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 4 / 3]]))
    with pytest.raises(UserError, match=r"sum_k d_1,k c_1,k is 0\.75 and should be 1"):
        LinearMap(HALVES, np.array([[4 / 3, 0.0, 0.0], [0.0, 0.0, 1.0]]))
    with pytest.raises(UserError, match="site 0 has no atoms of its own"):
        _ = LinearMap(np.array([[0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0.0, 0.0, 1.0]])).basic_forces


@pytest.mark.parametrize(
    ("positions", "more", "match"),
    [
        ([[0.5, 0.4]], {}, r"weights of site 0 have the sum 0\.9"),
        ([[1.0, 0.0], [1.0, 0.0]], {}, "2 sites are not independent"),
        ([1.0, 0.0], {}, r"map of positions has shape \(2,\)"),
        ([[np.nan, 1.0]], {}, "not finite"),
        ([[1.0, 0.0]], {"forces": np.ones((1, 3))}, r"forces has shape \(1, 3\)"),
        ([[1.0, 0.0]], {"constraints": ((0, 2),)}, "not between two of 2 atoms"),
        ([[1.0, 0.0]], {"constraints": ((0, 1),), "forces": np.array([[1.0, 0.0]])},
         "site 0 weighs the forces on atoms 0 and 1 differently"),
    ],
)  # fmt: skip
def test_maps_that_are_wrong(positions, more, match):
    with pytest.raises(UserError, match=match):
        LinearMap(np.array(positions), **more)


def test_groups_and_frames_that_do_not_fit():
    for groups, match in ((((),), "no group"), (((0, 0),), "no group"), (((0, 4),), "has 4")):
        with pytest.raises(UserError, match=match):
            LinearMap.from_groups(groups, 4)
    with pytest.raises(UserError, match="not those of molecules of 3 atoms"):
        LinearMap(HALVES).of_forces(np.zeros((1, 4, 3)))


def test_molecules_longer_than_half_the_cell_are_made_whole():
    """A chain across a skewed cell, wrapped, and a copy; the nearest images alone fail."""
    cell = np.array([[8.0, 0.0, 0.0], [2.5, 8.0, 0.0], [0.0, 1.0, 8.0]])
    rng = np.random.default_rng(0)
    chain = np.cumsum(np.full((6, 3), 0.9) + 0.1 * rng.normal(size=(6, 3)), axis=0)
    whole = np.stack([[chain, chain + 3.0], [chain + 5.0, chain - 2.0]])  # frames, copies
    weights = rng.uniform(-0.2, 1.0, (2, 6))
    made = LinearMap(weights / weights.sum(axis=1, keepdims=True))
    inside = whole @ np.linalg.inv(cell)
    torn = ((inside - np.floor(inside)) @ cell).reshape(2, 12, 3)
    cells = np.stack([cell, cell])
    sites = made.of_positions(torn, cells, (True, True, True))
    exact = np.einsum("sa,fcax->fcsx", made.positions, whole).reshape(2, 4, 3)
    turns = (sites - exact) @ np.linalg.inv(cell)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-9)
    np.testing.assert_allclose(turns[:, ::2], turns[:, 1::2], atol=1e-9)  # whole molecules move
    # an open direction has no images
    np.testing.assert_allclose(
        made.of_positions(torn, cells),
        np.einsum("sa,fcax->fcsx", made.positions, torn.reshape(2, 2, 6, 3)).reshape(2, 4, 3),
    )
    gaps = torn.reshape(2, 2, 6, 3) - torn.reshape(2, 2, 6, 3)[:, :, :1]
    gaps = gaps - np.round(gaps @ np.linalg.inv(cell)) @ cell
    nearest = np.einsum("sa,fcax->fcsx", made.positions, gaps)
    assert np.abs(nearest - np.einsum("sa,fcax->fcsx", made.positions, whole - whole[:, :, :1])
                  ).max() > 1.0  # fmt: skip


def _mapped_forces(made, stiffness, frames=200_000, kT=0.03):
    """Sites and forces of the Boltzmann law, and the exact mean force at each of the sites."""
    rng, atoms = np.random.default_rng(3), len(stiffness)
    root = np.linalg.cholesky(kT * np.linalg.inv(stiffness))
    positions = (rng.normal(size=(frames, 3, atoms)) @ root.T).transpose(0, 2, 1)
    forces = -np.einsum("ij,njx->nix", stiffness, positions)
    sites = made.of_positions(positions)
    coarse = np.linalg.inv(made.positions @ np.linalg.inv(stiffness) @ made.positions.T)
    return sites, made.of_forces(forces), -np.einsum("ij,njx->nix", coarse, sites), forces


@pytest.mark.parametrize("way", ["basic", "least noise", "wrong"])
def test_mapped_forces_average_to_the_mean_force(way):
    """Of a harmonic system the mean force is linear in the sites: regression must find the
    gradient of the exact free energy, and a force map without the condition must not."""
    stiffness = _harmonic(atoms=3)
    made = LinearMap(HALVES)
    *_, forces = _mapped_forces(made, stiffness, 100)
    if way == "least noise":
        made = made.least_noise(forces)
    elif way == "wrong":  # all forces of a group, although an atom is shared
        object.__setattr__(made, "forces", (HALVES > 0).astype(float))
    sites, found, exact, _ = _mapped_forces(made, stiffness)
    x, y, z = (v.transpose(0, 2, 1).reshape(-1, 2) for v in (sites, found, exact))
    slope = np.linalg.lstsq(x, y, rcond=None)[0]
    wanted = np.linalg.lstsq(x, z, rcond=None)[0]
    rest = y - x @ slope
    error = np.sqrt(np.diag(np.linalg.inv(x.T @ x))[:, None] * rest.var(axis=0))
    far = np.abs(slope - wanted) / np.maximum(error, 1e-9 * np.abs(wanted).max())
    assert (far.max() > 50) == (way == "wrong")
    assert way == "wrong" or far.max() < 4.5


def test_least_noise_is_the_least():
    """Below the basic map and every other that fulfils the condition; of a harmonic system it
    reaches what no map can undercut, the mean force itself."""
    stiffness = _harmonic(atoms=5)
    weights = np.array([[0.5, 0.3, 0.2, 0.0, 0.0], [0.0, 0.0, 0.2, 0.5, 0.3]])
    made = LinearMap(weights)
    _, basic, exact, forces = _mapped_forces(made, stiffness, 20_000)
    best = made.least_noise(forces)
    power = {k: np.mean(v**2, axis=(0, 2)) for k, v in
             {"basic": basic, "best": best.of_forces(forces), "exact": exact}.items()}  # fmt: skip
    assert np.all(power["best"] < 0.7 * power["basic"])
    np.testing.assert_allclose(power["best"], power["exact"], rtol=0.03)
    rng, null = np.random.default_rng(1), np.linalg.svd(weights)[2][2:]
    for _ in range(5):
        other = LinearMap(weights, best.forces + 0.1 * rng.normal(size=(2, 3)) @ null)
        assert np.all(np.mean(other.of_forces(forces) ** 2, axis=(0, 2)) > power["best"])
    ridge = made.least_noise(forces, ridge=1e6)
    np.testing.assert_allclose(ridge.forces, np.linalg.pinv(weights).T, atol=1e-4)


def test_forces_of_a_free_molecule():
    """Their sum is zero, which leaves the least noise undetermined but not the condition."""
    forces = np.random.default_rng(0).normal(size=(200, 3, 3))
    forces -= forces.mean(axis=1, keepdims=True)
    best = LinearMap(HALVES).least_noise(forces.astype(np.float32))
    np.testing.assert_allclose(best.forces @ HALVES.T, np.eye(2), atol=1e-6)
    assert np.abs(best.forces).max() < 10


def test_constrained_atoms_are_weighed_alike():
    """A chosen atom with a rigid bond takes the force on both of its ends."""
    water = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    made = LinearMap(water, constraints=((0, 1), (1, 2)))
    np.testing.assert_allclose(made.basic_forces, [[1, 1, 1, 0], [0, 0, 0, 1]])
    forces = np.random.default_rng(0).normal(size=(500, 4, 3))
    np.testing.assert_allclose(made.least_noise(forces).forces, made.basic_forces, atol=1e-9)
    with pytest.raises(UserError, match="constraints tie sites together"):
        LinearMap(water, constraints=((0, 3),)).least_noise(forces)
