"""Gaussian likelihood of energies, forces and stresses (methods.md section 1)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.data import Batch
from bayespot.potentials import Potential, energy_and_forces

if TYPE_CHECKING:
    from numpyro.distributions import Distribution

Noise = dict[str, jax.Array]

SIX = np.triu_indices(3)
"""The independent components of a stress."""


def energy_forces_stress(
    potential: Potential, params: Any, frame: Batch
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of one periodic frame by one differentiation, with respect to positions and strain.

    Energy in eV, forces (atoms, 3) in eV/Angstrom, and the potential part of the stress
    ``(1/V) dU/dstrain`` (3, 3) in eV/Angstrom^3, symmetric, tension positive.
    """
    system = frame.system

    def energy(positions: jax.Array, strain: jax.Array) -> jax.Array:
        deformation = jnp.eye(3, dtype=strain.dtype) + (strain + strain.T) / 2
        deformed = system.replace(positions=positions @ deformation, cell=system.cell @ deformation)
        return potential.energy(params, deformed, frame.neighbors)

    none = jnp.zeros((3, 3), system.positions.dtype)
    value, (down, slope) = jax.value_and_grad(energy, (0, 1))(system.positions, none)
    return value, -down, slope / jnp.abs(jnp.linalg.det(system.cell))


@dataclasses.dataclass(frozen=True)
class EnergyForces:
    """``U_i ~ N(U_theta(r_i), sigma_U^2)``, ``F_ij ~ N(-dU_theta/dr_ij, sigma_F^2)``, and with
    ``stress_noise`` also ``S_ij ~ N((1/V) dU_theta/dstrain_j, sigma_S^2)`` for the six components
    of each stress that has a label.

    The noise scales are parameters too, held as their logarithms; their priors are stated for the
    scales themselves and the Jacobian of the logarithm is included.

    Attributes:
        potential: what predicts.
        energy_noise: prior of sigma_U in eV.
        forces_noise: prior of sigma_F in eV/Angstrom.
        use_energy, use_forces: which terms enter.
        stress_noise: prior of sigma_S in eV/Angstrom^3; None leaves stresses out.
        use_stress: whether they enter, where ``stress_noise`` is given and data have them.
        energy_weight: power of the energies' likelihood; 1 is the model, more a help to optimisers.
    """

    potential: Potential
    energy_noise: Distribution
    forces_noise: Distribution
    use_energy: bool = True
    use_forces: bool = True
    stress_noise: Distribution | None = None
    use_stress: bool = True
    energy_weight: float = 1.0

    @property
    def idle_noise(self) -> frozenset[str]:
        """Scales that no label speaks to: they wander in their prior."""
        used = {"energy": self.use_energy, "forces": self.use_forces, "stress": self.use_stress}
        return frozenset(f"log_sigma_{name}" for name, enters in used.items() if not enters)

    def fits_stress(self, batch: Batch) -> bool:
        """Whether the stresses of ``batch`` enter."""
        return self.use_stress and self.stress_noise is not None and batch.stress is not None

    def _used(self, batch: Batch, wanted: bool = True) -> Batch:
        """Without stresses, where they do not enter: programs then carry nothing of them."""
        if wanted and self.fits_stress(batch):
            return batch
        return batch._replace(stress=None, has_stress=None)

    def _predict(self, params: Any, frame: Batch) -> tuple[jax.Array, jax.Array, jax.Array | None]:
        if frame.stress is not None:
            return energy_forces_stress(self.potential, params, frame)
        made = energy_and_forces(self.potential, params, frame.system, frame.neighbors)
        return *made, None

    def init_noise(self, batch: Batch) -> Noise:
        """Start from the spread of the labels, the error of predicting nothing."""
        mask = batch.system.mask[..., None]
        rms = jnp.sqrt(jnp.sum(mask * batch.forces**2) / (3 * jnp.sum(mask)))
        tiny = jnp.asarray(1e-6, batch.energy.dtype)
        noise = {
            "log_sigma_energy": jnp.log(jnp.maximum(jnp.std(batch.energy), tiny)),
            "log_sigma_forces": jnp.log(jnp.maximum(rms, tiny)),
        }
        if self.fits_stress(batch):
            labels, known = batch.stress_labels
            rms = jnp.sqrt(jnp.sum(labels[:, *SIX] ** 2) / (6 * jnp.sum(known)))
            noise["log_sigma_stress"] = jnp.log(jnp.maximum(rms, tiny))
        return noise

    def residual_noise(self, params: Any, batch: Batch) -> Noise:
        """The scales that fit ``params`` best: root mean squares of the residuals.

        Optimisers leave the scales behind: they shrink as the fit improves, and the fit improves
        most when the learning rate has all but vanished.
        """

        batch = self._used(batch)

        def one(frame: Batch) -> tuple[jax.Array, ...]:
            energy, forces, stress = self._predict(params, frame)
            gap = jnp.where(frame.system.mask[:, None], forces - frame.forces, 0.0)
            squares = ((energy - frame.energy) ** 2, jnp.sum(gap**2))
            if stress is None:
                return squares
            label, known = frame.stress_labels
            gap = jnp.where(known, (stress - label)[SIX], 0.0)
            return *squares, jnp.sum(gap**2)

        squares = jax.lax.map(one, batch, batch_size=min(64, len(batch.energy)))
        count = 3 * jnp.sum(batch.system.mask)
        noise = {
            "log_sigma_energy": 0.5 * jnp.log(jnp.maximum(jnp.mean(squares[0]), 1e-12)),
            "log_sigma_forces": 0.5 * jnp.log(jnp.maximum(jnp.sum(squares[1]) / count, 1e-12)),
        }
        if batch.stress is not None:
            mean = jnp.sum(squares[2]) / (6 * jnp.sum(batch.stress_labels[1]))
            noise["log_sigma_stress"] = 0.5 * jnp.log(jnp.maximum(mean, 1e-12))
        return noise

    def log_prior_noise(self, noise: Noise) -> jax.Array:
        """Log prior density of the log scales."""
        total = jnp.zeros(())
        pairs = [("log_sigma_energy", self.energy_noise), ("log_sigma_forces", self.forces_noise)]
        if self.stress_noise is not None and "log_sigma_stress" in noise:
            pairs.append(("log_sigma_stress", self.stress_noise))
        for name, prior in pairs:
            total += prior.log_prob(jnp.exp(noise[name])) + noise[name]
        return total

    def log_likelihood(self, params: Any, noise: Noise, batch: Batch) -> jax.Array:
        """Per frame, (frames,)."""
        import numpyro.distributions as dist

        batch = self._used(batch, "log_sigma_stress" in noise)

        def one(frame: Batch) -> jax.Array:
            energy, forces, stress = self._predict(params, frame)
            total = jnp.zeros(())
            if self.use_energy:
                sigma = jnp.exp(noise["log_sigma_energy"])
                total += self.energy_weight * dist.Normal(energy, sigma).log_prob(frame.energy)
            if self.use_forces:
                sigma = jnp.exp(noise["log_sigma_forces"])
                terms = dist.Normal(forces, sigma).log_prob(frame.forces)
                total += jnp.sum(jnp.where(frame.system.mask[:, None], terms, 0.0))
            if stress is not None:
                sigma = jnp.exp(noise["log_sigma_stress"])
                label, known = frame.stress_labels
                terms = dist.Normal(stress[SIX], sigma).log_prob(label[SIX])
                total += jnp.where(known, jnp.sum(terms), 0.0)
            return total

        return jax.vmap(one)(batch)
