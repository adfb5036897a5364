"""The DiffTRe paper's double well, shared with the peer: jax and numpy only.

Thaler & Zavadlav 2021, equation 7 and Supplementary Method 1.1, in units of k_B T, the box and
the particles' mass.  Particles do not interact, and every coordinate is one: ``ATOMS`` atoms in
three dimensions are 3 ``ATOMS`` particles in one.
"""

import jax
import jax.numpy as jnp
import numpy as np

ATOMS = 667  # 2001 particles; the paper has 2000
TIME_STEP, TAU, CHAIN = 1e-3, 0.02, 5
KNOTS, SPREAD, PRIOR = 50, 0.01, 75.0
BINS = 100
CENTRES = (np.arange(BINS) + 0.5) / BINS
UPDATES, RATE, DECAY = 200, 0.5, 0.01
RECOMPUTE = 0.9
HIDDEN = 100  # two layers of the network that stands for an expensive potential


def truth(x):
    """Potential that made the target, k_B T."""
    return 2500 * (x - 0.5) ** 6 - 10 * (x - 0.55) ** 2


def prior(x):
    """What is known beforehand: particles stay inside, k_B T."""
    return PRIOR * (x - 0.5) ** 2


def _pieces() -> np.ndarray:
    """(4 (KNOTS - 1), KNOTS): cubic polynomials between knots from the values at knots.

    The natural spline, in powers of the distance to the left knot in units of their gap.
    """
    n = KNOTS
    second = np.zeros((n, n))  # second derivatives from values; none at the ends
    inner = 4 * np.eye(n - 2) + np.eye(n - 2, k=1) + np.eye(n - 2, k=-1)
    differences = np.zeros((n - 2, n))
    for i in range(n - 2):
        differences[i, i : i + 3] = 1, -2, 1
    second[1:-1] = np.linalg.solve(inner, 6 * differences)
    value = np.eye(n)
    left, right = second[:-1], second[1:]
    powers = (
        value[:-1],
        value[1:] - value[:-1] - left / 3 - right / 6,
        left / 2,
        (right - left) / 6,
    )
    return np.stack(powers, axis=1).reshape(-1, n)


PIECES = _pieces()


def spline(values: jax.Array, x: jax.Array) -> jax.Array:
    """Natural cubic spline through ``values`` at ``KNOTS`` equal steps of [0, 1], at ``x``."""
    table = (jnp.asarray(PIECES, values.dtype) @ values).reshape(-1, 4)
    place = x * (KNOTS - 1)
    first = jnp.clip(jnp.floor(place), 0, KNOTS - 2)
    t = place - first
    c = table[first.astype(jnp.int32)]
    return c[..., 0] + t * (c[..., 1] + t * (c[..., 2] + t * c[..., 3]))


def network(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Fully connected, two hidden layers of ``HIDDEN``, at ``x`` (particles,)."""
    h = jnp.tanh((x[:, None] - 0.5) * params["w0"] + params["b0"])
    h = jnp.tanh(h @ params["w1"] + params["b1"])
    return h @ params["w2"]


def first_spline(key: jax.Array) -> dict[str, jax.Array]:
    """Values at the knots of spread ``SPREAD``."""
    return {"values": SPREAD * jax.random.normal(key, (KNOTS,))}


def first_network(key: jax.Array) -> dict[str, jax.Array]:
    """Weights that leave activations of spread about 1."""
    a, b, c = jax.random.split(key, 3)
    return {
        "w0": 4.0 * jax.random.normal(a, (HIDDEN,)),
        "b0": jnp.zeros(HIDDEN),
        "w1": jax.random.normal(b, (HIDDEN, HIDDEN)) / HIDDEN**0.5,
        "b1": jnp.zeros(HIDDEN),
        "w2": SPREAD * jax.random.normal(c, (HIDDEN,)),
    }


def model(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Learned part of the energy of each particle (particles,), whichever it is."""
    return spline(params["values"], x) if "values" in params else network(params, x)


def energy(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """Of each particle (particles,), k_B T."""
    return model(params, x) + prior(x)


def density(x: jax.Array) -> jax.Array:
    """(BINS,) relative to the mean density, Gaussian bins (Supplementary Method 3, equation 4)."""
    away = BINS * (x[:, None] - jnp.asarray(CENTRES, x.dtype))
    return BINS / (np.sqrt(2 * np.pi)) * jnp.mean(jnp.exp(-(away**2) / 2), axis=0)


def exact_density(potential: np.ndarray, x: np.ndarray) -> np.ndarray:
    """What ``density`` would be on average under ``potential`` at ``x`` (equal steps of [0, 1])."""
    weight = np.exp(-(potential - potential.min()))
    away = BINS * (x[:, None] - CENTRES)
    smooth = BINS / np.sqrt(2 * np.pi) * np.exp(-(away**2) / 2)
    return weight @ smooth / weight.sum()


GRID = np.linspace(0.0, 1.0, 4001)
TARGET = exact_density(truth(GRID), GRID)


def mean_square(found: jax.Array) -> jax.Array:
    """Loss of a density, equation 8."""
    return jnp.mean((found - jnp.asarray(TARGET, found.dtype)) ** 2)


def exact_loss(params: dict[str, jax.Array]) -> float:
    """Loss of a potential without the noise of sampling."""
    values = np.asarray(model(params, jnp.asarray(GRID, float)), float)
    found = exact_density(values + prior(GRID), GRID)
    return float(np.mean((found - TARGET) ** 2))


def start(key: jax.Array, atoms: int = ATOMS) -> jax.Array:
    """(atoms, 3) uniform in [0.25, 0.75] in the prior's well.

    The paper starts anywhere in [0, 1] and waits longer: the prior is 19 k_B T high there.
    """
    return jax.random.uniform(key, (atoms, 3), minval=0.25, maxval=0.75)
