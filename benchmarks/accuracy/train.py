"""Training by bayespot's own optimiser and the errors on held-out frames."""

import dataclasses
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import data, infer
from bayespot.build.samples import mean_neighbors
from bayespot.infer import Optimization
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import Potential
from bayespot.predict import predict
from bayespot.prior import WeightPrior
from benchmarks.accuracy.cases import Split


class Errors(NamedTuple):
    """On the test split."""

    energy_mae_mev_per_atom: float
    forces_mae_mev: float
    forces_rmse_mev: float


def errors(energy: np.ndarray, forces: np.ndarray, test: data.Dataset) -> Errors:
    """Of predicted energies (frames,) and forces (frames, atoms, 3)."""
    mask = np.asarray(test.batch.system.mask)
    gap = 1e3 * (energy - np.asarray(test.batch.energy)) / mask.sum(axis=1)
    apart = 1e3 * (forces - np.asarray(test.batch.forces))[mask]
    return Errors(
        float(np.abs(gap).mean()), float(np.abs(apart).mean()), float(np.sqrt((apart**2).mean()))
    )


class Trained(NamedTuple):
    """One potential after training."""

    errors: dict[str, Errors]
    seconds: float
    parameters: int
    healthy: bool


def train(split: Split, potential: Potential, how: Optimization, seed: int = 0) -> Trained:
    """Adam on the likelihood with learned noise scales; the best of twenty validations."""
    import numpyro.distributions as dist

    started = time.perf_counter()
    if hasattr(potential, "neighbors"):  # as `bayespot run` counts them
        counted = mean_neighbors(split.train, potential.cutoff)
        potential = dataclasses.replace(potential, neighbors=counted)  # type: ignore[call-arg]
    shift = data.fit_shift(split.train)
    parts = [
        data.make_dataset(part, shift, potential.cutoff) for part in (split.train, split.validation)
    ]
    noise = dist.Exponential(1.0)
    posterior = Posterior(
        EnergyForces(potential, noise, noise), WeightPrior.normal(10.0), parts[0].batch
    )
    settings = infer.Sampling("ensemble", chains=1, draws=1, warm_start=how)
    draws = infer.sample(jax.random.key(seed), posterior, settings, parts[1].batch)
    seconds = time.perf_counter() - started
    params = jax.tree.map(jnp.asarray, draws.flat()["potential"])
    tests = {
        name: data.make_dataset(frames, shift, potential.cutoff)
        for name, frames in split.tests.items()
    }
    made = {name: predict(potential, params, test.batch) for name, test in tests.items()}
    return Trained(
        {name: errors(made[name].energy[0], made[name].forces[0], tests[name]) for name in tests},
        seconds,
        sum(x[0].size for x in jax.tree.leaves(params)),
        bool(draws.healthy[0]),
    )


def as_published(split: Split, potential: Potential) -> dict[str, Errors]:
    """Of a potential as it stands; only the energies of the elements are fitted."""
    none = data.Shift(elements := data.fit_shift(split.train).elements, (0.0,) * len(elements))

    def look(frames: list[data.Frame]) -> tuple[data.Dataset, np.ndarray, np.ndarray]:
        made = data.make_dataset(frames, none, potential.cutoff)
        system = jax.tree.map(lambda x: x[0], made.batch.system)
        params = jax.tree.map(lambda x: x[None], potential.init(jax.random.key(0), system))
        found = predict(potential, params, made.batch)
        return made, found.energy[0], found.forces[0]

    _, energy, _ = look(split.train)
    rest = [
        dataclasses.replace(frame, energy=frame.energy - float(e))
        for frame, e in zip(split.train, energy, strict=True)
    ]
    shift = data.fit_shift(rest)
    found = {}
    for name, frames in split.tests.items():
        made, energy, forces = look(frames)
        offset = np.array([shift.of(f.atoms.numbers) for f in frames])
        found[name] = errors(energy + offset, forces, made)
    return found
