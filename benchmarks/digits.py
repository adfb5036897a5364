"""Row 10 of methods.md: an image classifier by the same calls, nothing molecular imported.

A small network on scikit-learn's 8x8 digits, twenty models a method.  Certainty is the largest
mean probability; accuracy should rise with it, and certainty should fall on images unlike the
training set (rotated ones).
"""

import functools
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import samplers
from benchmarks import common

MODELS, CHAINS, HIDDEN, BATCH, PRIOR = 20, 4, 64, 32, 1.0
THRESHOLDS = (0.0, 0.5, 0.7, 0.9, 0.99)
TURNED = 60  # degrees
COLOURS = {
    "pSGLD": common.BLUE,
    "cyclical SGLD": common.GREEN,
    "ensemble": common.ORANGE,
    "one network": common.BLACK,
}


def images() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training, test and rotated test images (n, 64) in [0, 1], with labels."""
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:600], order[600:]
    turned = rotate(x[test].reshape(-1, 8, 8), TURNED, axes=(1, 2), reshape=False, order=1)
    return {
        "train": (x[train], y[train]),
        "test": (x[test], y[test]),
        "rotated": (turned.reshape(-1, 64).astype(np.float32), y[test]),
    }


def logits(p: Any, x: jax.Array) -> jax.Array:
    x = jax.nn.swish(x @ p["in"]["w"] + p["in"]["b"])
    x = jax.nn.swish(x @ p["mid"]["w"] + p["mid"]["b"])
    return x @ p["out"]["w"] + p["out"]["b"]


def start(key: jax.Array) -> Any:
    sizes = {"in": (64, HIDDEN), "mid": (HIDDEN, HIDDEN), "out": (HIDDEN, 10)}
    keys = jax.random.split(key, len(sizes))
    return {
        name: {"w": jax.random.normal(k, (a, b)) / np.sqrt(a), "b": jnp.zeros(b)}
        for k, (name, (a, b)) in zip(keys, sizes.items(), strict=True)
    }


def target(data: tuple[jax.Array, jax.Array]) -> samplers.Target:
    size = len(data[0])

    def log_density(p: Any, batch: Any) -> jax.Array:
        x, y = batch
        likelihood = -jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(p, x), y))
        prior = -0.5 * sum(jnp.sum(w**2) for w in jax.tree.leaves(p)) / PRIOR**2
        return size * likelihood + prior

    return samplers.Target(log_density, lambda p: log_density(p, data), size)


def recipes(case: samplers.Target, scale: int) -> dict[str, tuple]:
    """(sampler, chains, burn-in, thinning) of each method; ``scale`` lengthens the runs."""
    per_chain = MODELS // CHAINS
    cycle = 1000 * scale
    steps = 4000 * scale
    adam = optax.adam(optax.cosine_decay_schedule(3e-3, steps, 0.01))
    falling = samplers.hold(samplers.first_last(1e-4, 2e-5, steps), steps)
    return {
        "pSGLD": (
            samplers.psgld(case, falling, adapt_steps=steps, lmbd=1e-2),
            CHAINS, per_chain, steps, steps // 5,
        ),
        "cyclical SGLD": (
            samplers.cyclical(
                functools.partial(samplers.sgld, case), 2e-3, cycle, 0.8, last=1e-5
            ),
            CHAINS, per_chain, cycle, cycle // 10,
        ),
        "ensemble": (samplers.ensemble(case, adam), MODELS, 1, steps - 100, 100),
    }  # fmt: skip


def score(probability: np.ndarray, y: np.ndarray) -> dict:
    """Of mean probabilities (n, 10)."""
    certainty, guess = probability.max(axis=1), probability.argmax(axis=1)
    right = guess == y
    bins = np.minimum((certainty * 10).astype(int), 9)
    gaps = [
        abs(right[bins == b].mean() - certainty[bins == b].mean()) * (bins == b).mean()
        for b in range(10)
        if (bins == b).any()
    ]
    above = [certainty >= t for t in THRESHOLDS]
    return {
        "accuracy": right.mean(),
        "negative_log_likelihood": -np.log(probability[np.arange(len(y)), y] + 1e-12).mean(),
        "calibration_error": sum(gaps),
        "mean_certainty": certainty.mean(),
        "share_above": [a.mean() for a in above],
        "accuracy_above": [right[a].mean() if a.any() else np.nan for a in above],
    }


def run(setting: common.Setting, out: Path) -> dict:
    scale = 1 if setting == "quick" else 5
    sets = images()
    data = tuple(map(jnp.asarray, sets["train"]))
    case = target(data)
    predict = jax.jit(jax.vmap(lambda p, x: jax.nn.softmax(logits(p, x)), (0, None)))
    rows, certainty = {}, {}
    for index, (name, (sampler, chains, draws, burn_in, thinning)) in enumerate(
        recipes(case, scale).items()
    ):
        key, init_key = jax.random.split(jax.random.key(index))
        positions = jax.vmap(start)(jax.random.split(init_key, chains))
        started = time.perf_counter()
        made = samplers.run(
            key, sampler, positions, data, batch_size=BATCH, num_burn_in=burn_in,
            num_draws=draws, thinning=thinning,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        models = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made.draws)
        each = {
            k: np.asarray(predict(models, x), float) for k, (x, _) in sets.items() if k != "train"
        }
        rows[name] = {
            "seconds": seconds,
            "image_gradients": BATCH * chains * len(made.kept) * thinning,
            **{k: score(p.mean(axis=0), sets[k][1]) for k, p in each.items()},
        }
        certainty[name] = {k: p.mean(axis=0) for k, p in each.items()}
        if name == "ensemble":
            rows["one network"] = {
                "seconds": seconds / MODELS,
                "image_gradients": rows[name]["image_gradients"] / MODELS,
                **{k: score(p[0], sets[k][1]) for k, p in each.items()},
            }
            certainty["one network"] = {k: p[0] for k, p in each.items()}
    _figure(rows, certainty, out / "digits.png")
    return {
        "settings": {
            "models": MODELS, "chains": CHAINS, "hidden": HIDDEN, "batch_size": BATCH,
            "prior_sd": PRIOR, "training_images": len(data[0]), "rotation_degrees": TURNED,
        },
        "thresholds": THRESHOLDS,
        "methods": rows,
    }  # fmt: skip


def _figure(rows: dict, certainty: dict, path: Path) -> None:
    plt = common.plt
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.1))
    grid = np.linspace(0.2, 0.999, 60)
    labels = images()
    for axis, kind, title in (
        (axes[0], "test", "test images"),
        (axes[1], "rotated", f"rotated by {TURNED}°"),
    ):
        for name, colour in COLOURS.items():
            p = certainty[name][kind]
            top, right = p.max(axis=1), p.argmax(axis=1) == labels[kind][1]
            curve = [right[top >= t].mean() if (top >= t).sum() > 10 else np.nan for t in grid]
            axis.plot(grid, curve, color=colour, label=name)
        axis.set(xlabel="certainty threshold", ylabel="accuracy above it", title=title)
    axes[0].legend(loc="lower right")
    edges = np.linspace(0, 1, 21)
    for name, colour in COLOURS.items():
        axes[2].hist(
            certainty[name]["rotated"].max(axis=1), edges, histtype="step", color=colour, lw=1.4
        )
    axes[2].set(
        xlabel="certainty", ylabel="images", title="how certain of rotated images", yscale="log"
    )
    figure.savefig(path, dpi=common.DPI)
    plt.close(figure)


def table(result: dict) -> str:
    share = lambda x: "–" if x is None else f"{100 * x:.1f} %"  # noqa: E731
    rows = []
    for name, row in result["methods"].items():
        test, rotated = row["test"], row["rotated"]
        rows.append(
            (
                name, share(test["accuracy"]), common.number(test["negative_log_likelihood"], 3),
                common.number(test["calibration_error"]),
                *(
                    f"{share(a)} of {share(n)}"
                    for a, n in zip(test["accuracy_above"][2:4], test["share_above"][2:4],
                                    strict=True)
                ),
                share(rotated["accuracy"]), share(rotated["mean_certainty"]),
                common.number(rotated["calibration_error"]),
            )
        )  # fmt: skip
    head = (
        "20 models", "accuracy", "−log p", "calibration error", "above 0.7", "above 0.9",
        "rotated: accuracy", "certainty", "calibration error",
    )  # fmt: skip
    return common.markdown(head, rows)


if __name__ == "__main__":
    common.main("digits", run, table)
