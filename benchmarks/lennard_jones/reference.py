"""The exact reference: the output layer integrated out, NUTS on the hidden layer."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import samplers as s
from benchmarks.common import timed
from benchmarks.lennard_jones.problem import (
    AXIS,
    BASIS,
    HIDDEN,
    INTERVAL,
    SEED,
    Made,
    N,
    features,
    hidden,
    well,
)


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
    gradients = N * float(made.result.info.gradients.sum(axis=1).mean())
    note = f"output layer integrated out, noise {sigma:g}; {setting['warmup']} warm-up steps"
    return Made(curves, sigma, gradients, made.seconds, note, {"log_density": float(kept.mean())})


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
