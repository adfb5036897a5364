"""Both rows: the prior as it is, training, and what the trained potential gives."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot.observables import Context, Frame
from benchmarks.coarse_grained import figures, rows, water
from benchmarks.common import Setting, markdown, number
from benchmarks.stable.parts import Parts

PARTS = Path("runs/coarse_grained")  # what a killed run continues from
PRIOR, TRAINED = "prior (mW)", "trained"
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
    at = rows.row(name, how, folder)
    keep = Parts(folder / name.replace("/", "_"), dataclasses.asdict(how))
    like = rows.first(at)

    def trained(where: Path) -> tuple[Any, dict]:
        made = rows.train(at, where)
        return made.params, {"seconds": made.seconds, "history": made.history}

    params, told = keep("trained", trained, like)
    judged = {
        PRIOR: keep("judged_prior", lambda _: (None, rows.judge(at, like)))[1],
        TRAINED: keep("judged_trained", lambda _: (None, rows.judge(at, params)))[1],
    }
    known = HELD_OUT.get(name) or _of_frames(at)
    return {
        "row": name,
        "paper": PAPER[name],
        "settings": dataclasses.asdict(how),
        "parameters": sum(x.size for x in jax.tree.leaves(like)),
        "training": told,
        "judged": judged,
        "known": {**known, "pressure": at.curves.pressure},
    }


def _of_frames(at: rows.Row) -> dict[str, float]:
    """Tetrahedral order and diffusion of the atomistic frames, by the same observable."""
    assert at.frames is not None
    order = water.held_out(at.system)[0]

    def one(x: jax.Array) -> Any:
        return order.snapshot(Frame(at.system.replace(positions=x), jnp.zeros(())))

    found = jax.lax.map(jax.jit(one), jnp.asarray(at.frames.positions), batch_size=8)
    mean = {k: np.mean(np.asarray(x, float), axis=0) for k, x in found.items()}
    context = Context(at.curves.temperature, len(at.system.positions))
    return {"q": float(order.reduce(mean, context)), "diffusion": at.frames.diffusion()}


def table(result: dict) -> str:
    lines = []
    for row in result["rows"]:
        for name, at in row["judged"].items():
            lines.append(
                (
                    row["row"],
                    name,
                    number(row["training"]["seconds"], 3) if name == TRAINED else "",
                    number(at["rdf_mse"]),
                    number(at["adf_mse"]),
                    number(at.get("tcf_mse")),
                    f"{1e3 * at['pressure']:.0f} ± {1e3 * at['pressure_error']:.0f}",
                    f"{at['q']:.3f}",
                    f"{at['diffusion']:.1f} ± {at['diffusion_error']:.1f}",
                )
            )
        known = row["known"]
        lines.append(
            (row["row"], "reference", "", "", "", "", f"{1e3 * known['pressure']:.1f}",
             f"{known['q']:.3f}", f"{known['diffusion']:.1f}")
        )  # fmt: skip
    text = markdown(
        ("to", "potential", "training / s", "RDF MSE", "ADF MSE / rad⁻²", "TCF MSE",
         "pressure / MPa", "q (held out)", "D / 1e-9 m²/s (held out)"), lines,
    )  # fmt: skip
    return text + "\n\n" + " ".join(f"Paper, {r['row']}: {r['paper']}." for r in result["rows"])
