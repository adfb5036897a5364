"""The double well learned by bayespot's trainer, and how long its updates take."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from bayespot.md import NVT, Length, Simulation
from bayespot.neighbors import Neighbors
from bayespot.observables import Custom, Frame
from bayespot.potentials import Potential
from bayespot.potentials.base import Params
from bayespot.system import System
from bayespot.trainers import DiffTRe, Target
from bayespot.units import BOLTZMANN, MASS
from benchmarks.difftre import well

TEMPERATURE = 1 / BOLTZMANN  # K, at which k_B T is 1 eV: eV, Angstrom and fs are the well's units


@dataclasses.dataclass(frozen=True)
class Work:
    """Size of one update; the same for the peer.

    Attributes:
        states: that are kept.
        skip: states before them.
        every: steps between two.
        batch: states evaluated at once.
    """

    states: int = 100
    skip: int = 10
    every: int = 50
    batch: int = 10

    @property
    def length(self) -> Length:
        """Blocks of as many states as are skipped."""
        return Length(
            self.states * self.every,
            equilibration=self.skip * self.every,
            stride=self.every,
            blocks=self.states // self.skip,
        )


@dataclasses.dataclass(frozen=True)
class Well(Potential):
    """An external field, spline or network, on every coordinate of every atom.

    Attributes:
        network: in place of the spline.
    """

    network: bool = False

    @property
    def cutoff(self) -> float:
        """Nobody interacts."""
        return 0.0

    def init(self, key: jax.Array, system: System) -> Params:
        """Small random values."""
        del system
        return well.first_network(key) if self.network else well.first_spline(key)

    def atomic_energies(
        self, params: Params, system: System, neighbors: Neighbors
    ) -> Float[Array, " atoms"]:
        """Sum over the three coordinates."""
        del neighbors
        each = well.energy(params, system.positions.ravel())
        return jnp.sum(each.reshape(-1, 3), axis=1)


def _density(frame: Frame) -> jax.Array:
    return well.density(frame.system.positions.ravel())


DENSITY = Custom("density", _density, axis=well.CENTRES, axis_label="x/X")


def system(key: jax.Array, atoms: int = well.ATOMS) -> System:
    """Unit masses at random places."""
    return System(
        well.start(key, atoms), jnp.ones(atoms, jnp.int32), jnp.full(atoms, 1 / MASS), jnp.eye(3)
    )


# as in the paper: particles that do not interact barely change their energies, and the error of
# averages stays however long the trajectory
CHAIN = NVT(TEMPERATURE, well.TIME_STEP, "nose_hoover", relaxation_time=well.TAU)
NOISE = NVT(TEMPERATURE, 5 * well.TIME_STEP, friction=10.0)  # every particle sees every energy


def trainer(
    work: Work,
    key: jax.Array,
    atoms: int = well.ATOMS,
    network: bool = False,
    ensemble: NVT = CHAIN,
) -> DiffTRe:
    """As the paper trains: steps are not shortened, however little of the sample they leave."""
    simulation = Simulation(Well(network), system(key, atoms), ensemble, work.length, keep=1)
    rate = optax.exponential_decay(well.RATE, well.UPDATES, well.DECAY)
    return DiffTRe(
        simulation,
        [Target(DENSITY, well.TARGET)],
        optax.adam(rate, b1=0.1, b2=0.4),
        recompute=well.RECOMPUTE,
        trust=0.0,
        warm_up=1,
        batch_size=work.batch,
    )


def one_member(params: Any) -> Any:
    """With the leading axis that trainers want."""
    return jax.tree.map(lambda x: x[None], params)


def train(work: Work, updates: int, ensemble: NVT = CHAIN, seed: int = 0) -> dict:
    """Losses and seconds, update by update; the first compiles and is told apart."""
    place, first, use = jax.random.split(jax.random.key(seed), 3)
    made = trainer(work, place, ensemble=ensemble)
    params = one_member(well.first_spline(first))
    state = made.init(use, params)
    seconds, core_seconds, records = [], [], []
    exact = [well.exact_loss(well.first_spline(first))]
    for _ in range(updates):
        started = time.perf_counter(), time.process_time()
        state, record = made.update(state)
        jax.block_until_ready(state.params)
        seconds.append(time.perf_counter() - started[0])
        core_seconds.append(time.process_time() - started[1])
        records.append(record)
        exact.append(well.exact_loss(jax.tree.map(lambda x: x[0], state.params)))
    learned = jax.tree.map(lambda x: x[0], state.params)
    return {
        "first_update_seconds": seconds[0],
        "seconds": seconds[1:],
        "core_seconds": core_seconds[1:],
        "fresh": [bool(r["trajectories"][0]) for r in records[1:]],
        "loss": [float(r["loss"][0]) for r in records],
        "gradient_norm": [float(r["gradient_norm"][0]) for r in records],
        "exact_loss": exact,
        "potential": np.asarray(well.energy(learned, jnp.asarray(well.GRID, float)))[::20],
        "density": records[-1]["density"][0],
    }


def typical(run: dict, clock: str = "seconds") -> dict[str, float | None]:
    """Median seconds of updates with and without a new trajectory, the first left out."""
    seconds, fresh = np.asarray(run[clock]), np.asarray(run["fresh"], bool)

    def median(which: np.ndarray) -> float | None:
        return float(np.median(seconds[which])) if which.any() else None

    return {"fresh": median(fresh), "reused": median(~fresh)}
