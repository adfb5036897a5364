"""A batched simulation under way: block after block, and back to where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import door, program
from bayespot.md.batch import Batch
from bayespot.system import System

if TYPE_CHECKING:
    from bayespot.md.simulation import Simulation


class Learned(NamedTuple):
    """What one session learns and the next need not.

    Attributes:
        lists: of one replica, as large as any needed; None before the first session.
        shape: (draws, replicas) that ``chunk`` is for.
        chunk: of them, what goes through the program at once.
    """

    lists: Any = None
    shape: tuple[int, int] | None = None
    chunk: tuple[int, int] | None = None


class Session:
    """Trajectories of one ``Simulation``; made by ``Simulation.session``.

    Attributes:
        carry: where they are; every array has leading axes (draw, replica).
        blocks: how many were made.
        retries: how often lists overflowed and a block was repeated.
    """

    def __init__(
        self,
        simulation: Simulation,
        plan: program.Plan,
        key: jax.Array,
        params: Any,
        starts: jax.Array,
        cells: jax.Array | None,
    ) -> None:
        self._simulation, self._plan = simulation, plan
        draws, replicas = starts.shape[:2]
        ensemble = simulation.ensemble
        self.conditions = ensemble.conditions(draws, replicas)
        self.conditions["cell"] = door.cells_of(simulation.system, cells, draws, replicas)
        self.batch = Batch(
            plan, params, simulation.system, self.conditions, simulation.memory, simulation.mesh
        )
        keys = jax.random.key_data(jax.random.split(key, draws * replicas))
        self.keys = keys.reshape(draws, replicas, -1)
        varies = ensemble.varies_cell or cells is not None
        self.carry = self.batch.start(
            self.keys, starts, simulation.skin, varies, simulation.learned.lists
        )
        self.blocks = self.retries = 0

    def divide(self, chunk: tuple[int, int] | None) -> None:
        """Choose chunks, or take those given, or those of an equal session."""
        learned = self._simulation.learned
        if learned.shape == (self.batch.draws, self.batch.replicas):
            chunk = chunk or learned.chunk
        self.batch.divide(self.carry, chunk)

    @property
    def step(self) -> int:
        """Steps made."""
        return self.blocks * self._plan.length.block_steps

    @property
    def stable(self) -> np.ndarray:
        """(draw, replica) True where the trajectory goes on."""
        return np.asarray(self.carry.reason) == 0

    @property
    def configuration(self) -> System:
        """(draw, replica) leading axes."""
        return _configurations(self.carry.states, self._simulation.system, self.conditions)

    def advance(self) -> program.Averages:
        """One block, repeated with larger lists where they overflowed."""
        while True:
            new, averages = self.batch.block(self.carry, self.step)
            crowded = np.asarray(new.neighbors.overflow & (new.reason == 0))
            if not crowded.any():
                break
            # The carry is that of the last good block: repeat it with more room.
            self.carry = self.batch.grow(self.carry, crowded, self.step)
            self.retries += 1
        self.carry = new
        self.blocks += 1
        self._simulation.learned = self._simulation.learned._replace(
            lists=self.batch.empty_lists(new),
            shape=(self.batch.draws, self.batch.replicas),
            chunk=self.batch.chunk,
        )
        return averages

    def restart(self, states: Any, params: Any, reason: Any = None) -> None:
        """Go on from ``states`` of this session with other parameters, counting blocks from 0.

        Args:
            states: ``carry.states`` of some earlier moment, or a mixture of several.
            params: leading draw axis.
            reason: (draw, replica) why trajectories stand still, 0 where they do not; by default
                everyone is stable again.

        Raises:
            UserError: an observable that looks back in time, for which there is no past.
        """
        past = [o.name for o in self._plan.observables if o.window]
        if past:
            raise UserError(
                f"{past[0]} looks back in time, and a trajectory that restarts has no past",
                "Leave it out of the simulation, and measure it in one that does not restart",
            )
        self.batch.params, self.blocks = params, 0
        lists = self.batch.empty_lists(self.carry)
        while True:
            carry = self.batch.restart(states, lists, self.carry)
            if reason is not None:
                given = jnp.asarray(reason, carry.reason.dtype)
                carry = carry._replace(reason=given, failed_at=jnp.where(given == 0, -1, 0))
            crowded = np.asarray(carry.neighbors.overflow & (carry.reason == 0))
            if not crowded.any():
                break
            carry = self.batch.grow(carry, crowded, self.step)
            if np.asarray(carry.reason)[crowded].any():  # no list could hold those
                reason = carry.reason
            lists = self.batch.empty_lists(carry)
        self.carry = carry


@jax.jit
def _configurations(states: Any, system: System, conditions: Any) -> System:
    return jax.vmap(jax.vmap(lambda s, at: program.configuration(s, system, at)))(
        states, conditions
    )


def mixed(states: list[Any], choice: np.ndarray) -> Any:
    """Of several moments, the one that ``choice`` (draw, replica) names for each trajectory."""
    index = jnp.asarray(choice)
    rows, columns = (jnp.asarray(i) for i in np.indices(choice.shape))
    return jax.tree.map(lambda *x: jnp.stack(x)[index, rows, columns], *states)
