"""What trainers by reweighting share: trajectories that are renewed when needed, trusted steps."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from bayespot.errors import UserError
from bayespot.md import Simulation
from bayespot.reweight import Samples
from bayespot.trainers.base import Record, Trainer
from bayespot.trainers.reference import Reference, Resampler, member_energies

MOST_FAILED = 5
"""Times in a row that all trajectories may fail before training gives up."""

MOST_HALVED = 20
"""Times that a step is halved."""


class ReweightedState(NamedTuple):
    """Leading axis of members everywhere but in ``key`` and ``count``.

    Attributes:
        params: now.
        optimizer: of optax, one for each member.
        reference: trajectories.
        cached: what is computed once for each trajectory.
        shrink: (members,) factor of the steps; halved where trajectories fail.
        key: raw.
        count: updates made.
    """

    params: Any
    optimizer: Any
    reference: Reference
    cached: Any
    shrink: Float[Array, " members"]
    key: jax.Array
    count: jax.Array


class Objective(NamedTuple):
    """Of one member.

    Attributes:
        loss: to be differentiated.
        record: numbers and curves for the history.
        shares: (points,) effective shares of the frames.
        crowded: whether neighbour lists were too small.
    """

    loss: Float[Array, ""]
    record: dict[str, jax.Array]
    shares: Float[Array, " points"]
    crowded: jax.Array


class Reweighted(Trainer):
    """Steps along the gradient of an average over reweighted trajectories."""

    def __init__(
        self,
        simulation: Simulation,
        optimizer: optax.GradientTransformation,
        *,
        replicas: int = 1,
        recompute: float = 0.9,
        trust: float = 0.2,
        warm_up: int = 0,
        batch_size: int = 8,
        starts: jax.Array | None = None,
        cells: jax.Array | None = None,
    ) -> None:
        """Args:
        simulation: with ``keep`` set; state points are its replicas of equal temperature and
            pressure.
        optimizer: of optax.
        replicas: trajectories of each member.
        recompute: effective share of the frames below which trajectories are made anew.
        trust: effective share that a step must leave; steps that would leave less are halved.
        warm_up: simulations thrown away before the first that counts.
        batch_size: frames evaluated at once.
        starts, cells: (members, replicas, ...) of the first trajectories.

        Raises:
            UserError: shares that are none, or a simulation that keeps no frames.
        """
        for name, value in (("recompute", recompute), ("trust", trust)):
            if not 0 <= value <= 1:
                raise UserError(f"{name} is {value}", "Give a share between 0 and 1")
        self.resampler = Resampler(simulation, replicas, warm_up=warm_up, batch_size=batch_size)
        self.optimizer, self.recompute, self.trust = optimizer, recompute, trust
        self.starts, self.cells = starts, cells
        self._stepped = jax.jit(self._step)
        self._prepared = jax.jit(self._prepare_all)
        self._counted = jax.jit(self._count)

    @abc.abstractmethod
    def objective(
        self, params: Any, cached: Any, reference: Reference, lists: Any, count: jax.Array
    ) -> Objective:
        """Of one member, differentiable in ``params``.

        Args:
            params: of the member.
            cached: what ``prepare`` gave.
            reference: the member's trajectories.
            lists: of one configuration.
            count: updates made, to choose mini-batches by.
        """

    def prepare(self, params: Any, samples: Samples, lists: Any) -> tuple[Any, Any]:
        """What to compute once for each trajectory of one member, and whether lists were too
        small."""
        del params, samples, lists
        return {}, jnp.asarray(False)

    def init(self, key: jax.Array, params: Any) -> ReweightedState:
        """No trajectories yet: the first update makes them."""
        reference = self.resampler.empty(params, self.starts, self.cells)
        members = len(jax.tree.leaves(params)[0])
        shapes = jax.eval_shape(self._prepare_all, params, reference.samples, self.resampler.lists)[
            0
        ]
        return ReweightedState(
            params, jax.vmap(self.optimizer.init)(params), reference,
            jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes),
            jnp.ones(members), jax.random.key_data(key), jnp.zeros((), jnp.int32),
        )  # fmt: skip

    def update(self, state: ReweightedState) -> tuple[ReweightedState, Record]:
        """New trajectories where too little is left of the old ones, and a step.

        Raises:
            UserError: all trajectories of a state point fail again and again.
        """
        fresh = float(jnp.min(state.reference.fraction)) < self.recompute
        if fresh:
            state = self._renewed(state)
        new, made = self._roomy(lambda lists: self._stepped(state, lists))
        record = {name: np.asarray(x) for name, x in made.items()}
        record["trajectories"] = np.full_like(record["loss"], float(fresh))
        return new, record

    def _roomy(self, function: Any) -> Any:
        """``function(lists)`` without its last result, with lists large enough."""
        while True:
            *made, crowded = function(self.resampler.lists)
            if not bool(crowded):
                return made[0] if len(made) == 1 else tuple(made)
            self.resampler.grow()

    def _renewed(self, state: ReweightedState) -> ReweightedState:
        while True:
            use, key = jax.random.split(jax.random.wrap_key_data(state.key))
            state = state._replace(key=jax.random.key_data(key))
            reference = self.resampler.renew(use, state.params, state.reference)
            failed, first = int(reference.failed), int(reference.made) == 0
            if not failed:
                break
            if first or failed > MOST_FAILED:
                raise UserError(
                    "all trajectories of a state point failed"
                    + (" with the first parameters" if first else f" {failed} times in a row"),
                    "Start from a better potential, add a repulsive prior, or take smaller steps"
                    " (learning rate, time step)",
                )
            # half way back to where trajectories were stable
            middle = jax.tree.map(lambda a, b: (a + b) / 2, state.params, reference.params)
            state = state._replace(params=middle, reference=reference, shrink=state.shrink / 2)
        cached = self._roomy(lambda lists: self._prepared(state.params, reference.samples, lists))
        return state._replace(reference=reference, cached=cached)

    def _prepare_all(self, params: Any, samples: Samples, lists: Any) -> tuple[Any, Any]:
        made, crowded = jax.lax.map(lambda x: self.prepare(x[0], x[1], lists), (params, samples))
        return made, jnp.any(crowded)

    def _shares(self, params: Any, reference: Reference, lists: Any) -> tuple[Any, Any]:
        """(points,) of one member at ``params``; none where energies are not finite."""
        simulation = self.resampler.simulation
        energy, crowded = member_energies(
            simulation.potential, params, simulation.system, reference.samples, lists,
            self.resampler.batch_size,
        )  # fmt: skip
        left = self.resampler.fractions(energy, reference.samples, reference.valid)
        return jnp.where(jnp.isfinite(left), left, 0.0), crowded

    def _step(self, state: ReweightedState, lists: Any) -> Any:
        def one(x: Any) -> Any:
            params, optimizer, cached, reference, shrink = x

            def objective(params: Any) -> tuple[jax.Array, Objective]:
                made = self.objective(params, cached, reference, lists, state.count)
                return made.loss, made

            (loss, made), gradient = jax.value_and_grad(objective, has_aux=True)(params)
            updates, optimizer = self.optimizer.update(gradient, optimizer, params)

            def shorter(carry: Any) -> Any:
                scale, tries, _, crowded = carry
                left, more = self._shares(_moved(params, updates, scale / 2), reference, lists)
                return scale / 2, tries + 1, left, crowded | more

            first, more = self._shares(_moved(params, updates, shrink), reference, lists)
            scale, halved, left, crowded = jax.lax.while_loop(
                lambda c: (jnp.min(c[2]) < self.trust) & (c[1] < MOST_HALVED),
                shorter,
                (shrink, jnp.zeros((), jnp.int32), first, made.crowded | more),
            )
            record = {
                "loss": loss,
                "effective_share": jnp.min(made.shares),
                "gradient_norm": optax.tree.norm(gradient),
                "step_halved": halved,
                **made.record,
            }
            return _moved(params, updates, scale), optimizer, left, record, crowded

        params, optimizer, left, record, crowded = jax.lax.map(
            one,
            (state.params, state.optimizer, state.cached, _of_members(state.reference),
             state.shrink),
        )  # fmt: skip
        new = state._replace(
            params=params,
            optimizer=optimizer,
            reference=state.reference._replace(fraction=left),
            # steps that were shortened after a failure grow again slowly
            shrink=jnp.minimum(1.0, state.shrink * 1.1),
            count=state.count + 1,
        )
        return new, record, jnp.any(crowded)

    def _count(self, params: Any, reference: Reference, lists: Any) -> tuple[Any, Any]:
        left, crowded = jax.lax.map(
            lambda x: self._shares(x[0], x[1], lists), (params, _of_members(reference))
        )
        return left, jnp.any(crowded)

    def with_params(self, state: ReweightedState, params: Any) -> ReweightedState:
        """What trajectories are worth is counted anew: another trainer moved the parameters."""
        if int(state.reference.made) == 0:
            return state._replace(params=params)
        left = self._roomy(lambda lists: self._counted(params, state.reference, lists))
        return state._replace(params=params, reference=state.reference._replace(fraction=left))

    def free_energies(self, state: ReweightedState) -> np.ndarray:
        """(members, points) of the present parameters relative to the first, eV."""
        return self.resampler.free_energies(state.params, state.reference)

    def sizes(self) -> dict[str, Any]:
        """Sizes of lists and chunks."""
        return self.resampler.sizes()

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """What ``sizes`` gave elsewhere."""
        self.resampler.restore_sizes(sizes)


def _of_members(reference: Reference) -> Reference:
    """Without what members share."""
    return reference._replace(made=None, failed=None)  # type: ignore[arg-type]


def _moved(params: Any, updates: Any, scale: jax.Array) -> Any:
    return jax.tree.map(lambda p, u: (p + scale * u).astype(p.dtype), params, updates)
