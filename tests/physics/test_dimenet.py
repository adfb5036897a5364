"""Angular basis functions, turning edges round, and DimeNet++ against loops over its equations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from scipy.special import eval_legendre, spherical_jn

from bayespot.neighbors import allocate
from bayespot.potentials.basis import (
    bessel_waves,
    bessel_zeros,
    legendre,
    sinc,
    spherical_bessel,
)
from bayespot.potentials.dimenet import DimeNetPP
from bayespot.potentials.triplets import angles, reversal
from bayespot.system import System
from bayespot.units import BOLTZMANN, KJ_PER_MOL
from tests.physics.edges import Weights, cut, edges, harmonics, radial, waves
from tests.physics.helpers import energy, ethanol, params_of, silicon

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
MODEL = DimeNetPP(
    species=(1, 6, 8, 14),
    range=3.0,
    features=8,
    out_features=10,
    triplet_features=6,
    basis_features=3,
    species_features=4,
    interactions=2,
    out_layers=2,
    degrees=5,
    temperature=260.0,
    scale=1.7,
)


def _reference(model: DimeNetPP, params, atoms: Atoms) -> float:
    """Edge by edge and triplet by triplet, with numpy."""
    p = Weights(params)
    e = edges(atoms, model.range)
    envelope = cut(e, model.range, model.envelope)[:, None]
    rbf = radial(e, model.range, p("basis", "frequencies")) * envelope
    sbf = waves(e.distance, model.range, model.degrees, model.basis) * envelope[:, None]

    def residual(name, x):
        return x + p.dense(f"{name}_1", p.dense(f"{name}_0", x))

    def read_out(name, m):
        x = np.zeros((len(atoms), model.features))
        np.add.at(x, e.goal, m * p.linear(f"{name}_radial", rbf))
        x = p.linear(f"{name}_up", x)
        for layer in range(model.out_layers):
            x = p.dense(f"{name}_{layer}", x)
        return p.linear(f"{name}_energy", x).sum()

    z = p("embed", "embeddings")[[model.species.index(n) for n in atoms.numbers]]
    parts = [z[e.goal], z[e.source], p.linear("embed_radial", rbf)]
    if model.temperature:
        kT = model.temperature * BOLTZMANN / KJ_PER_MOL
        heat = np.append(p("thermal", "times") * kT, p("thermal", "over") / kT)
        parts.append(np.tile(heat, (len(e.goal), 1)))
    m = p.dense("embed_edge", np.concatenate(parts, axis=1))
    total = read_out("out0", m)
    for block in range(model.interactions):
        name = f"block{block}"
        x = p.linear(f"{name}_radial1", p.linear(f"{name}_radial0", rbf))
        x = p.dense(f"{name}_down", p.dense(f"{name}_far", m) * x)
        gathered = np.zeros_like(x)
        for ji in range(len(e.goal)):
            for kj in np.flatnonzero(e.goal == e.source[ji]):
                if e.source[kj] == e.goal[ji] and np.all(e.image[kj] == -e.image[ji]):
                    continue
                y = harmonics(e.vector[kj], -e.vector[ji], model.degrees)
                basis = (sbf[kj] * y[:, None]).ravel()
                gathered[ji] += x[kj] * (basis @ p(f"{name}_waves") @ p(f"{name}_angular"))
        x = p.dense(f"{name}_near", m) + p.dense(f"{name}_up", gathered)
        for layer in range(model.residuals[0]):
            x = residual(f"{name}_before{layer}", x)
        m = m + p.dense(f"{name}_skip", x)
        for layer in range(model.residuals[1]):
            m = residual(f"{name}_after{layer}", m)
        total += read_out(f"out{block + 1}", m)
    return model.scale * total


def _tiny_crystal() -> Atoms:
    """A cell in which atoms are their own neighbours, and neighbours more than once."""
    atoms = bulk("Si", "diamond", a=3.6)
    atoms.positions[1] += [0.1, -0.05, 0.2]
    return atoms


@pytest.mark.parametrize("make", [pytest.param(ethanol, marks=pytest.mark.slow), _tiny_crystal])
@pytest.mark.parametrize("temperature", [None, 260.0])
def test_dimenet_is_the_sum_over_triplets_of_the_paper(make, temperature):
    model = dataclasses.replace(MODEL, temperature=temperature)
    atoms = make()
    params = params_of(model, System.from_ase(ethanol()))
    ours = float(energy(model, params, atoms))
    assert ours == pytest.approx(_reference(model, params, atoms), rel=1e-9)


@pytest.mark.slow
def test_the_temperature_embedding_shares_parameters():
    params = params_of(MODEL, System.from_ase(ethanol()))
    cold, warm, hot = (
        float(energy(dataclasses.replace(MODEL, temperature=t), params, ethanol()))
        for t in (200.0, 300.0, 400.0)
    )
    assert len({round(x, 6) for x in (cold, warm, hot)}) == 3
    without = dataclasses.replace(MODEL, temperature=None)
    assert "thermal" not in without.init(jax.random.key(0), System.from_ase(ethanol()))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_spherical_bessel_functions_and_derivatives_down_to_zero(dtype):
    cutoff, degrees, count = 4.0, 7, 6
    z = bessel_zeros(degrees, count) / cutoff
    l = np.arange(degrees)[:, None]
    norm = np.sqrt(2) / np.abs(spherical_jn(l + 1, z * cutoff))
    f = lambda d: spherical_bessel(d, cutoff, degrees, count)  # noqa: E731
    derivatives = f, jax.jacfwd(f), jax.jacfwd(jax.jacfwd(f))
    exact = dtype == jnp.float64
    for d in (1e-3, 0.1, 0.7, 2.0, 3.9999):
        x = z * d
        j, slope = spherical_jn(l, x), spherical_jn(l, x, derivative=True)
        curve = -2 / x * slope - (1 - l * (l + 1) / x**2) * j  # the equation that defines them
        for order, value in enumerate((j, slope, curve)):
            found = np.asarray(derivatives[order](jnp.asarray(d, dtype)))
            assert found.dtype == dtype
            size = 30 * (z.max() ** order)
            np.testing.assert_allclose(
                found, norm * z**order * value, atol=size * (1e-10 if exact else 1e-5)
            )
    # at 0 exactly: j_0 is 1, the slope of j_1 is 1/3, curvatures -1/3 and 2/15 of j_0 and j_2
    zero = [np.asarray(g(jnp.asarray(0.0, dtype))) / norm for g in derivatives]
    wanted = np.zeros((3, degrees, count))
    wanted[0, 0], wanted[1, 1], wanted[2, 0], wanted[2, 2] = (
        1,
        z[1] / 3,
        -(z[0] ** 2) / 3,
        z[2] ** 2 * 2 / 15,
    )
    np.testing.assert_allclose(zero, wanted, atol=1e-9 if exact else 1e-3)
    for d in (1e-30, 1e-12, 1e-6):
        assert all(np.all(np.isfinite(g(jnp.asarray(d, dtype)))) for g in derivatives)


def test_closed_forms_would_not_be_finite():
    """The control: what the papers' implementations do at zero distance."""
    j2 = lambda x: (3 / x**3 - 1 / x) * jnp.sin(x) - 3 / x**2 * jnp.cos(x)  # noqa: E731
    assert not np.isfinite(j2(jnp.asarray(0.0)))
    assert abs(j2(jnp.asarray(1e-6)) - 1e-12 / 15) > 1e-4
    assert not np.isfinite(jax.grad(j2)(jnp.asarray(0.0)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_radial_bessel_functions_and_derivatives_near_zero(dtype):
    """Against the first terms of the series, at distances where rounding is divided by d^2."""
    n = np.arange(1, 7)
    f = lambda d: bessel_waves(d, 4.0, jnp.arange(1, 7, dtype=dtype))  # noqa: E731
    first = jax.jacfwd(f)
    second = jax.jacfwd(first)
    k = n * np.pi / 4
    norm = np.sqrt(2 / 4) * k
    for d in (0.0, 1e-20, 1e-12, 1e-6, 1e-3):
        at = jnp.asarray(d, dtype)
        np.testing.assert_allclose(f(at), norm * (1 - (k * d) ** 2 / 6), rtol=1e-6)
        np.testing.assert_allclose(first(at), -norm * k**2 * d / 3, rtol=1e-4)
        np.testing.assert_allclose(second(at), -norm * k**2 / 3, rtol=1e-4)
    for x in (0.0999, 0.1001, 0.7, 6.3):
        at = jnp.asarray(x)
        assert sinc(at) == pytest.approx(np.sinc(x), abs=1e-15)
        slope = (np.cos(np.pi * x) - np.sinc(x)) / x
        assert jax.grad(sinc)(at) == pytest.approx(slope, abs=1e-13)


def test_spherical_bessel_functions_are_orthonormal_and_vanish_at_the_cutoff():
    x, w = np.polynomial.legendre.leggauss(80)
    x, w = (x + 1) / 2, w / 2
    f = np.asarray(spherical_bessel(jnp.asarray(x * 5.0), 5.0, 7, 6))
    overlap = np.einsum("xln,xlm,x->lnm", f, f, w * x**2)
    np.testing.assert_allclose(overlap, np.broadcast_to(np.eye(6), (7, 6, 6)), atol=1e-10)
    assert np.abs(spherical_bessel(jnp.asarray(5.0), 5.0, 7, 6)).max() < 1e-10


def test_legendre_polynomials():
    x = np.linspace(-1, 1, 11)
    for degrees in (1, 2, 7):
        norm = np.sqrt((2 * np.arange(degrees) + 1) / (4 * np.pi))
        expected = norm * eval_legendre(np.arange(degrees), x[:, None])
        np.testing.assert_allclose(legendre(jnp.asarray(x), degrees), expected, atol=1e-13)


@pytest.mark.parametrize(("make", "kind"), [(ethanol, "all"), (ethanol, "list"), (silicon, "list")])
def test_turning_edges_round(make, kind):
    """Over the way back to the same image, also where a cell is smaller than the cut-off."""
    system = System.from_ase(make())
    pairs = allocate(system, 4.0, skin=0.5, kind=kind).pairs(system)
    turn = reversal(pairs)
    near = np.asarray(pairs.mask & (pairs.distances < 4.4))
    turned = np.asarray(turn(pairs.vectors))
    np.testing.assert_allclose(turned[near], -np.asarray(pairs.vectors)[near], atol=1e-12)
    features = jax.random.normal(jax.random.key(0), (*near.shape, 2))
    assert np.abs(np.asarray(turn(features) - features))[near].min() > 0
    np.testing.assert_array_equal(np.asarray(turn(turn(features)))[near], features[near])


def test_a_half_list_is_refused():
    system = System.from_ase(silicon())
    with pytest.raises(ValueError, match="full neighbour list"):
        reversal(allocate(system, 4.0, half=True).pairs(system))


def test_angles_leave_out_the_edge_itself():
    system = System.from_ase(ethanol())
    pairs = allocate(system, 3.0, kind="list").pairs(system)
    found = np.asarray(angles(pairs, 4))
    assert np.all(np.diagonal(found, axis1=1, axis2=2) == 0)
    v = np.asarray(pairs.vectors)
    np.testing.assert_allclose(found[0, 0, 1], harmonics(v[0, 0], v[0, 1], 4), atol=1e-12)


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


def test_number_of_parameters():
    """The layers one by one: 121 thousand, and 1.89 million at the original sizes."""

    def count(model):
        system = System.from_ase(ethanol())
        make = lambda key: model.init(key, system)  # noqa: E731
        return sum(
            int(np.prod(x.shape)) for x in jax.tree.leaves(jax.eval_shape(make, jax.random.key(0)))
        )

    def layers(kinds, f, out, triplet, atom, basis=8, rbf=6, sbf=42):
        dense = f * f + f
        embedding = kinds * atom + rbf * f + (2 * atom + f) * f + f
        block = rbf * basis + basis * f + sbf * basis + basis * triplet + 2 * triplet * f
        block += 9 * dense  # both sides of an edge, the skip connection, three residual layers
        read_out = rbf * f + f * out + 3 * (out * out + out) + out
        return rbf + embedding + 4 * block + 5 * read_out

    assert count(DimeNetPP((8,))) == layers(1, 32, 64, 16, 16) == 121_398
    thermal = DimeNetPP((8,), temperature=300.0)
    assert count(thermal) == 121_398 + 2 * 16 + 2 * 16 * 32
    full = DimeNetPP(tuple(range(1, 96)), 5.0, 128, 256, 64, 8, 128)
    assert count(full) == layers(95, 128, 256, 64, 128) == 1_885_702


def test_weights_start_orthogonal_with_glorot_variance():
    model = DimeNetPP((1, 6, 8), 3.0, 32, 16, 8, 4, 4, 1, 1, (0, 0), 4, 3)
    params = model.init(jax.random.key(0), System.from_ase(ethanol()))
    w = np.asarray(params["block0_down"]["w"])
    assert np.mean(w**2) == pytest.approx(2 / (32 + 8))
    gram = w.T @ w
    np.testing.assert_allclose(gram, gram[0, 0] * np.eye(8), atol=1e-12)
    np.testing.assert_array_equal(params["basis"]["frequencies"], np.arange(1, 5))
    assert np.all(params["embed_edge"]["b"] == 0)
