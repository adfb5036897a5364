"""The course of learning: a figure, and a page to be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bayespot.files import write_atomically, write_text
from bayespot.report.figures import BAND, INK, REFERENCE, SOFT, own_style
from bayespot.report.table import rounded, significant

Record = dict[str, Any]


def line(record: Record) -> str:
    """A round as the terminal tells it, before its labels."""
    told = [
        f"{record['frames']['train']} training frames",
        f"test forces {_milli(record['errors']['forces_rmse'])} meV/Å",
        f"energies {_milli(record['errors']['energy_rmse'])} meV/atom",
    ]
    told += [
        f"{o['title']} ± {significant(o['half_width'], 2)}{_unit(o)}"
        for o in record["observables"].values()
        if o["half_width"] is not None
    ]
    lost = record["stability"]["draws_lost"]
    if lost:
        told.append(f"{lost} of {lost + record['stability']['draws']} draws unstable")
    return f"round {record['round']}: " + ", ".join(told)


def lines(made: Record) -> Iterator[str]:
    """What ``bayespot learn`` prints of ``learn.json``."""
    yield ""
    spent = f"{made['labels']} labels by {made['calculator']}"
    failed = made["failed_labels"]
    yield f"{made['stopped']}: {spent}" + (f", {failed} failed" if failed else "")
    first, last = made["rounds"][0], made["rounds"][-1]
    yield ""
    yield f"  {'':34s}{'first':>12s}{'last':>12s}{'wanted':>12s}"
    for name, unit in (("forces", "meV/Å"), ("energy", "meV/atom")):
        pair = [_milli(r["errors"][f"{name}_rmse"]) for r in (first, last)]
        yield f"  {f'test {name} ({unit}), RMSE':34s}{pair[0]:>12s}{pair[1]:>12s}"
    for name, o in last["observables"].items():
        pair = [significant(r["observables"][name]["half_width"], 2) for r in (first, last)]
        wanted = significant(made["half_width"].get(name), 2)
        label = f"{o['title']} ±" + (f" ({o['unit']})" if o["unit"] else "")
        yield f"  {label:34s}{pair[0]:>12s}{pair[1]:>12s}{wanted:>12s}"
    yield from _advice(made)


def _advice(made: Record) -> Iterator[str]:
    last = made["rounds"][-1]
    for name, wanted in made["half_width"].items():
        o = last["observables"][name]
        if o["half_width"] is None:
            yield f"  {o['title']} has no interval: too few draws are stable."
        elif o["half_width"] > wanted and 2 * o["md_of_mean"] > 0.7 * wanted:
            yield (
                f"  {o['title']}: MD noise alone makes ± {significant(2 * o['md_of_mean'], 2)}:"
                " longer simulations narrow it, labels do not."
            )
    surprise = [r["before_training"] for r in made["rounds"] if r.get("before_training")]
    if surprise:
        ratio = np.array([s["forces_rmse"] / s["forces_expected"] for s in surprise])
        if ratio[-1] > 2:
            yield (
                f"  Forces on the frames chosen last were wrong by {ratio[-1]:.1f} times what the"
                " draws said: the intervals are too narrow."
            )


def write(folder: Path, made: Record) -> None:
    """``learn.png``, ``learn.svg`` and ``learn.md``."""
    _figure(folder, made)
    write_text(folder / "learn.md", page(made))


def page(made: Record) -> str:
    """Markdown."""
    rows = [_row(record) for record in made["rounds"]]
    observables = made["rounds"][-1]["observables"].values()
    head = [
        "round", "training frames", "test forces (meV/Å)", "test energies (meV/atom)",
        *(f"{o['title']} ±{_unit(o)}" for o in observables), "unstable draws", "labels", "failed",
        "uncertainty of chosen (meV/Å)", "their error before (expected)",
    ]  # fmt: skip
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    table += ["| " + " | ".join(row) + " |" for row in rows]
    text = [
        f"# {made['title']}",
        "",
        f"**{made['stopped'][0].upper()}{made['stopped'][1:]}.** {made['labels']} labels by"
        f" {made['calculator']} ({made['failed_labels']} failed), chosen by {made['choice']}.",
        "",
        "![Intervals and errors against training frames](learn.png)",
        "",
        *table,
        "",
        "± is half of the 95 % interval (of curves where it is widest); errors are those of the"
        " draws' mean on the test frames, root mean square.",
        "",
        *(f"- {sentence.strip()}" for sentence in _advice(made)),
        *_failures(made),
        "",
        "Labelled frames are in `train.extxyz` and `validation.extxyz`, the posterior in"
        " `posterior.nc`; each round has its directory under `rounds`.",
    ]
    return "\n".join(text) + "\n"


def _row(record: Record) -> list[str]:
    lost = record["stability"]["draws_lost"]
    uncertain = record.get("chosen", {}).get("uncertainty") or []
    before = record.get("before_training")
    return [
        str(record["round"]),
        str(record["frames"]["train"]),
        _milli(record["errors"]["forces_rmse"]),
        _milli(record["errors"]["energy_rmse"]),
        *(significant(o["half_width"], 2) for o in record["observables"].values()),
        f"{lost} of {lost + record['stability']['draws']}",
        str(record.get("tried", "–")),
        str(len(record["failed"])) if "failed" in record else "–",
        _milli(float(np.median(uncertain))) if uncertain else "–",
        f"{_milli(before['forces_rmse'])} ({_milli(before['forces_expected'])})" if before else "–",
    ]


def _failures(made: Record) -> Iterator[str]:
    for record in made["rounds"]:
        for place, why in record.get("failed", {}).items():
            yield f"- Label {place} of round {record['round']} failed: {why}"


def _unit(o: Record) -> str:
    return f" {o['unit']}" if o["unit"] else ""


def _milli(value: float) -> str:
    return significant(1000 * value)


def _figure(folder: Path, made: Record) -> None:
    from matplotlib.figure import Figure

    rounds = made["rounds"]
    sizes = [r["frames"]["train"] for r in rounds]
    names = list(made["half_width"]) or list(rounds[-1]["observables"])[:3]
    with own_style("learn"):
        figure = Figure(figsize=(4.4 * (1 + len(names)), 3.5), layout="constrained")
        each = figure.subplots(1, 1 + len(names), squeeze=False)[0]
        for axes, name in zip(each, names, strict=False):
            _interval(axes, sizes, [r["observables"][name] for r in rounds],
                      made["half_width"].get(name))  # fmt: skip
        _errors(each[-1], sizes, rounds)
        for axes in each:
            axes.set_xlabel("training frames")
            axes.set_xticks(sizes)
            _scale(axes)
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):

            def put(path: Path, kind: str = kind, metadata: Any = metadata) -> None:
                figure.savefig(path, format=kind, metadata=metadata, dpi=150)

            write_atomically(folder / f"learn.{kind}", put)


def _scale(axes: Any) -> None:
    """From zero, or logarithmic where numbers differ tenfold; a legend that hides nothing."""
    shown = np.concatenate([np.ravel(line.get_ydata()) for line in axes.get_lines()])
    shown = shown[np.isfinite(shown) & (shown > 0)]
    if len(shown) and shown.max() > 10 * shown.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in values], float)


def _interval(axes: Any, sizes: list[int], found: list[Record], wanted: float | None) -> None:
    half = _numbers([o["half_width"] for o in found])
    # what would be left of it with endless simulations, and with endless labels
    noise = 2 * _numbers([o.get("md_of_mean") for o in found])
    axes.plot(sizes, half, "o-", color=INK, label="half of the 95 % interval")
    axes.plot(sizes, noise, "s:", color=BAND, ms=4, label="MD noise of it")
    lost = np.isnan(half)
    for i, size in enumerate(np.array(sizes)[lost]):
        axes.axvline(size, color=SOFT, lw=6, zorder=0,
                     label=None if i else "no interval: draws unstable")  # fmt: skip
    if wanted is not None:
        axes.axhline(wanted, color=REFERENCE, ls="--", lw=1.1, label="wanted")
    o = found[-1]
    where = f", at {rounded(o['at'], o['at'] / 100)}" if o.get("at") else ""
    axes.set_ylabel(f"{o['title']}{where}, ±" + (f" ({o['unit']})" if o["unit"] else ""))


def _errors(axes: Any, sizes: list[int], rounds: list[Record]) -> None:
    def of(name: str) -> np.ndarray:
        return 1000 * _numbers([r["errors"][name] for r in rounds])

    axes.plot(sizes, of("forces_rmse"), "o-", color=INK, label="error, test frames")
    axes.plot(sizes, of("forces_spread"), "s:", color=BAND, ms=4, label="spread of draws")
    before = [r.get("before_training") for r in rounds]
    error = 1000 * _numbers([None if b is None else b["forces_rmse"] for b in before])
    axes.plot(sizes, error, "^", color=SOFT, mec=INK, mew=0.8, label="error, frames chosen next")
    axes.set_ylabel("forces, RMSE (meV/Å)")
