"""Lennard-Jones: what each sampler knows about its ignorance (methods.md row 6; Thaler et al. 2023,
section 3.1).

One hundred noise-free pair energies with d/sigma in [1.0615, 1.18]; a network of one hidden layer
of 64 on six Bessel functions; weights ~ N(0, 1), noise ~ Exp(1).  The weights outnumber what the
data fix by fifty to one, so the posterior is wide where there are no data.

Two references.  The paper's is NUTS on ten chains.  The other is exact: given hidden layer and
noise the output layer is Gaussian, so it is integrated out, and NUTS on the hidden layer alone
mixes.  Its noise is held at 1e-3, what the paper reports: free, it has no scale of its own on
noise-free data and falls without end (``evidence`` in the results).

The question the paper left open is whether one run can find the modes that one pSGLD chain
misses.  Modes are looked for among functions, not weights, which have trivial symmetries.
"""

import functools
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.cluster.vq import kmeans2, vq

import samplers as s
from bayespot.calibration import miscalibration_area
from benchmarks.common import (
    BLACK,
    BLUE,
    DPI,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    Setting,
    main,
    markdown,
    number,
    plt,
    timed,
    wasserstein,
)

SEED = 0
N, CHAINS, DRAWS = 100, 10, 100
CUTOFF, BASIS, HIDDEN = 2.5, 6, 64
INTERVAL = (1.0615, 1.18)
GRID = np.linspace(0.95, 1.6, 66)  # beyond the data on both sides
INSIDE = np.abs(GRID - np.mean(INTERVAL)) <= np.ptp(INTERVAL) / 2
HELD_OUT = np.linspace(*INTERVAL, 60)
CELLS = 10
MEMBERS = (1, 2, 5, 10)  # numbers of chains the draws are taken from
SETTINGS = {
    "quick": {
        "exact": {"warmup": 150, "draws": 250},
        "nuts": {"warmup": 200, "draws": 200, "max_doublings": 7},
        "steps": 100_000,  # of the mini-batch samplers and the ensemble
        "replica_steps": 40_000,
        "cycles": (21, 4500),
        "metropolis": (1000, 2000),
        "warm": 20_000,
        "swag": 20_000,
    },
    "full": {
        "exact": {"warmup": 500, "draws": 2500},
        "nuts": {"warmup": 4100, "draws": 3400, "max_doublings": 8},
        "steps": 1_000_000,
        "replica_steps": 500_000,
        "cycles": (21, 45_000),
        "metropolis": (10_000, 20_000),
        "warm": 20_000,
        "swag": 200_000,
    },
}


def well(d: np.ndarray) -> np.ndarray:
    """Energies in epsilon, distances in sigma."""
    return 4 * (d**-12 - d**-6)


def features(d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bessel functions (DimeNet's, scaled to order one) and cut-off envelope, as in ``PairMLP``."""
    n = np.arange(1, BASIS + 1)
    bessel = np.sqrt(2) * n * np.pi / CUTOFF * np.sinc(d[:, None] * n / CUTOFF)
    x = np.clip(d / CUTOFF, 0, 1)
    return bessel, 1 + x**6 * (-28 + x * (48 - 21 * x))


def hidden(p: Any, bessel: Any, envelope: Any) -> jax.Array:
    """What the output layer is linear in: (points, 64 + 1), the last for its bias."""
    made = jax.nn.swish(bessel @ p["w1"] + p["b1"])
    return jnp.concatenate([made, jnp.ones_like(made[:, :1])], axis=1) * envelope[:, None]


def energy(p: Any, bessel: Any, envelope: Any) -> jax.Array:
    return hidden(p, bessel, envelope) @ jnp.append(p["w2"], p["b2"])


def log_prior(p: Any) -> jax.Array:
    weights = sum(jnp.sum(p[k] ** 2) for k in ("w1", "b1", "w2", "b2"))
    return -0.5 * weights + p["log_sigma"] - jnp.exp(p["log_sigma"])


def make_data() -> tuple[np.ndarray, tuple[jax.Array, jax.Array, jax.Array]]:
    """Distances in float64, and what a batch is made of."""
    d = np.random.default_rng(SEED).uniform(*INTERVAL, N)
    parts = (*features(d), well(d))
    return d, tuple(jnp.asarray(x, jnp.float32) for x in parts)  # type: ignore[return-value]


def make_target(data: Any, prior: bool = True) -> s.Target:
    """The posterior, or without ``prior`` the likelihood that ensembles are trained on."""

    def log_density(p: Any, batch: Any) -> jax.Array:
        bessel, envelope, y = batch
        z = (y - energy(p, bessel, envelope)) * jnp.exp(-p["log_sigma"])
        fit = N * jnp.mean(-0.5 * z**2 - p["log_sigma"])
        return fit + log_prior(p) if prior else fit

    return s.Target(log_density, lambda p: log_density(p, data), N)


def prior_start(key: jax.Array, chains: int) -> dict:
    """Weights from the prior: directions the data do not fix start in equilibrium."""
    keys = jax.random.split(key, 4)
    shapes = {"w1": (BASIS, HIDDEN), "b1": (HIDDEN,), "w2": (HIDDEN,), "b2": ()}
    made = {
        name: jax.random.normal(k, (chains, *shape))
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return made | {"log_sigma": jnp.zeros(chains)}


def network_start(key: jax.Array, chains: int) -> dict:
    """The usual initialisation: variance 1/fan-in, no biases; far inside the prior."""
    w1, w2 = jax.random.split(key)
    return {
        "w1": jax.random.truncated_normal(w1, -2, 2, (chains, BASIS, HIDDEN)) / np.sqrt(BASIS),
        "b1": jnp.zeros((chains, HIDDEN)),
        "w2": jax.random.truncated_normal(w2, -2, 2, (chains, HIDDEN)) / np.sqrt(HIDDEN),
        "b2": jnp.zeros(chains),
        "log_sigma": jnp.zeros(chains),
    }


AXIS = tuple(np.concatenate(x) for x in zip(features(GRID), features(HELD_OUT), strict=True))


@jax.jit
def _curves(draws: Any) -> jax.Array:
    bessel, envelope = (jnp.asarray(x, jnp.float32) for x in AXIS)
    return jax.vmap(jax.vmap(lambda p: energy(p, bessel, envelope)))(draws)


class Made(NamedTuple):
    """Draws of one method as functions.

    Attributes:
        curves: (chain, draw, 66 + 60) energies on grid and held-out points.
        sigma: median noise scale, epsilon.
        gradients: per-datum gradients of one chain, optimised start included.
        seconds: of all chains, compilation excluded, start excluded.
        note: settings, for the record.
        more: numbers of this method alone.
    """

    curves: np.ndarray
    sigma: float
    gradients: float
    seconds: float
    note: str
    more: dict


# -- the exact reference


class Collapsed(NamedTuple):
    """The regression on few numbers: data in a Chebyshev basis, good to about 1e-6.

    On the data's interval all functions of the model are polynomials of low degree to far below
    the noise, so 12 coefficients hold what 100 points say.
    """

    y: np.ndarray
    from_nodes: np.ndarray
    nodes: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, d: np.ndarray, degree: int = 12) -> "Collapsed":
        centre, half = np.mean(INTERVAL), np.ptp(INTERVAL) / 2
        x = np.cos((np.arange(degree) + 0.5) * np.pi / degree)
        vander = np.polynomial.chebyshev.chebvander
        q, r = np.linalg.qr(vander((d - centre) / half, degree - 1))
        from_nodes = r @ np.linalg.inv(vander(x, degree - 1))
        return cls(q.T @ well(d), from_nodes, features(centre + half * x))

    def design(self, p: Any) -> jax.Array:
        return jnp.asarray(self.from_nodes) @ hidden(p, *map(jnp.asarray, self.nodes))

    def log_density(self, p: Any, sigma: float) -> jax.Array:
        """Of hidden layer and data, the output layer integrated out."""
        f = self.design(p)
        factor = jnp.linalg.cholesky(f @ f.T + sigma**2 * jnp.eye(len(self.y)))
        z = jax.scipy.linalg.solve_triangular(factor, jnp.asarray(self.y), lower=True)
        rest = (N - len(self.y)) * np.log(sigma)
        prior = -0.5 * (jnp.sum(p["w1"] ** 2) + jnp.sum(p["b1"] ** 2))
        return prior - 0.5 * z @ z - jnp.sum(jnp.log(jnp.diagonal(factor))) - rest

    def curve(self, key: jax.Array, p: Any, sigma: float) -> jax.Array:
        """The function of one draw of the output layer from its Gaussian."""
        u, values, v = jnp.linalg.svd(self.design(p), full_matrices=True)
        pad = HIDDEN + 1 - len(values)
        values = jnp.pad(values, (0, pad))
        precision = values**2 + sigma**2
        mean = values / precision * jnp.pad(u.T @ jnp.asarray(self.y), (0, pad))
        noise = sigma / jnp.sqrt(precision) * jax.random.normal(key, mean.shape)
        return hidden(p, *map(jnp.asarray, AXIS)) @ (v.T @ (mean + noise))


def exact(setting: dict, collapsed: Collapsed, sigma: float, chains: int = 4) -> Made:
    """NUTS on the hidden layer, in double precision: sigma^2 is 1e-10 of the kernel's norm."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(SEED + 1), 4)
        shapes = {"w1": (BASIS, HIDDEN), "b1": (HIDDEN,)}
        start = {
            name: jax.random.normal(k, (chains, *shape))
            for k, (name, shape) in zip(keys[:2], shapes.items(), strict=True)
        }

        def log_density(p: Any) -> jax.Array:
            return collapsed.log_density(p, sigma)

        target = s.Target(lambda p, batch: log_density(p), log_density, N)
        made = timed(
            keys[2],
            s.nuts(target, setting["warmup"], max_doublings=6),
            start,
            num_burn_in=setting["warmup"],
            num_draws=setting["draws"],
        )
        draws = jax.tree.map(jnp.asarray, made.result.draws)
        own = jax.random.split(keys[3], (chains, setting["draws"]))
        curve = functools.partial(collapsed.curve, sigma=sigma)
        curves = np.asarray(jax.jit(jax.vmap(jax.vmap(curve)))(own, draws))
        kept = np.asarray(made.result.info.log_density)[:, setting["warmup"] :]
    gradients = N * float(made.result.info.extra["gradients"].sum(axis=1).mean())
    note = f"output layer integrated out, noise {sigma:g}; {setting['warmup']} warm-up steps"
    return Made(curves, sigma, gradients, made.seconds, note, {"log_density": float(kept.mean())})


# -- the samplers


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
        cost: Callable[[s.Result, int], float],
        *,
        batch: int | None,
        burn_in: int,
        draws: int,
        thinning: int,
        start_cost: float = 0.0,
    ) -> Made:
        """``cost``: (result, steps of one chain) -> per-datum gradients of one chain."""
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
        curves = np.asarray(_curves(jax.tree.map(jnp.asarray, result.draws)), float)
        fine = result.alive & np.isfinite(curves).all(axis=(1, 2))
        gradients = start_cost + cost(result, len(result.kept) * thinning)
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
        lambda r, steps: N * float(r.info.extra["gradients"].sum(axis=1).mean()),
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
        lambda r, steps: steps,
        batch=1,
        **span,
    )
    made["pSGLD, small steps"] = do(
        "pSGLD, small steps",
        "batch 1, h 1e-3 → 1e-6, G adapts for ever; warm start",
        s.psgld(target, small, None),
        do.warm,
        lambda r, steps: steps,
        batch=1,
        start_cost=do.warm_cost,
        **span,
    )
    made["SGHMC"] = do(
        "SGHMC",
        "batch 10, h 1e-5, friction 0.1, G of RMSProp adapts for ever; warm start",
        s.sghmc(target, s.constant(1e-5), 0.1, adapting),
        do.warm,
        lambda r, steps: 10 * steps,
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
        lambda r, steps: 10 * steps * len(ladder),
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
            lambda r, steps, batch=batch: batch * steps,
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
        lambda r, steps: 20 * 10 * steps,
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
            lambda r, steps: steps,
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
        lambda r, steps: 10 * steps,
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
            lambda r, steps: N,
            batch=None,
            start_cost=mode_cost,
            burn_in=0,
            draws=DRAWS,
            thinning=1,
        )
    return made


# -- what the functions say


class Space(NamedTuple):
    """Functions where the data leave them open, in coordinates of the exact posterior.

    Attributes:
        where: (66,) bool, grid points at which the exact sd is above 0.1 epsilon; nearer the
            data a sampler's own noise would decide.
        centre, scale: of the exact draws at each of these points.
        axes: (3, points) principal directions; few numbers describe such smooth functions.
        share: of the variance that the three hold.
        spread: (3,) standard deviations of the exact draws along them.
        cells: (10, 3) centres of ten parts of about equal weight.
        reach: radius that holds 99 % of the exact draws, in ``spread``.
    """

    where: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    share: float
    spread: np.ndarray
    cells: np.ndarray
    reach: float

    @classmethod
    def of(cls, draws: np.ndarray) -> "Space":
        where = draws[:, : len(GRID)].std(axis=0) > 0.1
        free = draws[:, : len(GRID)][:, where]
        centre, scale = free.mean(axis=0), free.std(axis=0)
        z = (free - centre) / scale
        _, values, axes = np.linalg.svd(z, full_matrices=False)
        made = cls(
            where, centre, scale, axes[:3], float((values[:3] ** 2).sum() / (values**2).sum()),
            np.ones(3), np.zeros((CELLS, 3)), 0.0,
        )  # fmt: skip
        made = made._replace(spread=made.scores(draws).std(axis=0))
        scores = made.scores(draws)
        cells, _ = kmeans2(scores, CELLS, minit="++", rng=np.random.default_rng(SEED))
        radius = np.linalg.norm(scores, axis=1)
        return made._replace(cells=cells, reach=float(np.quantile(radius, 0.99)))

    def scores(self, draws: np.ndarray) -> np.ndarray:
        """(..., 3), in standard deviations of the exact posterior."""
        z = (draws[..., : len(GRID)][..., self.where] - self.centre) / self.scale
        return z @ self.axes.T / self.spread

    def visits(self, draws: np.ndarray) -> tuple[int, float, float]:
        """(cells with 2 % of the draws, effective number of cells, share within reach)."""
        scores = self.scores(draws)
        near = np.linalg.norm(scores, axis=1) <= self.reach
        counts = np.bincount(vq(scores, self.cells)[0][near], minlength=CELLS)
        p = counts[counts > 0] / max(counts.sum(), 1)
        effective = float(np.exp(-np.sum(p * np.log(p)))) if len(p) else 0.0
        return int((counts >= 0.02 * len(draws)).sum()), effective, float(near.mean())

    def clusters(self, curves: np.ndarray) -> int:
        """Groups of chains that overlap: means closer than two summed sds along all axes."""
        scores = self.scores(curves)
        mean, sd = scores.mean(axis=1), scores.std(axis=1)
        gap = np.abs(mean[:, None] - mean[None])
        touch = (gap <= 2 * (sd[:, None] + sd[None])).all(axis=2)
        reached = np.linalg.matrix_power(touch.astype(float), len(touch)) > 0
        return len({tuple(row) for row in reached})


def pooled(curves: np.ndarray, chains: Sequence[int]) -> np.ndarray:
    """A hundred draws evenly from the chains, or what they have."""
    each = max(1, min(curves.shape[1], DRAWS // len(chains)))
    index = np.linspace(0, curves.shape[1] - 1, each).round().astype(int)
    return curves[list(chains)][:, index].reshape(-1, curves.shape[2])


def subsets(total: int, size: int) -> list[np.ndarray]:
    """Which chains to pool: each alone, all, or ten random choices."""
    if size == 1:
        return [np.array([c]) for c in range(total)]
    if size >= total:
        return [np.arange(total)]
    rng = np.random.default_rng(SEED + size)
    return [rng.choice(total, size, replace=False) for _ in range(10)]


def score(draws: np.ndarray, references: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures of one set of draws."""
    grid, held_out = draws[:, : len(GRID)], draws[:, len(GRID) :]
    error = held_out.mean(axis=0) - well(HELD_OUT)
    made = {"rmse": float(np.sqrt(np.mean(error**2)))}
    if len(draws) > 1:
        z = (well(GRID) - grid.mean(axis=0)) / grid.std(axis=0, ddof=1)
        made["miscalibration"] = miscalibration_area(z)
    for name, reference in references.items():
        distance = wasserstein(grid, reference[:, : len(GRID)])
        made[f"w1_{name}_outside"] = float(distance[~INSIDE].mean())
        made[f"w1_{name}_inside"] = float(distance[INSIDE].mean())
        spread = reference[:, : len(GRID)][:, ~INSIDE].var(axis=0).mean()
        made[f"spread_{name}"] = float(np.sqrt(grid[:, ~INSIDE].var(axis=0).mean() / spread))
    return made


def describe(made: Made, references: dict[str, np.ndarray], space: Space) -> dict:
    """All figures of one method, by number of chains and for single runs."""
    chains, draws, _ = made.curves.shape
    by_chains = {}
    for size in MEMBERS:
        if size > chains or (size == 1 and draws == 1):
            continue
        scores = [score(pooled(made.curves, c), references) for c in subsets(chains, size)]
        by_chains[size] = {k: float(np.mean([x[k] for x in scores])) for k in scores[0]}
        by_chains[size]["gradients"] = made.gradients * size
    row = {
        "settings": made.note,
        "sigma": made.sigma,
        "gradients_per_chain": made.gradients,
        "seconds": made.seconds,
        "chains": by_chains,
        **made.more,
    }
    if draws >= 4:
        found = s.convergence(made.curves[:, :, : len(GRID)][:, :, ~INSIDE][:, :, ::5])
        visits = [space.visits(pooled(made.curves, [c])) for c in range(chains)]
        row["single_run"] = {
            "rhat": float(found.rhat.max()),
            "cells": [v[0] for v in visits],
            "effective_cells": [v[1] for v in visits],
            "within_reach": float(np.mean([v[2] for v in visits])),
            "clusters_of_chains": space.clusters(made.curves),
        }
    return row


def evidence(collapsed: Collapsed) -> dict[str, float]:
    """Median over hidden layers from the prior of log p(data | hidden layer, sigma)."""
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(SEED + 9))
        p = {
            "w1": jax.random.normal(keys[0], (200, BASIS, HIDDEN)),
            "b1": jax.random.normal(keys[1], (200, HIDDEN)),
        }
        prior = -0.5 * (jnp.sum(p["w1"] ** 2, axis=(1, 2)) + jnp.sum(p["b1"] ** 2, axis=1))
        made = {}
        for sigma in (1e-1, 1e-2, 1e-3, 1e-4):
            values = jax.vmap(functools.partial(collapsed.log_density, sigma=sigma))(p) - prior
            made[f"{sigma:g}"] = float(jnp.median(values))
    return made


def run(setting: Setting, out: Path) -> dict:
    at = SETTINGS[setting]
    do = Runner(at)
    collapsed = Collapsed.of(do.distances)
    truth = exact(at["exact"], collapsed, sigma=1e-3)
    # the reference has starts of its own: chains that hardly move would else look close to it
    apart, _ = do.optimised(do.likelihood, prior_start(jax.random.key(SEED + 7), CHAINS))
    reference = nuts(do, "NUTS, reference", apart, "warm start")
    usual, _ = do.optimised(do.likelihood, network_start(jax.random.key(SEED + 2), CHAINS))
    methods = {
        "NUTS": nuts(do, "NUTS", do.warm, "warm start"),
        "NUTS, usual start": nuts(do, "NUTS, usual start", usual, "warm start from usual start"),
        **mini_batch(do),
    }

    flat = truth.curves.reshape(-1, truth.curves.shape[2])
    step = max(1, len(flat) // 1000)
    references = {
        "exact": flat[::step],
        "nuts": pooled(reference.curves, range(len(reference.curves))),
    }
    space = Space.of(flat[::step])
    rows = {name: describe(made, references, space) for name, made in methods.items()}
    # each exact chain against the others: what a single run of a sampler that mixes would have
    whole = describe(truth, references, space)
    alone = []
    for chain in range(len(truth.curves)):
        rest = np.delete(truth.curves, chain, axis=0).reshape(-1, truth.curves.shape[2])
        alone.append(score(pooled(truth.curves, [chain]), {**references, "exact": rest}))
    whole["chains"] = {
        1: {k: float(np.mean([x[k] for x in alone])) for k in alone[0]}
        | {"gradients": truth.gradients}
    }
    rows = {"exact": whole} | rows
    curves = {"exact": truth, **methods}
    _bands(curves, reference, out / "lennard_jones_bands.png")
    _calibration(rows, out / "lennard_jones_miscalibration.png")
    _cost(rows, out / "lennard_jones_cost.png")
    _modes(curves, space, rows, out / "lennard_jones_modes.png")
    return {
        "seed": SEED,
        "settings": {**at, "chains": CHAINS, "draws": DRAWS, "distances": [GRID[0], GRID[-1]]},
        "space": {"variance_of_three_axes": space.share, "cells": CELLS},
        "evidence": evidence(collapsed),
        "reference": {
            "rhat_exact": whole["single_run"]["rhat"],
            "clusters_of_nuts_chains": space.clusters(reference.curves),
            "w1_of_references": score(references["nuts"], {"exact": references["exact"]}),
        },
        "methods": rows,
        "figures": [
            f"lennard_jones_{name}.png" for name in ("bands", "miscalibration", "cost", "modes")
        ],
    }


# -- figures

LOOKS = {
    "exact": (GREY, "-", "*"),
    "NUTS": (BLACK, "-", "o"),
    "NUTS, usual start": (BLACK, "--", "o"),
    "pSGLD, paper": (BLUE, "-", "s"),
    "pSGLD, small steps": (SKY, "-", "s"),
    "SGHMC": (GREEN, "-", "D"),
    "AMAGOLD": (GREEN, "--", "D"),
    "reSGLD": (PURPLE, "-", "^"),
    "cyclical SGHMC": (RED, "-", "P"),
    "cyclical SGHMC, batch 10": (RED, "--", "P"),
    "ensemble": (ORANGE, "-", "v"),
    "ensemble, usual start": (ORANGE, "--", "v"),
    "SWAG": (ORANGE, ":", "X"),
    "Laplace, last layer": (ORANGE, "-.", "X"),
}


def _interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and mean ± 2 sd on the grid."""
    mean, sd = draws[:, : len(GRID)].mean(axis=0), draws[:, : len(GRID)].std(axis=0)
    return mean, mean - 2 * sd, mean + 2 * sd


def _bands(made: dict[str, Made], reference: Made, path: Path) -> None:
    """Mean ± 2 sd of one run and of all ten; behind them both references."""
    figure, panels = plt.subplots(3, 5, figsize=(12.5, 7.2), sharex=True, sharey=True)
    truth = _interval(made["exact"].curves.reshape(-1, made["exact"].curves.shape[2]))
    nuts_band = _interval(pooled(reference.curves, range(len(reference.curves))))
    for axes, (name, method) in zip(panels.flat, made.items(), strict=False):
        colour = LOOKS[name][0]
        axes.fill_between(GRID, truth[1], truth[2], color=LIGHT, lw=0)
        if name != "exact":
            mean, low, high = _interval(pooled(method.curves, range(len(method.curves))))
            axes.fill_between(GRID, low, high, color=colour, alpha=0.3, lw=0)
            if method.curves.shape[1] > 1:
                _, low, high = _interval(pooled(method.curves, [0]))
                axes.fill_between(GRID, low, high, color=colour, alpha=0.75, lw=0)
            axes.plot(GRID, mean, color=colour, lw=1)
        for edge in nuts_band[1:]:
            axes.plot(GRID, edge, ":", color=BLACK, lw=0.9)
        axes.plot(GRID, well(GRID), "--", color=BLACK, lw=1)
        axes.axvspan(*INTERVAL, ymax=0.03, color=BLACK)
        axes.set_title(name, color=colour, fontweight="bold")
    panels[0, 0].set(xlim=(GRID[0], GRID[-1]), ylim=(-9, 9), yticks=(-8, -4, 0, 4, 8))
    for axes in panels[-1]:
        axes.set_xlabel(r"distance $d/\sigma$")
    for axes in panels[:, 0]:
        axes.set_ylabel(r"energy $U/\epsilon$")
    key = panels[-1, -1]
    key.clear()
    key.axis("off")
    patches = [plt.Rectangle((0, 0), 1, 1, color=c, alpha=a, lw=0)
               for c, a in ((LIGHT, 1), (RED, 0.3), (RED, 0.75), (BLACK, 1))]  # fmt: skip
    lines = [plt.Line2D([], [], color=BLACK, ls=style, lw=1) for style in (":", "--")]
    key.legend(
        [patches[0], lines[0], patches[1], patches[2], lines[1], patches[3]],
        ["exact posterior", "NUTS reference", "ten chains or members", "one chain",
         "Lennard-Jones", "range of the data"],
        loc="center", title="mean ± 2 sd", title_fontsize=9, fontsize=9,
    )  # fmt: skip
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _spread_labels(positions: Sequence[float], gap: float) -> np.ndarray:
    """Heights in (0, 1) at least ``gap`` apart, near the given ones."""
    order = np.argsort(positions)
    heights = np.asarray(positions, float)[order]
    for _ in range(200):
        for i in range(len(heights) - 1):
            short = max(0.0, gap - (heights[i + 1] - heights[i]))
            heights[i : i + 2] += -short / 2, short / 2
        heights = np.clip(heights, 0.03, 0.97)
    made = np.empty_like(heights)
    made[order] = heights
    return made


def _label(axes: Any, points: dict[str, tuple[float, float]], x: float, gap: float) -> None:
    """Names at the right, kept apart, each tied to its point; heights in axes fractions."""
    to_axes = axes.transData + axes.transAxes.inverted()
    spots = {name: to_axes.transform(point) for name, point in points.items()}
    heights = _spread_labels([y for _, y in spots.values()], gap)
    for (name, spot), height in zip(spots.items(), heights, strict=True):
        axes.annotate(
            name, spot, (x, height), xycoords="axes fraction", textcoords="axes fraction",
            color=LOOKS[name][0], fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": LOOKS[name][0], "relpos": (0, 0.5),
                        "shrinkA": 1, "shrinkB": 3},
        )  # fmt: skip


def _calibration(rows: dict[str, dict], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.8))
    ends = {}
    for name, row in rows.items():
        if name == "exact":
            continue
        sizes = [m for m in MEMBERS if "miscalibration" in row["chains"].get(m, {})]
        values = [row["chains"][m]["miscalibration"] for m in sizes]
        colour, style, marker = LOOKS[name]
        axes.plot(sizes, values, style, marker=marker, ms=4, color=colour)
        ends[name] = (sizes[-1], values[-1])
    level = rows["exact"]["chains"][1]["miscalibration"]
    axes.plot([1, 10], [level, level], color=GREY, lw=0.8)
    ends["exact"] = (10, level)
    axes.set(
        xscale="log", xlim=(0.9, 30), ylim=(0, 0.5),
        xlabel="chains or members that share 100 draws",
        ylabel=r"miscalibration area, $d/\sigma$ in 0.95 … 1.6",
    )  # fmt: skip
    axes.set_xticks(MEMBERS, [str(m) for m in MEMBERS])
    axes.minorticks_off()
    figure.canvas.draw()
    _label(axes, ends, 0.74, 0.05)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _cost(rows: dict[str, dict], path: Path) -> None:
    """Distances to both references against gradients, from one chain to ten."""
    figure, panels = plt.subplots(2, 2, figsize=(12, 9), sharex=True)
    named = {"exact": "exact posterior", "nuts": "NUTS reference (ten chains)"}
    for across, reference in zip(panels, named, strict=True):
        for axes, where in zip(across, ("outside", "inside"), strict=True):
            ends = {}
            for name, row in rows.items():
                sizes = sorted(row["chains"])
                x = [row["chains"][m]["gradients"] for m in sizes]
                y = [row["chains"][m][f"w1_{reference}_{where}"] for m in sizes]
                colour, style, marker = LOOKS[name]
                axes.plot(x, y, style, color=colour, lw=1.2)
                axes.plot(x[0], y[0], marker, mfc="white", mec=colour, ms=6, mew=1.4)
                if sizes[-1] > 1:
                    axes.plot(x[-1], y[-1], marker, color=colour, ms=6)
                ends[name] = (x[-1], y[-1])
            axes.set(
                xscale="log", yscale="log", title=f"{where} the data, to the {named[reference]}"
            )
            low = min(row["gradients_per_chain"] for row in rows.values())
            high = 10 * max(row["gradients_per_chain"] for row in rows.values())
            axes.set_xlim(low / 2, high * (high / low) ** 0.65)
            decades = np.arange(np.ceil(np.log10(low / 2)), np.log10(high) + 0.3)
            axes.set_xticks(10**decades)
            axes.minorticks_off()
            if where == "outside":
                bottom, top = axes.get_ylim()
                ticks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5) if bottom <= v <= top]
                axes.set_yticks(ticks, [str(v) for v in ticks])
            if where == "outside":
                axes.set_ylabel(r"Wasserstein-1 distance of predictives / $\epsilon$")
            if reference == "nuts":
                axes.set_xlabel("per-datum gradients")
            figure.canvas.draw()
            _label(axes, ends, 0.72, 0.045)
    figure.suptitle("open marker: one chain or two members; filled: ten", fontsize=9)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _modes(made: dict[str, Made], space: Space, rows: dict[str, dict], path: Path) -> None:
    """Functions off the data on two principal axes: exact draws, ten runs, one of them."""
    names = (
        "exact", "NUTS", "NUTS, usual start", "pSGLD, paper", "pSGLD, small steps", "reSGLD",
        "cyclical SGHMC", "cyclical SGHMC, batch 10",
    )  # fmt: skip
    figure, panels = plt.subplots(2, 4, figsize=(12, 6.6), sharex=True, sharey=True)
    behind = space.scores(made["exact"].curves.reshape(-1, made["exact"].curves.shape[2]))
    palette = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#8c6d31", BLACK, "#999933", "#661100")
    for axes, name in zip(panels.flat, names, strict=True):
        curves = made[name].curves
        axes.plot(behind[:, 0], behind[:, 1], ".", color=LIGHT, ms=3, mew=0)
        for chain in reversed(range(len(curves))):
            points = space.scores(pooled(curves, [chain]))
            size, alpha = (4, 1) if chain == 0 else (3, 0.45)
            axes.plot(points[:, 0], points[:, 1], "o", color=palette[chain], ms=size, mew=0,
                      alpha=alpha)  # fmt: skip
        cells = np.mean(rows[name]["single_run"]["cells"])
        axes.set_title(f"{name}\na run visits {cells:.1f} of {CELLS} parts")
    panels[0, 0].set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5))
    for axes in panels[-1]:
        axes.set_xlabel("first principal axis / sd")
    for axes in panels[:, 0]:
        axes.set_ylabel("second principal axis / sd")
    figure.suptitle(
        "Functions where the data leave them open: exact posterior in grey; one colour a run,"
        " the blue one in front",
        fontsize=10,
    )
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def table(result: dict) -> str:
    head = ("sampler", "RMSE/ε, 1 chain", "10 chains", "σ_H/ε", "miscalibration, 1 chain",
            "10 chains", "W₁ outside to exact, 1 chain", "10 chains", "to NUTS, 10 chains",
            "W₁ inside, 10 chains", "gradients of a chain")  # fmt: skip
    lines = []
    for name, row in result["methods"].items():
        by = {int(k): v for k, v in row["chains"].items()}
        one, ten = by.get(1, {}), by.get(10, {})
        lines.append(
            (
                name,
                number(one.get("rmse")),
                number(ten.get("rmse")),
                number(row["sigma"]),
                number(one.get("miscalibration")),
                number(ten.get("miscalibration")),
                number(one.get("w1_exact_outside")),
                number(ten.get("w1_exact_outside")),
                number(ten.get("w1_nuts_outside")),
                number(ten.get("w1_exact_inside")),
                f"{row['gradients_per_chain']:.1e}",
            )
        )
    second = ("sampler", "parts of 10 a run visits", "effective", "draws in the exact 99 %",
              "R-hat of functions", "groups of chains")  # fmt: skip
    runs = []
    for name, row in result["methods"].items():
        if "single_run" not in row:
            continue
        single = row["single_run"]
        cells = single["cells"]
        runs.append(
            (
                name,
                f"{np.mean(cells):.1f} ({min(cells)} … {max(cells)})",
                f"{np.mean(single['effective_cells']):.1f}",
                f"{single['within_reach']:.2f}",
                f"{single['rhat']:.2f}",
                single["clusters_of_chains"],
            )
        )
    return "\n\n".join([markdown(head, lines), markdown(second, runs), *remarks(result)])


def remarks(result: dict) -> list[str]:
    """What the numbers say about references and modes."""
    rows, reference = result["methods"], result["reference"]
    levels = list(result["evidence"].values())
    gain = (levels[-1] - levels[0]) / (len(levels) - 1)
    low = list(result["evidence"])[-1]

    def alone(name: str) -> str:
        one = {int(k): v for k, v in rows[name]["chains"].items()}[1]
        single = rows[name]["single_run"]
        return (
            f"{name}: W₁ {one['w1_exact_outside']:.2f} ε, {np.mean(single['cells']):.1f} parts,"
            f" R-hat {single['rhat']:.2f}, {one['gradients']:.1e} gradients"
        )

    names = ("pSGLD, paper", "pSGLD, small steps", "reSGLD", "cyclical SGHMC",
             "cyclical SGHMC, batch 10", "NUTS", "exact")  # fmt: skip
    return [
        f"Exact functions have R-hat {reference['rhat_exact']:.2f} and chains in"
        f" {rows['exact']['single_run']['clusters_of_chains']} group: one mode. Ten NUTS chains are"
        f" {reference['clusters_of_nuts_chains']} groups, and as a predictive"
        f" {reference['w1_of_references']['w1_exact_outside']:.2f} ε from exact outside the data.",
        f"log p(data | σ_H) rises by {gain:.0f} for each decade that σ_H falls, down to {low}:"
        " noise-free data give σ_H no scale.",
        "One run alone: " + "; ".join(alone(name) for name in names) + ".",
    ]


if __name__ == "__main__":
    main("lennard_jones", run, table)
