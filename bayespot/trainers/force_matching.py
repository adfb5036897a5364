"""Force matching: potentials from labelled energies, forces and stresses (methods.md section 3).

    L = gamma_U <(dU/N)^2> + gamma_F <dF^2> + gamma_S <dS^2>

with differences ``d`` to the labels, averages over frames, components of atoms' forces and the
six components of the stresses that are known.  The result is what had the best validation loss
after any update: the parameters, or their exponential moving average (Polyak & Juditsky 1992).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt

from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.potentials import Potential
from bayespot.trainers.base import Record, Trainer
from bayespot.trainers.label_errors import LabelErrors, Weights, component_counts


class ForceMatchingState(NamedTuple):
    """Leading axis of members everywhere but in the counters.

    Attributes:
        params: now.
        optimizer: of optax, one for each member.
        average: exponential moving average of ``params``; None without one.
        best: of the smallest validation loss so far; the last without validation.
        best_loss: (members,) that loss.
        alive: (members,) False once a loss, gradient or parameter was not finite.
        order: (members, frames) in which this epoch takes the frames.
        key: raw, one for each member.
        steps: mini-batches so far.
        averaged: how many of them are in ``average``.
    """

    params: Any
    optimizer: Any
    average: Any
    best: Any
    best_loss: Float[Array, " members"]
    alive: Bool[Array, " members"]
    order: Int[Array, "members frames"]
    key: UInt[Array, "members words"]
    steps: Int[Array, ""]
    averaged: Int[Array, ""]


class ForceMatching(Trainer):
    """Fits labels by stochastic gradients; one update is an epoch or ``steps`` mini-batches.

    The record of an update has for each member ``loss`` (mean over its mini-batches; NaN once the
    member is frozen), ``alive``, and with validation frames ``validation_loss``, ``energy_rmse``
    (eV per atom), ``forces_rmse`` (eV/Angstrom) and, where there are labels, ``stress_rmse``
    (eV/Angstrom^3), of what ``result`` chooses from.
    """

    def __init__(
        self,
        potential: Potential,
        train: Batch,
        optimizer: optax.GradientTransformation,
        *,
        validation: Batch | None = None,
        batch_size: int = 8,
        steps: int | None = None,
        weights: Weights | None = None,
        frame_weights: Any = None,
        average: float | None = None,
        isotropic: bool = False,
        energies: bool = True,
        chunk: int = 64,
    ) -> None:
        """Args:
        potential: what is fitted.
        train: frames to fit.
        optimizer: of optax; its schedules count mini-batches. The papers take Adam with an
            exponential decay to 1 %.
        validation: frames that choose the best parameters; None takes the last.
        batch_size: frames of a mini-batch.
        steps: mini-batches of an update; by default those of an epoch, which leaves out the
            remainder of its shuffled frames.
        weights: of the terms.
        frame_weights: (frames,) relative, of the training frames; scaled to mean 1.
        average: decay of the moving average, such as 0.999; None for none.
        isotropic: match only a third of the trace of the stress, minus the pressure.
        energies: False where frames have none, as those of a coarser model: without an error of
            energies in the record.
        chunk: validation frames evaluated at once.

        Raises:
            UserError: settings or labels that leave nothing to fit.
        """
        size = len(train.energy)
        if min(batch_size, chunk, 1 if steps is None else steps) < 1:
            raise UserError(
                f"batch_size {batch_size}, steps {steps} and chunk {chunk} must be positive",
                "Give 1 or more",
            )
        self.errors = LabelErrors(potential, weights or Weights(), isotropic)
        self.optimizer, self.average, self.chunk = optimizer, average, chunk
        self.energies = energies
        self._train, self._validation = train, validation
        self._batch_size = min(batch_size, size)
        self._epoch = size // self._batch_size
        self.steps = self._epoch if steps is None else steps
        self._check()
        each = np.ones(size) if frame_weights is None else np.asarray(frame_weights, float)
        good = each.shape == (size,) and np.all(np.isfinite(each)) and np.all(each >= 0)
        if not good or not each.sum() > 0:
            raise UserError(
                f"frame_weights of shape {each.shape} do not weigh {size} training frames",
                "Give one finite number for each, none below 0 and not all 0",
            )
        self._frame_weights = jnp.asarray(each / each.mean(), train.energy.dtype)
        self._update = jax.jit(self._advance)

    def _check(self) -> None:
        gammas = dataclasses.astuple(self.errors.weights)
        if not all(np.isfinite(g) and g >= 0 for g in gammas) or not any(gammas):
            raise UserError(
                f"{self.errors.weights} leaves nothing to fit",
                "Give weights >= 0, not all of them 0",
            )
        if self.errors.weights.energy and not self.energies:
            raise UserError("the energy has a weight, and frames have no energies", "Set it to 0")
        if self.errors.weights.stress and self._train.stress is None:
            raise UserError(
                "the stress has a weight, and no training frame has a stress",
                "Set it to 0, or give periodic frames with the key stress or virial",
            )
        if self.average is not None and not 0 < self.average < 1:
            raise UserError(f"average is {self.average}", "Give a decay between 0 and 1, as 0.999")

    def init(self, key: jax.Array, params: Any) -> ForceMatchingState:
        """Every member shuffles with a key of its own."""
        members, size = len(jax.tree.leaves(params)[0]), len(self._train.energy)
        params = jax.tree.map(jnp.asarray, params)
        return ForceMatchingState(
            params=params,
            optimizer=jax.vmap(self.optimizer.init)(params),
            average=None if self.average is None else params,
            best=params,
            best_loss=jnp.full(members, jnp.inf, self._train.energy.dtype),
            alive=jnp.ones(members, bool),
            order=jnp.zeros((members, size), jnp.int32),
            key=jax.random.key_data(jax.random.split(key, members)),
            steps=jnp.zeros((), jnp.int32),
            averaged=jnp.zeros((), jnp.int32),
        )

    def update(self, state: ForceMatchingState) -> tuple[ForceMatchingState, Record]:
        """``steps`` mini-batches, and a look at the validation frames."""
        state, record = self._update(state, self._train, self._frame_weights, self._validation)
        return state, {name: np.asarray(x) for name, x in record.items()}

    def result(self, state: ForceMatchingState) -> Any:
        """Best validation parameters of each member."""
        return state.best

    def with_params(self, state: ForceMatchingState, params: Any) -> ForceMatchingState:
        """The moving average starts again from there; members that are finite live again."""
        return state._replace(
            params=params,
            average=None if self.average is None else params,
            alive=jax.vmap(_finite)(params),
            averaged=jnp.zeros_like(state.averaged),
        )

    def _advance(
        self, state: ForceMatchingState, train: Batch, each: jax.Array, validation: Batch | None
    ) -> tuple[ForceMatchingState, dict[str, jax.Array]]:
        """All members side by side."""
        size, counts = len(train.energy), jnp.arange(self.steps)
        sizes = component_counts(train)

        def step(carry: Any, done: Any) -> Any:
            params, optimizer, average, alive, order, key = carry
            steps, averaged = done
            epoch, slot = steps // self._epoch, steps % self._epoch
            order = jax.lax.cond(
                slot == 0,
                lambda: jax.random.permutation(
                    jax.random.fold_in(jax.random.wrap_key_data(key), epoch),
                    jnp.arange(size, dtype=jnp.int32),
                ),
                lambda: order,
            )
            rows = jax.lax.dynamic_slice(order, (slot * self._batch_size,), (self._batch_size,))
            batch = jax.tree.map(lambda x: x[rows], train)
            loss, gradient = jax.value_and_grad(self.errors.loss)(params, batch, each[rows], sizes)
            updates, moved = self.optimizer.update(gradient, optimizer, params)
            there = optax.apply_updates(params, updates)
            alive = alive & jnp.isfinite(loss) & _finite(gradient) & _finite(there)
            params, optimizer = _where(alive, (there, moved), (params, optimizer))
            if self.average is not None:
                # a young average forgets faster, and its start soonest
                decay = jnp.minimum(self.average, (1 + averaged) / (10 + averaged))
                average = jax.tree.map(
                    lambda a, p: (decay * a + (1 - decay) * p).astype(a.dtype), average, params
                )
            return (params, optimizer, average, alive, order, key), loss

        def member(one: Any) -> Any:
            *carry, best, best_loss = one
            done = (state.steps + counts, state.averaged + counts)
            (params, optimizer, average, alive, order, _), losses = jax.lax.scan(
                step, tuple(carry), done
            )
            seen = params if self.average is None else average
            record = {"loss": jnp.where(alive, jnp.mean(losses), jnp.nan), "alive": alive}
            better = alive
            if validation is not None:
                seen = _where(alive, seen, best)
                found, means = self.errors.measure(seen, validation, self.chunk)
                better = alive & (found < best_loss)  # False for NaN
                best_loss = jnp.where(better, found, best_loss)
                record["validation_loss"] = found
                record |= {
                    f"{name}_rmse": jnp.sqrt(x)
                    for name, x in means.items()
                    if name != "energy" or self.energies
                }
            best = _where(better, seen, best)
            params = _where(alive, params, best)
            average = None if self.average is None else _where(alive, average, best)
            return (params, optimizer, average, best, best_loss, alive, order), record

        given = (
            state.params, state.optimizer, state.average, state.alive, state.order, state.key,
            state.best, state.best_loss,
        )  # fmt: skip
        made, record = jax.vmap(member)(given)
        names = ("params", "optimizer", "average", "best", "best_loss", "alive", "order")
        return state._replace(
            **dict(zip(names, made, strict=True)),
            steps=state.steps + self.steps,
            averaged=state.averaged + self.steps,
        ), record


def _finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


def _where(mask: jax.Array, yes: Any, no: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(mask, a, b), yes, no)
