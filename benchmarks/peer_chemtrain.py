"""DiffTRe on the double well by chemtrain's own trainer; runs in ``.peers/chemtrain``.

``.peers/chemtrain/bin/python benchmarks/peer_chemtrain.py OUT.json --updates 200 --states 100``

Energy, density, target, integrator, lengths and optimiser are those of ``difftre/well.py``, the
file that our own side takes them from.  Particles do not interact, so chemtrain is given a
neighbour list that costs nothing.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser(description="DiffTRe on the double well with chemtrain.")
parser.add_argument("out", type=Path)
parser.add_argument("--updates", type=int, default=200, help="of these, the first compiles")
parser.add_argument("--atoms", type=int, default=667)
parser.add_argument("--states", type=int, default=100)
parser.add_argument("--skip", type=int, default=10, help="states before the first that counts")
parser.add_argument("--every", type=int, default=50, help="steps between two states")
parser.add_argument("--batch", type=int, default=10, help="states evaluated at once")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, default=2)
GIVEN = parser.parse_args()
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: GIVEN.threads])
os.environ |= {"JAX_PLATFORMS": "cpu"}
sys.path.insert(0, str(Path(__file__).parent / "difftre"))

import chex  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
import well  # noqa: E402
from chemtrain import trainers  # noqa: E402
from chemtrain.ensemble import sampling  # noqa: E402
from chemtrain.quantity import observables  # noqa: E402
from chemtrain.version import __version__  # noqa: E402
from jax_md import partition, simulate  # noqa: E402


@chex.dataclass(frozen=True)
class NoNeighbors:
    """What chemtrain asks of a neighbour list, of particles without neighbours."""

    idx: jax.Array
    reference_position: jax.Array
    did_buffer_overflow: jax.Array

    format = partition.NeighborListFormat.Sparse

    def update(self, *_, **__):
        return self

    def set(self, **changes):
        return self.replace(**changes)


class Timed(trainers.Difftre):
    """Notes the seconds of each update, and whether it made a trajectory."""

    def _update(self, batch):
        before = np.asarray(self.trajectory_states[0].sim_state.sim_state.position)
        started = time.perf_counter(), time.process_time()
        super()._update(batch)
        jax.block_until_ready(self.params)
        seconds = time.perf_counter() - started[0], time.process_time() - started[1]
        after = np.asarray(self.trajectory_states[0].sim_state.sim_state.position)
        self.notes.append((*seconds, not np.array_equal(before, after), self.params))


def energy_fn_template(params):
    def energy(positions, neighbor=None, **_):
        return jnp.sum(well.energy(params, positions.ravel()))

    return energy


def perform(folder: Path) -> dict:
    key, place, first = jax.random.split(jax.random.PRNGKey(GIVEN.seed), 3)
    positions = well.start(place, GIVEN.atoms)
    neighbors = NoNeighbors(
        idx=jnp.zeros((2, 1), jnp.int32),
        reference_position=positions,
        did_buffer_overflow=jnp.asarray(False),
    )
    init_reference, simulator = sampling.initialize_simulator_template(
        simulate.nvt_nose_hoover,
        shift_fn=lambda position, change, **_: position + change,
        nbrs=neighbors,
        extra_simulator_kwargs={
            "kT": 1.0, "dt": well.TIME_STEP, "chain_length": well.CHAIN, "tau": well.TAU,
        },
    )  # fmt: skip
    params = well.first_spline(first)
    reference = init_reference(
        key, positions, energy_fn_template(params), {"mass": jnp.asarray(1.0)}
    )
    between = GIVEN.every * well.TIME_STEP
    production = between * (GIVEN.skip + jnp.arange(GIVEN.states))
    timings = sampling.TimingClass(
        t_equilib_start=between * jnp.arange(GIVEN.skip),
        t_production_start=production,
        t_production_end=production + between,
        timesteps_per_printout=GIVEN.every,
        time_step=well.TIME_STEP,
    )
    rate = optax.exponential_decay(well.RATE, well.UPDATES, well.DECAY)
    trainer = Timed(
        params,
        optax.adam(rate, b1=0.1, b2=0.4),
        reweight_ratio=well.RECOMPUTE,
        checkpoint_path=folder,
        energy_fn_template=energy_fn_template,
    )
    trainer.notes = []
    started = time.perf_counter()
    trainer.add_statepoint(
        energy_fn_template,
        simulator,
        None,
        timings,
        {"kT": 1.0},
        {"density": lambda state, **_: well.density(state.position.ravel())},
        reference,
        {
            "density": {
                "gamma": 1.0,
                "target": jnp.asarray(well.TARGET, jnp.float32),
                "traj_fn": observables.init_traj_mean_fn("density"),
            }
        },
        vmap_batch=GIVEN.batch,
    )
    set_up = time.perf_counter() - started
    trainer.train(GIVEN.updates)
    seconds, core_seconds, fresh, values = zip(*trainer.notes, strict=True)
    return {
        "peer": f"chemtrain {__version__}",
        "jax": jax.__version__,
        "set_up_seconds": set_up,  # compiles, and makes two trajectories
        "first_update_seconds": seconds[0],  # compiles
        "seconds": seconds[1:],
        "core_seconds": core_seconds[1:],  # the measure that stands when others use the machine
        "fresh": fresh[1:],
        "loss": [float(x) for x in trainer.batch_losses],
        "exact_loss": [well.exact_loss(p) for p in (params, *values)],
        "load": os.getloadavg()[0],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = perform(Path(folder))
    GIVEN.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
