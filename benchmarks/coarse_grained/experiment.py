"""Both rows: the prior as it is, training, and what the trained potential gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.coarse_grained import figures, rows, water
from benchmarks.common import Setting, markdown, number
from benchmarks.stable.parts import Parts

PARTS = Path("runs/coarse_grained")  # what a killed run continues from
PRIOR, TRAINED = "prior", "trained"
PAPER = {
    "experiment": "RDF and ADF to line width, 12.9 bar, q 0.569, D 10.91e-9 m²/s",
    "TIP4P/2005": "RDF, ADF and TCF to line width, 311 MPa",
}
HELD_OUT = {  # of the references: q of the DiffTRe paper; D of liquid water at 298 K
    "experiment": {"q": 0.576, "diffusion": 2.3},
}


def run(setting: Setting, out: Path) -> dict:
    if not water.DATA.is_dir():
        raise SystemExit(f"there are no reference data at {water.DATA}: this benchmark needs them")
    found = [_row(name, how, PARTS / setting) for name, how in rows.SETTINGS[setting].items()]
    return {"rows": found, "figures": [figures.draw(x, out) for x in found]}


def _row(name: str, how: rows.Settings, folder: Path) -> dict:
    at = rows.row(name, how, PARTS)  # frames serve all settings
    keep = Parts(folder / name.replace("/", "_"), dataclasses.asdict(how))
    like = rows.first(at)

    def trained(where: Path) -> tuple[Any, dict]:
        made = rows.train(at, where)
        numbers = {k: x for k, x in made.history.items() if x.ndim < 3}  # no curves
        return made.params, {"seconds": made.seconds, "history": numbers}

    params, told = keep("trained", trained, like)
    both = jax.tree.map(lambda *x: jnp.concatenate(x), like, params)
    _, judged = keep("judged", lambda _: (None, {"judged": rows.judge(at, both)}))
    if at.frames is None:
        known, atoms = HELD_OUT[name], None
    else:
        known, atoms = keep("atomistic", lambda _: (None, rows.of_frames(at)))[1], at.frames.seconds
    return {
        "row": name,
        "paper": PAPER[name],
        "settings": dataclasses.asdict(how),
        "parameters": sum(x.size for x in jax.tree.leaves(like)),
        "training": told,
        "judged": dict(zip((PRIOR, TRAINED), judged["judged"], strict=True)),
        "known": {**known, "pressure": at.curves.pressure},
        "atomistic_seconds": atoms,
    }


def table(result: dict) -> str:
    lines = []
    for row in result["rows"]:
        for name, at in row["judged"].items():
            seconds = number(row["training"]["seconds"], 3) if name == TRAINED else ""
            lines.append(_line(row["row"], name, seconds, at))
        known = row["known"]
        frames = known if "rdf" in known else {}
        lines.append(_line(row["row"], "atomistic frames" if frames else "reference", "", known))
    text = markdown(
        ("to", "potential", "training / s", "RDF MSE / 1e-3", "ADF MSE / 1e-3 rad⁻²",
         "TCF MSE / 1e-3", "pressure / MPa", "q (held out)", "D / 1e-9 m²/s (held out)"), lines,
    )  # fmt: skip
    notes = [f"Paper, {r['row']}: {r['paper']}." for r in result["rows"]]
    notes += [
        f"The atoms' frames took OpenMM {r['atomistic_seconds']:.0f} s, once."
        for r in result["rows"]
        if r["atomistic_seconds"]
    ]
    return text + "\n\n" + " ".join(notes)


def _line(to: str, name: str, seconds: str, at: dict) -> tuple[str, ...]:
    def cell(key: str, scale: float = 1.0, digits: int = 2) -> str:
        if at.get(key) is None:
            return ""
        error = at.get(f"{key}_error")
        told = f"{scale * at[key]:.{digits}f}"
        return told if error is None else f"{told} ± {scale * error:.{digits}f}"

    curves = (cell(f"{x}_mse", 1e3) for x in ("rdf", "adf", "tcf"))
    return (
        to, name, seconds, *curves, cell("pressure", 1e3, 1), cell("q", 1.0, 3),
        cell("diffusion", 1.0, 1),
    )  # fmt: skip
