"""From a posterior to draws: the only module that reaches ``samplers``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax

import samplers
from bayespot.data import Batch
from bayespot.draws import Draws
from bayespot.observed import Observed, Tracked
from bayespot.posterior import Posterior
from bayespot.predict import predict

Callback = Callable[[str, samplers.Block], None]
Method = Literal["psgld", "ensemble", "nuts"]


@dataclasses.dataclass(frozen=True)
class Optimization:
    """Adam with cosine decay to a hundredth; a stage of its own or the start of the chains.

    Attributes:
        steps: updates, rounded up to a multiple of 20.
        learning_rate: first learning rate.
        batch_size: frames per update.
        energy_weight: power of the energies' likelihood meanwhile.  A frame has one energy and
            three force components for each atom: where energies span several phases of a large
            cell they are learned last, and the number of atoms is a good weight.
    """

    steps: int = 4000
    learning_rate: float = 3e-3
    batch_size: int = 8
    energy_weight: float = 1.0


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to sample.

    Attributes:
        method: "psgld", "ensemble" or "nuts".
        chains: independent chains (members of an ensemble).
        draws: per chain (1 for an ensemble).
        burn_in: steps (warm-up of NUTS).
        thinning: steps between draws.
        batch_size: frames per mini-batch (pSGLD).
        first_step_size, last_step_size: of pSGLD at the start, and from the end of burn-in on.
        preconditioner_memory, preconditioner_floor: alpha and lambda of RMSProp; frozen at the
            end of burn-in.
        warm_start: optimisation before the first step; None starts from random weights.
    """

    method: Method = "psgld"
    chains: int = 8
    draws: int = 20
    burn_in: int = 2000
    thinning: int = 100
    batch_size: int = 8
    first_step_size: float = 1e-5
    last_step_size: float = 1e-6
    preconditioner_memory: float = 0.99
    preconditioner_floor: float = 1e-5
    warm_start: Optimization | None = None


def target(posterior: Posterior) -> samplers.Target:
    """What a sampler sees of a posterior; N/B and temperature are inside already."""
    return samplers.Target(posterior.log_density, posterior.log_density_full, posterior.data_size)


def sample(
    key: jax.Array,
    posterior: Posterior,
    settings: Sampling,
    validation: Batch | None = None,
    *,
    build: Callable[[samplers.Target], samplers.Sampler] | None = None,
    starts: Any = None,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callback | None = None,
) -> Draws:
    """Draw from the posterior.

    Args:
        key: from ``jax.random.key``.
        posterior: what to sample.
        settings: how; ``method`` picks the sampler unless ``build`` does.
        validation: picks the best parameters of ensembles and warm starts; None keeps the last.
        build: any sampler of ``samplers``, as ``lambda target: samplers.sghmc(target, ...)``; its
            steps are what ``settings`` counts in chains, draws, burn-in and thinning.
        starts: first positions (like one draw, leading chain axis); random where None.
        checkpoint: folder for the stages' checkpoints; a killed run continues from there.
        fingerprint: what the checkpoints must agree with.
        callback: called with the stage's name after each block.
    """
    init_key, warm_key, run_key = jax.random.split(key, 3)
    if starts is None:
        positions = jax.jit(jax.vmap(posterior.init))(jax.random.split(init_key, settings.chains))
    else:
        positions = jax.tree.map(jnp.asarray, starts)

    def report(stage: str) -> Callable[[samplers.Block], None] | None:
        if callback is None:
            return None
        return functools.partial(callback, stage)

    def folder(stage: str) -> Path | None:
        return None if checkpoint is None else checkpoint / stage

    def optimise(key: jax.Array, how: Optimization) -> samplers.Result:
        checks = min(20, how.steps)  # validations along the way
        thinning = -(-how.steps // checks)  # rounded up: at least the steps asked for
        schedule = optax.cosine_decay_schedule(how.learning_rate, checks * thinning, alpha=0.01)
        weighted = dataclasses.replace(
            posterior,
            likelihood=dataclasses.replace(posterior.likelihood, energy_weight=how.energy_weight),
        )
        sampler = samplers.ensemble(
            target(weighted),
            optax.adam(schedule),
            None
            if validation is None
            else functools.partial(validation_loss, weighted, validation=validation),
        )
        return samplers.run(
            key,
            sampler,
            positions,
            posterior.data,
            batch_size=min(how.batch_size, posterior.data_size),
            num_burn_in=(checks - 1) * thinning,
            num_draws=1,
            thinning=thinning,
            periods_per_block=1,
            checkpoint=folder("optimisation"),
            fingerprint=fingerprint,
            callback=report("optimise"),
        )

    def last(result: samplers.Result) -> Any:
        return jax.tree.map(lambda x: jnp.asarray(x[:, -1]), result.draws)

    def fitted_noise(result: samplers.Result, batch: Batch) -> Any:
        """Noise scales are where optimisers were long ago: see ``residual_noise``."""
        fit = functools.partial(posterior.likelihood.residual_noise, batch=batch)
        return jax.jit(jax.vmap(fit))(last(result)["potential"])

    if settings.method == "ensemble" and build is None:
        result = optimise(warm_key, settings.warm_start or Optimization())
        # the error to expect of a point estimate is that on frames it has not seen
        noise = fitted_noise(result, posterior.data if validation is None else validation)
        noise = {name: np.asarray(x)[:, None] for name, x in noise.items()}
        return _draws(result._replace(draws={**result.draws, "noise": noise}))
    dead = np.zeros(settings.chains, bool)
    if settings.warm_start is not None:
        warm = optimise(warm_key, settings.warm_start)
        noise = fitted_noise(warm, posterior.data)
        positions = {"potential": last(warm)["potential"], "noise": noise}
        dead = ~warm.alive
    result = samplers.run(
        run_key,
        _sampler(posterior, settings) if build is None else build(target(posterior)),
        positions,
        None if settings.method == "nuts" and build is None else posterior.data,
        batch_size=min(settings.batch_size, posterior.data_size),
        num_burn_in=settings.burn_in,
        num_draws=settings.draws,
        thinning=settings.thinning,
        checkpoint=folder(settings.method if build is None else "sampling"),
        fingerprint=fingerprint,
        callback=report("sample"),
    )
    return _draws(result, positions, dead, posterior.likelihood.idle_noise)


def sample_observed(
    key: jax.Array,
    observed: Observed,
    build: Callable[[samplers.Target], samplers.Sampler],
    settings: Sampling,
    *,
    starts: Any = None,
    steps_per_block: int = 10,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callback | None = None,
) -> Draws:
    """Draw from a posterior in which measured observables speak too.

    Args:
        key: from ``jax.random.key``.
        observed: what to sample.
        build: a sampler that takes gradients and needs no full density: ``samplers.psgld``,
            ``sghmc``, ``ensemble`` and their kind.
        settings: chains, draws, burn-in, thinning and batch size are read.
        starts: first positions, leading chain axis; random where None.
        steps_per_block: steps between two looks at the effective samples, about; a whole number
            of periods.
        checkpoint, fingerprint, callback: as for ``sample``.
    """
    init_key, run_key = jax.random.split(key)
    if starts is None:
        starts = jax.vmap(observed.init)(jax.random.split(init_key, settings.chains))
    data = None if observed.posterior is None else observed.posterior.data
    result = samplers.run(
        run_key,
        build(_observed_target(observed)),
        starts,
        data,
        batch_size=min(settings.batch_size, observed.data_size) if data is not None else None,
        num_burn_in=settings.burn_in,
        num_draws=settings.draws,
        thinning=settings.thinning,
        periods_per_block=max(1, steps_per_block // settings.thinning),
        checkpoint=None if checkpoint is None else checkpoint / "sampling",
        fingerprint=fingerprint,
        callback=None if callback is None else functools.partial(callback, "sample"),
        between=samplers.Between(
            functools.partial(_renewed, observed),
            observed.measurements.resampler.sizes,
            observed.measurements.resampler.restore_sizes,
        ),
    )
    return _draws(result)


def _observed_target(observed: Observed) -> samplers.Target:
    """Trajectories travel in the state of the gradient estimator."""

    def no_density(*unused: Any) -> Any:
        raise ValueError(
            "measured observables have no density without trajectories: this sampler needs one;"
            " use samplers.psgld, sghmc or another that takes gradients alone"
        )

    def init(position: Any) -> Tracked:
        # chains share it; trajectories of one renewal split it among them
        key = jax.random.key_data(jax.random.key(observed.seed))
        return observed.measurements.init(position["potential"], key)

    def estimate(state: Tracked, position: Any, batch: Any) -> tuple[jax.Array, Any]:
        return jax.value_and_grad(observed.log_density)(position, state, batch)

    return samplers.Target(
        no_density, no_density, observed.data_size, samplers.Estimator(init, estimate)
    )


def _renewed(observed: Observed, states: Any) -> Any:
    """States of all chains, with trajectories made anew where one needs it."""

    def renew(node: Any) -> Any:
        if not isinstance(node, Tracked):
            return node
        return observed.measurements.renewed(states.position["potential"], node)

    return jax.tree.map(renew, states, is_leaf=lambda x: isinstance(x, Tracked))


def _sampler(posterior: Posterior, settings: Sampling) -> samplers.Sampler:
    if settings.method == "nuts":
        return samplers.nuts(target(posterior), num_warmup=settings.burn_in)
    if settings.burn_in == 0:  # nothing to fall over: the last step size from the start
        return samplers.psgld(
            target(posterior),
            samplers.constant(settings.last_step_size),
            adapt_steps=0,
            alpha=settings.preconditioner_memory,
            lmbd=settings.preconditioner_floor,
        )
    falling = samplers.first_last(
        settings.first_step_size, settings.last_step_size, settings.burn_in
    )
    return samplers.psgld(
        target(posterior),
        lambda step: falling(jnp.minimum(step, settings.burn_in)),
        adapt_steps=settings.burn_in,
        alpha=settings.preconditioner_memory,
        lmbd=settings.preconditioner_floor,
    )


def validation_loss(posterior: Posterior, params: Any, *, validation: Batch) -> jax.Array:
    """Minus the mean log likelihood of held-out frames at the noise scales that suit them best.

    Learned scales are those of the training frames: judged by them, a fit that improves on held-out
    frames more slowly than on its own would seem to become worse.
    """
    likelihood = posterior.likelihood
    noise = likelihood.residual_noise(params["potential"], validation)
    terms = jax.lax.map(
        lambda frame: likelihood.log_likelihood(
            params["potential"], noise, jax.tree.map(lambda x: x[None], frame)
        )[0],
        validation,
        batch_size=min(64, len(validation.energy)),
    )
    return -jnp.mean(terms)


def _draws(
    result: samplers.Result,
    starts: Any = None,
    dead: np.ndarray | None = None,
    idle: frozenset[str] = frozenset(),
) -> Draws:
    lp = np.asarray(result.info.log_density)[:, result.kept]
    divergent = np.asarray(result.info.divergent)[:, result.kept].sum(axis=1)
    healthy = result.alive.copy()
    verdicts = []
    for chain in range(len(healthy)):
        if dead is not None and dead[chain]:
            healthy[chain] = False
            verdicts.append("diverged in the warm start")
        elif not result.alive[chain]:
            verdicts.append(f"diverged: not finite at step {result.failed_at[chain]}")
        elif starts is not None and runaway(result.draws["noise"], starts["noise"], chain, idle):
            healthy[chain] = False
            verdicts.append("diverged: its draws fit far worse than its start")
        elif divergent[chain] > 0:
            share = f"{divergent[chain]:.0f} divergent transitions"
            verdicts.append(f"healthy, but {share}: raise the acceptance or the burn-in")
        else:
            verdicts.append("healthy")
    return Draws(result.draws, lp, healthy, tuple(verdicts), {})


def runaway(
    noise: Any, start: Any, chain: int, idle: frozenset[str] = frozenset(), factor: float = 5.0
) -> bool:
    """True for a chain that left its fit: a noise scale it learns grew ``factor``-fold; ``idle``
    ones, which no label speaks to, say nothing of a fit.

    A start from random weights has the spread of the labels as noise, one from a warm start its
    residuals; no equilibrium is that much worse than either.
    """
    grown = [
        np.median(np.asarray(noise[name])[chain]) - np.asarray(start[name])[chain]
        for name in noise
        if name not in idle
    ]
    return not bool(np.max(grown, initial=-np.inf) < np.log(factor))


def function_space_convergence(
    draws: Draws, posterior: Posterior, held_out: Batch, forces: int = 64
) -> samplers.Convergence:
    """R-hat and ESS of predicted energies (all frames) and ``forces`` force components.

    Weights of networks are no yardstick: symmetric networks differ in every weight and in no
    prediction.
    """
    params = draws.by_chain()
    chains, length = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda x: jnp.asarray(x).reshape(chains * length, *x.shape[2:]), params)
    made = predict(posterior.likelihood.potential, flat["potential"], held_out)
    mask = np.repeat(np.asarray(held_out.system.mask)[..., None], 3, -1).ravel()
    components = made.forces.reshape(len(made.forces), -1)[:, mask]
    pick = np.linspace(0, components.shape[1] - 1, min(forces, components.shape[1])).astype(int)
    values = np.concatenate([made.energy, components[:, pick]], axis=1)
    return samplers.convergence(values.reshape(chains, length, -1))
