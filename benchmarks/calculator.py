"""What uncertainties cost in ASE: a step with all members against bare calls of the forces.

    python -m benchmarks.calculator --setting quick --page

Ethanol and a SchNet of the default size; parameters are random, which changes no time.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import molecule

from bayespot.calculator import PosteriorCalculator
from bayespot.committee import Committee
from bayespot.data import Shift
from bayespot.neighbors import allocate
from bayespot.potentials import SchNet, energy_and_forces
from bayespot.system import System
from benchmarks import common

PAGE = Path(__file__).parent.parent / "docs/calculator.md"
POTENTIAL = SchNet(species=(1, 6, 8), range=5.0)
SHIFT = Shift((1, 6, 8), (-10.7, -48.8, -102.6))


def committee(members: int) -> Committee:
    system = System.from_ase(molecule("CH3CH2OH"))
    keys = jax.random.split(jax.random.key(0), members)
    params = jax.jit(jax.vmap(lambda key: POTENTIAL.init(key, system)))(keys)
    return Committee(POTENTIAL, jax.tree.map(np.asarray, params), SHIFT)


def median(call: Callable[[], Any], quick: bool) -> float:
    """Seconds of a call."""
    found = []
    for _ in range(40 if quick else 400):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return float(np.median(found[len(found) // 10 :]))


def bare(params: Any, all_of_them: bool) -> Callable[[], Any]:
    """Energy and forces as JAX would compute them, nothing around it."""
    system = System.from_ase(molecule("CH3CH2OH"))
    lists = allocate(system, POTENTIAL.cutoff)

    def forces(one: Any, x: jax.Array) -> Any:
        return energy_and_forces(POTENTIAL, one, system.replace(positions=x), lists)

    program = jax.jit(jax.vmap(forces, (0, None)) if all_of_them else forces)
    params = jax.tree.map(jnp.asarray, params)
    call = lambda: jax.block_until_ready(program(params, system.positions))  # noqa: E731
    call()
    return call


def step(calculator: PosteriorCalculator, wanted: str) -> tuple[Callable[[], Any], float]:
    """Atoms move, forces and ``wanted`` are asked for; and the seconds of the first time."""
    atoms = molecule("CH3CH2OH")
    atoms.calc = calculator
    rng = np.random.default_rng(0)
    moves = iter(rng.normal(0, 0.002, (1000, *atoms.positions.shape)))

    def call() -> None:
        atoms.positions += next(moves)
        atoms.get_forces()
        calculator.get_property(wanted, atoms)

    started = time.perf_counter()
    call()
    return call, time.perf_counter() - started


def run(setting: common.Setting, out: Path) -> dict:
    del out  # no figures
    quick = setting == "quick"
    rows = []
    for members in (24, 40):
        made = committee(members)
        calls = {
            "one": bare(jax.tree.map(lambda x: x[0], made.params), False),
            "all": bare(made.params, True),
        }
        calls["step"], first = step(PosteriorCalculator(made), "forces_uncertainty")
        calls["member"], _ = step(PosteriorCalculator(made, member=0), "energy")
        row = {name: median(call, quick) for name, call in calls.items()}
        rows.append({"members": members, "first": first, **row})
    return {"atoms": 9, "rows": rows}


def table(result: dict) -> str:
    milli = lambda s: common.number(1e3 * s)  # noqa: E731
    return common.markdown(
        ("members", "ASE step with uncertainties / ms", "bare forces of all / ms",
         "bare forces of one / ms", "ASE step of one member / ms", "first step / s"),
        [
            (
                row["members"], milli(row["step"]), milli(row["all"]), milli(row["one"]),
                milli(row["member"]), common.number(row["first"]),
            )
            for row in result["rows"]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    common.main("calculator", run, table, PAGE)
