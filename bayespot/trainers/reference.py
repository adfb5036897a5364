"""Reference trajectories: made by MD, reweighted for as long as enough of them still counts."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from bayespot.errors import UserError
from bayespot.md import NVE, Simulation
from bayespot.neighbors import Lists, allocate
from bayespot.observables import Context
from bayespot.reweight import Samples, bar, energies, with_lists, zwanzig
from bayespot.trainers.points import Point, points_of


class Reference(NamedTuple):
    """Trajectories of all members, and what they still are worth.

    Attributes:
        samples: (members, replicas, frames, ...) leading axes.
        valid: (members, replicas) which trajectories stayed stable.
        params: what made them; leading axis of members.
        last: (members, replicas, atoms, 3) where they ended, Angstrom; the next start there.
        last_cell: (members, replicas, 3, 3) Angstrom.
        fraction: (members, points) effective share of the frames at the present parameters; 0
            asks for new trajectories.
        free_energy: (members, points) of ``params`` relative to the first, eV.
        made: how many times trajectories were made.
        failed: how many times in a row none of a point's trajectories stayed stable.
    """

    samples: Samples
    valid: Bool[Array, "members replicas"]
    params: Any
    last: Float[Array, "members replicas atoms 3"]
    last_cell: Float[Array, "members replicas 3 3"]
    fraction: Float[Array, "members points"]
    free_energy: Float[Array, "members points"]
    made: Int[Array, ""]
    failed: Int[Array, ""]


KEPT_LISTS = 64e6
"""Bytes of neighbour lists that are kept with the frames of all members; more are made again."""

_with_lists = jax.jit(with_lists, static_argnums=3)


class Resampler:
    """Makes reference trajectories with one ``Simulation``, and weighs them.

    Attributes:
        points: state points, in the order of ``Reference.fraction``.
        lists: of one configuration, as large as any needed so far.
        frame_lists: likewise, of what is kept with the frames.
    """

    def __init__(
        self,
        simulation: Simulation,
        replicas: int,
        points: Sequence[Point] | None = None,
        warm_up: int = 0,
        batch_size: int = 8,
    ) -> None:
        """Args:
        simulation: with ``keep`` set.
        replicas: trajectories of each member.
        points: by default those of the simulation's ensemble.
        warm_up: whole simulations thrown away before the first that counts.
        batch_size: frames whose energies are evaluated at once.

        Raises:
            UserError: a simulation that keeps no frames, has no temperature, or whose system tells
                another than a state point's.
        """
        if isinstance(simulation.ensemble, NVE):
            raise UserError(
                "weights are those of a temperature, and constant energy has none",
                "Give a simulation with a thermostat",
            )
        if not simulation.keep:
            raise UserError(
                "the simulation keeps no frames to reweight", "Give keep=1 (every averaged frame)"
            )
        self.simulation, self.replicas = simulation, replicas
        self.points = tuple(points) if points is not None else points_of(simulation, replicas)
        told = simulation.system.temperature
        other = [p for p in self.points if told is not None and abs(p.temperature - told) > 1e-3]
        if other:  # energies of kept frames are those of the system's temperature
            raise UserError(
                f"the system tells a temperature of {told:g} K, and a state point has"
                f" {other[0].temperature:g} K",
                "Train one state point at a time where the potential depends on temperature",
            )
        self.warm_up, self.batch_size = warm_up, batch_size
        self.atoms = int(np.sum(np.asarray(simulation.system.species) > 0))
        length = simulation.length
        self.frames = length.steps // length.stride // simulation.keep
        self.room = self.frame_room = 1.25
        self.lists = self.frame_lists = self._allocate(self.room)

    def _allocate(self, room: float) -> Lists:
        simulation = self.simulation
        margin = 0.1 if simulation.ensemble.varies_cell else 0.0
        return allocate(
            simulation.system,
            simulation.potential.cutoff,
            0.0,
            capacity_factor=room,
            cell_margin=margin,
        )

    def sizes(self) -> dict[str, Any]:
        """What grew, as JSON."""
        return {
            "room": self.room,
            "frame_room": self.frame_room,
            "simulation": self.simulation.sizes(),
        }

    def restore_sizes(self, sizes: dict[str, Any]) -> None:
        """What ``sizes`` gave elsewhere."""
        self.room, self.frame_room = float(sizes["room"]), float(sizes["frame_room"])
        self.lists = self._allocate(self.room)
        self.frame_lists = self._allocate(self.frame_room)
        self.simulation.restore_sizes(sizes["simulation"])

    def empty(
        self, params: Any, starts: jax.Array | None = None, cells: jax.Array | None = None
    ) -> Reference:
        """Where the first simulation starts; no frames yet."""
        system, n = self.simulation.system, self.replicas
        members = len(jax.tree.leaves(params)[0])
        shape = (members, n, *system.positions.shape)
        last = system.positions if starts is None else jnp.asarray(starts, system.positions.dtype)
        cell = system.cell if cells is None else jnp.asarray(cells, system.cell.dtype)
        nought = jnp.zeros((members, len(self.points)))
        samples = Samples(
            jnp.zeros((members, n, self.frames, *system.positions.shape), system.positions.dtype),
            jnp.zeros((members, n, self.frames, 3, 3), system.cell.dtype),
            jnp.zeros((members, n, self.frames)),
        )
        if self._keeps_lists(members):
            like = tuple(
                jnp.zeros((members, n, self.frames, *x.shape), x.dtype)
                for x in jax.tree.leaves(self.frame_lists)
            )
            samples = samples._replace(lists=like)
        return Reference(
            samples, jnp.zeros((members, n), bool), params, jnp.broadcast_to(last, shape),
            jnp.broadcast_to(cell, (members, n, 3, 3)), nought, nought,
            jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32),
        )  # fmt: skip

    def _keeps_lists(self, members: int) -> bool:
        """Whether the neighbours of all frames fit in memory, and in checkpoints."""
        each = sum(x.nbytes for x in jax.tree.leaves(self.frame_lists))
        return members * self.replicas * self.frames * each <= KEPT_LISTS

    def _listed(self, samples: Samples) -> Samples:
        """With the neighbours in every frame, where there is room for them."""
        shape = samples.energy.shape
        flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[3:]), samples)
        while self._keeps_lists(len(samples.energy)):
            made, crowded = _with_lists(
                self.simulation.system, flat, self.frame_lists, self.batch_size
            )
            if not bool(crowded):
                return jax.tree.map(lambda x: x.reshape(*shape, *x.shape[1:]), made)
            self.frame_room *= 1.5
            self.frame_lists = self._allocate(self.frame_room)
        return samples

    def context(self, point: Point) -> Context:
        """For reductions."""
        return Context(point.temperature, self.atoms)

    def renew(self, key: jax.Array, params: Any, old: Reference) -> Reference:
        """Trajectories of ``params``, from where the last ended.

        Where all trajectories of a point fail, ``params`` of the returned reference are those of
        ``old``, and so are its frames: the caller goes back.
        """
        first = int(old.made) == 0
        here, cell = old.last, old.last_cell
        made: Any = None
        for i in range(self.warm_up + 1 if first else 1):
            made = self.simulation.run(
                jax.random.fold_in(key, i), params, starts=here, cells=self._cells(cell)
            )
            here, cell = made.final.positions, made.final.cell
        assert made.frames is not None
        valid = np.asarray(made.reason) == 0
        dead = [p for p in self.points if not valid[:, list(p.replicas)].any(axis=1).all()]
        if dead:
            logging.getLogger("bayespot").warning(
                "all trajectories at %g K failed: training goes back to the parameters of the last"
                " stable ones", dead[0].temperature,
            )  # fmt: skip
            return old._replace(failed=old.failed + 1)
        # a replica that failed starts again where another of its point is
        healthy = np.arange(self.replicas) * np.ones_like(valid, int)
        for member, replica in np.argwhere(~valid):
            point = next(p for p in self.points if replica in p.replicas)
            healthy[member, replica] = next(r for r in point.replicas if valid[member, r])
        rows = np.arange(len(valid))[:, None]
        positions, cells, energy = (jnp.asarray(x) for x in made.frames)
        samples = self._listed(Samples(positions, cells, energy))
        new = Reference(
            samples, jnp.asarray(valid), params, here[rows, healthy], cell[rows, healthy],
            jnp.ones_like(old.fraction), old.free_energy, old.made + 1, jnp.zeros_like(old.failed),
        )  # fmt: skip
        return new if first else new._replace(free_energy=self._tracked(old, new))

    def _cells(self, cell: jax.Array) -> jax.Array | None:
        """None where all trajectories share the system's: one program less."""
        own = np.asarray(self.simulation.system.cell)
        return None if (np.asarray(cell) == own).all() else cell

    def _tracked(self, old: Reference, new: Reference) -> jax.Array:
        """Free energies of the new parameters, by Bennett's acceptance ratio from the old ones."""
        ahead = np.asarray(self.energies(new.params, old)) - np.asarray(old.samples.energy)
        back = np.asarray(self.energies(old.params, new)) - np.asarray(new.samples.energy)
        total = np.array(old.free_energy)
        for member, number in np.ndindex(*total.shape):
            point = self.points[number]
            own = np.isin(np.arange(self.replicas), point.replicas)
            before, after = (own & np.asarray(x.valid[member]) for x in (old, new))
            total[member, number] += bar(
                ahead[member][before].ravel(), back[member][after].ravel(), point.temperature
            )
        return jnp.asarray(total, old.free_energy.dtype)

    def energies(self, params: Any, reference: Reference) -> jax.Array:
        """(members, replicas, frames) eV, of ``params`` at the reference's configurations."""
        while True:
            found, crowded = _energies(
                self.simulation.potential, self.batch_size, params, self.simulation.system,
                reference.samples, self.lists,
            )  # fmt: skip
            if not bool(crowded):
                return found
            self.grow()

    def grow(self) -> None:
        """Lists with half as many slots again: some configuration was denser."""
        self.room *= 1.5
        self.lists = self._allocate(self.room)

    def fractions(self, energy: jax.Array, samples: Samples, valid: jax.Array) -> jax.Array:
        """(points,) effective shares of one member; arguments as for ``Point.weigh``."""
        return jnp.stack([p.weigh(energy, samples, valid)[1] for p in self.points])

    def free_energies(self, params: Any, reference: Reference) -> np.ndarray:
        """(members, points) of ``params`` relative to the first parameters, eV."""
        gap = np.asarray(self.energies(params, reference)) - np.asarray(reference.samples.energy)
        total = np.array(reference.free_energy, float)
        for member, number in np.ndindex(*total.shape):
            point = self.points[number]
            counted = np.isin(np.arange(self.replicas), point.replicas)
            counted &= np.asarray(reference.valid[member])
            total[member, number] += zwanzig(gap[member][counted].ravel(), point.temperature)
        return total


@functools.partial(jax.jit, static_argnums=(0, 1))
def _energies(
    potential: Any, batch_size: int, params: Any, system: Any, samples: Samples, lists: Lists
) -> tuple[jax.Array, jax.Array]:
    found, crowded = jax.lax.map(
        lambda x: member_energies(potential, x[0], system, x[1], lists, batch_size),
        (params, samples),
    )
    return found, jnp.any(crowded)


def member_energies(
    potential: Any, params: Any, system: Any, samples: Samples, lists: Lists, batch_size: int
) -> tuple[jax.Array, jax.Array]:
    """(replicas, frames) energies of one member, and whether lists were too small."""
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), samples)
    found, crowded = energies(potential, params, system, flat, lists, batch_size)
    return found.reshape(samples.energy.shape), crowded
