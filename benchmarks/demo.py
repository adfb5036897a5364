"""Figures of the README from a finished demo: ``make demo`` and then

    .venv/bin/python benchmarks/demo.py runs/ethanol

writes ``demo.json`` (numbers) and ``demo.png`` (picture) beside this script and prints the table
that the README shows.
"""

import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

HERE = Path(__file__).parent


def collect(run: Path) -> dict:
    """The numbers worth quoting."""
    report = json.loads((run / "report.json").read_text())
    keep = ("rmse", "mae", "nll", "crps", "coverage", "miscalibration_area", "mean_squared_z")
    observables = {}
    for name, o in report["observables"].items():
        observables[name] = {
            "inside95_plain": plain_coverage(o),
            "title": o["title"],
            "unit": o["unit"],
            "coverage": o["coverage"],
        }
        if "axis" not in o:
            picked = ("mean", "low95", "high95", "parameter", "md_of_mean", "reference",
                      "reference_error")  # fmt: skip
            observables[name] |= {key: o[key] for key in picked}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": report["settings"]["versions"],
        "seconds": json.loads((run / "timings.json").read_text()),
        "calibration": {n: {k: c[k] for k in keep} for n, c in report["calibration"].items()},
        "chains": {k: v for k, v in report["chains"].items() if k != "verdicts"},
        "stability": report["stability"],
        "observables": observables,
    }


def plain_coverage(o: dict) -> float:
    """Coverage at 95 % had the interval used the parameter part as estimated, without counting it
    for no less than MD noise lets one resolve (see ``bayespot.uncertainty.estimate``)."""
    names = ("mean", "parameter", "md_of_mean", "reference", "reference_error")
    mean, parameter, md, reference, error = (np.asarray(o[name]) for name in names)
    half = stats.t.ppf(0.975, o["draws"] - 1) * np.hypot(parameter, md)
    use = np.abs(reference) > 5 * error if reference.ndim else np.asarray(True)
    return float(np.mean((np.abs(reference - mean) <= half)[use]))


def table(made: dict) -> str:
    """Markdown, as it stands in the README."""
    lines = ["| energies and forces, test set | RMSE | inside 68 % | inside 95 % | area |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name, c in made["calibration"].items():
        unit = "meV" if name == "energy" else "meV/Å"
        inside = [f"{100 * c['coverage'][k]:.0f} %" for k in ("0.68", "0.95")]
        lines.append(
            f"| {name} | {1000 * c['rmse']:.1f} {unit} | {inside[0]} | {inside[1]}"
            f" | {c['miscalibration_area']:.2f} |"
        )
    head = ("observable at 300 K", "95 % interval", "reference", "inside 95 %", "relative width",
            "inside, plain")  # fmt: skip
    lines += ["", f"| {' | '.join(head)} |", "|---|---|---|---|---|---|"]
    for o in made["observables"].values():
        c = o["coverage"]
        if "mean" in o:
            interval = f"{o['low95']:.3f} … {o['high95']:.3f} {o['unit']}"
            reference = f"{o['reference']:.3f} ± {o['reference_error']:.3f}"
            inside = "yes" if c["inside95"] == 1 else "no"
        else:
            interval, reference = "curve", "curve"
            inside = f"{100 * c['inside95']:.0f} % of {c['points']} bins"
        plain = f"{100 * o['inside95_plain']:.0f} %"
        width = f"± {100 * c['relative_width95']:.2g} %"
        lines.append(f"| {o['title']} | {interval} | {reference} | {inside} | {width} | {plain} |")
    return "\n".join(lines)


def picture(run: Path, path: Path) -> None:
    """The dihedral with its bands, and the part of h(r) beyond the first bonds."""
    observables = json.loads((run / "report.json").read_text())["observables"]
    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=110)
    panels = (("h_r", "interatomic distance / Å"), ("dihedral", "C–C–O–H angle / °"))
    both = figure.subplots(1, 2)
    for axes, (name, label) in zip(both, panels, strict=True):
        o = {k: np.asarray(v) for k, v in observables[name].items() if isinstance(v, list)}
        x = o["axis"]
        axes.fill_between(x, o["low95"].clip(0), o["high95"], color="#a8c5d8", lw=0, label="95 %")
        axes.fill_between(x, o["low68"].clip(0), o["high68"], color="#457b9d", lw=0, alpha=0.6,
                          label="68 %")  # fmt: skip
        axes.plot(x, o["reference"], "--", color="#c1121f", lw=1.2, label="GFN2-xTB itself")
        axes.set_xlabel(label)
        axes.set_ylabel(f"density ({observables[name]['unit']})")
        axes.set_ylim(bottom=0)
        axes.set_xlim(x[0], x[-1])
        axes.spines[["top", "right"]].set_visible(False)
    both[0].legend(frameon=False)  # where the curve leaves room
    figure.savefig(path)


def main() -> None:
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/ethanol")
    made = collect(run)
    (HERE / "demo.json").write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    picture(run, HERE / "demo.png")
    print(table(made))


if __name__ == "__main__":
    main()
