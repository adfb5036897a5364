"""Elastic stiffness from the fluctuations of the stress at constant volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables import moduli
from bayespot.observables.base import Context, Observable, namespace
from bayespot.observables.frame import Frame
from bayespot.observables.pressure import check_periodic, strain_tensor
from bayespot.units import BOLTZMANN, GPA

SYMMETRIES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], str]] = {
    "triclinic": (
        moduli.triclinic_constants,
        moduli.triclinic_stiffness,
        " ".join(f"C{i + 1}{j + 1}" for i, j in zip(*moduli.UPPER, strict=True)),
    ),
    "cubic": (moduli.cubic_constants, moduli.cubic_stiffness, "C11 C12 C44"),
    "hexagonal": (
        moduli.hexagonal_constants,
        moduli.hexagonal_stiffness,
        "C11 C12 C13 C33 C44",
    ),
}
"""Constants from a stiffness, a stiffness from constants, and what they are called."""

AVERAGES = {
    "voigt": moduli.voigt_moduli,
    "reuss": moduli.reuss_moduli,
    "hill": moduli.hill_moduli,
    "axial": moduli.axial_moduli,
}
"""Moduli of a stiffness."""


@dataclasses.dataclass(frozen=True)
class Stiffness(Observable):
    """Isothermal elastic stiffness of a crystal at constant volume and temperature,

    ``C_ijkl = <C^B_ijkl> - V/(k_B T) Cov(s^B_ij, s^B_kl) + N k_B T/V (d_ik d_jl + d_il d_jk)``

    with the stress ``s^B = (dU/dE)/V`` and Born's term ``C^B = (d2U/dE2)/V`` of the potential
    (methods.md section 4; Thaler and Zavadlav 2021, equation 14; Lutsko 1989).

    Derivatives are with respect to Lagrange's strain ``E = (F^T F - 1)/2``: that is what the
    kinetic term belongs to (with ``F - 1`` it would be half as large).  The result is the second
    derivative of the free energy; under stress the relation between stress and strain has other
    coefficients, which ``convention`` asks for.  At zero stress both are the same.

    Atoms within a cell give way to strain, and the covariance holds that too: Born's term alone is
    the stiffness of a lattice that cannot.  It converges slowly: covariances of n independent
    frames have relative errors of about sqrt(2/n).

    Attributes:
        symmetry: "triclinic", "cubic" (axes along the cube's edges) or "hexagonal" (c along z):
            averages over what symmetry makes equal, before all else.
        quantity: "constants" of that symmetry, 21, 3 or 5 of them, or one of "bulk", "shear",
            "young" (GPa) and "poisson".
        average: of those: "voigt", "reuss" or "hill" for a polycrystal, "axial" for a single
            crystal along its axes.
        convention: "free_energy" or "stress_strain" (Birch's).
        reference: (6,) GPa near the mean potential stress, subtracted before squaring: float32
            squares of a large stress would lose the covariance.  Zero suits crystals that are not
            under load.
    """

    symmetry: str = "cubic"
    quantity: str = "constants"
    average: str = "hill"
    convention: str = "free_energy"
    reference: tuple[float, ...] = (0.0,) * 6

    def __post_init__(self) -> None:
        for field, known in (
            ("symmetry", tuple(SYMMETRIES)),
            ("quantity", ("constants", *moduli.Moduli._fields)),
            ("average", tuple(AVERAGES)),
            ("convention", ("free_energy", "stress_strain")),
        ):
            value = getattr(self, field)
            if value not in known:
                raise UserError(
                    f'{self.name} has {field} "{value}"',
                    "Use " + ", ".join(f'"{k}"' for k in known),
                )

        if np.shape(self.reference) != (6,):
            raise UserError(
                f"{self.name} has a reference of shape {np.shape(self.reference)}",
                "Give six stresses in GPa: xx, yy, zz, yz, xz, xy",
            )

    @property
    def unit(self) -> str:
        """GPa, or none."""
        return "" if self.quantity == "poisson" else "GPa"

    @property
    def axis(self) -> np.ndarray | None:
        """Number of each constant."""
        if self.quantity != "constants":
            return None
        return np.arange(1.0, len(SYMMETRIES[self.symmetry][2].split()) + 1)

    @property
    def components(self) -> tuple[str, ...]:
        """What they are called."""
        return tuple(self.axis_label.split())

    @property
    def axis_label(self) -> str:
        """All names."""
        return SYMMETRIES[self.symmetry][2] if self.quantity == "constants" else ""

    @property
    def title(self) -> str:
        """For figures."""
        names = {"constants": "elastic constants", "young": "Young's modulus"}
        names |= {"poisson": "Poisson's ratio"}
        return names.get(self.quantity, f"{self.quantity} modulus")

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Volume, Born's term, and the stress about ``reference`` with its products."""
        check_periodic(self, frame)

        def energy(voigt: jax.Array) -> jax.Array:
            strain = strain_tensor(voigt)
            square = jnp.matmul(strain, strain, precision="highest")
            # F = sqrt(1 + 2 E), to the order that two derivatives see
            return frame.strained_energy(strain - square / 2)

        def slope(voigt: jax.Array) -> tuple[jax.Array, jax.Array]:
            made = jax.grad(energy)(voigt)
            return made, made

        none = jnp.zeros(6, frame.system.positions.dtype)
        curvature, first = jax.jacfwd(slope, has_aux=True)(none)
        unit = frame.volume * GPA
        stress = first / unit - jnp.asarray(self.reference, first.dtype)
        return {
            "volume": frame.volume,
            "born": curvature / unit,
            "stress": stress,
            "products": stress[:, None] * stress[None, :],
        }

    def tensor(self, mean: dict[str, Any], context: Context) -> Any:
        """(..., 6, 6) GPa before symmetry enters, in Voigt's notation."""
        thermal = BOLTZMANN * context.temperature / GPA  # GPa Angstrom^3
        volume = namespace(mean).asarray(mean["volume"])[..., None]
        stress = mean["stress"]
        covariance = mean["products"] - stress[..., :, None] * stress[..., None, :]
        ideal = context.num_atoms * thermal / volume
        made = mean["born"] - volume[..., None] / thermal * covariance
        made = made + ideal[..., None] * np.diag(1 + moduli.AXIAL)
        if self.convention == "stress_strain":
            whole = stress + np.asarray(self.reference) - ideal * moduli.AXIAL
            made = moduli.stress_strain(made, whole)
        return made

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Constants or a modulus."""
        constants, stiffness, _ = SYMMETRIES[self.symmetry]
        found = constants(self.tensor(mean, context))
        if self.quantity == "constants":
            return found
        return getattr(AVERAGES[self.average](stiffness(found)), self.quantity)
