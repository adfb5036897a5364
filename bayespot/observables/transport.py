"""Velocity autocorrelation, mean squared displacement, and self-diffusion from either."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import numpy as np

from bayespot.errors import UserError
from bayespot.observables.base import Context, namespace
from bayespot.observables.correlation import TimeCorrelation, VelocityCorrelation
from bayespot.observables.frame import Frame

UM2_PER_MS = 1e4
"""1 Angstrom^2/fs in um^2/ms, which is 1e-9 m^2/s."""


@dataclasses.dataclass(frozen=True)
class VACF(VelocityCorrelation):
    """Velocity autocorrelation ``C(t) = <v(0).v(t)>``, which is 3 k_B T/m at t = 0.

    Attributes:
        normalised: divide by ``C(0)``.
    """

    normalised: bool = False

    @property
    def unit(self) -> str:
        """Of a squared velocity, or a number."""
        return "" if self.normalised else "Å²/fs²"

    @property
    def axis(self) -> np.ndarray:
        """Lags, fs."""
        return self.times

    @property
    def axis_label(self) -> str:
        """Time."""
        return "t / fs"

    @property
    def title(self) -> str:
        """For figures."""
        return "velocity autocorrelation"

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """The mean, or its ratio to lag 0."""
        del context
        return mean["vacf"] / mean["vacf"][..., :1] if self.normalised else mean["vacf"]


@dataclasses.dataclass(frozen=True)
class GreenKuboDiffusion(VelocityCorrelation):
    """Self-diffusion coefficient ``D = 1/3 int_0^T <v(0).v(t)> dt`` by trapezoids (Green 1954,
    Kubo 1957).

    Attributes:
        running: all upper limits up to the longest lag instead of that one: a plateau shows that
            the lags reach far enough.
    """

    running: bool = False

    @property
    def unit(self) -> str:
        """1e-9 m^2/s."""
        return "1e-9 m²/s"

    @property
    def axis(self) -> np.ndarray | None:
        """Upper limits, fs, where they run."""
        return self.times if self.running else None

    @property
    def axis_label(self) -> str:
        """Time."""
        return "t / fs" if self.running else ""

    @property
    def title(self) -> str:
        """For figures."""
        return "self-diffusion (Green-Kubo)"

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Trapezoids."""
        del context
        vacf = mean["vacf"]
        pieces = (vacf[..., 1:] + vacf[..., :-1]) * (UM2_PER_MS * self.interval / 6)
        if not self.running:
            return pieces.sum(axis=-1)
        made = namespace(mean)
        return made.cumsum(made.concatenate([0 * vacf[..., :1], pieces], axis=-1), axis=-1)


@dataclasses.dataclass(frozen=True)
class MSD(TimeCorrelation):
    """Mean squared displacement ``<|r(t) - r(0)|^2>``.

    Positions of the engine are not wrapped into the cell.  A barostat moves them together with the
    cell, which is no diffusion: the engine refuses it there.
    """

    fixed_cell: ClassVar[bool] = True

    @property
    def unit(self) -> str:
        """Angstrom^2."""
        return "Å²"

    @property
    def axis(self) -> np.ndarray | None:
        """Lags, fs."""
        return self.times

    @property
    def axis_label(self) -> str:
        """Time."""
        return "t / fs"

    @property
    def title(self) -> str:
        """For figures."""
        return "mean squared displacement"

    def track(self, frame: Frame) -> jax.Array:
        """(atoms, 3) positions, Angstrom."""
        return self.relative(frame.system, frame.system.positions)

    def snapshot(self, frame: Frame) -> dict[str, jax.Array]:
        """Squared distance from the positions of before."""
        past = self.past(frame)
        return {"msd": self.mean(frame, (past - past[0]) ** 2)}

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """The mean."""
        del context
        return mean["msd"]


@dataclasses.dataclass(frozen=True)
class EinsteinDiffusion(MSD):
    """Self-diffusion coefficient, a sixth of the slope of the mean squared displacement.

    Attributes:
        fit: from where to where a line is fitted, relative to the longest lag; motion is ballistic
            before.
    """

    fit: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.fit
        if not 0 <= low < high <= 1 or self._fitted.sum() < 2:
            raise UserError(
                f"observable {self.name} fits from {low} to {high} of {self.lags} lags",
                "Give two numbers from 0 to 1 with at least two lags between them",
            )

    @property
    def _fitted(self) -> np.ndarray:
        """(lags,) which of them."""
        share = np.linspace(0, 1, self.lags)
        return (share >= self.fit[0] - 1e-9) & (share <= self.fit[1] + 1e-9)

    @property
    def unit(self) -> str:
        """1e-9 m^2/s."""
        return "1e-9 m²/s"

    @property
    def axis(self) -> np.ndarray | None:
        """A number."""
        return None

    @property
    def axis_label(self) -> str:
        """None."""
        return ""

    @property
    def title(self) -> str:
        """For figures."""
        return "self-diffusion (Einstein)"

    def reduce(self, mean: dict[str, Any], context: Context) -> Any:
        """Least squares: the slope is linear in the averages."""
        del context
        part = self._fitted
        centred = np.where(part, self.times - self.times[part].mean(), 0.0)
        return mean["msd"] @ (centred * (UM2_PER_MS / 6 / np.sum(centred**2)))
