"""Potentials linear in their parameters, whose posterior is exact: their design matrices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from bayespot.neighbors import Neighbors
from bayespot.potentials.base import Potential
from bayespot.system import System


class Linear(Potential):
    """A potential whose energy is ``design @ parameters``.

    Parameters come in the order of ``ravel_pytree(params)``, whose second result turns a vector
    back into parameters.  Rows from energies and forces of many configurations stacked into a
    matrix X make the posterior Gaussian, with precision ``X^T S^-1 X`` plus that of the prior.
    """

    def design(self, system: System, neighbors: Neighbors) -> Float[Array, " parameters"]:
        """Derivative of the energy with respect to each parameter."""
        # an energy linear in its parameters has the same derivative at any
        params = jax.tree.map(jnp.zeros_like, self.init(jax.random.key(0), system))
        return ravel_pytree(jax.grad(self.energy)(params, system, neighbors))[0]

    def force_design(
        self, system: System, neighbors: Neighbors
    ) -> Float[Array, "atoms 3 parameters"]:
        """Derivative of each force component with respect to each parameter.

        Costs one gradient a coordinate or one a parameter, whichever are fewer.
        """

        def at(positions: jax.Array) -> jax.Array:
            return self.design(system.replace(positions=positions), neighbors)

        few = system.positions.size < self.num_parameters(system)
        jacobian = jax.jacfwd if few else jax.jacrev
        return -jnp.moveaxis(jacobian(at)(system.positions), 0, -1)

    def num_parameters(self, system: System) -> int:
        """How many parameters there are."""
        shapes = jax.eval_shape(lambda: self.init(jax.random.key(0), system))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))
