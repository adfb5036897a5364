"""StABlE: simulate until trajectories break, go back to before, and learn (Raja et al., 2025).

Each member alternates between two phases (algorithm 1 of the paper's appendix A.3):

- SIMULATE: its replicas go on, those that break stand still, until ``f_max`` of them have;
- LEARN: all replicas start again and again ``t`` steps before they broke, or before now, with the
  same thermal noise: what broke breaks again until something is learnt.  Averages over these ``t``
  steps shall be the targets, and each time parameters take one step along the Boltzmann estimate
  of their gradient; until no more than ``f_min`` of the replicas break.

One update simulates ``t`` steps of every replica of every member, whatever its phase, and members
that learn take a step.  Replicas that the simulation stopped count with where they stand, to the
end.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.md import Session, Simulation
from bayespot.md.stability import DRIFTED, RDFDeviation
from bayespot.observables import Context
from bayespot.trainers import rewinding
from bayespot.trainers.base import Record, Stop, Trainer
from bayespot.trainers.boltzmann import Boltzmann
from bayespot.trainers.label_errors import LabelErrors, Weights
from bayespot.trainers.learning import Step
from bayespot.trainers.neighborhoods import Neighborhoods
from bayespot.trainers.reference import Resampler
from bayespot.trainers.stable_door import refuse
from bayespot.trainers.targets import Target


class Phase(enum.IntEnum):
    """Of a member."""

    SIMULATE = 0
    LEARN = 1


class StABlEState(NamedTuple):
    """Leading axis of members everywhere but in ``key``.

    Attributes:
        params: now.
        optimizer: of optax, one for each member.
        phase: of the next update.
        trajectories: where replicas are and were.
        key: raw.
    """

    params: Any
    optimizer: Any
    phase: Int[Array, " members"]
    trajectories: rewinding.Trajectories
    key: jax.Array


class StABlE(Trainer):
    """Makes a potential stable where simulation finds it is not.

    The record of an update has for each member ``phase`` (that the update was made in),
    ``unstable`` (fraction of the replicas), ``steps`` (those made in this simulation phase),
    ``loss`` and the observables over these ``t`` steps in both phases, and, NaN while it
    simulates, ``label_loss`` and ``gradient_norm``.
    """

    def __init__(
        self,
        simulation: Simulation,
        targets: Sequence[Target],
        optimizer: optax.GradientTransformation,
        *,
        replicas: int,
        rewind: int = 1,
        f_max: float = 0.5,
        f_min: float = 0.1,
        structure: Sequence[RDFDeviation] = (),
        neighborhoods: Neighborhoods | None = None,
        states: int | None = None,
        labels: Batch | None = None,
        label_weight: float = 10.0,
        label_frames: int = 8,
        weights: Weights | None = None,
        batch_size: int = 8,
        starts: jax.Array | None = None,
        cells: jax.Array | None = None,
    ) -> None:
        """Args:
        simulation: with ``keep`` (frames between two samples) and ``stability`` set; of its
            length, only the steps of a block matter.
        targets: what averages shall be; a curve's loss is a mean over its bins, that of the paper
            with a weight of as many. Beside the peaks of a curve, few broken bonds are hardly
            seen: give bins that should be empty small errors.
        optimizer: of optax; the paper takes steps of 0.001 to 0.003.
        replicas: trajectories of each member.
        rewind: t, in blocks of the simulation.
        f_max: fraction of unstable replicas that ends a simulation phase.
        f_min: the largest that ends a learning phase.
        structure: criteria of stability beyond those of the simulation.
        neighborhoods: take the localized estimator; targets then are of one neighbourhood.
        states: samples in one estimate, several of which are averaged; None for all at once.
        labels: frames of quantum mechanics that shall not be forgotten.
        label_weight: lambda, of their loss.
        label_frames: of a mini-batch.
        weights: of energies, forces and stresses in their loss.
        batch_size: frames evaluated at once.
        starts, cells: (members, replicas, ...) where trajectories start.

        Raises:
            UserError: settings with which nothing is learnt, or not what is asked for.
        """
        self.simulation, self.optimizer = simulation, optimizer
        self.replicas, self.rewind, self.f_max, self.f_min = replicas, rewind, f_max, f_min
        self.structure, self.starts, self.cells = tuple(structure), starts, cells
        self.resampler = Resampler(simulation, replicas, batch_size=batch_size)
        refuse(
            self.resampler, targets, f_max, f_min, rewind, states, self.structure, starts,
            (label_weight, label_frames),
        )  # fmt: skip
        context = self.resampler.context(self.resampler.points[0])
        if neighborhoods is not None:
            neighborhoods.check(simulation.system, [t.observable for t in targets])
            context = Context(context.temperature, len(neighborhoods.groups[0]))
        estimator = Boltzmann(
            simulation.potential, simulation.system, tuple(targets), context, states,
            neighborhoods, batch_size,
        )  # fmt: skip
        errors = LabelErrors(simulation.potential, weights or Weights())
        if labels is not None and errors.weights.stress and labels.stress is None:
            raise UserError(
                "the stress has a weight, and no training frame has a stress",
                "Set it to 0, or give periodic frames with the key stress or virial",
            )
        self._labels = labels
        self._step = jax.jit(Step(estimator, optimizer, errors, label_weight, label_frames))
        self._session: Session | None = None

    def init(self, key: jax.Array, params: Any) -> StABlEState:
        """Everyone simulates."""
        first, later = jax.random.split(key)
        self._session = self._open(first, params)
        states = self._session.carry.states
        return StABlEState(
            params,
            jax.vmap(self.optimizer.init)(params),
            jnp.full(len(jax.tree.leaves(params)[0]), Phase.SIMULATE, jnp.int32),
            rewinding.start(states, self.rewind),
            jax.random.key_data(later),
        )

    def _open(self, key: jax.Array, params: Any) -> Session:
        return self.simulation.session(key, params, self.starts, self.cells, self.replicas)

    def update(self, state: StABlEState) -> tuple[StABlEState, Record]:
        """``t`` steps of every replica, and of members that learn a step of the parameters."""
        use, key = jax.random.split(jax.random.wrap_key_data(state.key))
        learns = np.asarray(state.phase) == Phase.LEARN
        members = len(learns)
        if self._session is None or self._session.batch.draws != members:
            self._session = self._open(key, state.params)
        session = self._session
        here = rewinding.begin(state.trajectories, jnp.asarray(learns))
        session.restart(here.now, state.params, here.reason)
        blocks, means = [], []
        for _ in range(self.rewind):
            here = rewinding.remember(here, session.carry)
            made = session.advance()
            blocks.append(made.frames)
            means.append(made.means)
        positions, cells, _ = (jnp.concatenate(x, axis=2) for x in zip(*blocks, strict=True))
        drifted = jnp.asarray(_drifted(self.structure, means, here.reason.shape))
        here = rewinding.end(here, session.carry, session.step, drifted)
        params, optimizer, found = self._roomy(
            state.params, state.optimizer, positions, cells, jnp.asarray(learns),
            jax.random.split(use, members),
        )  # fmt: skip
        unstable = np.mean(np.asarray(here.reason) != 0, axis=1)
        record = {
            "phase": learns.astype(np.int32),
            "unstable": unstable,
            "steps": np.where(learns, 0, np.max(np.asarray(here.steps), axis=1)),
            **{name: np.asarray(x) for name, x in found.items()},
        }
        to_learn, to_simulate = (
            ~learns & (unstable >= self.f_max),
            learns & (unstable <= self.f_min),
        )
        here = rewinding.switch(here, jnp.asarray(to_learn), jnp.asarray(to_simulate))
        phase = np.where(to_learn, Phase.LEARN, np.where(to_simulate, Phase.SIMULATE, state.phase))
        new = StABlEState(
            params, optimizer, jnp.asarray(phase, jnp.int32), here, jax.random.key_data(key)
        )
        return new, record

    def stable(self, steps: int) -> Stop:
        """Stop once every member has simulated so many steps with fewer than ``f_max`` of its
        replicas unstable."""

        def stop(history: dict[str, np.ndarray]) -> str | None:
            calm = history["unstable"][-1] < self.f_max
            calm &= (history["phase"][-1] == Phase.SIMULATE) & (history["steps"][-1] >= steps)
            return f"every member is stable for {steps} steps" if calm.all() else None

        return stop

    def _roomy(self, *arguments: Any) -> Any:
        """``_step`` with lists large enough."""
        while True:
            *made, crowded = self._step(*arguments, self.resampler.lists, self._labels)
            if not bool(crowded):
                return made
            self.resampler.grow()

    def sizes(self) -> dict[str, Any]:
        """Sizes of lists and chunks."""
        return self.resampler.sizes()

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """What ``sizes`` gave elsewhere."""
        self.resampler.restore_sizes(sizes)
        self._session = None


def _drifted(
    criteria: Sequence[RDFDeviation], means: Sequence[Any], shape: tuple[int, ...]
) -> np.ndarray:
    """(members, replicas) reason where averages over blocks left the reference, 0 elsewhere."""
    lost = np.zeros(shape, np.int32)
    if criteria:
        stacked = jax.tree.map(lambda *x: np.stack([np.asarray(y) for y in x]), *means)
        for criterion in criteria:
            lost[criterion.first_failure(stacked) >= 0] = DRIFTED
    return lost
