"""The posterior and how it is sampled."""

from __future__ import annotations

from typing import Any

import jax

from bayespot import config as cfg
from bayespot.data import Dataset
from bayespot.errors import UserError
from bayespot.infer import Optimization, Sampling
from bayespot.likelihood import EnergyForces
from bayespot.posterior import Posterior
from bayespot.potentials import Potential
from bayespot.prior import WeightPrior


def posterior(config: cfg.PosteriorConfig, made: Potential, train: Dataset) -> Posterior:
    """Likelihood, prior and temperature over the training split.

    Raises:
        UserError: the potential has no parameters, or a prior for the noise of labels that are
            not there.
    """
    system = jax.tree.map(lambda x: x[0], train.batch.system)
    if not jax.tree.leaves(jax.eval_shape(made.init, jax.random.key(0), system)):
        sections = cfg.kinds()
        learned = [kind for kind, section in sections.items() if issubclass(section, cfg.Learned)]
        started = [kind for kind, s in sections.items() if "trainable" in s.model_fields]
        raise UserError(
            "the potential has no parameters, so that there is no posterior to sample",
            f"Set kind in [potential] to {', '.join(learned)}, or add trainable = true to"
            f" {' or '.join(started)}",
        )
    stress_noise = None if config.stress_noise is None else _noise(config.stress_noise)
    if stress_noise is not None and train.batch.stress is None:
        raise UserError(
            "[posterior] stress_noise is set, and no training frame has a stress",
            "Remove it, or give periodic frames with the key stress or virial",
        )
    likelihood = EnergyForces(
        made,
        _noise(config.energy_noise),
        _noise(config.forces_noise),
        stress_noise=stress_noise,
    )
    return Posterior(
        likelihood, WeightPrior.normal(config.weight_scale), train.batch, config.temperature
    )


def _noise(prior: cfg.NoisePrior) -> Any:
    import numpyro.distributions as dist

    if prior.distribution == "gamma":
        return dist.Gamma(prior.shape, 1 / prior.scale)
    if prior.distribution == "half_normal":
        return dist.HalfNormal(prior.scale)
    return dist.Exponential(1 / prior.scale)


def sampling(config: cfg.SamplerConfig) -> Sampling:
    """Settings of ``infer.sample``."""
    values = config.model_dump(exclude={"warm_start", "fit"})
    warm = config.warm_start
    return Sampling(**values, warm_start=None if warm is None else Optimization(**dict(warm)))
