"""Elastic stiffness in Voigt's notation: crystal symmetry, compliance, averaged moduli, stress.

Stiffnesses are (..., 6, 6) over xx, yy, zz, yz, xz, xy, for engineering shear strains.  All
functions take arrays of numpy or of JAX, keep leading axes and have derivatives.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bayespot.observables.base import namespace

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
"""Axes of the six components."""

UPPER = np.triu_indices(6)
"""Rows and columns of the 21 constants of a triclinic crystal, C11 C12 ... C66."""

AXIAL = np.eye(6)[:3].sum(axis=0)
"""(6,) of the unit tensor."""


class Moduli(NamedTuple):
    """Of a polycrystal.

    Attributes:
        bulk: unit of the stiffness.
        shear: likewise.
        young: likewise.
        poisson: a number.
    """

    bulk: Any
    shear: Any
    young: Any
    poisson: Any


def cubic_constants(stiffness: Any) -> Any:
    """(..., 3) C11, C12, C44 of the cubic part, axes along the cube's edges."""
    xp = namespace({"": stiffness})
    c11, c12, c44 = _sums(stiffness)
    return xp.stack([c11 / 3, c12 / 3, c44 / 3], axis=-1)


def cubic_stiffness(constants: Any) -> Any:
    """(..., 6, 6) from C11, C12, C44 (..., 3)."""
    c11, c12, c44 = (constants[..., i] for i in range(3))
    nought = 0.0 * c11
    return _matrix(c11, c11, c11, c12, c12, c12, c44, c44, c44, nought)


def hexagonal_constants(stiffness: Any) -> Any:
    """(..., 5) C11, C12, C13, C33, C44 of the part that rotations about z leave alone.

    The nearest one in Euclid's norm (Moakher and Norris 2006), with C66 = (C11 - C12)/2.
    """
    xp = namespace({"": stiffness})
    c = stiffness
    along = c[..., 0, 0] + c[..., 1, 1]
    across, shear = c[..., 0, 1], c[..., 5, 5]
    return xp.stack(
        [
            3 / 8 * along + across / 4 + shear / 2,
            along / 8 + 3 / 4 * across - shear / 2,
            (c[..., 0, 2] + c[..., 1, 2]) / 2,
            c[..., 2, 2],
            (c[..., 3, 3] + c[..., 4, 4]) / 2,
        ],
        axis=-1,
    )


def hexagonal_stiffness(constants: Any) -> Any:
    """(..., 6, 6) from C11, C12, C13, C33, C44 (..., 5)."""
    c11, c12, c13, c33, c44 = (constants[..., i] for i in range(5))
    return _matrix(c11, c11, c33, c12, c13, c13, c44, c44, (c11 - c12) / 2, 0.0 * c11)


def triclinic_constants(stiffness: Any) -> Any:
    """(..., 21) C11, C12, ..., C16, C22, ..., C66."""
    return stiffness[..., UPPER[0], UPPER[1]]


def triclinic_stiffness(constants: Any) -> Any:
    """(..., 6, 6) from the 21 constants."""
    place = np.zeros((6, 6), int)
    place[UPPER] = np.arange(21)
    return constants[..., np.maximum(place, place.T)]


def compliance(stiffness: Any) -> Any:
    """Inverse, (..., 6, 6)."""
    return namespace({"": stiffness}).linalg.inv(stiffness)


def voigt_moduli(stiffness: Any) -> Moduli:
    """Of a polycrystal whose grains share their strain: upper bounds of bulk and shear."""
    along, across, shear = _sums(stiffness)
    return _isotropic((along + 2 * across) / 9, (along - across + 3 * shear) / 15)


def reuss_moduli(stiffness: Any) -> Moduli:
    """Of a polycrystal whose grains share their stress: lower bounds of bulk and shear."""
    along, across, shear = _sums(compliance(stiffness))
    return _isotropic(1 / (along + 2 * across), 15 / (4 * along - 4 * across + 3 * shear))


def hill_moduli(stiffness: Any) -> Moduli:
    """From the means of Voigt's and Reuss' bulk and shear moduli (Hill 1952)."""
    high, low = voigt_moduli(stiffness), reuss_moduli(stiffness)
    return _isotropic((high.bulk + low.bulk) / 2, (high.shear + low.shear) / 2)


def axial_moduli(stiffness: Any) -> Moduli:
    """Of a single crystal pulled and sheared along x, y and z, from compliances averaged over them.

    ``E = 1/S11``, ``G = 1/S44``, ``nu = -S12/S11``; the bulk modulus is Reuss'.
    """
    along, across, shear = _sums(compliance(stiffness))
    return Moduli(1 / (along + 2 * across), 3 / shear, 3 / along, -across / along)


def stress_strain(stiffness: Any, stress: Any) -> Any:
    """``d sigma_ij/d e_kl``, Birch's coefficients, from second derivatives of the free energy.

    ``B_ijkl = C_ijkl + (s_ik d_jl + s_jk d_il + s_il d_jk + s_jl d_ik - 2 s_ij d_kl)/2`` (Barron
    and Klein 1965; Wallace 1972) decides stability and sound under stress; unlike C it is
    symmetric only where the stress is isotropic.

    Args:
        stiffness: (..., 6, 6) derivatives with respect to Lagrangian strain over the volume.
        stress: (..., 6) where they were taken, tension positive, same unit.
    """
    return stiffness + (stress @ _BIRCH).reshape((*stress.shape[:-1], 6, 6))


def _birch() -> np.ndarray:
    """(6, 36): what a unit of each stress component adds to the stiffness."""
    made = np.zeros((6, 6, 6))
    one = np.eye(3)
    for n, (a, b) in enumerate(VOIGT):
        s = np.zeros((3, 3))
        s[a, b] = s[b, a] = 1.0
        for row, (i, j) in enumerate(VOIGT):
            for column, (k, l) in enumerate(VOIGT):
                terms = s[i, k] * one[j, l] + s[j, k] * one[i, l] + s[i, l] * one[j, k]
                terms += s[j, l] * one[i, k] - 2 * s[i, j] * one[k, l]
                made[n, row, column] = terms / 2
    return made.reshape(6, 36)


_BIRCH = _birch()


def _sums(matrix: Any) -> tuple[Any, Any, Any]:
    """Of 11, 22, 33; of 12, 13, 23; of 44, 55, 66."""
    c = matrix
    across = (c[..., 0, 1] + c[..., 1, 0] + c[..., 0, 2] + c[..., 2, 0]) / 2
    return (
        c[..., 0, 0] + c[..., 1, 1] + c[..., 2, 2],
        across + (c[..., 1, 2] + c[..., 2, 1]) / 2,
        c[..., 3, 3] + c[..., 4, 4] + c[..., 5, 5],
    )


def _isotropic(bulk: Any, shear: Any) -> Moduli:
    young = 9 * bulk * shear / (3 * bulk + shear)
    return Moduli(bulk, shear, young, (3 * bulk - 2 * shear) / (2 * (3 * bulk + shear)))


def _matrix(
    c11: Any, c22: Any, c33: Any, c12: Any, c13: Any, c23: Any, c44: Any, c55: Any, c66: Any, o: Any
) -> Any:
    """(..., 6, 6) of an orthotropic crystal; ``o`` is nought."""
    xp = namespace({"": c11})
    rows = (
        (c11, c12, c13, o, o, o),
        (c12, c22, c23, o, o, o),
        (c13, c23, c33, o, o, o),
        (o, o, o, c44, o, o),
        (o, o, o, o, c55, o),
        (o, o, o, o, o, c66),
    )
    return xp.stack([xp.stack(row, axis=-1) for row in rows], axis=-2)
