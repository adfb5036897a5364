"""pSGLD of jax-sgmc on an MLP regression, timed; runs in the environment of ``peers.sh``.

``.peers/jax-sgmc/bin/python benchmarks/peer_jax_sgmc.py SPEC.json`` prints one JSON object.

Keys of the specification: layers, num_data, batch_size, num_chains, iterations, step_size, seed,
sigma (noise), prior_sd, data (npz: x, y, x_test), init (npz: w0, b0, ... with a leading chain
axis), out (npz to write: predictions of shape (chain, draw, test)); and with defaults:

    mcmc_strategy  "alias"      alias.sgld as documented;
                                "map", "vmap", "pmap": the same parts through solver.mcmc
    saving         "host"       or "device", which vmap and pmap need and default to
    loader         "device"     or "host"
    likelihood     "batched"    or "vmap"
    draws          200          saved states per chain, at random iterations after burn-in
    burn_in        0
    alpha, lmbd    0.9, 1e-5    of RMSprop; the defaults are jax-sgmc's
    repeats        2            timings of each length, of which the fastest counts
"""

import json
import os
import sys
import time

with open(sys.argv[1]) as file:
    SPEC = json.load(file)
SPEC = {
    "mcmc_strategy": "alias",
    "saving": "device" if SPEC.get("mcmc_strategy") in ("vmap", "pmap") else "host",
    "loader": "device",
    "likelihood": "batched",
    "draws": 200,
    "burn_in": 0,
    "alpha": 0.9,
    "lmbd": 1e-5,
    "repeats": 2,
} | SPEC
if SPEC["mcmc_strategy"] == "pmap":
    if SPEC["loader"] == "host":
        sys.exit("pmap with the host loader never returns: its callback waits for busy devices")
    # One device per chain. The flag is read when JAX first computes, and jax-sgmc does on import.
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "")
        + f" --xla_force_host_platform_device_count={SPEC['num_chains']}"
    )

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax_sgmc import adaption, alias, integrator, io, potential, scheduler, solver  # noqa: E402
from jax_sgmc.data import random_reference_data  # noqa: E402
from jax_sgmc.data.numpy_loader import DeviceNumpyDataLoader, NumpyDataLoader  # noqa: E402

CACHE = 1 if SPEC["loader"] == "device" else 512  # jax-sgmc refuses to cache device data
# equal ends would make its schedule NaN
STEP_SIZES = SPEC["step_size"], SPEC["step_size"] * (1 - 1e-3)
COMPILED: list[float] = []


def on_event(event, seconds, **_):
    if event.endswith("backend_compile_duration"):
        COMPILED.append(seconds)


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


def by_hand(potential_fn, loader):
    """Do what ``alias.sgld`` does, with the strategy and the keys it does not let one choose."""
    batches = random_reference_data(loader, CACHE, SPEC["batch_size"])
    langevin = integrator.langevin_diffusion(potential_fn, batches, adaption=adaption.rms_prop())
    steps = scheduler.polynomial_step_size_first_last(first=STEP_SIZES[0], last=STEP_SIZES[1])
    burn_in = scheduler.initial_burn_in(SPEC["burn_in"])
    schedule = scheduler.init_scheduler(
        step_size=steps,
        burn_in=burn_in,
        thinning=scheduler.random_thinning(steps, burn_in, selections=SPEC["draws"]),
        progress_bar=False,
    )
    sampler = solver.sgmc(langevin)
    saving = io.save(io.MemoryCollector()) if SPEC["saving"] == "host" else None
    mcmc = solver.mcmc(sampler, schedule, strategy=SPEC["mcmc_strategy"], saving=saving)
    seeds = jax.random.split(jax.random.PRNGKey(SPEC["seed"]), (SPEC["num_chains"], 2))

    def run(*starts, iterations):
        states = [
            sampler[0](
                start,
                key=noise,
                adaption_kwargs={"alpha": SPEC["alpha"], "lmbd": SPEC["lmbd"]},
                # the host loader seeds its chains by their number
                batch_kwargs={"key": batch} if SPEC["loader"] == "device" else None,
            )
            for start, (noise, batch) in zip(starts, seeds, strict=True)
        ]
        return mcmc(*states, iterations=iterations)

    return run


def build(x, y):
    make = DeviceNumpyDataLoader if SPEC["loader"] == "device" else NumpyDataLoader
    loader = make(x=x, y=y)
    batched = SPEC["likelihood"] == "batched"
    potential_fn = potential.minibatch_potential(
        log_prior, log_likelihood, strategy="vmap", is_batched=batched
    )
    if SPEC["mcmc_strategy"] != "alias":
        return by_hand(potential_fn, loader)
    return alias.sgld(
        potential_fn,
        loader,
        cache_size=CACHE,
        batch_size=SPEC["batch_size"],
        first_step_size=STEP_SIZES[0],
        last_step_size=STEP_SIZES[1],
        burn_in=SPEC["burn_in"],
        accepted_samples=SPEC["draws"],
        rms_prop=True,
        alpha=SPEC["alpha"],
        lmbd=SPEC["lmbd"],
        save_to_numpy=SPEC["saving"] == "host",
        progress_bar=False,
    )


def timed(x, y, starts, iterations):
    """Return the seconds of one call, of compiling in it and of all its cores, and the chains."""
    run = build(x, y)  # anew each time: its collector keeps every sample it ever saw
    COMPILED.clear()
    start, cpu = time.perf_counter(), time.process_time()
    chains = jax.block_until_ready(run(*starts, iterations=iterations))
    return time.perf_counter() - start, sum(COMPILED), time.process_time() - cpu, chains


def main():
    jax.monitoring.register_event_duration_secs_listener(on_event)
    data, init = np.load(SPEC["data"]), np.load(SPEC["init"])
    x, y = data["x"].astype(np.float32), data["y"].astype(np.float32).reshape(-1)
    x_test = data["x_test"].astype(np.float32)
    assert len(x) == SPEC["num_data"], (len(x), SPEC["num_data"])
    starts = [
        {name: jnp.asarray(init[name][chain], jnp.float32) for name in init.files}
        for chain in range(SPEC["num_chains"])
    ]
    n = SPEC["iterations"]

    first, first_compile, _, chains = timed(x, y, starts, n)
    predict_all = jax.jit(jax.vmap(predict, (0, None)))
    predictions = np.stack([predict_all(c["samples"]["variables"], x_test) for c in chains])
    np.savez(SPEC["out"], predictions=predictions)
    del chains

    # Every call compiles anew, alias and map even once per chain (the RMSprop state carries a new
    # function in its tree), so an update's time comes from the difference of two lengths. The
    # compiler's own seconds, which vary, are taken off before.
    calls = {n: [], 2 * n: []}
    for _ in range(SPEC["repeats"]):
        for m, results in calls.items():
            results.append(timed(x, y, starts, m)[:3])
    net = {m: min(total - compiling for total, compiling, _ in calls[m]) for m in calls}
    steady = net[2 * n] - net[n]
    cpu = {m: min(call[2] for call in calls[m]) for m in calls}
    best = {m: min(calls[m]) for m in calls}
    report = {
        "peer": "jax-sgmc 0.1.5",
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "parameters": sum(leaf.size for leaf in starts[0].values()),
        "updates_per_second": SPEC["num_chains"] * n / steady if steady > 0 else None,
        "updates_per_second_whole_call": SPEC["num_chains"] * 2 * n / best[2 * n][0],
        # the measure that stands when others use the machine
        "core_seconds_per_update": (cpu[2 * n] - cpu[n]) / (SPEC["num_chains"] * n),
        "compile_seconds": first_compile,
        "compile_seconds_each_further_call": best[n][1],
        "seconds": {"first call": first, "n": best[n][0], "2n": best[2 * n][0]},
        # alias.sgld hands no key on: the noise of every chain is that of PRNGKey(0), and so are
        # the batches of the device loader
        "chains_share_one_key": SPEC["mcmc_strategy"] == "alias",
        "predictions_finite": bool(np.isfinite(predictions).all()),
        "spec": SPEC,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
