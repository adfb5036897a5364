"""GemNet-T against loops over its equations, its size, and the flow of variance through it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from bayespot.neighbors import allocate
from bayespot.potentials.gemnet import GemNetT
from bayespot.system import System
from tests.physics.edges import Weights, cut, edges, harmonics, radial, silu, waves, way_back
from tests.physics.helpers import energy, ethanol, params_of

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
MODEL = GemNetT(
    species=(1, 6, 8, 14),
    range=3.0,
    features=8,
    triplet_features=5,
    basis_features=3,
    interactions=2,
    degrees=5,
    factors=(2.0, 0.3, 0.7),
    scale=1.7,
)


def _reference(model: GemNetT, params, atoms: Atoms) -> float:
    """Edge by edge and triplet by triplet, with numpy."""
    p = Weights(params)
    e = edges(atoms, model.range)
    back = way_back(e)
    envelope = cut(e, model.range, model.envelope)[:, None]
    rbf = radial(e, model.range, p("basis", "frequencies")) * envelope
    cbf = waves(e.distance, model.range, model.degrees, model.basis) * envelope[:, None]
    product, angular, summed = model.factors

    def dense(name, x):
        return silu(p.linear(name, x)) / 0.6

    def residuals(name, count, x):
        for layer in range(count):
            y = dense(f"{name}{layer}_1", dense(f"{name}{layer}_0", x))
            x = (x + y) / np.sqrt(2)
        return x

    def at_atoms(name, m, shared):
        x = np.zeros((len(atoms), model.features))
        np.add.at(x, e.goal, m * p.linear(f"{name}_radial", p.linear(shared, rbf)))
        return residuals(f"{name}_atom", model.residuals[3], dense(f"{name}_in", x * summed))

    def read_out(name, m):
        return p.linear(f"{name}_energy", at_atoms(name, m, "radial_energy")).sum()

    def join(name, h, x):
        return dense(name, np.concatenate([h[e.goal], h[e.source], x], axis=1))

    h = p("embed", "embeddings")[[model.species.index(n) for n in atoms.numbers]]
    m = join("embed_edge", h, rbf)
    total = read_out("out0", m)
    for block in range(model.interactions):
        name = f"block{block}"
        x = p.linear(f"{name}_radial", p.linear("radial_edges", rbf))
        x = dense(f"{name}_down", dense(f"{name}_other", m) * x * product)
        gathered = np.zeros_like(x)
        for ca in range(len(e.goal)):
            for ba in np.flatnonzero(e.goal == e.goal[ca]):
                if ba != ca:
                    y = harmonics(e.vector[ca], e.vector[ba], model.degrees)
                    basis = np.einsum("ln,l,lnb->b", cbf[ca], y, p("waves"))
                    gathered[ca] += basis @ (x[ba] @ p(f"{name}_bilinear"))
        gathered *= angular
        there = dense(f"{name}_there", gathered)[back]
        x3 = (dense(f"{name}_here", gathered) + there) / np.sqrt(2)
        x = (dense(f"{name}_own", m) + x3) / np.sqrt(2)
        x = residuals(f"{name}_before", model.residuals[0], x)
        m = residuals(f"{name}_after", model.residuals[1], (m + x) / np.sqrt(2))
        h = (h + at_atoms(f"{name}_atoms", m, "radial_atoms")) / np.sqrt(2)
        x = residuals(f"{name}_joined", model.residuals[2], join(f"{name}_join", h, m))
        m = (m + x) / np.sqrt(2)
        total += read_out(f"out{block + 1}", m)
    return model.scale * total


def _tiny_crystal() -> Atoms:
    atoms = bulk("Si", "diamond", a=3.6)
    atoms.positions[1] += [0.1, -0.05, 0.2]
    return atoms


@pytest.mark.parametrize("make", [pytest.param(ethanol, marks=pytest.mark.slow), _tiny_crystal])
def test_gemnet_is_the_sum_over_triplets_of_the_paper(make):
    params = params_of(MODEL, System.from_ase(ethanol()))
    ours = float(energy(MODEL, params, make()))
    assert ours == pytest.approx(_reference(MODEL, params, make()), rel=1e-9)


def test_number_of_parameters_is_the_papers():
    """1.89 million with the defaults and the 93 elements of the original."""
    model = GemNetT(tuple(range(1, 94)))
    system = System.from_ase(ethanol())
    make = lambda key: model.init(key, system)  # noqa: E731
    leaves = jax.tree.leaves(jax.eval_shape(make, jax.random.key(0)))
    assert sum(int(np.prod(x.shape)) for x in leaves) == 1_892_294


@pytest.mark.slow
def test_weights_start_with_mean_zero_and_variance_one_over_inputs():
    params = MODEL.init(jax.random.key(0), System.from_ase(ethanol()))
    for name, inputs in (("block0_down", 8), ("block0_bilinear", 15), ("waves", 30)):
        w = np.asarray(params[name]["w"]).reshape(inputs, -1)
        np.testing.assert_allclose(w.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose((w**2).mean(axis=0), 1 / inputs, rtol=1e-9)


def test_energy_has_two_finite_derivatives_where_atoms_meet():
    system = System.from_ase(Atoms("OHC", [[0, 0, 0], [0.0, 1.2, 0.4], [1.3, 0, 0]]))
    params = params_of(MODEL, system)
    neighbors = allocate(system, MODEL.range)

    def u(x):
        moved = system.replace(positions=system.positions.at[2, 0].set(x))
        return MODEL.energy(params, moved, neighbors)

    second = jax.jit(jax.vmap(jax.value_and_grad(jax.grad(u))))
    slope, curvature = second(jnp.asarray([0.0, 1e-20, 1e-9, 1e-3]))
    assert np.all(np.abs(slope) < 1e4)
    assert np.all(np.abs(curvature) < 1e7)
