"""JaxSGMC's potentials and data loaders as a ``Target``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax_sgmc import data
from jax_sgmc.data.numpy_loader import DeviceNumpyDataLoader, NumpyBase

from samplers.base import Batch, Position, Target

NOISE_BATCHES = 32  # that the variance of a gradient is measured on


@dataclass(frozen=True)
class Problem:
    """What is sampled.

    Attributes:
        potential_fn: from ``potential.minibatch_potential``.
        loader: of NumPy data.
        batch_size: data per mini-batch.
        full_potential_fn: from ``potential.full_potential``, for kernels with a Metropolis test.
    """

    potential_fn: Callable[..., Any]
    loader: Any
    batch_size: int
    full_potential_fn: Callable[..., Any] | None = None

    def __post_init__(self) -> None:
        """Refuse at once what no run could use."""
        if not isinstance(self.loader, NumpyBase):
            raise TypeError(
                f"samplers.jax_sgmc reads NumpyDataLoader and DeviceNumpyDataLoader, not"
                f" {type(self.loader).__name__}: load the arrays and pass them to"
                " NumpyDataLoader(name=array, ...)"
            )
        if not 1 <= self.batch_size <= self.size:
            raise ValueError(f"batch_size={self.batch_size} must lie between 1 and N={self.size}")

    @property
    def arrays(self) -> dict[str, Any]:
        """The data by name, each with a leading axis of N."""
        return self.loader.reference_data

    @property
    def size(self) -> int:
        """N."""
        return int(self.loader.static_information["observation_count"])

    def target(self, sample: Position, model_state: Any) -> Target:
        """The density: minus their potential, which holds N/B and the temperature as ours."""
        state = self._usable_state(sample, model_state)
        full = self.full_potential_fn
        if full is None:
            return Target(
                lambda position, batch: self._log_density(position, batch, state),
                lambda position: self._log_density(position, self.arrays, state),
                self.size,
            )
        # in mini-batches: the memory that one gradient takes is enough
        whole = DeviceNumpyDataLoader(**self.arrays)
        init, mapped, _ = data.full_reference_data(whole, self.batch_size, self.batch_size)
        return Target(
            lambda position, batch: self._log_density(position, batch, state),
            lambda position: -full(position, init(), mapped, state=state)[0],
            self.size,
        )

    def _log_density(self, position: Position, batch: Batch, state: Any) -> jax.Array:
        length = len(jax.tree.leaves(batch)[0])
        information: Any = data.MiniBatchInformation
        about = information(
            observation_count=self.size, mask=jnp.ones(length, bool), batch_size=length
        )
        return -self.potential_fn(position, (batch, about), state=state)[0]

    def _usable_state(self, sample: Position, state: Any) -> Any:
        """``state``, or None where the potential has none.

        JaxSGMC's own examples pass ``init_model_state=0`` to potentials without state, which its
        ``minibatch_potential`` refuses on a current JAX.
        """
        if state is None:
            return None
        batch = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype), self.arrays
        )

        def evaluate(state: Any) -> None:
            jax.eval_shape(lambda s, b: self._log_density(s, b, state), sample, batch)

        try:
            evaluate(state)
        except (TypeError, ValueError) as error:
            try:
                evaluate(None)
            except Exception:
                raise error from None
            return None
        return state


def gradient_variance(key: jax.Array, problem: Problem, target: Target, positions: Any) -> Any:
    """Variance of the mini-batch gradient of the whole log density, averaged over chains.

    Args:
        key: of the batches.
        problem, target: what is sampled.
        positions: with a leading axis of chains.
    """
    arrays = jax.tree.map(jnp.asarray, problem.arrays)
    shape = (NOISE_BATCHES, problem.batch_size)
    index = jax.random.randint(key, shape, 0, problem.size)
    gradients = jax.vmap(jax.grad(target.log_density), (0, None))

    @jax.jit
    def measure(positions: Any, index: jax.Array, arrays: Any) -> Any:
        made = jax.lax.map(
            lambda i: gradients(positions, jax.tree.map(lambda x: x[i], arrays)), index
        )
        return jax.tree.map(lambda g: jnp.mean(jnp.var(g, axis=0, ddof=1), axis=0), made)

    return measure(positions, index, arrays)
