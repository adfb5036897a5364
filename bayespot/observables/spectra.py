"""Vibrational density of states from velocities."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.observables.base import Context, namespace
from bayespot.observables.correlation import VelocityCorrelation
from bayespot.observables.frame import Frame
from bayespot.units import PICOSECOND

WAVENUMBER = 1e12 / 2.99792458e10
"""1 THz in 1/cm."""

TAPERS = ("hann", "none")


@dataclasses.dataclass(frozen=True)
class VDOS(VelocityCorrelation):
    """Vibrational density of states: the cosine transform of the mass-weighted, normalised
    velocity autocorrelation (Dickey & Paskin 1969),

    ``g(nu) = 4 int_0^T c(t) w(t) cos(2 pi nu t) dt``, ``c(t) = sum m v(0).v(t) / sum m v(0)^2``.

    Its area is one; mass weighting gives every classical mode the same share of it.  Frequencies
    go up to ``1/(2 interval)``, beyond which they fold back; lines are ``1/T`` wide with the taper.

    Attributes:
        taper: "hann" brings the correlation to zero at the longest lag ``T``,
            ``w(t) = cos^2(pi t/(2T))``; "none" cuts it off, and lines ring.
        wavenumbers: 1/cm instead of THz.
    """

    taper: str = "hann"
    wavenumbers: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.taper not in TAPERS:
            raise UserError(
                f'observable {self.name} has taper "{self.taper}"', f"Use one of {TAPERS}"
            )

    @property
    def unit(self) -> str:
        """Inverse of the axis."""
        return "cm" if self.wavenumbers else "1/THz"

    @property
    def axis(self) -> np.ndarray:
        """(lags,) frequencies from 0 to the highest that frames resolve, THz or 1/cm."""
        highest = PICOSECOND / (2 * self.interval)
        scale = WAVENUMBER if self.wavenumbers else 1.0
        return scale * np.linspace(0, highest, self.lags)

    @property
    def axis_label(self) -> str:
        """Frequency."""
        return "ν / cm⁻¹" if self.wavenumbers else "ν / THz"

    @property
    def title(self) -> str:
        """For figures."""
        return "vibrational density of states"

    def track(self, frame: Frame) -> jax.Array:
        """(atoms, 3) velocities times the root of the mass."""
        return super().track(frame) * jnp.sqrt(frame.system.masses)[:, None]

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Cosine transform by trapezoids, as the Fourier transform of the even continuation."""
        del context
        made = namespace(mean)
        vacf = mean["vacf"] / mean["vacf"][..., :1]
        if self.taper == "hann":
            vacf = vacf * np.cos(0.5 * np.pi * np.linspace(0, 1, self.lags)) ** 2
        even = made.concatenate([vacf, vacf[..., -2:0:-1]], axis=-1)
        density = 2 * self.interval / PICOSECOND * made.fft.rfft(even).real
        return density / WAVENUMBER if self.wavenumbers else density
