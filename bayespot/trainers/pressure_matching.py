"""Pressure matching: virials that give a coarse-grained potential the pressure of its atoms.

A virial is ``W = sum r . F = -tr(dU/dstrain)`` in eV, so that ``P = (N_dof k_B T + W) / (3V)``.
Equal pressures ask for ``W0 = W_AT + k_B T (N_dof_AT - N_dof_CG)``; as a trained potential meets
its labels only on average over the atoms' frames, not over its own, its simulated pressure is
fed back, ``W_{i+1} = W_i + 3V (P_AT - P_CG_i)`` (Das & Andersen 2010; methods.md section 3).

Fit with ``ForceMatching(..., isotropic=True)`` to ``with_virials(batch, virials)``, simulate,
``corrected_virials``, and fit again.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from bayespot.data import Batch
from bayespot.errors import UserError
from bayespot.units import BOLTZMANN, GPA


def coarse_virials(
    virials: np.ndarray, temperature: float, atomistic_dof: int, coarse_dof: int
) -> np.ndarray:
    """Targets W0 for the first fit, eV.

    Args:
        virials: (frames,) of the atomistic frames, those of constraints included, eV.
        temperature: K.
        atomistic_dof: degrees of freedom of a frame's atoms: 3 for each, less constraints.
        coarse_dof: of its beads.
    """
    return np.asarray(virials) + BOLTZMANN * temperature * (atomistic_dof - coarse_dof)


def corrected_virials(
    virials: np.ndarray, volume: np.ndarray | float, wanted: float, found: float
) -> np.ndarray:
    """Targets for the next fit, eV.

    Args:
        virials: (frames,) targets of the last fit, eV.
        volume: (frames,) Angstrom^3.
        wanted: mean pressure of the atoms, GPa.
        found: mean pressure of a simulation with the fitted potential, GPa.
    """
    return np.asarray(virials) + 3 * np.asarray(volume) * (wanted - found) * GPA


def with_virials(batch: Batch, virials: np.ndarray) -> Batch:
    """Frames with isotropic stress labels ``-W/(3V)``, for ``ForceMatching(isotropic=True)``.

    Args:
        batch: fully periodic frames.
        virials: (frames,) eV.

    Raises:
        UserError: frames without a volume, or virials that are not one finite number a frame.
    """
    if not all(batch.system.pbc):
        raise UserError(
            "the frames are not periodic in all directions, and have no pressure",
            "Give frames with pbc in all directions",
        )
    values = np.asarray(virials, float)
    if values.shape != batch.energy.shape or not np.all(np.isfinite(values)):
        raise UserError(
            f"virials of shape {values.shape} are not one finite number for each of"
            f" {len(batch.energy)} frames",
            "Give an array (frames,) in eV",
        )
    volume = np.abs(np.linalg.det(np.asarray(batch.system.cell, float)))
    stress = -(values / (3 * volume))[:, None, None] * np.eye(3)
    return batch._replace(
        stress=jnp.asarray(stress, batch.energy.dtype),
        has_stress=jnp.ones(len(values), bool),
    )
