"""The paper's curves and ours in the same axes."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.common import BLACK, BLUE, GREEN, GREY, ORANGE, RED
from benchmarks.difftre import well
from benchmarks.difftre.cases import DATA
from benchmarks.difftre.diamond import EXPERIMENT

PAPER_STEPS = 1_100_000  # of an update


def curve(name: str) -> np.ndarray:
    """A csv file of the paper's curves, columns by name."""
    return np.genfromtxt(DATA / "difftre_paper_curves" / name, delimiter=",", names=True)


def double_well(result: dict, path: Path) -> None:
    """Potential, density, loss and gradient norms."""
    ours, peer, chain = result["learned"], result["peer"], result["ours"]
    figure, axes = plt.subplots(2, 2, figsize=(8.6, 6.2))
    (above, beside), (below, last) = axes
    x = well.GRID[::20]
    shown = (x > 0.22) & (x < 0.78)
    learned = np.asarray(ours["potential"])
    weight = np.exp(-well.truth(x)) / np.exp(-well.truth(x)).sum()
    shift = weight @ (learned - well.truth(x))
    above.plot(x, well.truth(x), color=BLACK, label="truth")
    above.plot(x[shown], (learned - shift)[shown], "--", color=BLUE, label="learned")
    low = weight @ (well.prior(x) - well.truth(x))
    above.plot(x, well.prior(x) - low, ":", color=GREY, label="prior")
    above.set(xlabel="x/X", ylabel="U / k$_B$T", ylim=(-2, 6), xlim=(0.15, 0.85))
    above.legend()

    beside.plot(well.CENTRES, well.TARGET, color=BLACK, label="target")
    beside.plot(well.CENTRES, ours["density"], "--", color=BLUE, label="learned, simulated")
    start = well.exact_density(well.prior(well.GRID), well.GRID)
    beside.plot(well.CENTRES, start, ":", color=GREY, label="prior")
    beside.set(xlabel="x/X", ylabel="density / mean density")
    beside.legend()

    paper = curve("double_well_loss_seconds.csv")
    work = result["settings"]["learning"]
    longer = PAPER_STEPS / ((work["states"] + work["skip"]) * work["every"])
    below.semilogy(paper["loss"], color=ORANGE, label=f"paper, {longer:.0f} times the steps")
    below.semilogy(ours["loss"], color=BLUE, alpha=0.5, label="bayespot, as simulated")
    below.semilogy(ours["exact_loss"], color=BLUE, label="bayespot, of the learned potential")
    below.semilogy(chain["exact_loss"], color=GREY, label="bayespot, Nosé–Hoover chain and less MD")
    if "failed" not in peer:
        below.semilogy(peer["exact_loss"], color=GREEN, label=f"{peer['peer']}, likewise")
    below.set(xlabel="update", ylabel="loss")
    below.legend()

    norms, theirs = result["norms"], curve("double_well_gradient_norms.csv")
    for name, label, color in (
        ("difftre", "DiffTRe", BLUE), ("direct", "back-propagation through MD", RED),
    ):  # fmt: skip
        last.semilogy(norms["length"], norms[name], "o-", color=color, label=label)
        key = "difftre" if name == "difftre" else "backprop_through_md"
        last.semilogy(theirs["length"], theirs[key], "x:", color=color, label=f"{label}, paper")
    last.set(xlabel="states kept (100 steps each)", ylabel="norm of the gradient")
    last.legend()
    figure.savefig(path)
    plt.close(figure)


def diamond(result: dict, path: Path) -> None:
    """Loss, stiffness and stress along training."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.4))
    left.semilogy(curve("Diamond_loss_seconds.csv")["loss"], color=ORANGE, label="paper")
    left.semilogy(result["loss"], color=BLUE, label="bayespot")
    left.set(xlabel="update", ylabel="loss")
    left.legend()
    stiffness, stress = np.asarray(result["stiffness"]), np.asarray(result["stress"])
    after, error = result["after"]["strained"]
    for i, (name, color) in enumerate(
        (("C$_{11}$", BLUE), ("C$_{12}$", ORANGE), ("C$_{44}$", RED))
    ):
        middle.plot(stiffness[:, i], color=color, label=name)
        middle.axhline(EXPERIMENT[i], color=color, ls=":", lw=1)
        end = len(stiffness) * 1.04
        middle.errorbar(end, after[i], error[i], fmt="x", color=color, ms=5)
    middle.set(xlabel="update", ylabel="stiffness / GPa", ylim=(0, 1550))
    middle.legend(title="dotted: experiment, crosses: explicit strain", loc="upper right", ncol=3)
    right.plot(stress[:, :3].mean(axis=1), color=BLUE, label="normal, mean")
    right.plot(stress[:, 3:].mean(axis=1), color=ORANGE, label="shear, mean")
    right.axhline(0, color=GREY, ls=":", lw=1)
    right.set(xlabel="update", ylabel="stress / GPa")
    right.legend()
    figure.savefig(path)
    plt.close(figure)
