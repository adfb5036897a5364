"""Four figures: bands, miscalibration, distance against cost, and modes."""

from pathlib import Path

import numpy as np

from benchmarks.common import BLACK, BLUE, DPI, GREEN, GREY, LIGHT, ORANGE, PURPLE, RED, SKY, plt
from benchmarks.lennard_jones.labels import label
from benchmarks.lennard_jones.problem import GRID, INTERVAL, Made, well
from benchmarks.lennard_jones.space import CELLS, MEMBERS, Space, pooled

LOOKS = {
    "exact": (GREY, "-", "*"),
    "NUTS": (BLACK, "-", "o"),
    "NUTS, usual start": (BLACK, "--", "o"),
    "pSGLD, paper": (BLUE, "-", "s"),
    "pSGLD, small steps": (SKY, "-", "s"),
    "SGHMC": (GREEN, "-", "D"),
    "AMAGOLD": (GREEN, "--", "D"),
    "reSGLD": (PURPLE, "-", "^"),
    "cyclical SGHMC": (RED, "-", "P"),
    "cyclical SGHMC, batch 10": (RED, "--", "P"),
    "ensemble": (ORANGE, "-", "v"),
    "ensemble, usual start": (ORANGE, "--", "v"),
    "SWAG": (ORANGE, ":", "X"),
    "Laplace, last layer": (ORANGE, "-.", "X"),
}
COLOURS = {name: look[0] for name, look in LOOKS.items()}


def _interval(draws: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and mean ± 2 sd on the grid."""
    mean, sd = draws[:, : len(GRID)].mean(axis=0), draws[:, : len(GRID)].std(axis=0)
    return mean, mean - 2 * sd, mean + 2 * sd


def bands(made: dict[str, Made], reference: Made, path: Path) -> None:
    """Mean ± 2 sd of one run and of all ten; behind them both references."""
    figure, panels = plt.subplots(3, 5, figsize=(12.5, 7.2), sharex=True, sharey=True)
    truth = _interval(made["exact"].curves.reshape(-1, made["exact"].curves.shape[2]))
    nuts_band = _interval(pooled(reference.curves, range(len(reference.curves))))
    for axes, (name, method) in zip(panels.flat, made.items(), strict=False):
        colour = LOOKS[name][0]
        axes.fill_between(GRID, truth[1], truth[2], color=LIGHT, lw=0)
        if name != "exact":
            mean, low, high = _interval(pooled(method.curves, range(len(method.curves))))
            axes.fill_between(GRID, low, high, color=colour, alpha=0.3, lw=0)
            if method.curves.shape[1] > 1:
                _, low, high = _interval(pooled(method.curves, [0]))
                axes.fill_between(GRID, low, high, color=colour, alpha=0.75, lw=0)
            axes.plot(GRID, mean, color=colour, lw=1)
        for edge in nuts_band[1:]:
            axes.plot(GRID, edge, ":", color=BLACK, lw=0.9)
        axes.plot(GRID, well(GRID), "--", color=BLACK, lw=1)
        axes.axvspan(*INTERVAL, ymax=0.03, color=BLACK)
        axes.set_title(name, color=colour, fontweight="bold")
    panels[0, 0].set(xlim=(GRID[0], GRID[-1]), ylim=(-9, 9), yticks=(-8, -4, 0, 4, 8))
    for axes in panels[-1]:
        axes.set_xlabel(r"distance $d/\sigma$")
    for axes in panels[:, 0]:
        axes.set_ylabel(r"energy $U/\epsilon$")
    key = panels[-1, -1]
    key.clear()
    key.axis("off")
    patches = [plt.Rectangle((0, 0), 1, 1, color=c, alpha=a, lw=0)
               for c, a in ((LIGHT, 1), (RED, 0.3), (RED, 0.75), (BLACK, 1))]  # fmt: skip
    lines = [plt.Line2D([], [], color=BLACK, ls=style, lw=1) for style in (":", "--")]
    key.legend(
        [patches[0], lines[0], patches[1], patches[2], lines[1], patches[3]],
        ["exact posterior", "NUTS reference", "ten chains or members", "one chain",
         "Lennard-Jones", "range of the data"],
        loc="center", title="mean ± 2 sd", title_fontsize=9, fontsize=9,
    )  # fmt: skip
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def calibration(rows: dict[str, dict], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 4.8))
    ends = {}
    for name, row in rows.items():
        if name == "exact":
            continue
        sizes = [m for m in MEMBERS if "miscalibration" in row["chains"].get(m, {})]
        values = [row["chains"][m]["miscalibration"] for m in sizes]
        colour, style, marker = LOOKS[name]
        axes.plot(sizes, values, style, marker=marker, ms=4, color=colour)
        ends[name] = (sizes[-1], values[-1])
    level = rows["exact"]["chains"][1]["miscalibration"]
    axes.plot([1, 10], [level, level], color=GREY, lw=0.8)
    ends["exact"] = (10, level)
    axes.set(
        xscale="log", xlim=(0.9, 30), ylim=(0, 0.5),
        xlabel="chains or members that share 100 draws",
        ylabel=r"miscalibration area, $d/\sigma$ in 0.95 … 1.6",
    )  # fmt: skip
    axes.set_xticks(MEMBERS, [str(m) for m in MEMBERS])
    axes.minorticks_off()
    figure.canvas.draw()
    label(axes, ends, COLOURS, 0.74, 0.05)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def cost(rows: dict[str, dict], path: Path) -> None:
    """Distances to both references against gradients, from one chain to ten."""
    figure, panels = plt.subplots(2, 2, figsize=(12, 9), sharex=True)
    named = {"exact": "exact posterior", "nuts": "NUTS reference (ten chains)"}
    for across, reference in zip(panels, named, strict=True):
        for axes, where in zip(across, ("outside", "inside"), strict=True):
            ends = {}
            for name, row in rows.items():
                sizes = sorted(row["chains"])
                x = [row["chains"][m]["gradients"] for m in sizes]
                y = [row["chains"][m][f"w1_{reference}_{where}"] for m in sizes]
                colour, style, marker = LOOKS[name]
                axes.plot(x, y, style, color=colour, lw=1.2)
                axes.plot(x[0], y[0], marker, mfc="white", mec=colour, ms=6, mew=1.4)
                if sizes[-1] > 1:
                    axes.plot(x[-1], y[-1], marker, color=colour, ms=6)
                ends[name] = (x[-1], y[-1])
            axes.set(
                xscale="log", yscale="log", title=f"{where} the data, to the {named[reference]}"
            )
            low = min(row["gradients_per_chain"] for row in rows.values())
            high = 10 * max(row["gradients_per_chain"] for row in rows.values())
            axes.set_xlim(low / 2, high * (high / low) ** 0.65)
            decades = np.arange(np.ceil(np.log10(low / 2)), np.log10(high) + 0.3)
            axes.set_xticks(10**decades)
            axes.minorticks_off()
            if where == "outside":
                bottom, top = axes.get_ylim()
                ticks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5) if bottom <= v <= top]
                axes.set_yticks(ticks, [str(v) for v in ticks])
            if where == "outside":
                axes.set_ylabel(r"Wasserstein-1 distance of predictives / $\epsilon$")
            if reference == "nuts":
                axes.set_xlabel("per-datum gradients")
            figure.canvas.draw()
            label(axes, ends, COLOURS, 0.72, 0.045)
    figure.suptitle("open marker: one chain or two members; filled: ten", fontsize=9)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def modes(made: dict[str, Made], space: Space, rows: dict[str, dict], path: Path) -> None:
    """Functions off the data on two principal axes: exact draws, ten runs, one of them."""
    names = (
        "exact", "NUTS", "NUTS, usual start", "pSGLD, paper", "pSGLD, small steps", "reSGLD",
        "cyclical SGHMC", "cyclical SGHMC, batch 10",
    )  # fmt: skip
    figure, panels = plt.subplots(2, 4, figsize=(12, 6.6), sharex=True, sharey=True)
    behind = space.scores(made["exact"].curves.reshape(-1, made["exact"].curves.shape[2]))
    palette = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#8c6d31", BLACK, "#999933", "#661100")
    for axes, name in zip(panels.flat, names, strict=True):
        curves = made[name].curves
        axes.plot(behind[:, 0], behind[:, 1], ".", color=LIGHT, ms=3, mew=0)
        for chain in reversed(range(len(curves))):
            points = space.scores(pooled(curves, [chain]))
            size, alpha = (4, 1) if chain == 0 else (3, 0.45)
            axes.plot(points[:, 0], points[:, 1], "o", color=palette[chain], ms=size, mew=0,
                      alpha=alpha)  # fmt: skip
        cells = np.mean(rows[name]["single_run"]["cells"])
        axes.set_title(f"{name}\na run visits {cells:.1f} of {CELLS} parts")
    panels[0, 0].set(xlim=(-4.5, 4.5), ylim=(-4.5, 4.5))
    for axes in panels[-1]:
        axes.set_xlabel("first principal axis / sd")
    for axes in panels[:, 0]:
        axes.set_ylabel("second principal axis / sd")
    figure.suptitle(
        "Functions where the data leave them open: exact posterior in grey; one colour a run,"
        " the blue one in front",
        fontsize=10,
    )
    figure.savefig(path, dpi=DPI)
    plt.close(figure)
