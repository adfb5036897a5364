"""Half a step of a Nose-Hoover chain that touches the momenta once.

The scheme is that of Martyna et al. 1996, in substeps of Suzuki and Yoshida's fourth order.
jax-md scales all momenta in each of its six substeps; a substep needs their kinetic energy alone,
which scales with them.  On cheap potentials that halves the time of a step.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

REPEATS = 2
OUTER = 1 / (2 - 2 ** (1 / 3))  # jax-md has 2 / (4 - 4 ** (1 / 3)), which is of second order
FRACTIONS = np.tile([OUTER, 1 - 2 * OUTER, OUTER], REPEATS) / REPEATS


def half_step(chain: Any, kT: Any, time_step: Any) -> tuple[Any, jax.Array]:
    """The chain after half a step, and the factor by which momenta shrink or grow.

    Args:
        chain: jax-md's, its kinetic energy that of the momenta.
        kT: eV.
        time_step: fs, of the whole step.
    """
    mass, freedoms = list(chain.mass), chain.degrees_of_freedom
    last = len(mass) - 1
    dtype = chain.momentum.dtype
    dt = jnp.asarray(time_step, dtype)

    def substep(carry: Any, fraction: jax.Array) -> tuple[Any, None]:
        positions, momenta, kinetic, factor = carry
        half = dt * fraction / 2
        quarter, eighth = half / 2, half / 4
        p = list(momenta)
        p[last] = p[last] + quarter * (p[last - 1] ** 2 / mass[last - 1] - kT)
        for m in range(last - 1, -1, -1):
            pull = 2 * kinetic - freedoms * kT if m == 0 else p[m - 1] ** 2 / mass[m - 1] - kT
            drag = jnp.exp(-eighth * p[m + 1] / mass[m + 1])
            p[m] = drag * (drag * p[m] + quarter * pull)
        scale = jnp.exp(-half * p[0] / mass[0])
        kinetic = kinetic * scale**2
        positions = positions + half * jnp.stack(p) / chain.mass
        pull = 2 * kinetic - freedoms * kT
        for m in range(last):
            drag = jnp.exp(-eighth * p[m + 1] / mass[m + 1])
            p[m] = drag * (drag * p[m] + quarter * pull)
            pull = p[m] ** 2 / mass[m] - kT
        p[last] = p[last] + quarter * pull
        return (positions, jnp.stack(p), kinetic, factor * scale), None

    start = (
        chain.position, chain.momentum, chain.kinetic_energy.astype(dtype), jnp.ones((), dtype)
    )  # fmt: skip
    made, _ = jax.lax.scan(substep, start, jnp.asarray(FRACTIONS, dtype))
    positions, momenta, kinetic, factor = made
    return chain.set(position=positions, momentum=momenta, kinetic_energy=kinetic), factor
