"""32 draws, one replica each: the engine against the other ways to run them."""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from bayespot.md import NVT
from bayespot.neighbors import allocate
from bayespot.potentials import energy_and_forces
from bayespot.system import System
from bayespot.units import BOLTZMANN, MASS
from benchmarks.common import markdown
from benchmarks.md import timing

DRAWS, SKIN = 32, 0.5


def jax_md_run(system: System, steps: int) -> Any:
    """(params, key) -> final positions of one run, jax-md's Langevin, lists renewed on the way."""
    from jax_md import simulate

    first = allocate(system, timing.SILICON.cutoff, SKIN)
    mass = system.masses * MASS

    def one(params: Any, key: jax.Array) -> jax.Array:
        def force(x: jax.Array, neighbors: Any, **unused: Any) -> jax.Array:
            at = system.replace(positions=x)
            return energy_and_forces(timing.SILICON, params, at, neighbors)[1]

        init, apply = simulate.nvt_langevin(
            force, lambda x, d, **unused: x + d, 1.0, BOLTZMANN * 300.0, 0.01
        )
        state = init(key, system.positions, mass=mass, neighbors=first)

        def step(carry: Any, _: None) -> Any:
            state, lists = carry
            state = apply(state, neighbors=lists)
            here = system.replace(positions=state.position)
            lists = jax.lax.cond(
                lists.needs_update(here), lambda n: n.update(here), lambda n: n, lists
            )
            return (state, lists), None

        return jax.lax.scan(step, (state, first), None, steps)[0][0].position

    return one


class _Member(Calculator):
    """One draw as a careful user would run it in ASE: compiled forces, a list with a skin."""

    implemented_properties = ("energy", "forces")

    def __init__(self, params: Any, system: System, compute: Any, update: Any) -> None:
        super().__init__()
        self.params, self.system, self.compute, self.update = params, system, compute, update
        self.lists = allocate(system, timing.SILICON.cutoff, SKIN)
        self.reference = np.asarray(system.positions)

    def calculate(
        self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = np.asarray(atoms.positions, np.float32)
        if np.sum((positions - self.reference) ** 2, axis=1).max() > (SKIN / 2) ** 2:
            self.lists = self.update(self.lists, jnp.asarray(positions))
            self.reference = positions
        energy, forces = self.compute(self.params, jnp.asarray(positions), self.lists)
        self.results = {"energy": float(energy), "forces": np.asarray(forces, float)}


def ase_loop(system: System, params: Any, steps: int) -> float:
    """Seconds a step of all members, one ASE run after another."""
    from ase import Atoms

    @jax.jit
    def compute(params: Any, x: jax.Array, lists: Any) -> Any:
        return energy_and_forces(timing.SILICON, params, system.replace(positions=x), lists)

    @jax.jit
    def update(lists: Any, x: jax.Array) -> Any:
        return lists.update(system.replace(positions=x))

    runs = []
    for draw in range(DRAWS):
        own = jax.tree.map(lambda x, d=draw: x[d], params)
        atoms = Atoms("Si64", np.asarray(system.positions), cell=np.asarray(system.cell), pbc=True)
        atoms.calc = _Member(own, system, compute, update)
        MaxwellBoltzmannDistribution(atoms, temperature_K=300.0, rng=np.random.default_rng(draw))
        runs.append(
            Langevin(atoms, units.fs, temperature_K=300.0, friction=0.01 / units.fs, fixcm=False)
        )
    for run in runs[:1]:
        run.run(2)
    started = time.perf_counter()
    for run in runs:
        run.run(steps)
    return (time.perf_counter() - started) / steps


def run(quick: bool) -> dict:
    """Seconds of a step of all 32, and ratios to the engine."""
    system = timing.silicon()
    params = timing.draws(timing.SILICON, system, DRAWS)
    keys = jax.random.split(jax.random.key(2), DRAWS)
    steps, repeats = 50, 5
    one = jax_md_run(system, steps)
    mapped = jax.jit(lambda p, k: jax.lax.map(lambda a: one(*a), (p, k)))
    vmapped = jax.jit(jax.vmap(one))
    ensemble = NVT(300.0, 1.0)
    rows = {
        "engine": timing.engine(
            timing.SILICON, params, system, 1, SKIN, steps, repeats, ensemble
        ),
        "lax.map over jax-md runs": timing.best(
            lambda: jax.block_until_ready(mapped(params, keys)), repeats
        ) / steps,
        "vmap, list update inside": timing.best(
            lambda: jax.block_until_ready(vmapped(params, keys)), repeats
        ) / steps,
        "ASE, one member after another": ase_loop(system, params, 4 if quick else 20),
    }  # fmt: skip
    again = timing.engine(timing.SILICON, params, system, 1, SKIN, steps, repeats, ensemble)
    rows["engine"] = min(rows["engine"], again)
    return {"draws": DRAWS, "seconds": rows}


def table(made: dict) -> str:
    seconds = made["seconds"]
    return markdown(
        ("32 draws of SchNet, 64 atoms", "step / ms and draw", "times the engine's"),
        [
            (name, f"{1e3 * s / made['draws']:.2f}", f"{s / seconds['engine']:.2f}")
            for name, s in seconds.items()
        ],
    )
