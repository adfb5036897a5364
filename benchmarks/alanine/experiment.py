"""Training of every kind, with all frames and a tenth of them, and what the potentials give."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.alanine import atomistic, compare, figures, molecule, train
from benchmarks.alanine.atomistic import Frames
from benchmarks.common import Setting, markdown, number
from benchmarks.stable.parts import Parts

PARTS = Path("runs/alanine")  # what a killed run continues from
PAPER = {"FM": "0.780", "RE": "0.717"}  # R² of DimeNet++ on 80 ns in TIP3P
SHARES = {"all": 1, "1/10": 10}


def run(setting: Setting, out: Path) -> dict:
    if not molecule.DATA.is_dir():
        raise SystemExit(
            f"there are no reference data at {molecule.DATA}: this benchmark needs them"
        )
    how = train.SETTINGS[setting]
    data, *others = [atomistic.frames(how.nanoseconds, 1 + n) for n in range(1 + how.references)]
    potential = molecule.potential(data.positions, how.width)
    keep = Parts(PARTS / setting, dataclasses.asdict(how))
    trained, told = _trained(how, potential, data, keep)
    stacked = jax.tree.map(lambda *x: jnp.concatenate(x), *trained.values())

    def judge(where: Path) -> tuple[Any, dict]:
        del where
        made = train.judge(how, potential, data, stacked)
        fits = [
            train.force_fit(potential, jax.tree.map(lambda x: x[0], p), _part(others[0], 4))
            for p in trained.values()
        ]
        return None, {**made._asdict(), "force_fit": fits}

    judged = keep("judged", judge)[1]
    known = np.array([train.histogram(x) for x in others])
    reference = known.mean(axis=0)
    rows = []
    for n, name in enumerate(trained):
        counts = np.asarray(judged["counts"][n], float)  # NaN where a group of replicas is lost
        rows.append(
            {
                "name": name,
                **compare.with_errors(counts, reference),
                **{key: judged[key][n] for key in ("failed", "halves", "force_fit")},
                **told.get(name, {}),
                "density": np.nanmean(counts, axis=0),
            }
        )
    floors = {
        f"{how.nanoseconds:g} ns of the atoms": compare.leave_one_out(known),
        "the training frames": compare.measures(train.histogram(data), reference),
        "a tenth of them": compare.measures(train.histogram(_part(data, 10)), reference),
    }
    made = {
        "settings": dataclasses.asdict(how),
        "parameters": sum(x.size for x in jax.tree.leaves(stacked)) // len(trained),
        "rows": rows,
        "floors": floors,
        "reference": {"density": reference, "helix": compare.helix(reference)},
        "atomistic_seconds": sum(x.seconds for x in (data, *others)),
    }
    made["figures"] = [figures.draw(made, out)]
    return made


def _part(frames: Frames, share: int) -> Frames:
    """The first of so many equal parts."""
    count = len(frames.positions) // share
    return Frames(frames.positions[:count], frames.forces[:count], frames.seconds / share)


def _trained(
    how: train.Settings, potential: Any, data: Frames, keep: Parts
) -> tuple[dict[str, Any], dict[str, dict]]:
    """Parameters by name, and what training of each told."""
    random = train.first(potential, data)
    nothing = jax.tree.map(jnp.zeros_like, random)
    made, told = {"prior": nothing}, {}

    def part(name: str, make: Any) -> Any:
        def there(where: Path) -> tuple[Any, dict]:
            found = make(where)
            return found.params, {"seconds": found.seconds, "loss": found.loss}

        made[name], told[name] = keep(name.replace("/", "_").replace(" ", "_"), there, random)
        return made[name]

    for label, share in SHARES.items():
        some = _part(data, share)
        matched = part(
            f"FM, {label}", lambda w, d=some: train.match_forces(how, potential, d, random, w)
        )
        part(
            f"RE, {label}",
            lambda w, d=some: train.minimise_entropy(how, potential, d, random, False, w),
        )
        part(
            f"FM+RE, {label}",
            lambda w, d=some, p=matched: train.minimise_entropy(how, potential, d, p, True, w),
        )
    return made, told


def table(result: dict) -> str:
    def cell(at: dict, key: str, scale: float = 1.0) -> str:
        error = at.get(f"{key}_error")
        told = number(scale * at[key], 3)
        return told if error is None else f"{told} ± {number(scale * error, 1)}"

    rows = []
    for at in result["rows"]:
        kind = at["name"].split(",")[0]
        rows.append(
            (at["name"], number(at.get("seconds"), 3), number(at["force_fit"], 3),
             PAPER.get(kind, "–") if at["name"].endswith("all") else "–", cell(at, "mse", 1e3),
             cell(at, "divergence", 1e3), cell(at, "free_energy"), cell(at, "helix"),
             f"{100 * at['failed']:.0f} %")
        )  # fmt: skip
    for name, at in result["floors"].items():
        rows.append(
            (name, "", "", "", cell(at, "mse", 1e3), cell(at, "divergence", 1e3),
             cell(at, "free_energy"), cell(at, "helix"), "")
        )  # fmt: skip
    reference = number(result["reference"]["helix"], 3)
    rows.append(("reference", "", "", "", "0", "0", "0", reference, ""))
    text = markdown(
        ("potential", "training / s", "R² of forces", "paper (DimeNet++)",
         "MSE of the density / 1e-3 rad⁻⁴", "Jensen–Shannon / 1e-3", "RMSE of F / kT", "share of α",
         "runs lost"), rows,
    )  # fmt: skip
    return text + (
        f"\n\n{result['parameters']} parameters; the atoms' frames took OpenMM"
        f" {result['atomistic_seconds']:.0f} s, once."
    )
