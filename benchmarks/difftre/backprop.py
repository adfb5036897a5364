"""Gradients by reweighting beside those by back-propagation through every step of the MD.

Both start from the same configuration and have the same integrator, energy and loss.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bayespot.md import integrators
from bayespot.trainers import DiffTRe, Reference
from benchmarks.difftre import well
from benchmarks.difftre.double_well import TEMPERATURE, Work, one_member, system, trainer

EVERY = 100  # steps between two states, as in the paper
COMPARED = Work(10, 1, EVERY)
"""Where the paper measured the speed-up: 1100 steps, as many as back-propagation had memory for."""

Gradient = Callable[[Any], tuple[jax.Array, Any]]


def direct_loss(atoms: int, work: Work, key: jax.Array, positions: jax.Array) -> Any:
    """``params -> loss`` through a simulation from ``positions`` that is differentiable as it
    stands."""

    def loss(params: Any) -> jax.Array:
        def force(x: jax.Array) -> jax.Array:
            return -jax.grad(lambda x: jnp.sum(well.energy(params, x.ravel())))(x)

        made = integrators.nose_hoover(force, atoms, True, well.TIME_STEP, TEMPERATURE, well.TAU)
        state = made.init(key, system(key, atoms).replace(positions=positions))

        def kept(state: Any, _: None) -> tuple[Any, jax.Array]:
            state, _ = jax.lax.scan(lambda s, _: (made.step(s), None), state, None, work.every)
            return state, well.density(state.position.ravel())

        state, _ = jax.lax.scan(kept, state, None, work.skip)
        _, found = jax.lax.scan(kept, state, None, work.states)
        return well.mean_square(jnp.mean(found, axis=0))

    return loss


def reweighted_gradient(made: DiffTRe, params: Any, reference: Reference, states: int) -> Gradient:
    """``params -> (loss, gradient)`` from the first ``states`` states of a trajectory."""
    samples = jax.tree.map(lambda x: x[:, :, :states], reference.samples)
    part = reference._replace(samples=samples, made=None, failed=None)  # type: ignore[arg-type]
    part = jax.tree.map(lambda x: x[0], part)
    lists = made.resampler.lists
    cached, _ = made.prepare(params, part.samples, lists)

    def loss(params: Any, cached: Any, part: Any) -> jax.Array:
        return made.objective(params, cached, part, lists, jnp.zeros((), jnp.int32)).loss

    compiled = jax.jit(jax.value_and_grad(loss))
    return lambda params: compiled(params, cached, part)


def norms(lengths: tuple[int, ...], seed: int = 0) -> dict:
    """Norms of both gradients at the first parameters, by the number of states kept."""
    place, first, use = jax.random.split(jax.random.key(seed), 3)
    params = well.first_spline(first)
    made = trainer(Work(max(lengths), 10, EVERY), place)
    many = one_member(params)
    reference = made.resampler.renew(use, many, made.resampler.empty(many))
    start = reference.last[0, 0]
    found: dict[str, list[float]] = {"difftre": [], "direct": []}
    for n in lengths:
        _, gradient = reweighted_gradient(made, params, reference, n)(params)
        found["difftre"].append(float(optax.tree.norm(gradient)))
        # the trajectory of the reference is in equilibrium: so is this start
        loss = direct_loss(well.ATOMS, Work(n, 0, EVERY), use, start)
        gradient = jax.jit(jax.grad(loss))(params)
        # squares would overflow
        largest = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(gradient))
        scaled = jax.tree.map(lambda x, most=largest: x / most, gradient)
        found["direct"].append(largest * float(optax.tree.norm(scaled)))
    return {"length": list(lengths), **found}


def speed(atoms: int, repeats: int, seed: int = 0) -> dict:
    """Seconds of gradients and whole updates with the network, least of several."""
    place, first, use = jax.random.split(jax.random.key(seed), 3)
    params = well.first_network(first)
    made = trainer(COMPARED, place, atoms, network=True)
    state, _ = made.update(made.init(use, one_member(params)))

    def renewed() -> Any:
        nonlocal state
        spent = state.reference._replace(fraction=jnp.zeros_like(state.reference.fraction))
        state, _ = made.update(state._replace(reference=spent))
        return state.params

    gradient = reweighted_gradient(made, params, state.reference, COMPARED.states)
    loss = direct_loss(atoms, COMPARED, use, state.reference.last[0, 0])
    forward, whole = jax.jit(loss), jax.jit(jax.value_and_grad(loss))
    found = {
        "difftre_update": least(renewed, repeats),
        "difftre_gradient": least(lambda: gradient(params), repeats),
        "direct_update": least(lambda: whole(params), max(1, repeats // 2)),
        "direct_simulation": least(lambda: forward(params), max(1, repeats // 2)),
    }
    ratios = {}
    for clock, name in enumerate(("seconds", "core_seconds")):
        t = {key: value[clock] for key, value in found.items()}
        backward = t["direct_update"] - t["direct_simulation"]
        ratios[name] = {
            "gradient": backward / t["difftre_gradient"],
            "update": t["direct_update"] / t["difftre_update"],
        }
    return {"particles": 3 * atoms, "steps": 11 * EVERY, "taken": found, "ratios": ratios}


def least(function: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Wall and core seconds, least of several calls after one that compiles."""
    jax.block_until_ready(function())
    found = []
    for _ in range(repeats):
        started = np.array([time.perf_counter(), time.process_time()])
        jax.block_until_ready(function())
        found.append(np.array([time.perf_counter(), time.process_time()]) - started)
    return tuple(float(x) for x in np.min(found, axis=0))  # type: ignore[return-value]
