"""Watch a committee's disagreement while it drives MD, and act on it.

Every frame (``Length.stride`` steps) the energies and forces of all members are computed and their
standard deviations compared with a threshold, inside the compiled scan.  K members cost K force
calls a frame, whatever drives the steps between two frames.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md.ensembles import whole_number
from bayespot.neighbors import Neighbors
from bayespot.potentials import Biased, CommitteeMean, Fallback, Potential, WeightedBaseline
from bayespot.system import System

if TYPE_CHECKING:
    from bayespot.md.results import Trajectories

NAME = "uncertainty"
"""Of what a monitor saw, among the averages of a block."""

STATISTICS = ("max", "mean", "relative", "energy")

Statistic = Literal["max", "mean", "relative", "energy"]
Action = Literal["warn", "stop", "fall back"]


@dataclasses.dataclass(frozen=True)
class Monitor:
    """When members disagree too much, and what happens then.

    The uncertainty of an atom's force is ``sqrt(sum_c var(F_c))`` over its three components
    (ddof=1), that of the energy the standard deviation divided by the number of atoms.

    Attributes:
        threshold: eV/Angstrom; of "energy" eV per atom, of "relative" a fraction.
        statistic: "max" or "mean" over atoms, "relative": the largest over atoms of the uncertainty
            over the force's size plus ``floor``, or "energy".
        action: "warn" only notes it, "stop" freezes the trajectory, "fall back" drives it with the
            baseline of a ``Fallback`` until members agree again.
        window: frames whose mean is compared with the threshold.
        release: fraction of the threshold below which a trajectory returns from its baseline.
        dumps: configurations above the threshold kept in each block of each trajectory: the first
            of an excursion, then one every ``window`` frames.
        floor: eV/Angstrom, of "relative".
        scale: factor on force uncertainties, from recalibration.
        element_scales: the same for single elements (atomic number, factor), in place of ``scale``.
        energy_scale: factor on energy uncertainties.
    """

    threshold: float
    statistic: Statistic = "max"
    action: Action = "warn"
    window: int = 1
    release: float = 0.8
    dumps: int = 0
    floor: float = 1.0
    scale: float = 1.0
    element_scales: tuple[tuple[int, float], ...] = ()
    energy_scale: float = 1.0

    def __post_init__(self) -> None:
        whole_number("window", self.window, 1)
        whole_number("dumps", self.dumps, 0)
        if self.statistic not in STATISTICS:
            raise UserError(
                f"a monitor's statistic is {self.statistic!r}", f"Choose among {STATISTICS}"
            )
        if self.action not in ("warn", "stop", "fall back"):
            raise UserError(
                f"a monitor's action is {self.action!r}", "Choose warn, stop or fall back"
            )
        factors = [f for _, f in self.element_scales]
        numbers = (self.threshold, self.floor, self.scale, self.energy_scale, *factors)
        if not all(np.isfinite(x) and x > 0 for x in numbers):
            raise UserError(
                f"threshold, floor and scales of a monitor are {numbers}",
                "Give positive finite numbers",
            )
        if not 0 < self.release <= 1:
            raise UserError(f"release is {self.release}", "Give a fraction of the threshold")

    @property
    def recalibrated(self) -> bool:
        """Whether uncertainties are other than members give them."""
        factors = (self.scale, self.energy_scale, *(f for _, f in self.element_scales))
        return any(factor != 1 for factor in factors)

    def check(self, potential: Potential) -> None:
        """Refuse potentials without members, or without a baseline to fall back on.

        Raises:
            UserError: naming the potential.
        """
        kind = type(potential).__name__
        if not isinstance(potential, CommitteeMean | WeightedBaseline | Biased | Fallback):
            raise UserError(
                f"{kind} has no members that could disagree",
                "Simulate potentials.CommitteeMean or another made of it",
            )
        if (self.action == "fall back") != isinstance(potential, Fallback):
            raise UserError(
                f"a monitor's action is {self.action!r}, and the potential a {kind}",
                'The action "fall back" and potentials.Fallback belong together',
            )

    def begin(self) -> dict[str, Any]:
        """What one trajectory remembers from frame to frame."""
        zero = jnp.zeros((), jnp.int32)
        return {"recent": jnp.zeros(self.window), "seen": zero, "wait": zero, "fallen": zero > 0}

    def look(
        self, memory: dict[str, Any], potential: Any, params: Any, system: System,
        neighbors: Neighbors,
    ) -> tuple[dict[str, Any], dict[str, jax.Array], jax.Array, jax.Array]:  # fmt: skip
        """One frame of one trajectory.

        Returns:
            the memory, the statistics by name, whether the threshold is exceeded, and whether the
            configuration shall be kept.
        """
        committee: CommitteeMean = potential.committee
        members = potential.member_params(params)
        energies, forces = committee.member_forces(members, system, neighbors)
        now = self.statistics(energies, forces, system)
        recent = jnp.concatenate([now[self.statistic][None], memory["recent"][:-1]])
        seen = jnp.minimum(memory["seen"] + 1, self.window)
        known = jnp.arange(self.window) < seen
        mean = jnp.sum(jnp.where(known, recent, 0.0)) / seen
        above = ~(mean <= self.threshold)  # NaN as well
        keep = above & (memory["wait"] <= 0)
        wait = jnp.where(keep, self.window, memory["wait"]) - 1
        fallen = above | (memory["fallen"] & (mean > self.release * self.threshold))
        made = {
            "recent": recent,
            "seen": seen,
            "wait": jnp.where(above, wait, 0).astype(jnp.int32),
            "fallen": fallen,
        }
        return made, {**now, "above": above.astype(recent.dtype)}, above, keep

    def statistics(
        self, energies: jax.Array, forces: jax.Array, system: System
    ) -> dict[str, jax.Array]:
        """All of ``STATISTICS``.

        Args:
            energies: (members,) eV.
            forces: (members, atoms, 3) eV/Angstrom.
            system: where.
        """
        sigma = jnp.sqrt(jnp.sum(jnp.var(forces, axis=0, ddof=1), axis=-1)) * self._scales(system)
        sigma = jnp.where(system.mask, sigma, 0.0)
        atoms = jnp.sum(system.mask)
        size = jnp.linalg.norm(jnp.mean(forces, axis=0), axis=-1)
        return {
            "max": jnp.max(sigma),
            "mean": jnp.sum(sigma) / atoms,
            "relative": jnp.max(sigma / (size + self.floor)),
            "energy": self.energy_scale * jnp.std(energies, ddof=1) / atoms,
        }

    def _scales(self, system: System) -> jax.Array:
        table = np.full(120, self.scale)
        for number, factor in self.element_scales:
            table[number] = factor
        return jnp.asarray(table, system.positions.dtype)[system.species]


@dataclasses.dataclass(frozen=True)
class Watched:
    """What a monitor saw of a simulation's production.

    Attributes:
        traces: statistic -> (draw, replica, frame); NaN once a trajectory has failed.
        above: (draw, replica, frame) True where the window's mean exceeded the threshold.
        positions, cell: of configurations that were kept, (kept, atoms, 3) and (kept, 3, 3).
        where: (kept, 3) draw, replica and frame of each.
    """

    traces: dict[str, np.ndarray]
    above: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    where: np.ndarray

    def sentence(self, monitor: Monitor, stride_fs: float) -> str:
        """In words, for log and report.

        Args:
            monitor: what watched.
            stride_fs: fs between two frames.
        """
        lost = self.above.any(axis=-1)
        value = np.nanmax(self.traces[monitor.statistic])
        unit = {"energy": " eV/atom", "relative": ""}.get(monitor.statistic, " eV/Å")
        kind = f"{'recalibrated ' if monitor.recalibrated else ''}{monitor.statistic} uncertainty"
        if not lost.any():
            return (
                f"the {kind} stayed below {monitor.threshold:g}{unit} (largest {value:.3g}) in all"
                f" {lost.size} trajectories"
            )
        first = self.above[lost].argmax(axis=-1).min() * stride_fs
        share = 100 * self.above.mean()
        return (
            f"the {kind} exceeded {monitor.threshold:g}{unit} (largest {value:.3g}) in"
            f" {lost.sum()} of {lost.size} trajectories, first after {first:.0f} fs, in"
            f" {share:.2g} % of all frames"
        )


def watched(made: Trajectories) -> Watched:
    """Of a simulation with a monitor.

    Raises:
        UserError: it had none.
    """
    if NAME not in made.means:
        raise UserError("the simulation had no monitor", "Give Simulation or simulate one")
    blocks = made.means[NAME]
    traces = {k: _joined(blocks[k]) for k in (*STATISTICS, "above")}
    above = traces.pop("above")
    per_block = blocks["above"].shape[-1]
    if "frame" not in blocks:
        none = np.zeros((0, 3))
        return Watched(
            traces, above > 0, np.zeros((0, 0, 3)), np.zeros((0, 3, 3)), none.astype(int)
        )
    frame = blocks["frame"]
    block, draw, replica, slot = np.nonzero(frame >= 0)
    at = (block, draw, replica, slot)
    where = np.stack([draw, replica, block * per_block + frame[at]], axis=1)
    order = np.lexsort(where.T[::-1])
    return Watched(
        traces, above > 0, blocks["positions"][at][order], blocks["cell"][at][order], where[order]
    )


def _joined(x: np.ndarray) -> np.ndarray:
    """(block, draw, replica, frame) -> (draw, replica, all frames)."""
    moved = np.moveaxis(np.asarray(x), 0, 2)
    return moved.reshape(*moved.shape[:2], -1)
