"""Moments beside the exact ones, and how often intervals hold the truth."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import optax

import samplers
from bayespot.infer import Sampling, sample_observed
from bayespot.observed import Measurements, Observed
from bayespot.trainers import Target
from benchmarks.common import Setting, markdown, number, plain
from benchmarks.observed import fluid, oracle
from benchmarks.observed.figures import figure

SETS = 200  # of measurements, for the exact posteriors
PARTS = Path("runs/observed")  # what a killed run continues from
FRAMES, REPLICAS = 50, 2
HOW = Sampling(chains=4, burn_in=60, draws=60, thinning=4)


def _metric(spread: np.ndarray) -> samplers.Preconditioner:
    """Steps in units of the width of the posterior, which a pilot run would tell."""
    return samplers.fixed({"potential": fluid.params(spread**2), "noise": {}})


def _methods(spread: np.ndarray) -> dict[str, Callable[[samplers.Target], samplers.Sampler]]:
    fall = optax.cosine_decay_schedule(3e-3, 420, alpha=0.01)
    return {
        "SGLD": lambda t: samplers.sgld(t, samplers.constant(0.2), _metric(spread)),
        "SGHMC": lambda t: samplers.sghmc(
            t, samplers.constant(0.03), friction=0.2, preconditioner=_metric(spread)
        ),
        "pSGLD": lambda t: samplers.psgld(
            t, samplers.constant(0.2 * float(spread.min())), adapt_steps=HOW.burn_in
        ),
        "ensemble": lambda t: samplers.ensemble(t, optax.adam(fall)),
    }


def _sample(key: jax.Array, measured: np.ndarray, method: str, spread: np.ndarray) -> dict:
    started = time.perf_counter()
    curve = np.zeros(fluid.CURVE.bins)
    curve[fluid.SEEN] = measured[:-1]
    targets = [
        Target(fluid.CURVE, curve, fluid.CURVE_ERROR),
        Target(fluid.PRESSURE, measured[-1], fluid.PRESSURE_ERROR),
    ]
    # new trajectories start where the last ended, at parameters not far away
    simulation = fluid.simulation(FRAMES, equilibration=200)
    measurements = Measurements(simulation, targets, replicas=REPLICAS, warm_up=2)
    observed = Observed(measurements, prior=oracle.PRIOR)
    start_key, run_key = jax.random.split(key)
    away = np.asarray(jax.random.normal(start_key, (HOW.chains, 2)))
    starts = {"potential": fluid.params(fluid.TRUTH + 2 * spread * away), "noise": {}}
    draws = sample_observed(
        run_key, observed, _methods(spread)[method], HOW, starts=starts, steps_per_block=8
    )
    found = draws.by_chain()["potential"]
    x = np.stack([np.asarray(found[n], float) for n in ("log_sigma", "log_epsilon")], axis=-1)
    if method == "ensemble":
        x = x[:, -1:]
    flat = x.reshape(-1, 2)
    return plain({
        "mean": flat.mean(0), "sd": flat.std(0, ddof=1),
        "correlation": np.corrcoef(flat.T)[0, 1],
        "error": x.mean(1).std(0, ddof=1) / np.sqrt(len(x)),
        "low": {str(q): np.quantile(flat, 0.5 - q / 200, axis=0) for q in (68, 95)},
        "high": {str(q): np.quantile(flat, 0.5 + q / 200, axis=0) for q in (68, 95)},
        "healthy": bool(draws.healthy.all()),
        "seconds": time.perf_counter() - started,
    })  # fmt: skip


def _kept(name: str, depends: object, make: Callable[[], dict]) -> dict:
    where = PARTS / f"{name}.json"
    depends = plain(depends)
    if where.exists():
        stored = json.loads(where.read_text())
        if stored["depends"] == depends:
            return stored["made"]
    made = plain(make())
    print(f"{name}: {made.get('seconds', 0):.0f} s", flush=True)
    PARTS.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps({"depends": depends, "made": made}))
    return made


def run(setting: Setting, out: Path) -> dict:
    quick = setting == "quick"
    frames, sets = (200, 1) if quick else (600, 16)
    smooth = oracle.make(jax.random.key(0), frames)
    error = oracle.errors()
    # what the sampler's own short trajectories add, on average
    own = smooth.variance * smooth.frames / (FRAMES * REPLICAS)
    total = np.sqrt(error**2 + own)
    width = oracle.posterior(smooth, smooth(fluid.TRUTH), total).sd
    rng = np.random.default_rng(0)
    data = smooth(fluid.TRUTH) + error * rng.normal(size=(SETS, len(error)))
    depends = (frames, FRAMES, REPLICAS, repr(HOW), fluid.CURVE_ERROR, fluid.PRESSURE_ERROR)
    found = {}
    for method in ["SGHMC"] if quick else _methods(width):
        many = sets if method == "SGHMC" else 1
        found[method] = [
            _kept(
                f"{method}-{i}", (*depends, data[i]),
                lambda i=i, method=method: _sample(jax.random.key(i + 1), data[i], method, width),
            )
            for i in range(many)
        ]  # fmt: skip
    exact = [oracle.posterior(smooth, y, total)._asdict() for y in data]
    sharp = [oracle.posterior(smooth, y, error)._asdict() for y in data]
    # a control that must fail: measurements taken for three times as exact
    wrong = [oracle.posterior(smooth, y, error / 3)._asdict() for y in data]
    result = {
        "truth": fluid.TRUTH, "sets": sets, "oracle_misfit": smooth.misfit, "own_share":
        float(np.mean(own / error**2)), "found": found, "exact": exact[:sets],
        "coverage": {
            "SGHMC": coverage(found["SGHMC"]), "exact (grid)": coverage(exact),
            "exact, no Monte-Carlo error": coverage(sharp),
            "control: errors a third": coverage(wrong),
        },
    }  # fmt: skip
    result = plain(result)
    figure(result, out)
    return result


def coverage(posteriors: list[dict]) -> dict:
    """Share of intervals with the truth in them, both parameters together, and of how many."""
    shares: dict[str, float] = {"sets": len(posteriors)}
    for level in (68, 95):
        inside = [
            (np.asarray(p["low"][str(level)]) <= fluid.TRUTH)
            & (np.asarray(p["high"][str(level)]) >= fluid.TRUTH)
            for p in posteriors
        ]
        shares[str(level)] = float(np.mean(inside))
    return shares


def table(result: dict) -> str:
    exact = result["exact"][0]
    rows = [
        (name, *(_moment(runs[0], exact, i) for i in range(2)),
         number(runs[0]["correlation"]), number(runs[0]["seconds"], 3))
        for name, runs in result["found"].items()
    ]  # fmt: skip
    first = markdown(
        ("first data set", "log σ: (mean − exact)/sd, sd/exact", "log ε", "correlation "
         f"(exact {exact['correlation']:.2f})", "seconds"), rows,
    )  # fmt: skip
    rows = [
        (
            name,
            c["sets"],
            *(
                f"{100 * c[q]:.0f} ± {100 * _binomial(float(q) / 100, 2 * c['sets']):.0f} %"
                for q in ("68", "95")
            ),
        )
        for name, c in result["coverage"].items()
    ]
    held = markdown(("intervals", "data sets", "truth in 68 %", "in 95 %"), rows)
    return "\n\n".join([first, _agreement(result), held])


def _agreement(result: dict) -> str:
    """Over all data sets that were sampled, both parameters."""
    pairs = list(zip(result["found"]["SGHMC"], result["exact"], strict=True))
    off = [(np.array(r["mean"]) - e["mean"]) / e["sd"] for r, e in pairs]
    own = [np.array(r["error"]) / e["sd"] for r, e in pairs]
    width = np.mean([np.array(r["sd"]) / e["sd"] for r, e in pairs])
    return (
        f"SGHMC beside the exact posterior, {len(pairs)} data sets: means differ by"
        f" {np.sqrt(np.mean(np.square(off))):.2f} standard deviations (root mean square; by their"
        f" own standard errors {np.sqrt(np.mean(np.square(own))):.2f}), standard deviations are"
        f" {width:.2f} of the exact ones on average."
    )


def _binomial(p: float, count: int) -> float:
    return float(np.sqrt(p * (1 - p) / count))


def _moment(run: dict, exact: dict, i: int) -> str:
    off = (run["mean"][i] - exact["mean"][i]) / exact["sd"][i]
    error = run["error"][i] / exact["sd"][i]
    return f"{off:+.2f} ± {error:.2f}, {run['sd'][i] / exact['sd'][i]:.2f}"
