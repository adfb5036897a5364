"""Each sampler with its settings and start."""

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import samplers as s
from benchmarks.common import timed
from benchmarks.lennard_jones.problem import (
    CHAINS,
    DRAWS,
    SEED,
    Made,
    N,
    curves_of,
    make_data,
    make_target,
    network_start,
    prior_start,
)


class Runner:
    """Runs each method on ten chains from the same starts."""

    def __init__(self, setting: dict) -> None:
        self.setting = setting
        self.distances, self.data = make_data()
        self.target = make_target(self.data)
        self.likelihood = make_target(self.data, prior=False)
        self.random = prior_start(jax.random.key(SEED + 2), CHAINS)
        self.warm, self.warm_cost = self.optimised(self.likelihood, self.random)

    def optimised(self, target: s.Target, start: Any, batch: int = 10) -> tuple[Any, float]:
        """(positions after Adam, per-datum gradients of one chain)."""
        steps = self.setting["warm"]
        optimiser = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
        made = s.run(
            jax.random.key(SEED + 3),
            s.ensemble(target, optimiser),
            start,
            self.data,
            batch_size=batch,
            num_burn_in=0,
            num_draws=1,
            thinning=steps,
        )
        return jax.tree.map(lambda x: jnp.asarray(x[:, -1]), made.draws), float(batch * steps)

    def __call__(
        self,
        name: str,
        note: str,
        sampler: s.Sampler,
        start: Any,
        *,
        batch: int | None,
        burn_in: int,
        draws: int,
        thinning: int,
        start_cost: float = 0.0,
    ) -> Made:
        """``start_cost``: per-datum gradients of one chain before its first step."""
        made = timed(
            jax.random.key(zlib.crc32(name.encode())),
            sampler,
            start,
            None if batch is None else self.data,
            batch_size=batch,
            num_burn_in=burn_in,
            num_draws=draws,
            thinning=thinning,
        )
        result = made.result
        curves = np.asarray(curves_of(jax.tree.map(jnp.asarray, result.draws)), float)
        fine = result.alive & np.isfinite(curves).all(axis=(1, 2))
        estimates = thinning * float(result.info.gradients.sum(axis=1).mean())
        gradients = start_cost + (batch or N) * estimates
        more = {
            "alive": int(fine.sum()),
            "acceptance": float(result.info.acceptance[:, -DRAWS:].mean()),
            "advice": list(result.advice),
        }
        sigma = float(np.exp(np.median(result.draws["log_sigma"][fine])))
        return Made(curves[fine], sigma, gradients, made.seconds, note, more)


def nuts(do: Runner, name: str, start: Any, note: str) -> Made:
    at = do.setting["nuts"]
    return do(
        name,
        f"{at['warmup']} warm-up steps, up to 2^{at['max_doublings']} leapfrog steps; {note}",
        s.nuts(do.target, at["warmup"], max_doublings=at["max_doublings"], initial_step_size=1e-3),
        start,
        batch=None,
        burn_in=at["warmup"],
        draws=at["draws"],
        thinning=1,
        start_cost=do.warm_cost,
    )


def mini_batch(do: Runner) -> dict[str, Made]:
    """All others; see the notes for starts and settings."""
    at, target = do.setting, do.target
    steps = at["steps"]
    burn_in = int(0.8 * steps)  # the paper's share
    thinning = (steps - burn_in) // DRAWS
    span = {"burn_in": burn_in, "draws": DRAWS, "thinning": thinning}
    adapting = s.rmsprop(0.99, 1e-5)
    small = s.hold(s.first_last(1e-3, 1e-6, burn_in), burn_in)
    made = {}

    paper = s.first_last(1e-2, 5e-5, steps)
    made["pSGLD, paper"] = do(
        "pSGLD, paper",
        "batch 1, h 0.01 → 5e-5, G adapts for ever; start from the prior",
        s.psgld(target, paper, None),
        do.random,
        batch=1,
        **span,
    )
    made["pSGLD, small steps"] = do(
        "pSGLD, small steps",
        "batch 1, h 1e-3 → 1e-6, G adapts for ever; warm start",
        s.psgld(target, small, None),
        do.warm,
        batch=1,
        start_cost=do.warm_cost,
        **span,
    )
    made["SGHMC"] = do(
        "SGHMC",
        "batch 10, h 1e-5, friction 0.1, G of RMSProp adapts for ever; warm start",
        s.sghmc(target, s.constant(1e-5), 0.1, adapting),
        do.warm,
        batch=10,
        start_cost=do.warm_cost,
        **span,
    )
    ladder = tuple(2.0**k for k in range(5))
    total = at["replica_steps"] // 10
    falling = s.hold(s.first_last(1e-3, 1e-6, 8 * total), 8 * total)
    made["reSGLD"] = do(
        "reSGLD",
        "as pSGLD with small steps on T = 1, 2, 4, 8, 16; a swap in 10 steps, full-data energies",
        s.resgld(target, falling, ladder, swap_every=10, num_estimates=0, preconditioner=adapting),
        do.warm,
        batch=1,
        start_cost=do.warm_cost,
        burn_in=int(0.8 * total),
        draws=DRAWS,
        thinning=total // 5 // DRAWS,
    )
    count, length = at["cycles"]
    kept = DRAWS // (count - 1)
    for name, batch in (("cyclical SGHMC", 1), ("cyclical SGHMC, batch 10", 10)):
        made[name] = do(
            name,
            f"batch {batch}, {count} cycles of {length} from h 1e-4, last 5 % of each but the"
            " first kept, noise throughout, else as SGHMC; start from the prior",
            s.cyclical(
                functools.partial(s.sghmc, target, friction=0.1, preconditioner=adapting),
                first=1e-4,
                cycle_length=length,
                exploration=0.95,
                last=1e-7,
                # without noise the free directions collapse, and 5 % of a cycle do not refill them
                explore_without_noise=False,
            ),
            do.random,
            batch=batch,
            burn_in=length,
            draws=DRAWS,
            thinning=length // 20 // kept,
        )
    adapt, sample = at["metropolis"]
    made["AMAGOLD"] = do(
        "AMAGOLD",
        "batch 10, 20 inner steps, friction 0.1, h adapted to 80 % acceptance; warm start",
        s.amagold(target, 1e-5, 0.1, 20, adapt_steps=adapt),
        do.warm,
        batch=10,
        start_cost=do.warm_cost,
        burn_in=adapt,
        draws=DRAWS,
        thinning=sample // DRAWS,
    )
    for name, start, note in (
        ("ensemble", do.random, "start from the prior"),
        ("ensemble, usual start", network_start(jax.random.key(SEED + 2), CHAINS), "usual start"),
    ):
        made[name] = do(
            name,
            f"likelihood only, batch 1, Adam 0.01 → 5e-5; {note}",
            s.ensemble(do.likelihood, optax.adam(paper)),
            start,
            batch=1,
            burn_in=steps - steps // 20,
            draws=1,
            thinning=steps // 20,
        )
    swag = at["swag"]
    made["SWAG"] = do(
        "SWAG",
        "batch 10, Adam at 1e-4, rank 20; warm start",
        s.swag(target, optax.adam(1e-4), swag // 4),
        do.warm,
        batch=10,
        start_cost=do.warm_cost,
        burn_in=swag // 2,
        draws=DRAWS,
        thinning=swag // 2 // DRAWS,
    )
    modes, mode_cost = do.optimised(target, do.random)
    with jax.enable_x64(True):  # the Hessian's eigenvalues span eight decades
        made["Laplace, last layer"] = do(
            "Laplace, last layer",
            "output layer only, at posterior modes by Adam from the prior; float64",
            s.laplace(target, lambda leaf: leaf in ("w2", "b2"), min_precision=1.0),
            jax.tree.map(lambda x: jnp.asarray(np.asarray(x, float)), modes),
            batch=None,
            start_cost=mode_cost + N,  # the Hessian
            burn_in=0,
            draws=DRAWS,
            thinning=1,
        )
    return made
