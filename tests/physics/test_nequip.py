"""NequIP behind our neighbours: jax-md's energy model, symmetries, batches of draws, imports."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayespot.neighbors import allocate
from bayespot.potentials import NequIP, energy_and_forces
from bayespot.potentials.basis import bessel, polynomial_envelope
from bayespot.system import System
from tests.physics.helpers import energy, ethanol, params_of

pytestmark = pytest.mark.usefixtures("compile_fast")
MODEL = NequIP((1, 6, 8), 4.0, features=8, interactions=2, basis=6, hidden=16)


def _forces(params, atoms, model=MODEL):
    system = System.from_ase(atoms)
    compute = jax.jit(lambda p: energy_and_forces(model, p, system, allocate(system, 4.0)))
    return [np.asarray(x) for x in compute(params)]


@pytest.mark.usefixtures("x64")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_energy_is_that_of_jax_md(monkeypatch):
    """Its whole model on its own graph, with our radial functions and with polar vectors."""
    import jraph
    from jax_md._nn import nequip as theirs

    atoms = ethanol()
    size = len(atoms)
    i, j = np.nonzero(~np.eye(size, dtype=bool))
    kinds = np.unique(atoms.numbers, return_inverse=True)[1]
    graph = jraph.GraphsTuple(
        nodes=jnp.eye(3)[kinds],
        edges=jnp.asarray(atoms.positions[j] - atoms.positions[i]),
        senders=jnp.asarray(j),
        receivers=jnp.asarray(i),
        n_node=jnp.array([size]),
        n_edge=jnp.array([len(i)]),
        globals=None,
    )

    def radial(**_):
        return lambda d: 2.0 * bessel(d, 4.0, 6) * polynomial_envelope(d, 4.0)[:, None]

    monkeypatch.setattr(theirs.nn_util, "BesselEmbedding", radial)
    config = theirs.default_config()
    config.update(n_elements=3, graph_net_steps=2, hidden_irreps="8x0e+8x1o", num_basis=6)
    config.update(sh_irreps="1x0e+1x1o", r_max=4.0, radial_net_n_hidden=16, shift=0.0, scale=1.0)
    model = theirs.model_from_config(config)
    params = model.init(jax.random.key(0), graph)["params"]
    expected = float(model.apply({"params": params}, graph)[0, 0])

    def scalars(x):
        return {name: w[..., :8] for name, w in x.items()}

    # ours leaves out what theirs computes in vain: vectors into the first convolution, out of the
    # last; paths are 0e0e, 0e1o, 1o0e, 1o1o
    ours = jax.tree.map(lambda x: x, params)
    first, last = (ours[f"NequIPConvolution_{step}"] for step in range(2))
    first["MLP_0"]["Dense_2"]["kernel"] = first["MLP_0"]["Dense_2"]["kernel"][:, :16]
    kernel = last["MLP_0"]["Dense_2"]["kernel"]
    last["MLP_0"]["Dense_2"]["kernel"] = jnp.concatenate([kernel[:, :8], kernel[:, 24:]], 1)
    connection = last["FullyConnectedTensorProductE3nn_0"]
    weight = connection["w[0,0,0] 8x0e,3x0e,16x0e"][..., :8]
    last["FullyConnectedTensorProductE3nn_0"] = {"w[0,0,0] 8x0e,3x0e,8x0e": weight}
    last["Linear_1"] = {"w[0,0] 16x0e,8x0e": last["Linear_1"]["w[0,0] 16x0e,8x0e"]}
    for kind in ("all", "list"):
        assert float(energy(MODEL, ours, atoms, kind)) == pytest.approx(expected, rel=1e-6)
    swapped = {**ours, "Linear_2": jax.tree.map(lambda x: 1.01 * x, ours["Linear_2"])}
    assert float(energy(MODEL, swapped, atoms)) != pytest.approx(expected, rel=1e-3)


@pytest.mark.usefixtures("x64")
def test_forces_turn_and_mirror_with_the_molecule():
    atoms = ethanol()
    params = params_of(MODEL, System.from_ase(atoms))
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float64)}
    value, forces = _forces(params, atoms)
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    for matrix in (turn, turn @ np.diag([1.0, -1.0, 1.0])):
        moved = atoms.copy()
        moved.positions = moved.positions @ matrix.T
        value_moved, forces_moved = _forces(params, moved)
        assert value_moved == pytest.approx(value, rel=1e-12)
        np.testing.assert_allclose(forces_moved, forces @ matrix.T, atol=1e-11)
    assert np.abs(forces).max() > 1e-2


@pytest.mark.usefixtures("x64")
@pytest.mark.slow
def test_draws_map_and_a_step_downhill_lowers_the_loss():
    atoms = ethanol()
    system = System.from_ase(atoms)
    neighbors = allocate(system, 4.0)
    target = np.random.default_rng(0).normal(size=(9, 3))

    def loss(p):
        return jnp.mean((energy_and_forces(MODEL, p, system, neighbors)[1] - target) ** 2)

    both = jax.jit(jax.vmap(jax.value_and_grad(loss)))
    draws = jax.vmap(lambda key: MODEL.init(key, system))(jax.random.split(jax.random.key(0), 3))
    before, gradient = both(draws)
    alone = jax.tree.map(lambda x: x[1:2], draws)
    np.testing.assert_allclose(both(alone)[0], before[1:2], rtol=1e-10)
    assert len(set(np.asarray(before))) == 3
    size = [
        np.linalg.norm([float(jnp.linalg.norm(x[k])) for x in jax.tree.leaves(gradient)])
        for k in range(3)
    ]
    rate = 1e-2 / np.asarray(size)

    def step(x, g):
        return x - rate.reshape(3, *[1] * (x.ndim - 1)) * g

    after = both(jax.tree.map(step, draws, gradient))[0]
    assert np.all(after < before)
    uphill = both(jax.tree.map(lambda x, g: step(x, -g), draws, gradient))[0]
    assert np.all(uphill > before)


def test_float32_stays_float32():
    atoms = ethanol()
    params = MODEL.init(jax.random.key(0), System.from_ase(atoms))
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    value, forces = _forces(params, atoms)
    assert value.dtype == forces.dtype == np.float32
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        exact = _forces(wide, atoms)
    assert value == pytest.approx(float(exact[0]), rel=1e-5)
    np.testing.assert_allclose(forces, exact[1], atol=1e-5)


def test_about_the_published_size():
    """0.12 million parameters with l_max 1."""
    system = System.from_ase(ethanol())
    model = NequIP((1, 6, 7, 8))
    params = jax.eval_shape(lambda key: model.init(key, system), jax.random.key(0))
    assert sum(x.size for x in jax.tree.leaves(params)) == pytest.approx(1.2e5, rel=0.15)


def test_its_libraries_are_not_imported_before_use():
    program = (
        "import sys, bayespot.potentials; print([m for m in"
        " ('jax_md', 'flax', 'e3nn_jax', 'haiku') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr
