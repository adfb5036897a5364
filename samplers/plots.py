"""Trace, rank and ladder plots of a run, from its ArviZ object.

Drawn here because ArviZ 0.x and 1.x draw with two interfaces that share no call.
"""

from typing import Any

import numpy as np

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")


def _series(data: Any, name: str, group: str = "posterior") -> np.ndarray:
    """(chain, draw, component) of a variable."""
    dataset = data[group]
    if name not in dataset:
        raise KeyError(f"{group} holds no {name!r}; there are {', '.join(map(str, dataset))}")
    values = np.asarray(dataset[name], float)
    return values.reshape(*values.shape[:2], -1)


def trace(data: Any, name: str = "lp", components: int = 3) -> Any:
    """Values against draws, one line a chain; ``name`` from posterior or sample_stats.

    Args:
        data: from ``to_arviz``.
        name: a variable; ``"lp"`` is the energy trace.
        components: of an array, how many are drawn, one panel each.
    """
    import matplotlib.pyplot as plt

    group = "posterior" if name in data["posterior"] else "sample_stats"
    values = _series(data, name, group)
    shown = min(components, values.shape[2])
    figure, axes = plt.subplots(
        shown, 1, figsize=(7, 1.2 + 1.6 * shown), sharex=True, squeeze=False, layout="constrained"
    )
    for i, axis in enumerate(axes[:, 0]):
        for chain, line in enumerate(values[:, :, i]):
            axis.plot(line, color=COLOURS[chain % len(COLOURS)], lw=0.8)
        axis.set_ylabel(name if shown == 1 else f"{name}[{i}]")
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel("draw")
    axes[0, 0].set_title(f"{values.shape[0]} chains", loc="left", fontsize=10)
    return figure


def rank(data: Any, name: str, component: int = 0, bins: int = 20) -> Any:
    """Ranks of each chain's draws among all: flat where chains agree (Vehtari et al. 2021).

    The band holds 95 % of the bins of independent draws.
    """
    import matplotlib.pyplot as plt
    from scipy import stats

    values = _series(data, name)[:, :, component]
    chains, draws = values.shape
    ranks = stats.rankdata(values.ravel()).reshape(chains, draws)
    edges = np.linspace(0.5, chains * draws + 0.5, bins + 1)
    low, high = stats.binom(draws, 1 / bins).ppf([0.025, 0.975])
    columns = min(4, chains)
    rows = -(-chains // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.2 * columns, 0.8 + 1.5 * rows), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for chain in range(rows * columns):
        axis = axes.flat[chain]
        if chain >= chains:
            axis.set_visible(False)
            continue
        axis.axhspan(low, high, color="0.88")
        count = np.histogram(ranks[chain], edges)[0]
        axis.stairs(count, edges, color=COLOURS[chain % len(COLOURS)])
        axis.set_title(f"chain {chain}", fontsize=9, loc="left")
        axis.spines[["top", "right"]].set_visible(False)
        axis.set_xticks([0, chains * draws])
    figure.supxlabel(f"rank of {name}[{component}] among all draws", fontsize=10)
    figure.supylabel("draws per bin", fontsize=10)
    return figure


def ladder(data: Any, chain: int = 0) -> Any:
    """Which start each temperature holds, and how often neighbours swap; for ``resgld``."""
    import matplotlib.pyplot as plt

    replica = _series(data, "replica", "sample_stats")[chain]
    rate = _series(data, "swap_rate", "sample_stats")[:, -1].mean(axis=0)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3), width_ratios=(3, 1), layout="constrained"
    )
    levels = replica.shape[1]
    for start in range(levels):
        where = np.argmax(replica == start, axis=1)
        left.plot(where, color=COLOURS[start % len(COLOURS)], lw=1, drawstyle="steps-post")
        left.annotate(
            f"start {start}", (len(where), where[-1]), xytext=(4, 0), textcoords="offset points",
            color=COLOURS[start % len(COLOURS)], va="center", fontsize=8,
        )  # fmt: skip
    left.set(xlabel="draw", ylabel="temperature level", yticks=range(levels))
    left.set_title(f"chain {chain}: the ladder", loc="left", fontsize=10)
    right.barh(np.arange(levels - 1) + 0.5, rate, color="0.6", height=0.5)
    right.set(xlim=(0, 1), xlabel="swap rate", yticks=range(levels), ylim=left.get_ylim())
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    return figure
