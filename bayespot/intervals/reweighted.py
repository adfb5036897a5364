"""Every draw's averages from trajectories of one potential, most often the draws' mean.

"direct" weighs the frames by ``exp(-(U_k - U)/k_B T)`` (methods.md section 3) and is exact as long
as enough of them count; "cumulant" keeps the first order of that (CEA; Imbalzano et al. 2021,
J. Chem. Phys. 154, 074102), which needs no weights and is biased where the draws differ by more
than ``k_B T``.  All draws share the frames, and with them the sampling error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from bayespot.errors import UserError
from bayespot.md import Trajectories
from bayespot.neighbors import Lists, NeighborList, allocate
from bayespot.observables import Context, Frame, Observable
from bayespot.potentials import Potential
from bayespot.reweight import Samples, energies, snapshots
from bayespot.system import System
from bayespot.trainers.targets import needs_potential
from bayespot.uncertainty import Estimate
from bayespot.units import BOLTZMANN

Method = Literal["direct", "cumulant"]

PIECES = 8
"""Least number of pieces that error estimates cut the frames into."""

LOW = 0.1
"""Effective share of the frames below which weights are not to be trusted."""


class Reweighted(NamedTuple):
    """Of all draws.

    Attributes:
        estimates: observable name -> interval.
        share: (draws,) effective share of the frames, ``exp(-sum w ln w)/N``.
        method: "direct" or "cumulant".
        frames: how many were there.
        gap: root mean square over draws and frames of ``U_k - U`` about its mean, in k_B T.
    """

    estimates: dict[str, Estimate]
    share: np.ndarray
    method: Method
    frames: int
    gap: float

    @property
    def warning(self) -> str | None:
        """What a reader must know; None where nothing is wrong."""
        low = int(np.sum(self.share < LOW))
        if not low:
            return None
        seen = f"{self.share.min() * self.frames:.0f} of {self.frames} frames"
        if self.method == "direct":
            return (
                f"{low} of {len(self.share)} draws count on less than {100 * LOW:.0f} % of the"
                f" frames (the worst on {seen}): these intervals are too narrow to be trusted."
                " Simulate every draw, or take the cumulant expansion"
            )
        return (
            f"draws differ from the simulated potential by {self.gap:.2g} k_BT: the cumulant"
            " expansion is of first order in that. Compare with simulations of the draws"
        )


def reweighted(
    potential: Potential,
    params: Any,
    simulated: Potential,
    simulated_params: Any,
    system: System,
    trajectories: Trajectories,
    observables: Sequence[Observable],
    context: Context,
    *,
    method: Method = "direct",
    batch_size: int = 8,
) -> Reweighted:
    """Intervals over draws from kept frames (``Simulation(keep=...)``) of another potential.

    Args:
        potential: of the draws.
        params: leading draw axis, at least two draws.
        simulated: what drove the trajectories, for instance ``CommitteeMean``.
        simulated_params: of it, without a draw axis.
        system: species, masses and periodicity.
        trajectories: one draw of ``simulated``; constant volume or constant pressure.
        observables: of one moment each: those with a window follow the dynamics, which weights
            know nothing of.
        context: conditions; the temperature is that of the simulation.
        method: "direct" or "cumulant".
        batch_size: frames evaluated at once.

    Raises:
        UserError: no kept frames, no stable replica, or an observable with a window.
    """
    for observable in observables:
        if observable.window:
            raise UserError(
                f"{observable.name} looks back in time, and frames cannot be reweighted for that",
                "Simulate every draw",
            )
    samples, cells = _samples(trajectories)
    lists = _lists(system, samples, max(potential.cutoff, simulated.cutoff))
    reference = _checked(
        jax.jit(lambda p, s: energies(simulated, p, system, s, lists, batch_size))(
            simulated_params, samples
        )
    )
    fixed, moving = _split(observables, potential, params, system, lists)

    @jax.jit
    def each(p: Any, s: Samples) -> Any:
        made, energy, crowded = snapshots(moving, potential, p, system, s, lists, batch_size)
        return (made, energy), crowded

    @jax.jit
    def once(p: Any, s: Samples) -> Any:
        made, _, crowded = snapshots(fixed, potential, p, system, s, lists, batch_size)
        return made, crowded

    count = len(jax.tree.leaves(params)[0])
    first = jax.tree.map(lambda x: x[0], params)
    common = _checked(once(first, samples)) if fixed else {}
    sums, log_w = [], []
    kT = BOLTZMANN * context.temperature
    for k in range(count):
        own, energy = _checked(each(jax.tree.map(lambda x, k=k: x[k], params), samples))
        gap = (np.asarray(energy, float) - np.asarray(reference, float)) / kT
        values = jax.tree.map(lambda x: np.asarray(x, float), {**common, **own})
        sums.append(_sums(method, gap - gap.mean(), values, cells))
        log_w.append(gap - gap.mean())
    gaps = np.stack(log_w)
    made = {}
    for observable in observables:
        whole, left = _values(method, sums, observable, context, int(cells.max()) + 1)
        made[observable.name] = shared_estimate(whole, left)
    logs = -gaps - np.max(-gaps, axis=1, keepdims=True)
    weights = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    entropy = -np.sum(weights * np.log(np.maximum(weights, 1e-300)), axis=1)
    return Reweighted(
        made, np.exp(entropy) / gaps.shape[1], method, gaps.shape[1],
        float(np.sqrt(np.mean(gaps**2))),
    )  # fmt: skip


def shared_estimate(values: np.ndarray, left_out: np.ndarray) -> Estimate:
    """Interval over draws that share their sampling error, by a jackknife over pieces.

    The variance over draws is corrected for what it holds of the sampling error by the jackknife's
    estimate of its bias; ``md_of_mean`` is that of the mean over draws, which more draws do not
    make smaller.  The floor of the parameter part is that of ``uncertainty.estimate``.

    Args:
        values: (draws, ...).
        left_out: (pieces, draws, ...), each without one piece.

    Raises:
        ValueError: fewer than two draws or pieces.
    """
    count, pieces = len(values), len(left_out)
    if count < 2 or pieces < 2:
        raise ValueError(f"{count} draws and {pieces} pieces give no interval: two of each do")
    mean, spread = values.mean(axis=0), values.var(axis=0, ddof=1)

    def variance(parts: np.ndarray) -> np.ndarray:
        away = parts - parts.mean(axis=0)
        return np.asarray((pieces - 1) / pieces * np.sum(away**2, axis=0))

    md, md_of_mean = variance(left_out).mean(axis=0), variance(left_out.mean(axis=1))
    bias = (pieces - 1) * (left_out.var(axis=1, ddof=1).mean(axis=0) - spread)
    parameter = np.maximum(spread - bias, 0.0)
    total = np.sqrt(np.maximum(parameter, spread * np.sqrt(2 / (count - 1))) + md_of_mean)
    t68, t95 = (stats.t.ppf(0.5 + level / 2, count - 1) for level in (0.68, 0.95))
    numbers = (
        mean, total, np.sqrt(parameter), np.sqrt(md), np.sqrt(md_of_mean), mean - t68 * total,
        mean + t68 * total, mean - t95 * total, mean + t95 * total,
    )  # fmt: skip
    return Estimate(*(np.asarray(x) for x in numbers), draws=count, values=values)


def _samples(made: Trajectories) -> tuple[Samples, np.ndarray]:
    """Frames of the stable replicas along one axis, and the piece that each belongs to."""
    if made.frames is None:
        raise UserError("the simulation kept no frames", "Simulate with keep = 1 or more")
    stable = np.flatnonzero(made.reason[0] == 0)
    if len(made.reason) != 1 or not len(stable):
        raise UserError(
            f"{len(stable)} replicas of {len(made.reason)} potentials are there to be reweighted",
            "Give stable trajectories of one potential",
        )
    positions, cell = (np.asarray(x)[0, stable] for x in made.frames[:2])
    energy = np.asarray(made.frames.energy)[0, stable]
    replicas, frames = energy.shape
    parts = 1 if replicas >= PIECES else min(frames, -(-PIECES // replicas))
    if replicas * parts < 2:
        raise UserError("one frame has no error", "Keep more frames")
    piece = np.arange(replicas)[:, None] * parts + np.arange(frames) * parts // frames
    x, cells, u = (jnp.asarray(x.reshape(-1, *x.shape[2:])) for x in (positions, cell, energy))
    return Samples(x, cells, u), piece.ravel()


def _lists(system: System, samples: Samples, cutoff: float) -> Lists:
    """Large enough for every frame."""
    here = system.replace(positions=samples.positions[0], cell=samples.cell[0])
    lists = allocate(here, cutoff, 0.0, cell_margin=0.1, capacity_factor=1.5)

    @jax.jit
    def crowded(lists: Lists) -> jax.Array:
        def one(x: Any) -> jax.Array:
            return lists.update(system.replace(positions=x[0], cell=x[1])).overflow

        return jax.lax.map(one, (samples.positions, samples.cell), batch_size=8)

    while isinstance(lists, NeighborList):
        lost = np.flatnonzero(np.asarray(crowded(lists)))
        if not len(lost):
            break
        n = int(lost[0])
        here = system.replace(positions=samples.positions[n], cell=samples.cell[n])
        slots = lists.index.shape[-1] / max(1, here.positions.shape[0])
        lists = allocate(here, cutoff, 0.0, cell_margin=0.1, capacity_factor=2.0 + slots)
    return lists


def _split(
    observables: Sequence[Observable], potential: Potential, params: Any, system: System,
    lists: Lists,
) -> tuple[tuple[Observable, ...], tuple[Observable, ...]]:  # fmt: skip
    """Observables whose snapshots no draw changes, and the others."""
    one = jax.tree.map(lambda x: x[0], params)
    like = Frame(system, jnp.zeros(()), None, lists.update(system), potential, one)
    needs = {o: needs_potential(o, like) for o in observables}
    return tuple(o for o in needs if not needs[o]), tuple(o for o in needs if needs[o])


def _checked(result: Any) -> Any:
    made, crowded = result
    if bool(crowded):
        raise RuntimeError("a neighbour list overflowed that was made for these frames")
    return made


def _sums(
    method: Method, gap: np.ndarray, values: Any, cells: np.ndarray
) -> tuple[np.ndarray, Any, Any]:
    """Of one draw and each piece: weights (or frames, gaps), and values weighted by them."""
    pieces = int(cells.max()) + 1
    member = np.zeros((pieces, len(cells)))
    member[cells, np.arange(len(cells))] = 1.0
    if method == "direct":
        weights = np.exp(-(gap - gap.min()))
        total = member @ weights
        return (
            total,
            jax.tree.map(lambda x: np.tensordot(member * weights, x, axes=1), values),
            None,
        )
    total = np.stack([member.sum(axis=1), member @ gap], axis=1)
    plain = jax.tree.map(lambda x: np.tensordot(member, x, axes=1), values)
    return total, plain, jax.tree.map(lambda x: np.tensordot(member * gap, x, axes=1), values)


def _values(
    method: Method, sums: list[Any], observable: Observable, context: Context, pieces: int
) -> tuple[np.ndarray, np.ndarray]:
    """(draws, ...) values, and (pieces, draws, ...) values without one piece each."""
    rows = [np.ones(pieces), *(1.0 - np.eye(pieces))]

    def average(total: np.ndarray, plain: Any, crossed: Any, keep: np.ndarray) -> dict[str, Any]:
        if method == "direct":
            return {k: np.tensordot(keep, x, axes=1) / (keep @ total) for k, x in plain.items()}
        frames, gap = keep @ total
        made = {}
        for k, x in plain.items():
            mean = np.tensordot(keep, x, axes=1) / frames
            product = np.tensordot(keep, crossed[k], axes=1) / frames
            made[k] = mean - (product - mean * gap / frames) * frames / (frames - 1)
        return made

    found = [
        [
            np.asarray(
                observable.reduce(
                    average(
                        total, plain[observable.name], crossed and crossed[observable.name], keep
                    ),
                    context,
                )
            )
            for total, plain, crossed in sums
        ]
        for keep in rows
    ]
    stacked = np.asarray(found, float)
    return stacked[0], stacked[1:]
