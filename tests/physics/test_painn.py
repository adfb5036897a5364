"""PaiNN against a plain loop over the paper's equations, and what its vectors are for."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.neighborlist import neighbor_list

from bayespot.potentials.basis import directions
from bayespot.potentials.painn import PaiNN
from bayespot.system import System
from tests.physics.helpers import SCHNET, energy, energy_forces, ethanol, params_of

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
PAINN = PaiNN(species=(1, 6, 8), range=4.0, features=8, interactions=3, basis=6, scale=1.7)


def _silu(x):
    return x / (1 + np.exp(-x))


def _reference(model: PaiNN, params, atoms: Atoms) -> float:
    """Atom by atom and neighbour by neighbour, with numpy."""
    p = {name: {k: np.asarray(x) for k, x in leaf.items()} for name, leaf in params.items()}

    def linear(name, x):
        return x @ p[name]["w"] + p[name].get("b", 0.0)

    size, width = len(atoms), model.features
    rows = [model.species.index(z) for z in atoms.numbers]
    s = p["embed"]["embeddings"][rows]
    v = np.zeros((size, width, 3))
    for block in range(model.interactions):
        name, first, last = f"block{block}", block == 0, block == model.interactions - 1
        phi = linear(f"{name}_in1", _silu(linear(f"{name}_in0", s)))
        ds, dv = np.zeros_like(s), np.zeros_like(v)
        for i in range(size):
            for j in range(size):
                r = atoms.positions[j] - atoms.positions[i]
                d = np.linalg.norm(r)
                if i == j or d >= model.range:
                    continue
                n = np.arange(1, model.basis + 1)
                waves = np.sqrt(2 / model.range) * np.sin(n * np.pi * d / model.range) / d
                x = d / model.range
                cut = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
                w = phi[j] * linear(f"{name}_filter", waves * np.sqrt(model.range)) * cut
                ds[i] += w[:width]
                dv[i] += np.outer(w[width : 2 * width], r / d)
                if not first:
                    dv[i] += w[2 * width :, None] * v[j]
        s, v = s + ds / model.neighbors**0.5, v + dv / model.neighbors**0.5
        for i in range(size):
            mixed = linear(f"{name}_mix", v[i].T).T
            left, right = mixed[:width], mixed[width:]
            norm = np.sqrt((right**2).sum(1) + 1e-4)
            a = linear(f"{name}_out1", _silu(linear(f"{name}_out0", np.append(s[i], norm))))
            s[i] += a[:width] + a[width : 2 * width] * (left * right).sum(1)
            if not last:
                v[i] += a[2 * width :, None] * left
    out = linear("readout1", _silu(linear("readout0", s)))
    return model.scale * float(out.sum())


def test_energy_is_that_of_the_equations():
    atoms = ethanol()
    params = params_of(PAINN, System.from_ase(atoms))
    expected = _reference(PAINN, params, atoms)
    for kind in ("all", "list"):
        assert float(energy(PAINN, params, atoms, kind)) == pytest.approx(expected, rel=1e-12)
    still = {k: dict(x) for k, x in params.items()}
    still["block1_mix"]["w"] = 0 * still["block1_mix"]["w"]  # control: vectors matter
    assert _reference(PAINN, still, atoms) != pytest.approx(expected, rel=1e-3)


def test_untrained_forces_do_not_grow_with_the_neighbours():
    """Features that did drove the first steps of training on dense water away from the data."""
    copper = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
    copper.rattle(0.1, seed=0)
    count = len(neighbor_list("i", copper, 5.0)) / len(copper)

    def size(**options):
        model = PaiNN((29,), 5.0, features=16, **options)
        forces = energy_forces(model, params_of(model, System.from_ase(copper)), copper)[1]
        return float(jnp.sqrt(jnp.mean(forces**2)))

    assert size(neighbors=count) < 3.0
    assert size(neighbors=1.0) > 30.0  # control: as published


def test_schnet_divides_its_messages_by_the_root_of_the_neighbours():
    """Nothing else depends on them: what feeds the messages makes up for it exactly."""
    scaled, plain = (dataclasses.replace(SCHNET, neighbors=n) for n in (7.0, 1.0))
    atoms = ethanol()
    params = params_of(plain, System.from_ase(atoms))
    fed = {k: {n: x * 7**0.5 if k.endswith("_in") else x for n, x in leaf.items()}
           for k, leaf in params.items()}  # fmt: skip
    expected = float(energy(plain, params, atoms))
    assert float(energy(scaled, fed, atoms)) == pytest.approx(expected, rel=1e-10)
    assert float(energy(scaled, params, atoms)) != pytest.approx(expected, rel=1e-3)


def test_one_block_sees_angles():
    """Two neighbours out of each other's range: their angle is in the vectors alone."""

    def bent(angle):
        return Atoms("OCC", [[0, 0, 0], [3, 0, 0], [3 * np.cos(angle), 3 * np.sin(angle), 0]])

    def change(model):
        params = params_of(model, System.from_ase(bent(2.0)))
        return abs(float(energy(model, params, bent(2.0)) - energy(model, params, bent(2.8))))

    assert change(PaiNN(species=(6, 8), range=4.0, features=8, interactions=1)) > 1e-4
    assert change(SCHNET) < 1e-12


def test_mirror_images_have_one_energy():
    atoms = ethanol()
    params = params_of(PAINN, System.from_ase(atoms))
    mirrored = atoms.copy()
    mirrored.positions[:, 1] *= -1
    left, right = (float(energy(PAINN, params, a)) for a in (atoms, mirrored))
    assert left == pytest.approx(right, rel=1e-12)


def test_directions_are_unit_vectors_with_two_derivatives():
    r = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)))
    np.testing.assert_allclose(
        directions(r), r / np.linalg.norm(r, axis=1, keepdims=True), rtol=1e-14
    )
    along = lambda d: directions(d * jnp.array([0.6, 0.0, 0.8]))  # noqa: E731
    for derivative in (along, jax.jacfwd(along), jax.jacfwd(jax.jacfwd(along))):
        inside, outside = (derivative(jnp.asarray(0.2 + e)) for e in (-1e-9, 1e-9))
        np.testing.assert_allclose(inside, outside, atol=1e-5)
    for d in (0.0, 1e-12):
        assert np.all(np.isfinite(jax.hessian(lambda x: directions(x)[0])(jnp.full(3, d))))


def test_parameters_of_the_published_size():
    """128 features, 3 blocks: about 600 thousand (Table 2 of the paper)."""
    model = PaiNN(species=(1, 6, 7, 8, 9), features=128)
    system = System.from_ase(ethanol())
    params = jax.eval_shape(lambda key: model.init(key, system), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == pytest.approx(6e5, rel=0.1)
