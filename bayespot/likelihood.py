"""Gaussian likelihood of energies and forces with learned noise scales (methods.md section 1)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from bayespot.data import Batch
from bayespot.potentials import Potential, energy_and_forces

if TYPE_CHECKING:
    from numpyro.distributions import Distribution

Noise = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class EnergyForces:
    """``U_i ~ N(U_theta(r_i), sigma_U^2)``, ``F_ij ~ N(-dU_theta/dr_ij, sigma_F^2)``.

    The noise scales are parameters too, held as their logarithms; their priors are stated for the
    scales themselves and the Jacobian of the logarithm is included.

    Attributes:
        potential: what predicts.
        energy_noise: prior of sigma_U in eV.
        forces_noise: prior of sigma_F in eV/Angstrom.
        use_energy, use_forces: which terms enter.
        energy_weight: power of the energies' likelihood; 1 is the model, more a help to optimisers.
    """

    potential: Potential
    energy_noise: Distribution
    forces_noise: Distribution
    use_energy: bool = True
    use_forces: bool = True
    energy_weight: float = 1.0

    def init_noise(self, batch: Batch) -> Noise:
        """Start from the spread of the labels, the error of predicting nothing."""
        mask = batch.system.mask[..., None]
        rms = jnp.sqrt(jnp.sum(mask * batch.forces**2) / (3 * jnp.sum(mask)))
        tiny = jnp.asarray(1e-6, batch.energy.dtype)
        return {
            "log_sigma_energy": jnp.log(jnp.maximum(jnp.std(batch.energy), tiny)),
            "log_sigma_forces": jnp.log(jnp.maximum(rms, tiny)),
        }

    def residual_noise(self, params: Any, batch: Batch) -> Noise:
        """The scales that fit ``params`` best: root mean squares of the residuals.

        Optimisers leave the scales behind: they shrink as the fit improves, and the fit improves
        most when the learning rate has all but vanished.
        """

        def one(frame: Batch) -> tuple[jax.Array, jax.Array]:
            energy, forces = energy_and_forces(
                self.potential, params, frame.system, frame.neighbors
            )
            gap = jnp.where(frame.system.mask[:, None], forces - frame.forces, 0.0)
            return (energy - frame.energy) ** 2, jnp.sum(gap**2)

        energy, forces = jax.lax.map(one, batch, batch_size=min(64, len(batch.energy)))
        count = 3 * jnp.sum(batch.system.mask)
        return {
            "log_sigma_energy": 0.5 * jnp.log(jnp.maximum(jnp.mean(energy), 1e-12)),
            "log_sigma_forces": 0.5 * jnp.log(jnp.maximum(jnp.sum(forces) / count, 1e-12)),
        }

    def log_prior_noise(self, noise: Noise) -> jax.Array:
        """Log prior density of the log scales."""
        total = jnp.zeros(())
        pairs = (("log_sigma_energy", self.energy_noise), ("log_sigma_forces", self.forces_noise))
        for name, prior in pairs:
            total += prior.log_prob(jnp.exp(noise[name])) + noise[name]
        return total

    def log_likelihood(self, params: Any, noise: Noise, batch: Batch) -> jax.Array:
        """Per frame, (frames,)."""
        import numpyro.distributions as dist

        def one(frame: Batch) -> jax.Array:
            energy, forces = energy_and_forces(
                self.potential, params, frame.system, frame.neighbors
            )
            total = jnp.zeros(())
            if self.use_energy:
                sigma = jnp.exp(noise["log_sigma_energy"])
                total += self.energy_weight * dist.Normal(energy, sigma).log_prob(frame.energy)
            if self.use_forces:
                sigma = jnp.exp(noise["log_sigma_forces"])
                terms = dist.Normal(forces, sigma).log_prob(frame.forces)
                total += jnp.sum(jnp.where(frame.system.mask[:, None], terms, 0.0))
            return total

        return jax.vmap(one)(batch)
