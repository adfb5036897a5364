"""Simulation-based calibration of the whole chain: data -> posterior -> predictive.

Truths are drawn from the prior and data from the truth; then the rank of a truth among draws of the
posterior, and of a new label among predictions, is uniform (Talts et al. 2018; Cook, Gelman &
Rubin 2006).  The control is told half of the noise that the data have.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from jax.flatten_util import ravel_pytree
from scipy import stats

from bayespot.calibration import Labels, Predicted, Quantity, assess, quantities
from bayespot.data import Frame, Shift, make_dataset
from bayespot.infer import Sampling, sample
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import CubicSpline, UltraFast
from bayespot.predict import predict
from bayespot.prior import WeightPrior

pytestmark = pytest.mark.usefixtures("x64")
POTENTIALS = {
    "spline": CubicSpline(1.8, 4.2, 7, (14,)),
    "ultra_fast": UltraFast((14,), 1.8, 3.6, 3.0, 5, 2),
}
PRIOR, NOISE = 0.7, {"energy": 0.3, "forces": 0.15}
MEMBERS, TRUTHS = 19, 500


def _structures(count):
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        atoms = bulk("Si", "diamond", a=5.43)
        atoms.positions += rng.normal(0, 0.25, (2, 3))
        atoms.set_cell(atoms.cell.array * rng.uniform(0.93, 1.07), scale_atoms=True)
        made.append(atoms)
    return made


def _batch(name, count=6):
    frames = [
        Frame(atoms, 0.0, np.zeros((2, 3)), "made", i) for i, atoms in enumerate(_structures(count))
    ]
    return make_dataset(frames, Shift((14,), (0.0,)), POTENTIALS[name].cutoff).batch


@functools.cache
def _designs(name):
    """(frames, parameters) of energies and (frames, 2, 3, parameters) of forces."""
    potential, batch = POTENTIALS[name], _batch(name)

    def both(system, neighbors):
        return potential.design(system, neighbors), potential.force_design(system, neighbors)

    made = jax.jit(jax.vmap(both))(batch.system, batch.neighbors)
    return tuple(np.asarray(x) for x in made)


def _chain(name, believed):
    """Exact posteriors of many data sets, and what they predict of two new frames."""
    rng = np.random.default_rng(1)
    energy, forces = _designs(name)
    x = np.concatenate([energy[:4], forces[:4].reshape(24, -1)])
    sigma = np.repeat([NOISE["energy"], NOISE["forces"]], [4, 24])
    truth = PRIOR * rng.normal(size=(TRUTHS, x.shape[1]))
    data = truth @ x.T + sigma * rng.normal(size=(TRUTHS, len(x)))

    told = believed * sigma
    precision = x.T @ (x / told[:, None] ** 2) + np.eye(x.shape[1]) / PRIOR**2
    lower = np.linalg.cholesky(precision)
    mean = np.linalg.solve(precision, x.T @ (data / told**2).T).T
    draws = rng.normal(size=(MEMBERS, TRUTHS, x.shape[1]))
    draws = mean + np.linalg.solve(lower.T, draws.reshape(-1, x.shape[1]).T).T.reshape(draws.shape)

    new = {"energy": energy[4:], "forces": forces[4:]}
    labels = {k: np.moveaxis(np.tensordot(v, truth.T, 1), -1, 0) for k, v in new.items()}
    labels = {k: v + NOISE[k] * rng.normal(size=v.shape) for k, v in labels.items()}
    made = {k: np.moveaxis(v @ draws.reshape(-1, x.shape[1]).T, -1, 0) for k, v in new.items()}
    made = {k: v.reshape(MEMBERS, TRUTHS, *v.shape[1:]) for k, v in made.items()}
    return truth, draws, labels, made


def _uniform(ranks, members):
    """p of the chi-square test on the histogram of ranks 0..members."""
    return stats.chisquare(np.bincount(ranks, minlength=members + 1)).pvalue


def _quantities(name, believed):
    """Those of both new frames of all data sets, each data set a cluster of its own."""
    _, _, labels, made = _chain(name, believed)
    predicted = Predicted(
        made["energy"].reshape(MEMBERS, -1),
        list(np.moveaxis(made["forces"].reshape(MEMBERS, -1, 2, 3), 1, 0)),
        noise={k: (believed * v) ** 2 for k, v in NOISE.items()},
    )
    count = 2 * TRUTHS
    truth = Labels(
        labels["energy"].ravel(), list(labels["forces"].reshape(-1, 2, 3)), None,
        [np.array([14, 14])] * count, np.full(count, ""), np.full(count, "in"),
    )  # fmt: skip
    return [
        Quantity(
            q.name, q.unit, q.truth, q.samples, q.noise_variance, q.cluster // 2, label=q.label
        )
        for q in quantities(predicted, truth)
    ]


@pytest.mark.usefixtures("compile_fast")
@pytest.mark.parametrize("name", POTENTIALS)
def test_the_designs_are_those_of_the_potential(name):
    energy, forces = _designs(name)
    potential, batch = POTENTIALS[name], _batch(name)
    like = potential.init(jax.random.key(0), jax.tree.map(lambda x: x[0], batch.system))
    flat, back = ravel_pytree(like)
    found = predict(potential, jax.tree.map(lambda x: x[None], back(flat)), batch)
    np.testing.assert_allclose(found.energy[0], energy @ flat, rtol=1e-9)
    np.testing.assert_allclose(found.forces[0], forces @ flat, atol=1e-9)


@pytest.mark.parametrize("name", POTENTIALS)
def test_ranks_of_the_exact_posterior_are_uniform(name):
    rng = np.random.default_rng(2)
    p = {}
    for believed in (1.0, 0.5):
        truth, draws, labels, made = _chain(name, believed)
        energy = _designs(name)[0]
        # what the data say most about, and a direction at random
        told = energy[0] / np.linalg.norm(energy[0])
        any_way = rng.normal(size=truth.shape[1])
        found = {}
        for kind, way in (("told", told), ("any", any_way)):
            found[kind] = _uniform(np.sum(draws @ way < truth @ way, axis=0), MEMBERS)
        for kind, label, values in (
            ("energy", labels["energy"][:, 0], made["energy"][:, :, 0]),
            ("forces", labels["forces"][:, 1, 0, 2], made["forces"][:, :, 1, 0, 2]),
        ):
            noisy = values + believed * NOISE[kind] * rng.normal(size=values.shape)
            found[kind] = _uniform(np.sum(noisy < label, axis=0), MEMBERS)
        p[believed] = found
    assert min(p[1.0].values()) > 1e-3
    assert max(p[0.5][k] for k in ("told", "energy", "forces")) < 1e-4


@pytest.mark.parametrize("name", POTENTIALS)
def test_the_verdict_on_the_exact_posterior(name):
    for q in _quantities(name, 1.0):
        found = assess(q, seed=0)
        assert found["verdict"]["kind"] == "trust", found["verdict"]["sentence"]
        area = found["metrics"]["miscalibration_area"]
        assert area["value"] < 0.02
    kinds = {q.name: assess(q, seed=0)["verdict"] for q in _quantities(name, 0.5)}
    assert {v["kind"] for v in kinds.values()} <= {"stretch", "do_not_trust"}
    assert kinds["energy"]["stretch"] > 1.3


PAIRS = (1, 3, 5, 7, 9, 11, 13, 15, 17)
SCALES = (0.3, 0.5)


def _dimers(rng, potential, params, noise, each):
    """Labelled pairs of all combinations of species."""
    kinds = [(a, b) for i, a in enumerate(PAIRS) for b in PAIRS[i:]]
    atoms = [
        Atoms([a, b], [[0, 0, 0], [rng.uniform(1.1, 2.4), 0, 0]])
        for a, b in kinds
        for _ in range(each)
    ]
    shift = Shift(PAIRS, (0.0,) * len(PAIRS))
    frames = [Frame(x, 0.0, np.zeros((2, 3)), "made", i) for i, x in enumerate(atoms)]
    batch = make_dataset(frames, shift, potential.cutoff).batch
    made = predict(potential, jax.tree.map(lambda x: x[None], params), batch)
    return batch._replace(
        energy=jnp.asarray(made.energy[0] + noise[0] * rng.normal(size=len(frames))),
        forces=jnp.asarray(made.forces[0] + noise[1] * rng.normal(size=made.forces[0].shape)),
    )


def _ranks_of_chains(seed, misled):
    """Each pair of species is a data set of its own: 45 truths by one chain.

    Noise scales are learnt too, from draws of their prior; the control is sure of half of them.
    """
    import numpyro.distributions as dist

    rng = np.random.default_rng(seed)
    potential = CubicSpline(1.0, 3.0, 3, PAIRS)
    priors = [dist.LogNormal(np.log(x), 0.002 if misled else 0.05) for x in SCALES]
    params = {"pair": jnp.asarray(rng.normal(size=(45, 3)))}
    believed = np.array(SCALES) * np.exp(0.05 * rng.normal(size=2))
    noise = believed * (2.0 if misled else 1.0)
    train = _dimers(rng, potential, params, noise, each=2)
    posterior = Posterior(EnergyForces(potential, *priors), WeightPrior.normal(1.0), train)
    draws = sample(
        jax.random.key(seed), posterior, Sampling("nuts", 2, 40, burn_in=150, thinning=2)
    ).flat(9)
    value = np.asarray(draws["potential"]["pair"])
    parameters = [np.sum(value[:, :, k] < np.asarray(params["pair"])[:, k], axis=0) for k in (0, 1)]
    test = _dimers(rng, potential, params, noise, each=1)
    made = predict(potential, jax.tree.map(jnp.asarray, draws["potential"]), test)
    sigma = np.exp(np.asarray(draws["noise"]["log_sigma_forces"]))[:, None]
    noisy = made.forces[:, :, 1, 0] + sigma * rng.normal(size=(9, 45))
    labels = np.sum(noisy < np.asarray(test.forces)[:, 1, 0], axis=0)
    return parameters[0], labels


@pytest.mark.slow
def test_ranks_of_sampled_posteriors_are_uniform():
    for misled in (False, True):
        made = [_ranks_of_chains(seed, misled) for seed in range(2)]
        p = [_uniform(np.concatenate(part), 9) for part in zip(*made, strict=True)]
        if misled:
            assert p[1] < 1e-3
        else:
            assert min(p) > 1e-3
