"""Intervals of all data sets beside the exact ones."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import BLUE, GREY, ORANGE


def figure(result: dict, out: Path) -> None:
    truth, runs, exact = np.array(result["truth"]), result["found"]["SGHMC"], result["exact"]
    fig, axes = plt.subplots(1, 2, figsize=(7.5, 3), sharex=True)
    for i, (ax, name) in enumerate(zip(axes, ("log σ", "log ε"), strict=True)):
        for shift, colour, label, posteriors in (
            (-0.15, BLUE, "SGHMC", runs), (0.15, ORANGE, "exact (grid)", exact)
        ):  # fmt: skip
            x = np.arange(len(posteriors)) + 1 + shift
            low, high = (np.array([p[e]["95"][i] for p in posteriors]) for e in ("low", "high"))
            ax.vlines(x, low, high, color=colour, lw=1.2)
            mean = [p["mean"][i] for p in posteriors]
            ax.plot(x, mean, "o", ms=3, color=colour, label=label)
        ax.axhline(truth[i], color=GREY, ls="--", lw=1)
        ax.set(xlabel="data set", ylabel=name)
        ax.xaxis.get_major_locator().set_params(integer=True)
    axes[1].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncol=2)
    axes[0].set_title("95 % intervals; dashed: truth", loc="left")
    fig.savefig(out / "observed.png")
    plt.close(fig)
