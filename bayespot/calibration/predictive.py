"""What a committee says about a number: Student's t, with the Gaussian as its limit.

The spread of K members estimates the parameter variance with K-1 degrees of freedom, and their
mean is off by a K-th of it.  A truth that is one more draw of the same posterior, plus noise, is
therefore not Gaussian about the mean with the members' variance: of 5 members without noise, 95 %
Gaussian intervals hold 85 % of such truths and the mean squared z-score is 2.4, although nothing
is wrong with the posterior.  So

    V = (1 + 1/K) s^2 + n,   (y - m) / sqrt(V) ~ t(nu),   nu = V^2 / (((1 + 1/K) s^2)^2 / (K-1))

with s^2 the variance over members (ddof=1), n that of the noise, and nu by Welch (1947) and
Satterthwaite (1946): exactly Student's t where there is no noise, the Gaussian for many members
or where noise dominates; in between approximate (of 5 members with little noise the mean squared
z-score is 1.1, of 3 it is 1.3).  Everything here is of this distribution; z-scores are the
standard normal deviates of the same probability, so that they are N(0, 1) for any K where the
posterior is right.  ``tails="normal"`` is the usual ``N(m, s^2 + n)`` of other packages.  For
vectors the same with the 3x3 covariance: Hotelling's T^2 with the degrees of freedom of Nel and
van der Merwe (1986).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from scipy import special, stats

from bayespot.calibration.quantity import Quantity

Tails = Literal["student", "normal"]

LARGE = 1e6
"""Degrees of freedom from which on Student's t is the Gaussian."""

TINY = 1e-300
"""Tail probabilities end here, |z| at 37."""


@dataclasses.dataclass(frozen=True)
class Predictive:
    """Of n numbers.

    Attributes:
        error: (n,) truth minus mean over members.
        scale: (n,) sqrt(V).
        dof: (n,) nu; infinite for the Gaussian.
        epistemic, aleatoric: (n,) variances s^2 and n.
    """

    error: np.ndarray
    scale: np.ndarray
    dof: np.ndarray
    epistemic: np.ndarray
    aleatoric: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """(n,) the standard deviation that is handed out, ``sqrt(s^2 + n)``."""
        return np.sqrt(self.epistemic + self.aleatoric)

    @property
    def size(self) -> np.ndarray:
        """(n,) absolute error."""
        return np.abs(self.error)

    def z(self, stretch: float = 1.0) -> np.ndarray:
        """(n,) equivalent normal deviates, of standard deviations ``stretch`` times as large."""
        return normal_deviate(self.error / (stretch * self.scale), self.dof)

    def squares(self, stretch: float = 1.0) -> np.ndarray:
        """(n,) squared z-scores: their mean is 1 where the uncertainties are right."""
        return self.z(stretch) ** 2

    def inside(self) -> np.ndarray:
        """(n,) level of the central interval that just holds the truth."""
        return 1 - 2 * special.ndtr(-np.abs(self.z()))

    def nll(self) -> np.ndarray:
        """(n,) negative log density, nats."""
        finite = self.dof < LARGE
        t = self.error / self.scale
        made = -stats.norm.logpdf(t)
        nu = self.dof[finite]
        made[finite] = (
            special.gammaln(nu / 2)
            - special.gammaln((nu + 1) / 2)
            + 0.5 * np.log(nu * np.pi)
            + (nu + 1) / 2 * np.log1p(t[finite] ** 2 / nu)
        )
        return made + np.log(self.scale)

    def crps(self) -> np.ndarray:
        """(n,) continuous ranked probability score, in the unit."""
        return student_crps(self.error, self.scale, self.dof)

    def stretched(self, factor: np.ndarray) -> Predictive:
        """With standard deviations times ``factor`` (n,)."""
        return dataclasses.replace(
            self,
            scale=self.scale * factor,
            epistemic=self.epistemic * factor**2,
            aleatoric=self.aleatoric * factor**2,
        )


@dataclasses.dataclass(frozen=True)
class VectorPredictive:
    """Of n vectors of three components.

    Attributes:
        size: (n,) length of truth minus mean.
        distance: (n,) squared Mahalanobis distance of the truth.
        log_volume: (n,) half the log determinant of the 3x3 covariance V.
        dof: (n,) nu.
        epistemic, aleatoric: (n,) mean variance of a component, of members and noise.
    """

    size: np.ndarray
    distance: np.ndarray
    log_volume: np.ndarray
    dof: np.ndarray
    epistemic: np.ndarray
    aleatoric: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """(n,) root mean square over components and directions."""
        return np.sqrt(self.epistemic + self.aleatoric)

    def squares(self, stretch: float = 1.0) -> np.ndarray:
        """(n,) a third of the equivalent chi-square: its mean is 1 where all is right."""
        return chi_square_deviate(self.distance / stretch**2, self.dof) / 3

    def inside(self) -> np.ndarray:
        """(n,) level of the ellipsoid that just holds the truth."""
        return special.gammainc(1.5, 1.5 * self.squares())

    def nll(self) -> np.ndarray:
        """(n,) negative log density of the trivariate t, nats."""
        made = 1.5 * np.log(2 * np.pi) + self.log_volume + self.distance / 2
        finite = self.dof < LARGE
        nu = self.dof[finite] - 2  # of the trivariate t, whose shape is V nu / (nu - 2)
        shape = (nu + 2) / nu
        made[finite] = (
            special.gammaln(nu / 2)
            - special.gammaln((nu + 3) / 2)
            + 1.5 * np.log(nu * np.pi * shape)
            + self.log_volume[finite]
            + (nu + 3) / 2 * np.log1p(self.distance[finite] / (nu * shape))
        )
        return made

    def stretched(self, factor: np.ndarray) -> VectorPredictive:
        """With standard deviations times ``factor`` (n,) in all directions."""
        return dataclasses.replace(
            self,
            distance=self.distance / factor**2,
            log_volume=self.log_volume + 3 * np.log(factor),
            epistemic=self.epistemic * factor**2,
            aleatoric=self.aleatoric * factor**2,
        )


def predictive(quantity: Quantity, tails: Tails = "student") -> Predictive | VectorPredictive:
    """The distribution that members and noise give each number of ``quantity``."""
    return _vectors(quantity, tails) if quantity.vector else _scalars(quantity, tails)


def _scalars(quantity: Quantity, tails: Tails) -> Predictive:
    error = quantity.truth - quantity.samples.mean(axis=0)
    epistemic = quantity.samples.var(axis=0, ddof=1)
    noise = np.asarray(quantity.noise_variance, float)
    return scalars(error, epistemic, noise, len(quantity.samples), tails)


def scalars(
    error: np.ndarray, epistemic: np.ndarray, noise: np.ndarray, members: int, tails: Tails
) -> Predictive:
    """From (n,) errors of the mean, variances over members (ddof=1) and of noise."""
    # members that agree to the last digit claim that they are certain; a z-score needs a number
    floor = (1e-9 * np.sqrt(np.mean(epistemic + noise)) + 1e-150) ** 2
    epistemic = np.where(epistemic + noise < floor, floor, epistemic)
    if tails == "normal":
        dof = np.full(len(error), np.inf)
        return Predictive(error, np.sqrt(epistemic + noise), dof, epistemic, noise)
    wide = (1 + 1 / members) * epistemic
    total = wide + noise
    with np.errstate(divide="ignore"):
        dof = (members - 1) * (total / wide) ** 2
    return Predictive(error, np.sqrt(total), dof, epistemic, noise)


def _vectors(quantity: Quantity, tails: Tails) -> VectorPredictive:
    members = len(quantity.samples)
    mean = quantity.samples.mean(axis=0)
    centred = quantity.samples - mean
    spread = np.einsum("kni,knj->nij", centred, centred) / (members - 1)
    epistemic = np.trace(spread, axis1=1, axis2=2) / 3
    noise = np.asarray(quantity.noise_variance, float)
    floor = (1e-9 * np.sqrt(np.mean(epistemic + noise)) + 1e-150) ** 2
    wide = spread if tails == "normal" else (1 + 1 / members) * spread
    total = wide + (noise + floor)[:, None, None] * np.eye(3)
    if tails == "normal":
        dof = np.full(len(mean), np.inf)
    else:

        def strength(x: np.ndarray) -> np.ndarray:
            square = np.einsum("nij,nji->n", x, x)
            return square + np.trace(x, axis1=1, axis2=2) ** 2

        with np.errstate(divide="ignore"):
            dof = (members - 1) * strength(total) / strength(wide)
        dof = np.maximum(dof, 3.0)
    error = quantity.truth - mean
    distance = np.einsum("ni,ni->n", error, np.linalg.solve(total, error[..., None])[..., 0])
    log_volume = 0.5 * np.linalg.slogdet(total)[1]
    size = np.linalg.norm(error, axis=1)
    return VectorPredictive(size, distance, log_volume, dof, epistemic, noise)


def normal_deviate(t: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Standard normal deviate of the same probability as Student's ``t``.

    From 15 degrees of freedom on by Hill's expansion (1970, algorithm 395), whose error is below
    2e-4 of the deviate up to 10, and which has no tail that ends.
    """
    made = np.array(t, float)
    few, many = dof < 15, (dof >= 15) & (dof < LARGE)
    tail = special.stdtr(dof[few], -np.abs(made[few]))
    made[few] = np.sign(made[few]) * -special.ndtri(np.maximum(tail, TINY))
    a = dof[many] - 0.5
    b = 48 * a**2
    square = a * np.log1p(made[many] ** 2 / dof[many])
    series = ((4 * square + 33) * square + 240) * square + 855
    series = 1 + (square + 3) / b - series / (10 * b * (b + 0.8 * square**2 + 100))
    made[many] = np.sign(made[many]) * np.sqrt(square) * series
    return made


def chi_square_deviate(distance: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Chi-square (3 degrees) of the same probability as Hotelling's T^2 with ``dof``."""
    made = np.array(distance, float)
    finite = dof < LARGE
    second = dof[finite] - 2
    tail = special.fdtrc(3, second, made[finite] * second / (3 * dof[finite]))
    made[finite] = special.chdtri(3, np.clip(tail, TINY, 1.0))
    return made


def student_crps(error: np.ndarray, scale: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """CRPS of Student's t about 0 at ``error`` (Jordan, Krüger & Lerch 2019, appendix A), of the
    Gaussian (Gneiting & Raftery 2007, eq. 21) where ``dof`` is infinite."""
    z = error / scale
    made = z * (2 * special.ndtr(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    finite = dof < LARGE
    # 1 degree of freedom is a limit
    nu, x = np.maximum(dof[finite], 1 + 1e-5), z[finite]
    log_density = (
        special.gammaln((nu + 1) / 2)
        - special.gammaln(nu / 2)
        - 0.5 * np.log(nu * np.pi)
        - (nu + 1) / 2 * np.log1p(x**2 / nu)
    )
    constant = np.exp(special.betaln(0.5, nu - 0.5) - 2 * special.betaln(0.5, nu / 2))
    made[finite] = (
        x * (2 * special.stdtr(nu, x) - 1)
        + 2 * np.exp(log_density) * (nu + x**2) / (nu - 1)
        - 2 * np.sqrt(nu) / (nu - 1) * constant
    )
    return np.asarray(scale * made)
