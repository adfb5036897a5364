"""Squared errors of labels, and their weighted sum, the loss of force matching."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from bayespot.data import Batch
from bayespot.likelihood import SIX, energy_forces_stress
from bayespot.potentials import Potential, energy_and_forces

Squares = dict[str, jax.Array]  # "energy", "forces", "stress"


@dataclasses.dataclass(frozen=True)
class Weights:
    """Of the three terms of the loss.

    Attributes:
        energy: gamma_U, of squared errors in eV per atom.
        forces: gamma_F, in eV/Angstrom.
        stress: gamma_S, in eV/Angstrom^3 (0.1 GPa are 6e-4: worth 0.1 eV/Angstrom at 3e4).
    """

    energy: float = 1.0
    forces: float = 1.0
    stress: float = 0.0


@dataclasses.dataclass(frozen=True)
class LabelErrors:
    """``gamma_U <(dU/N)^2> + gamma_F <dF^2> + gamma_S <dS^2>`` of a potential's predictions.

    Attributes:
        potential: what predicts.
        weights: the gammas.
        isotropic: of the stress only a third of its trace, minus the pressure.
    """

    potential: Potential
    weights: Weights = Weights()
    isotropic: bool = False

    def of_frame(self, params: Any, frame: Batch, stress: bool) -> Squares:
        """Squares of one frame; those of forces summed, as frames differ in size."""
        made = None
        if stress:
            energy, forces, made = energy_forces_stress(self.potential, params, frame)
        else:
            energy, forces = energy_and_forces(
                self.potential, params, frame.system, frame.neighbors
            )
        mask = frame.system.mask
        gap = jnp.where(mask[:, None], forces - frame.forces, 0.0)
        found = {
            "energy": ((energy - frame.energy) / jnp.sum(mask)) ** 2,
            "forces": jnp.sum(gap**2),
        }
        if made is not None:
            label, known = frame.stress_labels
            gap = made - label
            square = (jnp.trace(gap) / 3) ** 2 if self.isotropic else jnp.mean(gap[SIX] ** 2)
            found["stress"] = jnp.where(known, square, 0.0)
        return found

    def total(self, means: Squares) -> jax.Array:
        """Weighted sum; terms without weight drop out of the program."""
        gammas = dataclasses.asdict(self.weights)
        return sum((gammas[k] * x for k, x in means.items() if gammas[k]), jnp.zeros(()))

    def loss(self, params: Any, batch: Batch, each: jax.Array, sizes: Squares) -> jax.Array:
        """Of a mini-batch.

        Args:
            params: of one member.
            batch: its frames.
            each: (frames,) their weights, of mean 1 over all frames.
            sizes: of all frames.
        """
        found = jax.vmap(lambda f: self.of_frame(params, f, self.weights.stress > 0))(batch)
        means = {k: jnp.mean(each * x) / sizes[k] for k, x in found.items()}
        return self.total(means).astype(each.dtype)

    def measure(self, params: Any, batch: Batch, chunk: int) -> tuple[jax.Array, Squares]:
        """Loss and mean squares of many frames, ``chunk`` at once."""
        stress, sizes = batch.stress is not None, component_counts(batch)
        found = jax.lax.map(
            lambda frame: self.of_frame(params, frame, stress),
            batch,
            batch_size=min(chunk, len(batch.energy)),
        )
        means = {k: jnp.mean(x) / sizes[k] for k, x in found.items()}
        return self.total(means).astype(batch.energy.dtype), means


def component_counts(batch: Batch) -> Squares:
    """By what means over frames are divided, to become means over the labels.

    That of all frames serves every mini-batch: its gradients then are unbiased.
    """
    counts = {
        "energy": jnp.ones(()),
        "forces": 3 * jnp.sum(batch.system.mask) / len(batch.energy),
    }
    if batch.has_stress is not None:
        counts["stress"] = jnp.mean(batch.has_stress, dtype=batch.energy.dtype)
    return counts
