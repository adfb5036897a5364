"""pSGLD of jax-sgmc on an MLP regression, timed; runs in the environment of ``peers.sh``.

``python peer_jax_sgmc.py SPEC.json`` prints one JSON object and writes the chains' predictions.

Keys of the specification: layers, num_data, batch_size, num_chains, iterations, step_size, seed,
sigma (noise), prior_sd, data (npz: x, y, x_test), init (npz: w0, b0, ... with a leading chain
axis), out (npz: predictions of shape (chain, draw, test)), and with defaults:

    draws          200      saved states per chain, spread over the run
    alpha, lmbd    0.9, 1e-5  of RMSprop; the defaults are jax-sgmc's
    loader         device   or host
    likelihood     batched  or vmap
    saving         host     or device
    mcmc_strategy  alias    alias.sgld as documented; map, vmap or pmap: the same parts by hand
    repeats        2        timings of which the fastest counts
"""

import json
import os
import sys
import time

SPEC = {
    "draws": 200,
    "alpha": 0.9,
    "lmbd": 1e-5,
    "loader": "device",
    "likelihood": "batched",
    "saving": "host",
    "mcmc_strategy": "alias",
    "repeats": 2,
}
with open(sys.argv[1]) as file:
    SPEC |= json.load(file)
if SPEC["mcmc_strategy"] == "pmap":  # one device per chain; read when JAX starts
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')}"
        f" --xla_force_host_platform_device_count={SPEC['num_chains']}"
    )

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax_sgmc import adaption, alias, integrator, io, potential, scheduler, solver  # noqa: E402
from jax_sgmc.data import random_reference_data  # noqa: E402
from jax_sgmc.data.numpy_loader import DeviceNumpyDataLoader, NumpyDataLoader  # noqa: E402


CACHE = 1 if SPEC["loader"] == "device" else 512  # jax-sgmc refuses to cache device data


def predict(weights, x):
    depth = len(SPEC["layers"]) - 1
    for i in range(depth):
        x = x @ weights[f"w{i}"] + weights[f"b{i}"]
        if i < depth - 1:
            x = jnp.tanh(x)
    return x[..., 0]


def log_prior(weights):
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree_util.tree_leaves(weights))
    return -0.5 * squares / SPEC["prior_sd"] ** 2


def log_likelihood(weights, observation):
    # serves one observation and a batch alike
    residual = observation["y"] - predict(weights, observation["x"])
    return -0.5 * (residual / SPEC["sigma"]) ** 2


def by_hand(potential_fn, loader, step_sizes, strategy):
    """Do what ``alias.sgld`` does, with the strategy and the keys it does not let one choose."""
    batches = random_reference_data(loader, CACHE, SPEC["batch_size"])
    langevin = integrator.langevin_diffusion(potential_fn, batches, adaption=adaption.rms_prop())
    first, last = step_sizes
    steps = scheduler.polynomial_step_size_first_last(first=first, last=last)
    burn_in = scheduler.initial_burn_in(0)
    schedule = scheduler.init_scheduler(
        step_size=steps,
        burn_in=burn_in,
        thinning=scheduler.random_thinning(steps, burn_in, selections=SPEC["draws"]),
        progress_bar=False,
    )
    sampler = solver.sgmc(langevin)
    saving = io.save(io.MemoryCollector()) if SPEC["saving"] == "host" else None
    mcmc = solver.mcmc(sampler, schedule, strategy=strategy, saving=saving)
    keys = jax.random.split(jax.random.PRNGKey(SPEC["seed"]), (SPEC["num_chains"], 2))

    def run(*starts, iterations):
        states = []
        for chain, (noise, batch) in zip(range(len(starts)), keys):
            stream = {"key": batch} if SPEC["loader"] == "device" else {"seed": chain}
            states.append(
                sampler[0](
                    starts[chain],
                    key=noise,
                    adaption_kwargs={"alpha": SPEC["alpha"], "lmbd": SPEC["lmbd"]},
                    batch_kwargs=stream,
                )
            )
        return mcmc(*states, iterations=iterations)

    return run


def build(x, y):
    make = DeviceNumpyDataLoader if SPEC["loader"] == "device" else NumpyDataLoader
    loader = make(x=x, y=y)
    batched = SPEC["likelihood"] == "batched"
    potential_fn = potential.minibatch_potential(
        log_prior, log_likelihood, strategy="vmap", is_batched=batched
    )
    # equal ends make the schedule NaN
    step_sizes = SPEC["step_size"], SPEC["step_size"] * (1 - 1e-3)
    if SPEC["mcmc_strategy"] != "alias":
        return by_hand(potential_fn, loader, step_sizes, SPEC["mcmc_strategy"])
    return alias.sgld(
        potential_fn,
        loader,
        cache_size=CACHE,
        batch_size=SPEC["batch_size"],
        first_step_size=step_sizes[0],
        last_step_size=step_sizes[1],
        accepted_samples=SPEC["draws"],
        rms_prop=True,
        alpha=SPEC["alpha"],
        lmbd=SPEC["lmbd"],
        save_to_numpy=SPEC["saving"] == "host",
        progress_bar=False,
    )


def timed(x, y, starts, iterations):
    # a fresh sampler each time: its collector keeps every sample it ever saw
    run = build(x, y)
    COMPILED.clear()
    start = time.perf_counter()
    chains = jax.block_until_ready(run(*starts, iterations=iterations))
    return time.perf_counter() - start, sum(COMPILED), chains


def main():
    data = np.load(SPEC["data"])
    x, y = data["x"].astype(np.float32), data["y"].astype(np.float32).reshape(-1)
    assert len(x) == SPEC["num_data"], (len(x), SPEC["num_data"])
    init = np.load(SPEC["init"])
    starts = [
        {name: jnp.asarray(init[name][chain], jnp.float32) for name in init.files}
        for chain in range(SPEC["num_chains"])
    ]
    n, work = SPEC["iterations"], SPEC["num_chains"] * SPEC["iterations"]

    first, chains = timed(x, y, starts, n)
    predictions = np.stack(
        [
            jax.jit(jax.vmap(predict, (0, None)))(chain["samples"]["variables"], data["x_test"])
            for chain in chains
        ]
    )
    np.savez(SPEC["out"], predictions=predictions)
    del chains

    # Every call compiles anew, map even once per chain (the RMSprop state carries a fresh function
    # in its tree), so only the difference of two lengths tells the time of an update.
    once = min(timed(x, y, starts, n)[0] for _ in range(SPEC["repeats"]))
    twice = min(timed(x, y, starts, 2 * n)[0] for _ in range(SPEC["repeats"]))
    steady = twice - once
    report = {
        "peer": "jax-sgmc 0.1.5",
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "parameters": sum(leaf.size for leaf in starts[0].values()),
        "updates_per_second": work / steady,
        "updates_per_second_whole_call": work / once,
        "compile_seconds": once - steady,
        "first_call_seconds": first,
        "seconds": {"n": once, "2n": twice},
        "finite": bool(np.isfinite(predictions).all()),
        # alias hands no key on: noise, and batches of the device loader, are those of PRNGKey(0)
        # in every chain
        "chains_share_one_key": SPEC["mcmc_strategy"] == "alias",
        "spec": SPEC,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
