"""The top-down question: which observable, measured next, would shrink another's interval most?

Draws of a posterior give every observable a value each, and so a covariance between observables
over the posterior.  In the linear-Gaussian model a measurement of ``y`` with error covariance ``N``
takes from the covariance of the target ``x``

    C_xy (C_yy + N)^-1 C_yx

(linear Bayes; Goldstein & Wooff 2007, eq. 1.2; as expected information about a goal in Attia,
Alexanderian & Saibaba 2018).  It does not depend on what will be measured, so it can be told
before.  Draws are few and simulations noisy, which biases the plain formula three ways:

- MD noise adds to the variances, which attenuates: its covariance is known from replicas and
  taken off;
- the square of a sample covariance of K draws is on average too large by about
  ``S_xx S_yy / (K - 1)``, so that everything seems to tell about everything: the estimate is freed
  of it, as the adjusted R^2 of a regression is (Ezekiel 1930);
- a curve of more points than draws would tell everything exactly: only its leading principal
  components, in units of the measurement's errors, are used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from bayespot.errors import UserError


@dataclasses.dataclass(frozen=True)
class Gain:
    """What a measurement is expected to tell about a target.

    Attributes:
        name: what is measured.
        reduction: expected share of the target's parameter variance that goes (of a curve: of its
            sum over the points); freed of bias, so it may come out below 0.
        low, high: its 95 % bootstrap interval over draws.
        chance: what 95 % of observables that know nothing of the target stay below.
        before, after: standard deviation of the target over the posterior now, and as expected
            after the measurement (of a curve: root mean square over its points).
        components: of the measured curve that were used; 1 for a number.
    """

    name: str
    reduction: float
    low: float
    high: float
    chance: float
    before: float
    after: float
    components: int

    @property
    def distinct(self) -> bool:
        """Whether it promises more than chance does."""
        return self.reduction > self.chance and self.low > 0


@dataclasses.dataclass(frozen=True)
class Observed:
    """Values of observables over the same draws.

    Attributes:
        values: name -> (draws,) or (draws, points).
        md: (name, name) -> mean covariance over draws of their MD noise, (points, points), 1 for
            numbers; pairs that are missing share no noise (different trajectories).
    """

    values: Mapping[str, np.ndarray]
    md: Mapping[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)

    def of(self, name: str) -> np.ndarray:
        """(draws, points)."""
        if name not in self.values:
            raise UserError(
                f"there is no observable {name}", f"Choose of {', '.join(sorted(self.values))}"
            )
        x = np.asarray(self.values[name], float)
        return x.reshape(len(x), -1)

    def noise(self, one: str, other: str) -> np.ndarray:
        """(points of one, points of other) covariance of MD noise."""
        shape = self.of(one).shape[1], self.of(other).shape[1]
        if (one, other) in self.md:
            return np.asarray(self.md[one, other], float).reshape(shape)
        if (other, one) in self.md:
            return np.asarray(self.md[other, one], float).reshape(shape[::-1]).T
        return np.zeros(shape)


def measure_next(
    observed: Observed,
    target: str,
    errors: Mapping[str, float | np.ndarray],
    *,
    again: float = 1.0,
    components: int = 3,
    cluster: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Gain]:
    """Candidates by what each is expected to tell about the target, the best first.

    Args:
        observed: values of all of them over the draws, at least 8.
        target: name of what shall become certain.
        errors: candidate -> standard error that its measurement would have, a number or one for
            each point; the target itself may be among them.
        again: MD noise of the simulations that the measurement will be compared with, as a share
            of the noise here: 1 for simulations as long as these, 0 for endless ones.
        components: at most so many of a curve.
        cluster: (draws,) labels of draws that are alike, for instance their chains: the bootstrap
            draws whole clusters.
        resamples: of bootstrap and permutations.
        seed: of both.

    Raises:
        UserError: an unknown name, an error that is not positive, or too few draws.
    """
    made = []
    for name, error in errors.items():
        rng = np.random.default_rng([seed, len(made)])
        made.append(
            _gain(observed, target, name, error, again, components, cluster, resamples, rng)
        )
    return sorted(made, key=lambda gain: -gain.reduction)


def _gain(
    observed: Observed,
    target: str,
    name: str,
    error: float | np.ndarray,
    again: float,
    components: int,
    cluster: np.ndarray | None,
    resamples: int,
    rng: np.random.Generator,
) -> Gain:
    x, y = observed.of(target), observed.of(name)
    _check(x, y, name, error)
    noise = np.diag(np.broadcast_to(np.square(np.asarray(error, float)), y.shape[1:]))
    noise = noise + again * observed.noise(name, name)
    problem = _Problem.make(
        x, y, noise, observed.noise(target, target), observed.noise(name, name),
        observed.noise(target, name), components,
    )  # fmt: skip
    if not problem.variance(x) > 0:
        raise UserError(
            f"the draws' {target} differs by no more than the noise of their MD",
            "Simulate longer, or with more replicas ([md] steps and replicas), or ask about another"
            " target: as it is, no measurement can be seen to help",
        )
    here = problem.reduction(x, y)
    plain = problem.reduction(x, y, debias=False)
    label = np.arange(len(x)) if cluster is None else np.unique(cluster, return_inverse=True)[1]
    groups = [np.flatnonzero(label == i) for i in range(label.max() + 1)]
    drawn, shuffled = np.empty(resamples), np.empty(resamples)
    for i in range(resamples):
        pick = np.concatenate([groups[j] for j in rng.integers(0, len(groups), len(groups))])
        drawn[i] = problem.reduction(x[pick], y[pick], debias=False)
        # permuted draws share nothing, no noise of a trajectory either
        shuffled[i] = problem.reduction(x, y[rng.permutation(len(y))], shared=False)
    # resampled squares scatter about the plain estimate, not about the one freed of its bias
    low, high = here + np.quantile(drawn[np.isfinite(drawn)], [0.025, 0.975]) - plain
    before = np.sqrt(max(problem.variance(x), 0.0) / x.shape[1])
    after = before * np.sqrt(np.clip(1 - here, 0.0, None))
    return Gain(
        name, float(here), float(low), float(high), float(np.nanquantile(shuffled, 0.95)),
        float(before), float(after), problem.basis.shape[1],
    )  # fmt: skip


def _check(x: np.ndarray, y: np.ndarray, name: str, error: float | np.ndarray) -> None:
    if len(x) != len(y) or len(x) < 8:
        raise UserError(
            f"{name} has {len(y)} draws and the target {len(x)}: covariances need at least 8 of"
            " both",
            "Simulate more draws",
        )
    if not np.all(np.asarray(error, float) > 0):
        raise UserError(f"the error of {name} is {error}", "Give a standard error above 0")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError(f"{name} or the target holds NaN", "Leave out draws without a value")


@dataclasses.dataclass(frozen=True)
class _Problem:
    """Target and candidate in the candidate's leading components, in units of its noise.

    basis: (points, components), y -> y @ basis has unit measurement noise.
    md_target: (points of x,) MD variance.
    md_basis: (components,) MD variance of y @ basis.
    md_shared: (points of x, components) MD covariance of both.
    """

    basis: np.ndarray
    md_target: np.ndarray
    md_basis: np.ndarray
    md_shared: np.ndarray

    @classmethod
    def make(
        cls,
        x: np.ndarray,
        y: np.ndarray,
        noise: np.ndarray,
        md_target: np.ndarray,
        md_y: np.ndarray,
        md_shared: np.ndarray,
        components: int,
    ) -> _Problem:
        values, vectors = np.linalg.eigh(noise)
        whiten = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max()))
        spread = np.atleast_2d(np.cov(y @ whiten, rowvar=False)) - whiten.T @ md_y @ whiten
        size, direction = np.linalg.eigh(spread)
        # each component is a number to be estimated from the draws
        most = max(1, min(components, (len(x) - 1) // 5, y.shape[1]))
        first = np.argsort(-size)[:most]
        first = first[size[first] > 0.01 * size[first[0]]] if size[first[0]] > 0 else first[:1]
        basis = whiten @ direction[:, first]
        return cls(
            basis, np.diag(md_target), np.einsum("pi,pq,qi->i", basis, md_y, basis),
            md_shared @ basis,
        )  # fmt: skip

    def variance(self, x: np.ndarray) -> float:
        """Parameter variance of the target, summed over its points."""
        return float(np.sum(x.var(axis=0, ddof=1) - self.md_target))

    def reduction(
        self, x: np.ndarray, y: np.ndarray, debias: bool = True, shared: bool = True
    ) -> float:
        """Expected share of ``variance`` that a measurement of y takes away."""
        free = len(x) - 1
        x, z = x - x.mean(axis=0), (y - y.mean(axis=0)) @ self.basis
        raw = x.T @ z / free
        squares = (raw - (self.md_shared if shared else 0.0)) ** 2
        all_x, all_z = np.sum(x**2, axis=0) / free, np.sum(z**2, axis=0) / free
        if debias:
            # given z, a sample covariance varies by (what z leaves of x) S_zz / free
            fitted = np.sum(raw * np.linalg.solve(z.T @ z / free, raw.T).T, axis=1)
            left = (all_x - fitted) * free / (free - z.shape[1])
            squares = squares - np.outer(left, all_z) / free
        known = np.maximum(all_z - self.md_basis, 0.0)
        total = np.sum(all_x - self.md_target)
        return float(np.sum(squares / (known + 1.0)) / total) if total > 0 else float("nan")


def by_weights(
    target: np.ndarray, candidate: np.ndarray, error: float, *, tries: int = 200, seed: int = 0
) -> tuple[float, float]:
    """The same by importance weights, which knows nothing of lines and Gaussians.

    Measurements are made up from draws, every other draw is weighted by what it makes of them, and
    the weighted variances of the target are averaged.  It takes many draws: see the second number.

    Args:
        target: (draws,).
        candidate: (draws,).
        error: standard error of the measurement.
        tries: measurements made up.
        seed: of them.

    Returns:
        the expected share of the target's variance that goes, and the mean effective number of
        draws (Kish 1965) under the weights: below ten or so the first is none to rely on.
    """
    x, y = np.asarray(target, float), np.asarray(candidate, float)
    rng = np.random.default_rng(seed)
    left, size = [], []
    for truth in rng.integers(0, len(x), tries):
        others = np.arange(len(x)) != truth
        log = -0.5 * ((y[truth] + error * rng.normal() - y[others]) / error) ** 2
        weight = np.exp(log - log.max())
        weight /= weight.sum()
        mean = weight @ x[others]
        left.append(weight @ (x[others] - mean) ** 2)
        size.append(1 / np.sum(weight**2))
    return float(1 - np.mean(left) / np.var(x)), float(np.mean(size))
