"""What each potential costs: parameters, reach, forces and training gradients, on one crystal.

    python -m benchmarks.potentials --setting quick --docs

prints the table, writes ``potentials.json`` and, when told to, puts the table into
``docs/potentials.md``.  Potentials are those of the configuration, at their default sizes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

from bayespot import build
from bayespot import config as cfg
from bayespot.data import Frame
from bayespot.neighbors import Neighbors, allocate
from bayespot.potentials import Potential, energy_and_forces
from bayespot.system import System
from benchmarks import common

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks/results"
PAGE = ROOT / "docs/potentials.md"
REPLICAS, SKIN = 4, 0.5
NEEDED: dict[str, dict] = {
    "stillinger_weber": {"parameters": "silicon"},
    # of silicon: nearest neighbours 2.35 Angstrom apart, bound by about an eV
    "lennard_jones": {"sigma": 2.095, "epsilon": 1.0, "cutoff": 5.0},
    "tabulated": {"file": "morse.txt"},
}
"""Options without a default."""
LEFT_OUT = ("force_field",)  # of a molecule, not of a crystal


def silicon() -> Frame:
    """64 atoms, slightly off their sites."""
    atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat((2, 2, 2))
    atoms.rattle(0.05, seed=0)
    forces = np.random.default_rng(0).normal(0.0, 0.5, (len(atoms), 3))
    return Frame(atoms, 0.0, forces, "silicon", 0)


def section(kind: str, folder: Path) -> Any:
    """A kind of potential at its defaults."""
    options = dict(NEEDED.get(kind, {}))
    if "file" in options:
        d = np.linspace(1.0, 5.0, 81)
        morse = (1 - np.exp(-1.5 * (d - 2.35))) ** 2 - 1
        options["file"] = folder / options["file"]
        np.savetxt(options["file"], np.stack([d, morse], axis=1))
    return cfg.kinds()[kind].model_validate({"kind": kind, **options})


def reach(kind: str, potential: Potential, options: Any) -> float:
    """How far an atom's energy sees, Angstrom: the cut-off once for each time atoms exchange."""
    blocks = getattr(options, "interactions", 1)
    # messages on edges know the other end of their edge before the first block
    on_edges = kind in ("dimenet_pp", "gemnet_t")
    return potential.cutoff * (blocks + on_edges)


def compiled(function: Callable, *arguments: Any) -> tuple[Callable[[], Any], int]:
    """The program as a call without arguments, and the bytes it needs besides them."""
    program = jax.jit(function).lower(*arguments).compile()
    memory = program.memory_analysis()
    size = 0 if memory is None else int(memory.temp_size_in_bytes)
    return lambda: jax.block_until_ready(program(*arguments)), size


def median_seconds(call: Callable[[], Any], quick: bool) -> float:
    """Of as many calls as fit into a few seconds, three at least."""
    most, budget = (9, 2.0) if quick else (41, 20.0)
    call()
    found: list[float] = []
    while len(found) < 3 or (len(found) < most and sum(found) < budget):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def cost(potential: Potential, frame: Frame, quick: bool) -> dict:
    """Of one batch of replicas with the same parameters, as in training."""
    system = System.from_ase(frame.atoms)
    lists = allocate(system, potential.cutoff, SKIN)
    params = jax.jit(potential.init)(jax.random.key(0), system)
    atoms = len(frame.atoms) * REPLICAS
    noise = 0.02 * jax.random.normal(jax.random.key(1), (REPLICAS, *system.positions.shape))
    positions, labels = system.positions + noise, jnp.asarray(frame.forces, jnp.float32)

    def forces(params: Any, x: jax.Array, lists: Neighbors) -> Any:
        one = lambda r: energy_and_forces(potential, params, system.replace(positions=r), lists)  # noqa: E731
        return jax.vmap(one)(x)

    def loss(params: Any, x: jax.Array, lists: Neighbors) -> jax.Array:
        return jnp.mean((forces(params, x, lists)[1] - labels) ** 2)

    call, memory = compiled(forces, params, positions, lists)
    made: dict[str, Any] = {
        "parameters": sum(x.size for x in jax.tree.leaves(params)),
        "slots": int(lists.pairs(system).mask.shape[1]),
        "forces_seconds_per_atom": median_seconds(call, quick) / atoms,
        "forces_bytes_per_atom": memory / atoms,
    }
    if made["parameters"]:
        call, memory = compiled(jax.grad(loss), params, positions, lists)
        made["gradient_seconds_per_atom"] = median_seconds(call, quick) / atoms
        made["gradient_bytes_per_atom"] = memory / atoms
    return made


def run(setting: common.Setting, out: Path) -> dict:
    del out  # no figures
    frame = silicon()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in cfg.kinds():
            if kind in LEFT_OUT:
                continue
            started = time.perf_counter()
            options = section(kind, Path(folder))
            potential = build.potential(options, [frame])
            row = {"kind": kind, "reach": reach(kind, potential, options)}
            row |= cost(potential, frame, setting == "quick")
            rows.append(row | {"seconds_in_all": time.perf_counter() - started})
            print(f"{kind}: {rows[-1]['seconds_in_all']:.0f} s", flush=True)
    return {"atoms": len(frame.atoms), "replicas": REPLICAS, "skin": SKIN, "rows": rows}


def table(result: dict) -> str:
    micro = lambda s: "–" if s is None else common.number(1e6 * s)  # noqa: E731
    kilo = lambda b: "–" if b is None else common.number(b / 1e3)  # noqa: E731
    return common.markdown(
        ("kind", "parameters", "sees / Å", "energy and forces / µs per atom",
         "training gradient / µs per atom", "memory of both / kB per atom"),
        [
            (
                f"`{r['kind']}`",
                r["parameters"] or "–",
                f"{r['reach']:.1f}",
                micro(r["forces_seconds_per_atom"]),
                micro(r.get("gradient_seconds_per_atom")),
                f"{kilo(r['forces_bytes_per_atom'])}, {kilo(r.get('gradient_bytes_per_atom'))}",
            )
            for r in result["rows"]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    common.main("potentials", run, table, PAGE)
