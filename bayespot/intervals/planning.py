"""How many draws and steps an interval of a given width takes, from a pilot."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

from bayespot.uncertainty import Estimate


@dataclasses.dataclass(frozen=True)
class Plan:
    """The cheapest simulation that is expected to reach a width.

    Attributes:
        draws: to simulate.
        replicas: trajectories of each.
        steps: of each trajectory, production.
        half_width: expected, of the 95 % interval.
        cost: draws * replicas * (steps + equilibration), force calls of one member.
        reachable: whether it is at most the target.
        sentence: in words.
    """

    draws: int
    replicas: int
    steps: int
    half_width: float
    cost: int
    reachable: bool
    sentence: str


def plan(
    pilot: Estimate,
    replicas: int,
    steps: int,
    *,
    target: float | int,
    budget: float | int = np.inf,
    equilibration: int = 0,
    most_draws: int = 1000,
) -> Plan:
    """Choose draws, replicas and steps.

    The half-width expected of K draws is ``t_{K-1} sqrt(max(P, (P + m) sqrt(2/(K-1))) + m/K)``
    with P the variance over the posterior and m that of one draw's sampling, which falls with
    replicas * steps: the expectation of what ``uncertainty.estimate`` will say.  P is what the
    pilot finds; no simulation makes it smaller, only data do.

    Args:
        pilot: estimate from a pilot; of curves the root mean square over bins counts.
        replicas, steps: of each draw in the pilot, production.
        target: half-width of the 95 % interval, in the observable's unit.
        budget: force calls of one member, in all.
        equilibration: steps before the production of every trajectory.
        most_draws: that the posterior can give.

    Raises:
        ValueError: a target or budget that is not positive.
    """
    if not (target > 0 and budget > 0):
        raise ValueError(f"target {target} and budget {budget} must be positive")
    parameter = float(np.mean(np.square(pilot.parameter)))
    noise = float(np.mean(np.square(pilot.md)))
    resolved = np.sqrt((parameter + noise) * np.sqrt(2 / (pilot.draws - 1)))
    share = noise * replicas * steps
    draws = np.unique(np.round(np.geomspace(4, max(4, most_draws), 60)).astype(int))
    lengths = np.unique(np.round(steps * np.geomspace(0.05, 50, 80)).astype(int))
    lengths = lengths[lengths >= 1]
    k, length = draws[:, None], lengths[None, :]
    sampling = share / (replicas * length)
    spread = np.maximum(parameter, (parameter + sampling) * np.sqrt(2 / (k - 1)))
    half = stats.t.ppf(0.975, k - 1) * np.sqrt(spread + sampling / k)
    cost = k * replicas * (length + equilibration)
    open_ = cost <= budget
    if not open_.any():
        least = int(cost.min())
        raise ValueError(f"a budget of {budget:g} force calls allows nothing: the least is {least}")
    floor = 1.96 * np.sqrt(parameter)
    fits = open_ & (half <= target)
    if fits.any():
        i, j = np.unravel_index(np.argmin(np.where(fits, cost, np.inf)), cost.shape)
        told = "reaches the target"
    else:
        i, j = np.unravel_index(np.argmin(np.where(open_, half, np.inf)), cost.shape)
        if floor > target:
            told = (
                f"is the narrowest within the budget; the posterior itself spreads by"
                f" ± {floor:.2g}, and its variance must fall {(floor / target) ** 2:.1f} times:"
                " train on more data"
            )
        else:
            told = "is the narrowest within the budget, which is too small for the target"
    found = float(half[i, j])
    count, long = int(draws[i]), int(lengths[j])
    sentence = (
        f"{count} draws of {replicas} trajectories of {long} steps: ± {found:.2g} expected, which"
        f" {told}"
    )
    if parameter < resolved**2:
        sentence += (
            f" (the pilot cannot tell a spread of the posterior below ± {1.96 * resolved:.2g} from"
            " sampling noise: this takes it for what it saw)"
        )
    return Plan(count, replicas, long, found, int(cost[i, j]), bool(fits.any()), sentence)
