"""Speed and memory of the samplers: the distance to the gradient that must be computed, chains in
one program against one after another, and peers on the same network, data and batch.

Peers: blackjax's SGLD under the same loop, and jax-sgmc 0.1.5 with its own old JAX where
``benchmarks/peers.sh jax-sgmc`` has made its environment (the table says when it has not).
Ratios come from runs in one session, in turn: A B A B ..., the median of the pairwise ratios.
"""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import samplers
from benchmarks import common
from samplers import Info, Sampler, Target, constant, psgld, sgld, tree

ROOT = Path(__file__).parent.parent
LAYERS = [64, 256, 256, 64, 1]
SIGMA, PRIOR, DATA = 0.1, 1.0, 2000
STEP = 1e-6


def predict(weights: Any, x: jax.Array) -> jax.Array:
    depth = len(weights) // 2
    for i in range(depth):
        x = x @ weights[f"w{i}"] + weights[f"b{i}"]
        if i < depth - 1:
            x = jnp.tanh(x)
    return x[..., 0]


def network(chains: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    made = {}
    for i, (a, b) in enumerate(itertools.pairwise(LAYERS)):
        made[f"w{i}"] = (rng.normal(size=(chains, a, b)) / np.sqrt(a)).astype(np.float32)
        made[f"b{i}"] = np.zeros((chains, b), np.float32)
    return made


def problem() -> tuple[Target, tuple[jax.Array, jax.Array], np.ndarray]:
    """(target, data, test inputs) of a regression that the network can learn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(DATA + 20, LAYERS[0])).astype(np.float32)
    w = rng.normal(size=(LAYERS[0], 3)) / np.sqrt(LAYERS[0])
    y = (np.sin(x @ w).sum(axis=1) + SIGMA * rng.normal(size=len(x))).astype(np.float32)
    data = (jnp.asarray(x[:DATA]), jnp.asarray(y[:DATA]))

    def log_density(p: Any, batch: Any) -> jax.Array:
        x, y = batch
        likelihood = -0.5 * jnp.mean(((y - predict(p, x)) / SIGMA) ** 2)
        prior = -0.5 * sum(jnp.sum(v**2) for v in p.values()) / PRIOR**2
        return DATA * likelihood + prior

    return Target(log_density, lambda p: log_density(p, data), DATA), data, x[DATA:]


def ethanol() -> tuple[Target, Any, Any]:
    """(target, data, start) of a SchNet of 1e5 parameters on the demo's frames."""
    import numpyro.distributions as dist

    from bayespot import data, infer
    from bayespot.likelihood import EnergyForces
    from bayespot.posterior import Posterior
    from bayespot.potentials import SchNet
    from bayespot.prior import WeightPrior

    frames = data.read(ROOT / "examples/ethanol/train.extxyz")[:200]
    train = data.make_dataset(frames, data.fit_shift(frames), cutoff=5.0)
    noise = dist.Exponential(1.0)
    potential = SchNet(species=(1, 6, 8), features=112)
    posterior = Posterior(
        EnergyForces(potential, noise, noise), WeightPrior.normal(10.0), train.batch
    )
    start = jax.tree.map(lambda x: x[None], jax.jit(posterior.init)(jax.random.key(0)))
    return infer.target(posterior), posterior.data, start


def bare_gradient(target: Target) -> Sampler:
    """The floor: batch, density and gradient as any sampler needs them, added up and no more."""
    plain = sgld(target, constant(STEP))

    def step(key: jax.Array, state: Any, batch: Any) -> tuple[Any, Info]:
        log_density, gradient = jax.value_and_grad(target.log_density)(state.position, batch)
        # so small that nothing moves, and the compiler cannot know
        position = jax.tree.map(lambda x, g: x + 1e-30 * g, state.position, gradient)
        one = jnp.ones_like(log_density)
        return state._replace(position=position), Info(log_density, one, one, 0 * one, one)

    return plain._replace(step=step)


def blackjax_sgld(target: Target) -> Sampler:
    """blackjax's kernel behind our contract, so that the loop is the same."""
    import blackjax

    kernel = blackjax.sgld(jax.grad(target.log_density))
    ours = sgld(target, constant(STEP))

    def step(key: jax.Array, state: Any, batch: Any) -> tuple[Any, Info]:
        position = kernel.step(key, state.position, batch, STEP)
        one = jnp.ones(())
        return state._replace(position=position), Info(one, one, one, 0 * one, one)

    return ours._replace(step=step)


def timer(
    sampler: Sampler, positions: Any, data: Any, batch: int, steps: int, **more: Any
) -> Callable[[], float]:
    """Seconds of ``steps`` steps, compiled beforehand."""

    def once() -> float:
        started = time.perf_counter()
        samplers.run(
            jax.random.key(0), sampler, positions, data, batch_size=batch,
            num_burn_in=0, num_draws=2, thinning=steps // 2, periods_per_block=2, **more,
        )  # fmt: skip
        return time.perf_counter() - started

    once()
    return once


def in_turn(timers: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(repeats):
        for name, measure in timers.items():
            found[name].append(measure())
    return found


def ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))


def step_cost(quick: bool) -> list[dict]:
    """A pSGLD step over its gradient, and where the rest goes."""
    target, data, _ = problem()
    start = {k: jnp.asarray(v) for k, v in network(1).items()}
    schnet, frames, molecule = ethanol()
    cases = [
        ("SchNet, ethanol, batch 8", schnet, frames, molecule, 8, 100 if quick else 200),
        ("MLP, batch 512", target, data, start, 512, 100 if quick else 500),
        ("MLP, batch 64", target, data, start, 64, 400 if quick else 2000),
    ]
    rows = []
    for name, case, values, positions, batch, steps in cases:
        timers = {
            "gradient": timer(bare_gradient(case), positions, values, batch, steps),
            "pSGLD": timer(
                psgld(case, constant(STEP), adapt_steps=0), positions, values, batch, steps
            ),
        }
        found = in_turn(timers, 15 if quick else 31)
        one = jax.tree.map(lambda x: x[0], positions)
        noise = _seconds(lambda k, one=one: tree.random_normal_like(k, one), jax.random.key(0))
        least = {k: min(v) / steps for k, v in found.items()}
        rows.append(
            {
                "case": name,
                "parameters": tree.size(one),
                "gradient_seconds": least["gradient"],
                "psgld_seconds": least["pSGLD"],
                "ratio": ratio(found["pSGLD"], found["gradient"]),
                "noise_seconds": noise,
            }
        )
    return rows


def _seconds(function: Callable[[Any], Any], argument: Any, repeats: int = 50) -> float:
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(argument))
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        jax.block_until_ready(compiled(argument))
        found.append(time.perf_counter() - started)
    return min(found)


def chains_and_peers(quick: bool, folder: Path) -> dict:
    """Eight chains, batch 64, in each of the ways there are; updates per second over all chains."""
    target, data, test = problem()
    chains, batch, steps = 8, 64, 200 if quick else 1000
    positions = {k: jnp.asarray(v) for k, v in network(chains).items()}
    sampler = psgld(target, constant(STEP), adapt_steps=0)
    peer_blackjax = blackjax_sgld(target)
    plain = sgld(target, constant(STEP))
    lone = [jax.tree.map(lambda x, c=c: x[c : c + 1], positions) for c in range(chains)]
    single = [timer(sampler, one, data, batch, steps) for one in lone]
    timers = {
        "pSGLD, eight chains in one program": timer(sampler, positions, data, batch, steps),
        "pSGLD, eight runs in turn": lambda: sum(run() for run in single),
        "SGLD, eight chains in one program": timer(plain, positions, data, batch, steps),
        "blackjax SGLD, same loop": timer(peer_blackjax, positions, data, batch, steps),
        "gradients alone, eight chains": timer(
            bare_gradient(target), positions, data, batch, steps
        ),
    }
    found = in_turn(timers, 5 if quick else 11)
    rows = {
        name: {"updates_per_second": chains * steps / statistics.median(times)}
        for name, times in found.items()
    }
    ours = found["pSGLD, eight chains in one program"]
    ratios = {
        "one program over runs in turn": ratio(found["pSGLD, eight runs in turn"], ours),
        "SGLD over blackjax's SGLD": ratio(
            found["blackjax SGLD, same loop"], found["SGLD, eight chains in one program"]
        ),
    }
    # its documented call, and its fastest: chains by pmap over as many virtual devices
    rows["jax-sgmc 0.1.5, alias.sgld"] = jax_sgmc(quick, folder, test, "alias")
    rows["jax-sgmc 0.1.5, pmap"] = theirs = jax_sgmc(quick, folder, test, "pmap")
    rows["pSGLD, one chain on each of eight virtual devices"] = sharded(steps)
    if theirs.get("updates_per_second"):
        mine = rows["pSGLD, eight chains in one program"]
        mine |= our_ess(quick, test)
        # beside the peer, whose runs took minutes; both on eight virtual devices
        ours = rows["pSGLD, one chain on each of eight virtual devices"]["updates_per_second"]
        theirs_too = theirs["updates_per_second"]
        ratios["pSGLD over jax-sgmc's fastest, updates"] = ours / theirs_too
        ratios["pSGLD over jax-sgmc's fastest, effective samples"] = (
            mine["ess_per_update"] * ours / (theirs["ess_per_update"] * theirs_too)
        )
    return {"rows": rows, "ratios": ratios, "chains": chains, "batch": batch}


ESS_STEP, ESS_DRAWS = 2e-5, 100


def jax_sgmc(quick: bool, folder: Path, test: np.ndarray, strategy: str) -> dict:
    """The peer, pSGLD on the same weights, data, batch and step size."""
    python = ROOT / ".peers/jax-sgmc/bin/python"
    if not python.exists():
        return {"missing": "run benchmarks/peers.sh jax-sgmc first"}
    _, data, _ = problem()
    iterations = 2000 if quick else 5000
    np.savez(folder / "data.npz", x=data[0], y=data[1], x_test=test)
    np.savez(folder / "init.npz", **network(8))
    spec = {
        "layers": LAYERS, "num_data": DATA, "batch_size": 64, "num_chains": 8,
        "iterations": iterations, "step_size": ESS_STEP, "seed": 0, "sigma": SIGMA,
        "prior_sd": PRIOR, "draws": ESS_DRAWS, "burn_in": iterations // 2, "lmbd": 1e-3,
        "repeats": 1 if quick else 3, "out": str(folder / "theirs.npz"), "mcmc_strategy": strategy,
        "data": str(folder / "data.npz"), "init": str(folder / "init.npz"),
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec))
    done = subprocess.run(
        [str(python), "-W", "ignore", str(ROOT / "benchmarks/peer_jax_sgmc.py"),
         str(folder / "spec.json")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"missing": done.stderr.strip().splitlines()[-1]}
    made = json.loads(done.stdout)
    if not made["updates_per_second"]:
        return {"missing": "its timing came out negative: the machine was too noisy"}
    ess = _ess(np.load(folder / "theirs.npz")["predictions"])
    updates = 8 * iterations / 2
    return {
        "updates_per_second": made["updates_per_second"],
        "ess_per_update": ess / updates,
        "ess_per_second": ess / updates * made["updates_per_second"],
        "jax": made["jax"],
        "chains_share_one_key": made["chains_share_one_key"],
        "compile_seconds_each_call": made["compile_seconds_each_further_call"],
    }


def our_ess(quick: bool, test: np.ndarray) -> dict:
    """Effective samples of the test predictions per update, at the peer's settings."""
    target, data, _ = problem()
    iterations = 2000 if quick else 5000
    thinning = max(1, iterations // 2 // ESS_DRAWS)
    made = samplers.run(
        jax.random.key(0), psgld(target, constant(ESS_STEP), iterations // 2, 0.9, 1e-3),
        {k: jnp.asarray(v) for k, v in network(8).items()}, data, batch_size=64,
        num_burn_in=iterations // 2, num_draws=ESS_DRAWS, thinning=thinning,
        watch=lambda p: predict(p, jnp.asarray(test)),
    )  # fmt: skip
    return {"ess_per_update": _ess(made.watched) / (8 * iterations / 2)}


def _ess(predictions: np.ndarray) -> float:
    """Median over test inputs of the ESS of single chains, added up over chains.

    Chains taken one by one: neither side's few thousand steps let chains agree, and ones that
    share a key (the peer's) would look the better for it.
    """
    total = np.zeros(predictions.shape[2])
    for chain in predictions:
        total += samplers.convergence(chain[None]).ess_bulk
    return float(np.median(total))


SHARDED = """
import statistics, sys
from benchmarks.throughput import sharded_timer
steps = int(sys.argv[1])
once = sharded_timer(steps)
print(8 * steps / statistics.median(once() for _ in range(5)))
"""


def sharded_timer(steps: int) -> Callable[[], float]:
    target, data, _ = problem()
    positions = {k: jnp.asarray(v) for k, v in network(8).items()}
    sampler = psgld(target, constant(STEP), adapt_steps=0)
    mesh = jax.make_mesh((jax.device_count(),), ("chains",))
    return timer(sampler, positions, data, 64, steps, mesh=mesh)


def sharded(steps: int) -> dict:
    """Ours as the peer's fastest runs: on virtual devices, which only a fresh process can have."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SHARDED, str(steps)],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
    )  # fmt: skip
    return {"updates_per_second": float(done.stdout)}


MEMORY = """
import resource, sys, time
from pathlib import Path
import jax, jax.numpy as jnp
import samplers
from benchmarks.throughput import network, problem
from samplers import constant, psgld
target, data, _ = problem()
draws, folder = int(sys.argv[1]), Path(sys.argv[2])
started = time.perf_counter()
made = samplers.run(jax.random.key(0), psgld(target, constant(1e-6), 0),
    {k: jnp.asarray(v[:1]) for k, v in network(1).items()}, data, batch_size=8, num_burn_in=0,
    num_draws=draws, checkpoint=folder, periods_per_block=50)
assert made.draws["w0"].shape[:2] == (1, draws)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
disk = sum(x.stat().st_size for x in folder.iterdir()) / 1e9
print(peak, disk, seconds)
"""


def memory(quick: bool) -> list[dict]:
    """Peak memory of runs of 1e5 parameters with draws on disk."""
    rows = []
    for draws in (1000, 10_000):
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [sys.executable, "-c", MEMORY, str(draws), folder],
                capture_output=True, text=True, check=True, cwd=ROOT,
            )  # fmt: skip
        peak, disk, seconds = map(float, done.stdout.split())
        rows.append({"draws": draws, "peak_GB": peak, "disk_GB": disk, "seconds": seconds})
    return rows


def run(setting: common.Setting, out: Path) -> dict:
    quick = setting == "quick"
    with tempfile.TemporaryDirectory() as folder:
        chains = chains_and_peers(quick, Path(folder))
    return {
        "step_cost": step_cost(quick),
        "chains": chains,
        "memory": memory(quick),
        "peak_GB_of_the_benchmark": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def table(result: dict) -> str:
    milli = lambda s: f"{1e3 * s:.2f}"  # noqa: E731
    cost = common.markdown(
        ("one chain", "parameters", "gradient / ms", "pSGLD step / ms", "ratio", "noise / ms"),
        [
            (r["case"], r["parameters"], milli(r["gradient_seconds"]), milli(r["psgld_seconds"]),
             f"{r['ratio']:.2f}", milli(r["noise_seconds"]))
            for r in result["step_cost"]
        ],
    )  # fmt: skip
    rows = []
    for name, row in result["chains"]["rows"].items():
        if "missing" in row:
            rows.append((name, row["missing"], ""))
            continue
        ess = row.get("ess_per_update")
        per_second = None if ess is None else ess * row["updates_per_second"]
        rows.append((name, f"{row['updates_per_second']:.0f}", common.number(per_second)))
    head = ("eight chains, batch 64, MLP of 99 000", "updates / s", "effective samples / s")
    chains = common.markdown(head, rows)
    ratios = common.markdown(
        ("ratio", ""),
        [(name, f"{value:.2f}") for name, value in result["chains"]["ratios"].items()],
    )
    memory = common.markdown(
        ("draws of 99 000 parameters", "peak memory / GB", "on disk / GB", "seconds"),
        [
            (r["draws"], f"{r['peak_GB']:.2f}", f"{r['disk_GB']:.2f}", f"{r['seconds']:.0f}")
            for r in result["memory"]
        ],
    )
    return "\n\n".join((cost, chains, ratios, memory))


if __name__ == "__main__":
    common.main("throughput", run, table)
