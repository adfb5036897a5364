"""One batched engine: draws x replicas in one compiled program, observables inside the scan.

The state has two leading axes (draw, replica); replicas of a draw share its parameters, so that
the network's matrix products grow instead of its memory.  The neighbour rebuild is one predicate
for the whole batch, outside ``vmap``: inside it, every replica would rebuild at every step.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.errors import UserError
from bayespot.md import integrators
from bayespot.md.checkpoint import Store
from bayespot.md.stability import Stability
from bayespot.neighbors import allocate
from bayespot.observables import Observable
from bayespot.potentials import Potential, energy_and_forces
from bayespot.system import System


@dataclasses.dataclass(frozen=True)
class NVT:
    """Constant temperature.

    Attributes:
        temperature: K.
        time_step: fs.
        thermostat: "langevin" (BAOAB) or "nose_hoover" (chain of 5).
        friction: of the Langevin thermostat, 1/fs.
        relaxation_time: tau of the Nose-Hoover chain, fs.
    """

    temperature: float
    time_step: float = 0.5
    thermostat: str = "langevin"
    friction: float = 0.01
    relaxation_time: float = 50.0

    def __post_init__(self) -> None:
        for name in ("temperature", "time_step", "friction", "relaxation_time"):
            if not getattr(self, name) > 0:
                raise UserError(
                    f"MD {name} is {getattr(self, name)}", f"Give a {name} greater than zero"
                )
        if self.thermostat not in ("langevin", "nose_hoover"):
            raise UserError(
                f'unknown thermostat "{self.thermostat}"', 'Use "langevin" or "nose_hoover"'
            )


@dataclasses.dataclass(frozen=True)
class Length:
    """How long, and how often to look.

    Attributes:
        steps: production steps.
        equilibration: steps before, not averaged.
        stride: steps between two frames that enter averages and stability checks.
        blocks: time blocks the production is cut into, for error bars; also the checkpoints.
    """

    steps: int
    equilibration: int = 0
    stride: int = 10
    blocks: int = 10

    def __post_init__(self) -> None:
        if self.steps % (self.blocks * self.stride) or self.steps < 1:
            raise UserError(
                f"{self.steps} MD steps do not divide into {self.blocks} blocks of frames every"
                f" {self.stride} steps",
                f"Use a multiple of {self.blocks * self.stride}",
            )
        if self.equilibration % self.block_steps:
            raise UserError(
                f"{self.equilibration} equilibration steps are no whole number of blocks",
                f"Use a multiple of {self.block_steps}",
            )

    @property
    def block_steps(self) -> int:
        """Steps in a block."""
        return self.steps // self.blocks


class Progress(NamedTuple):
    """What the engine tells its caller after each block."""

    step: int
    num_steps: int
    seconds: float  # of an average block
    replica_steps: int  # of a block
    seconds_left: float
    alive: np.ndarray


class Trajectories(NamedTuple):
    """Averages of every block of every replica.

    Attributes:
        means: observable name -> its snapshot dict, arrays (block, draw, replica, ...).
        temperature: (block, draw, replica) mean kinetic temperature, K.
        reason: (draw, replica) index into ``stability.REASONS``; 0 is stable.
        failed_at: (draw, replica) step (equilibration included) of failure, -1 where none.
        capacity_retries: how often a neighbour list overflowed and the block was repeated.
    """

    means: dict[str, dict[str, np.ndarray]]
    temperature: np.ndarray
    reason: np.ndarray
    failed_at: np.ndarray
    capacity_retries: int


class _Carry(NamedTuple):
    states: Any  # integrator states (draw, replica, ...)
    neighbors: Any
    reason: jax.Array
    failed_at: jax.Array


def simulate(
    key: jax.Array,
    potential: Potential,
    params: Any,
    system: System,
    ensemble: NVT,
    length: Length,
    observables: Sequence[Observable],
    *,
    starts: jax.Array | None = None,
    replicas: int = 1,
    stability: Stability | None = None,
    skin: float = 0.5,
    checkpoint: Path | None = None,
    fingerprint: str = "",
    callback: Callable[[Progress], None] | None = None,
) -> Trajectories:
    """Run ``replicas`` trajectories for every draw of ``params``.

    Args:
        key: from ``jax.random.key``; every replica gets its own.
        potential: shared by all draws.
        params: pytree with a leading draw axis.
        system: what is simulated, and where from.
        ensemble: thermodynamic conditions.
        length: steps, frames and blocks.
        observables: averaged inside the scan.
        starts: (draws, replicas, atoms, 3) positions in Angstrom, a start for each trajectory.
        replicas: trajectories per draw where ``starts`` is not given.
        stability: criteria beyond "finite".
        skin: of neighbour lists, Angstrom.
        checkpoint: folder to write after each block and to resume from, bit for bit.
        fingerprint: what the checkpoint must agree with.
        callback: called after each block.
    """
    known = potential.elements
    unknown = {int(z) for z in np.unique(np.asarray(system.species)) if z > 0} - (
        known if known is not None else set(range(1, 200))
    )
    if unknown:
        raise UserError(
            f"the system holds elements {sorted(unknown)} that the potential was not trained on",
            "Train on data with these elements",
        )
    leaves = jax.tree.leaves(params)  # none: a potential with nothing to learn is one draw
    draws = len(leaves[0]) if leaves else 1 if starts is None else len(starts)
    if starts is None:
        starts = jnp.broadcast_to(system.positions, (draws, replicas, *system.positions.shape))
    if starts.shape != (draws, starts.shape[1], *system.positions.shape):
        raise ValueError(f"starts must be (draws, replicas, atoms, 3), not {starts.shape}")
    first = allocate(system.replace(positions=starts[0, 0]), potential.cutoff, skin)
    stability = stability or Stability()
    program = _Program(potential, system, ensemble, length, tuple(observables), stability)
    carry = program.start(key, params, starts, first)
    factor = 1.25
    while bool(jnp.any(carry.neighbors.overflow)):  # another start is denser than the first
        factor *= 1.5
        first = allocate(
            system.replace(positions=starts[0, 0]), potential.cutoff, skin, capacity_factor=factor
        )
        carry = program.start(key, params, starts, first)

    equilibration_blocks = length.equilibration // length.block_steps
    num_blocks = equilibration_blocks + length.blocks
    store = Store(checkpoint, fingerprint)
    done, carry, blocks = store.load(carry)
    retries, started, done_before = 0, time.perf_counter(), done
    while done < num_blocks:
        new, averages = program.block(carry, params, done * length.block_steps)
        if bool(jnp.any(new.neighbors.overflow)):
            # The carry is that of the last good block: repeat it with more room.
            carry = program.grow(carry)
            retries += 1
            continue
        carry = new
        blocks.append(jax.tree.map(np.asarray, averages))
        done += 1
        store.save(done, carry, blocks[-1])
        if callback is not None:
            elapsed = (time.perf_counter() - started) / (done - done_before)
            alive = np.asarray(carry.reason) == 0
            callback(
                Progress(
                    done * length.block_steps,
                    num_blocks * length.block_steps,
                    elapsed,
                    length.block_steps * draws * starts.shape[1],
                    elapsed * (num_blocks - done),
                    alive,
                )
            )
    production = jax.tree.map(lambda *x: np.stack(x), *blocks[equilibration_blocks:])
    means, temperature = production
    return Trajectories(
        means, temperature, np.asarray(carry.reason), np.asarray(carry.failed_at), retries
    )


class _Program:
    """The compiled pieces for one potential, system shape and set of conditions."""

    def __init__(
        self,
        potential: Potential,
        system: System,
        ensemble: NVT,
        length: Length,
        observables: tuple[Observable, ...],
        stability: Stability,
    ) -> None:
        self.potential, self.system, self.ensemble = potential, system, ensemble
        self.length, self.observables, self.stability = length, observables, stability
        self.freedom = 3.0 * float(np.sum(np.asarray(system.mask)))
        if ensemble.thermostat == "nose_hoover":
            atoms = system.positions.shape[0]
            if atoms < 2:
                raise UserError(
                    "a Nosé-Hoover chain cannot drive a single atom", 'Use thermostat = "langevin"'
                )
            self.freedom -= integrators.rigid_freedoms(atoms, not any(system.pbc))
        self.block = jax.jit(self._block)

    def _integrator(self, params: Any, neighbors: Any) -> integrators.Integrator:
        def force(positions: jax.Array, **unused: Any) -> jax.Array:
            at = self.system.replace(positions=positions)
            return energy_and_forces(self.potential, params, at, neighbors)[1]

        e = self.ensemble
        if e.thermostat == "langevin":
            return integrators.langevin(force, e.time_step, e.temperature, e.friction)
        return integrators.nose_hoover(
            force, e.time_step, e.temperature, e.relaxation_time, not any(self.system.pbc)
        )

    def start(self, key: jax.Array, params: Any, starts: jax.Array, neighbors: Any) -> _Carry:
        draws, replicas = starts.shape[:2]
        # jax-md keeps its key in the state: raw keys are plain arrays that checkpoints hold
        keys = jax.random.key_data(jax.random.split(key, draws * replicas))
        keys = keys.reshape(draws, replicas, -1)

        def one(key: jax.Array, params: Any, positions: jax.Array) -> tuple[Any, Any]:
            at = self.system.replace(positions=positions)
            built = neighbors.update(at)
            return self._integrator(params, built).init(key, at), built

        each = jax.vmap(jax.vmap(one, (0, None, 0)))
        states, built = jax.jit(each)(keys, params, starts)
        nought = jnp.zeros((draws, replicas), jnp.int32)
        return _Carry(states, built, nought, nought - 1)

    def grow(self, old: _Carry) -> _Carry:
        """``old`` with lists half as large again."""
        grown = old.neighbors
        slots = int(np.ceil(grown.index.shape[-1] * 1.5)) + 1
        shape = (*grown.index.shape[:-1], slots)
        grown = dataclasses.replace(
            grown,
            index=jnp.zeros(shape, grown.index.dtype),
            shift=jnp.zeros((*shape, 3), grown.shift.dtype),
            overflow=jnp.zeros_like(grown.overflow),
        )
        return old._replace(neighbors=self._rebuild(grown, old.states.position))

    def _rebuild(self, neighbors: Any, positions: jax.Array) -> Any:
        def one(neighbors: Any, positions: jax.Array) -> Any:
            return neighbors.update(self.system.replace(positions=positions))

        return jax.vmap(jax.vmap(one))(neighbors, positions)

    def _block(self, carry: _Carry, params: Any, first_step: jax.Array) -> tuple[_Carry, Any]:
        stride = self.length.stride

        def step_one(state: Any, params: Any, neighbors: Any) -> Any:
            return self._integrator(params, neighbors).step(state)

        def moved(positions: jax.Array, neighbors: Any) -> jax.Array:
            return neighbors.needs_update(self.system.replace(positions=positions))

        def look(state: Any, params: Any, neighbors: Any) -> Any:
            at = self.system.replace(positions=state.position)
            energy = self.potential.energy(params, at, neighbors)
            frame = {o.name: o.snapshot(at, energy) for o in self.observables}
            hot = integrators.kinetic_temperature(state.momentum, at, self.freedom)
            return (frame, hot), self.stability.check(at, state.momentum, neighbors)

        step_all = jax.vmap(jax.vmap(step_one, (0, None, 0)))
        look_all = jax.vmap(jax.vmap(look, (0, None, 0)))

        def step(carry: Any, _: None) -> tuple[Any, None]:
            states, neighbors = carry
            states = step_all(states, params, neighbors)
            stale = jnp.any(jax.vmap(jax.vmap(moved))(states.position, neighbors))
            neighbors = jax.lax.cond(
                stale, lambda n: self._rebuild(n, states.position), lambda n: n, neighbors
            )
            return (states, neighbors), None

        def frame(carry: Any, index: jax.Array) -> tuple[Any, None]:
            carry, totals = carry
            (states, neighbors), _ = jax.lax.scan(
                step, (carry.states, carry.neighbors), None, length=stride
            )
            looked, code = look_all(states, params, neighbors)
            reason = jnp.where(carry.reason == 0, code, carry.reason)
            alive = reason == 0
            now = first_step + (index + 1) * stride
            failed_at = jnp.where((carry.failed_at < 0) & ~alive, now, carry.failed_at)
            states = jax.tree.map(
                lambda new, old: jnp.where(_expand(alive, new), new, old), states, carry.states
            )
            looked = jax.tree.map(lambda x: jnp.where(_expand(alive, x), x, 0.0), looked)
            totals = jax.tree.map(jnp.add, totals, looked)
            return (_Carry(states, neighbors, reason, failed_at), totals), None

        shapes = jax.eval_shape(look_all, carry.states, params, carry.neighbors)[0]
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
        frames = self.length.block_steps // stride
        (carry, totals), _ = jax.lax.scan(frame, (carry, zeros), jnp.arange(frames))
        return carry, jax.tree.map(lambda x: x / frames, totals)


def _expand(mask: jax.Array, like: jax.Array) -> jax.Array:
    return mask.reshape(mask.shape + (1,) * (like.ndim - mask.ndim))
