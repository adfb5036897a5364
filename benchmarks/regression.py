"""Linear regression: every sampler against NUTS (methods.md row 9; JaxSGMC, section 3.1).

Four weights on correlated inputs, and log sigma; 1000 data.  The posterior can be drawn from
exactly (sigma by quadrature, the weights given sigma are Gaussian), which checks NUTS in turn.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import samplers as s
from benchmarks.common import (
    BLACK,
    BLUE,
    DPI,
    GREEN,
    GREY,
    LIGHT,
    ORANGE,
    PURPLE,
    RED,
    Setting,
    main,
    markdown,
    number,
    plt,
    timed,
    wasserstein,
)  # fmt: skip

N, B = 1000, 100
NAMES = ("w1", "w2", "w3", "w4", "log_sigma")
LABELS = ("$w_1$", "$w_2$", "$w_3$", "$w_4$", r"$\log\,\sigma$")
SEED = 0
CHAINS = 16
WARM = 2000  # steps of Adam to a mode
# steps of the mini-batch samplers; the others scale with ``draws``
SETTINGS = {
    "quick": {"burn_in": 2000, "draws": 125, "thinning": 100, "warmup": 300},
    "full": {"burn_in": 10_000, "draws": 1000, "thinning": 100, "warmup": 1000},
}


def make_data() -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(SEED)
    x = rng.normal(size=(N, 4)) @ np.array(
        [[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0.3], [0, 0, 0, 1]]
    )
    y = x @ np.array([0.5, -2.0, 1.5, 3.0]) + 0.7 * rng.normal(size=N)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def make_target(data: tuple[jax.Array, jax.Array]) -> s.Target:
    """w ~ N(0, 10^2), sigma ~ Exp(1)."""

    def log_density(p: Any, batch: Any) -> jax.Array:
        x, y = batch
        z = (y - x @ p["w"]) * jnp.exp(-p["log_sigma"])
        prior = -0.5 * jnp.sum((p["w"] / 10) ** 2) + p["log_sigma"] - jnp.exp(p["log_sigma"])
        return N * jnp.mean(-0.5 * z**2 - p["log_sigma"]) + prior

    return s.Target(log_density, lambda p: log_density(p, data), N)


def exact_draws(data: tuple[jax.Array, jax.Array], count: int) -> np.ndarray:
    """Independent draws (count, 5): log sigma from its marginal on a grid, then w given sigma."""
    x, y = (np.asarray(v, float) for v in data)
    rng = np.random.default_rng(1)
    fit = np.linalg.lstsq(x, y, rcond=None)[0]
    grid = np.log(np.std(y - x @ fit)) + np.linspace(-0.25, 0.25, 4001)
    moments = x.T @ x, x.T @ y, y @ y

    def given(log_sigma: float) -> tuple[np.ndarray, np.ndarray]:
        precision = moments[0] * np.exp(-2 * log_sigma) + np.eye(4) / 100
        return np.linalg.solve(precision, moments[1] * np.exp(-2 * log_sigma)), precision

    def marginal(log_sigma: float) -> float:
        mean, precision = given(log_sigma)
        fitted = mean @ precision @ mean - moments[2] * np.exp(-2 * log_sigma)
        prior = log_sigma - np.exp(log_sigma)
        return 0.5 * (fitted - np.linalg.slogdet(precision)[1]) - N * log_sigma + prior

    log_density = np.array([marginal(v) for v in grid])
    cumulative = np.cumsum(np.exp(log_density - log_density.max()))
    log_sigma = np.interp(rng.uniform(size=count) * cumulative[-1], cumulative, grid)
    # the weights' law changes little over sigma's posterior: one factorisation per grid cell
    cell = np.rint((log_sigma - grid[0]) / (grid[1] - grid[0])).astype(int)
    w = np.empty((count, 4))
    for index in np.unique(cell):
        mean, precision = given(grid[index])
        rows = np.flatnonzero(cell == index)
        noise = rng.normal(size=(4, len(rows)))
        w[rows] = mean + np.linalg.solve(np.linalg.cholesky(precision).T, noise).T
    return np.column_stack([w, log_sigma])


class Method(NamedTuple):
    """How one sampler is run and what its steps cost.

    Attributes:
        family: what it is drawn and listed with.
        build: ``setting's numbers -> sampler``.
        note: what its settings are, for the record.
        per_estimate: gradients that one estimate takes.
        densities: full-data densities of one step.
        steps: overrides of burn_in, draws and thinning.
        batches: False for full-data samplers.
        start: "mode" (of an Adam run, whose cost is added) or "broad" (around the origin).
        per_draw: per-datum gradients spent once before every draw.
    """

    family: str
    build: Callable[[dict], s.Sampler]
    note: str
    per_estimate: float = 1
    densities: float = 0
    steps: Callable[[dict], dict] = lambda at: {}
    batches: bool = True
    start: str = "mode"
    per_draw: float = 0


def optimiser(target: s.Target) -> s.Sampler:
    return s.ensemble(target, optax.adam(optax.cosine_decay_schedule(0.1, WARM)))


def methods(target: s.Target) -> dict[str, Method]:
    """Step sizes are set so that the mini-batch samplers relax in one or two hundred steps.

    With G of RMSProp, ``G P`` is 0.8e4 … 3e4: the fastest of five directions relaxes in 50
    Langevin steps, and the noise of a tenth of the data adds a few per cent to a variance.
    """
    langevin, time_step = 1.5e-6, 3e-4
    rub = 0.2 / time_step  # friction per unit of time: 0.2 per step

    def metric(at: dict) -> s.Preconditioner:
        return s.rmsprop(0.99, 1e-3, at["burn_in"])

    def metropolised(at: dict) -> dict:
        return {"burn_in": at["burn_in"] // 4, "thinning": at["thinning"] // 10}

    def full_data(at: dict) -> dict:
        return {"burn_in": at["warmup"], "draws": 2 * at["draws"], "thinning": 1}

    return {
        "SGLD": Method(
            "Langevin", lambda at: s.sgld(target, s.constant(6e-6)), "h = 6e-6, G = 1",
        ),
        "pSGLD": Method(
            "Langevin", lambda at: s.psgld(target, s.constant(langevin), at["burn_in"], lmbd=1e-3),
            "h = 1.5e-6, RMSProp (alpha 0.99, lambda 1e-3) frozen after burn-in",
        ),
        "SVRG-LD": Method(
            "Langevin",
            lambda at: s.sgld(s.control_variates(target), s.constant(6e-6)),
            "as SGLD; control variates, their anchor renewed before every draw",
            per_estimate=2, per_draw=N,
        ),
        "SGHMC": Method(
            "Hamiltonian",
            lambda at: s.sghmc(target, s.constant(0.05 * langevin), 0.1, metric(at)),
            "h = 7.5e-8, friction 0.1, G as pSGLD",
        ),
        "BAOAB": Method(
            "Hamiltonian", lambda at: s.baoab(target, s.constant(time_step), rub, metric(at)),
            "h = 3e-4, friction 0.2/h, G as pSGLD",
        ),
        "OBABO": Method(
            "Hamiltonian", lambda at: s.obabo(target, s.constant(time_step), rub, metric(at)),
            "as BAOAB",
        ),
        "SGNHT": Method(
            # mass: the thermostat of 5 degrees of freedom should stray by a third of the friction
            "Hamiltonian",
            lambda at: s.sgnht(target, s.constant(time_step), rub, 4e-6, metric(at)),
            "as BAOAB; thermostat mass 4e-6",
        ),
        "reSGLD": Method(
            "many modes",
            lambda at: s.resgld(
                target, s.constant(langevin), (1.0, 1.5, 2.25), swap_every=10, num_estimates=4,
                preconditioner=metric(at),
            ),
            "h and G as pSGLD; T = 1, 1.5, 2.25, a swap in 10 steps, 4 energy batches",
            densities=3 * 4 * B / N,
            steps=lambda at: {"burn_in": at["burn_in"] // 10, "thinning": at["thinning"] // 10},
        ),
        "cyclical pSGLD": Method(
            "many modes",
            lambda at: s.cyclical(
                functools.partial(
                    s.psgld, target, adapt_steps=at["burn_in"], lmbd=1e-3
                ),
                first=4 * langevin, cycle_length=2000, exploration=0.5, last=0.4 * langevin,
                explore_without_noise=False,
            ),
            "cycles of 2000 from h = 6e-6, the second halves kept, noise throughout",
        ),
        "AMAGOLD": Method(
            "Metropolised",
            lambda at: s.amagold(target, 1e-3, 0.1, 10, adapt_steps=at["burn_in"]),
            "10 inner steps, friction 0.1, h adapted to 80 % acceptance",
            densities=1, steps=metropolised,
        ),
        "SGGMC": Method(
            "Metropolised",
            lambda at: s.sggmc(target, 1e-3, 200.0, 10, adapt_steps=at["burn_in"]),
            "10 inner steps, friction 200, h adapted to 80 % acceptance",
            densities=1, steps=metropolised,
        ),
        "HMC": Method(
            "full data", lambda at: s.hmc(target, at["burn_in"], 10),
            "10 leapfrog steps, window adaptation", steps=full_data, batches=False, start="broad",
        ),
        "MCLMC": Method(
            "full data", lambda at: s.mclmc(target, at["burn_in"]),
            "energy variance 5e-4",
            steps=lambda at: {"burn_in": 4 * at["warmup"], "draws": at["draws"], "thinning": 10},
            batches=False,
        ),
        "ensemble": Method(
            "approximation", lambda at: optimiser(target),
            "Adam 0.1, cosine decay; one member a chain",
            steps=lambda at: {"burn_in": WARM - 100, "draws": 1, "thinning": 100}, start="broad",
        ),
        "SWAG": Method(
            "approximation",
            lambda at: s.swag(target, optax.sgd(0.05), at["burn_in"], rank=20),
            "SGD at 0.05 from the mode, rank 20",
            steps=lambda at: {"burn_in": at["burn_in"] + 20 * at["thinning"]},
        ),
        "Laplace": Method(
            "approximation", lambda at: s.laplace(target, min_precision=0.01),
            "at the mode, all parameters",
            steps=lambda at: {"burn_in": 0, "thinning": 1}, batches=False,
        ),
    }  # fmt: skip


def _flat(draws: Any) -> np.ndarray:
    """(chain, draw, 5)."""
    return np.concatenate([draws["w"], draws["log_sigma"][..., None]], axis=-1).astype(float)


def _starts(key: jax.Array) -> dict:
    w_key, s_key = jax.random.split(key)
    return {
        "w": jax.random.normal(w_key, (CHAINS, 4)),
        "log_sigma": 0.5 * jax.random.normal(s_key, (CHAINS,)),
    }


def run(setting: Setting, out: Path) -> dict:
    at = SETTINGS[setting]
    data = make_data()
    target = make_target(data)
    broad = _starts(jax.random.key(SEED))
    optimised = s.run(
        jax.random.key(99), optimiser(target),
        broad, data, batch_size=B, num_burn_in=0, num_draws=1, thinning=WARM,
    )  # fmt: skip
    mode = jax.tree.map(lambda x: jnp.asarray(x[:, -1]), optimised.draws)

    draws: dict[str, np.ndarray] = {}
    rows: dict[str, dict] = {}
    reference = timed(
        jax.random.key(1), s.nuts(target, at["warmup"]), broad,
        num_burn_in=at["warmup"], num_draws=4 * at["draws"],
    )  # fmt: skip
    draws["NUTS"] = _flat(reference.result.draws)
    gradients = N * float(reference.result.info.gradients.sum())
    exact = exact_draws(data, 100_000)
    rows["NUTS"] = _row(draws["NUTS"], exact, None, reference, gradients, 0.0)

    for index, (name, method) in enumerate(methods(target).items()):
        steps = {**at, **method.steps(at)}
        size = B if method.batches else None
        made = timed(
            jax.random.key(100 + index), method.build(steps),
            mode if method.start == "mode" else broad, data if method.batches else None,
            batch_size=size, num_burn_in=steps["burn_in"], num_draws=steps["draws"],
            thinning=steps["thinning"],
        )  # fmt: skip
        periods = made.result.kept.size
        taken = periods * steps["thinning"] * CHAINS
        estimates = steps["thinning"] * float(made.result.info.gradients.sum())
        gradients = (size or N) * method.per_estimate * estimates
        gradients += CHAINS * periods * method.per_draw
        if method.start == "mode":
            gradients += CHAINS * WARM * B
        draws[name] = _flat(made.result.draws)
        rows[name] = _row(
            draws[name], draws["NUTS"].reshape(-1, 5), draws["NUTS"], made, gradients,
            N * taken * method.densities,
        )  # fmt: skip
        rows[name] |= {"family": method.family, "settings": method.note, "steps": taken // CHAINS}
    rows["NUTS"] |= {"family": "full data", "settings": f"{at['warmup']} warm-up steps"}
    _marginals(draws, rows, out / "regression_marginals.png")
    _distances(rows, out / "regression_distance.png")
    return {
        "seed": SEED,
        "settings": {**at, "data": N, "batch_size": B, "chains": CHAINS},
        "parameters": list(NAMES),
        "exact": {"mean": exact.mean(axis=0), "sd": exact.std(axis=0)},
        "methods": rows,
        "figures": ["regression_marginals.png", "regression_distance.png"],
    }


def _row(
    values: np.ndarray, reference: np.ndarray, chains: np.ndarray | None, made: Any,
    gradients: float, densities: float,
) -> dict:  # fmt: skip
    """Figures of one method; ``chains`` are the reference's, None where it has no error."""
    flat = values.reshape(-1, values.shape[2])
    sd = reference.std(axis=0)
    row = {
        "mean": flat.mean(axis=0),
        "sd": flat.std(axis=0),
        "sd_ratio": flat.std(axis=0) / sd,
        "w1": wasserstein(flat, reference) / sd,
        "gradients": gradients,
        "density_evaluations": densities,
        "seconds": made.seconds,
        "acceptance": float(made.result.info.acceptance[:, -values.shape[1] :].mean()),
        "alive": int(made.result.alive.sum()),
        "advice": list(made.result.advice),
    }
    # the bias in posterior sds; z counts it in Monte-Carlo errors of both
    gap = flat.mean(axis=0) - reference.mean(axis=0)
    row["bias"] = gap / sd
    if values.shape[1] >= 4:
        found = s.convergence(values)
        error = found.mcse_mean
        if chains is not None:
            error = np.hypot(error, s.convergence(chains).mcse_mean)
        ess = float(found.ess_bulk.min())
        row |= {
            "z": gap / error,
            "rhat": float(found.rhat.max()),
            "ess": ess,
            "ess_per_second": ess / made.seconds,
            "gradients_per_ess": gradients / ess,
        }
    return row


FAMILIES = {
    "Langevin": BLUE, "Hamiltonian": GREEN, "many modes": PURPLE, "Metropolised": ORANGE,
    "full data": BLACK, "approximation": RED,
}  # fmt: skip
STYLES = ("-", "--", ":", "-.")


def _looks(names: list[str], family: dict[str, str]) -> dict[str, tuple[str, str]]:
    """A family's colour, and a dash of one's own within it."""
    met: dict[str, int] = {}
    made = {}
    for name in names:
        kind = family[name]
        made[name] = (FAMILIES[kind], STYLES[met.get(kind, 0)])
        met[kind] = met.get(kind, 0) + 1
    return made


def _marginals(draws: dict[str, np.ndarray], rows: dict[str, dict], path: Path) -> None:
    """NUTS filled, the samplers as lines; a point estimate is a tick on the axis."""
    others = [name for name in draws if name != "NUTS"]
    looks = _looks(others, {name: rows[name]["family"] for name in others})
    figure, panels = plt.subplots(2, 3, figsize=(10, 5.6))
    for index, axes in enumerate(panels.flat[:5]):
        reference = draws["NUTS"][..., index].ravel()
        centre, sd = reference.mean(), reference.std()
        x = np.linspace(centre - 4 * sd, centre + 4 * sd, 200)
        axes.hist(reference, bins=50, range=(x[0], x[-1]), density=True, color=LIGHT)
        for name in others:
            values = draws[name][..., index].ravel()
            colour, style = looks[name]
            if values.std() < 0.35 * sd:
                axes.plot(values, np.zeros_like(values), "|", color=colour, ms=14, mew=1)
            else:
                axes.plot(x, stats.gaussian_kde(values)(x), style, color=colour, lw=1)
        axes.set(xlabel=LABELS[index], xlim=(x[0], x[-1]), ylim=(0, 0.56 / sd), yticks=[])
        axes.locator_params(axis="x", nbins=4)
        axes.spines["left"].set_visible(False)
        if index % 3 == 0:
            axes.set_ylabel("posterior density")
    key = panels.flat[5]
    key.axis("off")
    key.add_patch(plt.Rectangle((0, 0.93), 0.12, 0.05, color=LIGHT))
    key.text(0.16, 0.955, "NUTS (histogram)", va="center", fontsize=8)
    columns = [others[: len(others) // 2], others[len(others) // 2 :]]
    for column, names in enumerate(columns):
        for line, name in enumerate(names):
            left, height = 0.54 * column, 0.85 - 0.1 * line
            colour, style = looks[name]
            key.plot([left, left + 0.12], [height, height], style, color=colour)
            text = name + (" (ticks)" if draws[name].shape[1] == 1 else "")
            key.text(left + 0.16, height, text, va="center", fontsize=8, color=colour)
    key.set(xlim=(0, 1.1), ylim=(0, 1))
    figure.suptitle("Marginals of the linear regression, 1000 data, batches of 100", fontsize=10)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _distances(rows: dict[str, dict], path: Path) -> None:
    """Distance, width and cost, one line a method."""
    names = [name for name in rows if name != "NUTS"]
    y = np.arange(len(names))[::-1]
    figure, (distance, width, cost) = plt.subplots(1, 3, figsize=(10, 4.6), sharey=True)
    for height, name in zip(y, names, strict=True):
        row, colour = rows[name], FAMILIES[rows[name]["family"]]
        distance.plot(row["w1"], [height] * 5, "o", color=colour, ms=4, alpha=0.7, mew=0)
        width.plot(row["sd_ratio"], [height] * 5, "o", color=colour, ms=4, alpha=0.7, mew=0)
        if row.get("gradients_per_ess"):
            cost.plot(row["gradients_per_ess"], height, "s", color=colour, ms=6)
    floor = float(np.max(rows["NUTS"]["w1"]))
    distance.axvspan(1e-4, floor, color=LIGHT, alpha=0.6, lw=0)
    distance.text(floor * 0.93, -0.9, "NUTS from exact draws", ha="right", va="center",
                  fontsize=7, color=GREY)  # fmt: skip
    distance.set(xscale="log", xlim=(0.005, 2), xlabel="$W_1$ to NUTS / posterior sd",
                 ylim=(-1.4, len(names) - 0.4))  # fmt: skip
    width.axvline(1, color=GREY, lw=0.8)
    width.set(xlabel="sd / sd of NUTS", xlim=(-0.05, 1.55))
    nuts = rows["NUTS"]["gradients_per_ess"]
    cost.axvline(nuts, color=GREY, lw=0.8)
    cost.text(nuts, -0.9, " NUTS", va="center", fontsize=7, color=GREY)
    cost.set(xscale="log", xlabel="per-datum gradients per effective draw")
    distance.set_yticks(y, names)
    for label, name in zip(distance.get_yticklabels(), names, strict=True):
        label.set_color(FAMILIES[rows[name]["family"]])
    for axes in (distance, width, cost):
        axes.grid(axis="y", color=LIGHT, lw=0.5)
        axes.tick_params(axis="y", length=0)
    figure.suptitle("One dot a parameter; the cost is that of the worst", fontsize=10)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def table(result: dict) -> str:
    """The NUTS row is compared with exact draws, all others with NUTS."""
    head = ("sampler", r"worst \|z\| of means", "sd / sd of NUTS", "mean $W_1$ / sd", "acceptance",
            "ESS", "ESS/s", "gradients", "gradients per ESS")  # fmt: skip
    lines = []
    for name, row in result["methods"].items():
        low, high = min(row["sd_ratio"]), max(row["sd_ratio"])
        worst = max(map(abs, row["z"])) if "z" in row else None
        lines.append(
            (
                name,
                number(worst),
                f"{low:.2f} … {high:.2f}",
                number(float(np.mean(row["w1"]))),
                f"{row['acceptance']:.2f}",
                number(row.get("ess"), 3),
                number(row.get("ess_per_second"), 2),
                f"{row['gradients']:.1e}",
                number(row.get("gradients_per_ess"), 2),
            )
        )
    return markdown(head, lines)


if __name__ == "__main__":
    main("regression", run, table)
