"""Data, model, posterior and starts, and what a method hands back."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import samplers as s

SEED = 0
N, CHAINS, DRAWS = 100, 10, 100
CUTOFF, BASIS, HIDDEN = 2.5, 6, 64
INTERVAL = (1.0615, 1.18)
GRID = np.linspace(0.95, 1.6, 66)  # beyond the data on both sides
INSIDE = np.abs(GRID - np.mean(INTERVAL)) <= np.ptp(INTERVAL) / 2
HELD_OUT = np.linspace(*INTERVAL, 60)


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
def curves_of(draws: Any) -> jax.Array:
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
