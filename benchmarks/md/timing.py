"""Seconds per step of the engine and of a bare force call."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ase.build import bulk

from bayespot.md import NVE, NVT, Ensemble, Length, simulate
from bayespot.neighbors import allocate
from bayespot.potentials import LennardJones, Potential, SchNet, energy_and_forces
from bayespot.system import System

SILICON = SchNet(species=(14,), range=5.0, features=32, interactions=2, basis=20)


def silicon(repeat: int = 2, seed: int = 0) -> System:
    """64 atoms at ``repeat`` 2, slightly off their sites."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat((repeat,) * 3)
    atoms.rattle(0.05, seed=seed)
    return System.from_ase(atoms)


def draws(potential: Potential, system: System, count: int) -> Any:
    """Random networks whose forces are weak: what is timed is the work, not the physics."""
    params = jax.vmap(lambda k: potential.init(k, system))(
        jax.random.split(jax.random.key(0), count)
    )
    return jax.tree.map(lambda x: 0.3 * x, params)


def best(function: Callable[[], Any], repeats: int) -> float:
    """Least seconds of several calls after one that compiles."""
    function()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return min(found)


def bare_force(
    potential: Potential, params: Any, system: System, replicas: int, skin: float, steps: int,
    repeats: int,
) -> float:  # fmt: skip
    """Seconds of one force call of all replicas of all draws, in a loop that does nothing else."""
    lists = allocate(system, potential.cutoff, skin)
    count = len(jax.tree.leaves(params)[0]) if jax.tree.leaves(params) else 1
    start = jnp.broadcast_to(system.positions, (count, replicas, *system.positions.shape))

    def force(params: Any, x: jax.Array) -> jax.Array:
        return energy_and_forces(potential, params, system.replace(positions=x), lists)[1]

    each = jax.vmap(jax.vmap(force, (None, 0)), (0, 0))

    @jax.jit
    def loop(params: Any, x: jax.Array) -> jax.Array:
        # so weak a push that nothing moves, and the compiler cannot know
        return jax.lax.scan(lambda x, _: (x + 1e-20 * each(params, x), None), x, None, steps)[0]

    return best(lambda: jax.block_until_ready(loop(params, start)), repeats) / steps


def engine(
    potential: Potential, params: Any, system: System, replicas: int, skin: float, steps: int,
    repeats: int, ensemble: Ensemble | None = None, **more: Any,
) -> float:  # fmt: skip
    """Seconds of one step of the engine, everything included but compilation."""
    ends: list[float] = []
    simulate(
        jax.random.key(1), potential, params, system, ensemble or NVT(300.0, 1.0, friction=0.01),
        Length(steps * (repeats + 1), stride=min(steps, 10), blocks=repeats + 1), [],
        replicas=replicas, skin=skin, callback=lambda _: ends.append(time.perf_counter()), **more,
    )  # fmt: skip
    return min(b - a for a, b in itertools.pairwise(ends)) / steps


ARGON = LennardJones(3.405, 0.010323, 2.5 * 3.405)


def fluid(repeat: int, seed: int = 0) -> System:
    """Argon at rho* = 0.8442, LAMMPS's melt, as a slightly disordered crystal."""
    edge = (4 / 0.8442) ** (1 / 3) * 3.405
    atoms = bulk("Ar", "fcc", a=edge, cubic=True).repeat((repeat,) * 3)
    atoms.rattle(0.1, seed=seed)
    return System.from_ase(atoms)


MELT = NVE(1.44 * 119.8, 10.8)  # dt* = 0.005
