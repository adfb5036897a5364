"""All cases, one after the other; a finished part is kept and not repeated."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.accuracy import peer
from benchmarks.accuracy.cases import CASES, DATA, Case, Split, Training
from benchmarks.accuracy.train import as_published, train
from benchmarks.common import Setting, markdown, number, plain

PARTS = Path("runs/accuracy")  # what a killed run continues from


def run(setting: Setting, out: Path) -> dict:
    del out  # no figures
    quick = setting == "quick"
    if not DATA.is_dir():
        raise SystemExit(f"there are no reference data at {DATA}: this benchmark needs them")
    return {"cases": [row for case in CASES for row in _case(case, quick)]}


def _case(case: Case, quick: bool) -> list[dict]:
    split = case.split()
    found = []
    if case.baseline is not None:
        found.append(("Stillinger–Weber, as published", partial(_published, case, split)))
    found += [(t.name, partial(_trained, split, t, quick)) for t in case.trainings]
    rows = [_kept(case, name, quick, make) for name, make in found]
    longest = max(row["seconds"] for row in rows if "seconds" in row)
    rows.append(_kept(case, "apax, as long", quick, partial(peer.run, split, longest)))
    sizes = {"train": len(split.train), "validation": len(split.validation)}
    return [{"case": case.name, **sizes, **row} for row in rows]


def _published(case: Case, split: Split) -> dict:
    assert case.baseline is not None
    return {"errors": {k: e._asdict() for k, e in as_published(split, case.baseline).items()}}


def _trained(split: Split, training: Training, quick: bool) -> dict:
    how = training.optimization(quick)
    made = train(split, training.potential, how)
    return {
        "errors": {k: e._asdict() for k, e in made.errors.items()},
        "seconds": made.seconds,
        "parameters": made.parameters,
        "healthy": made.healthy,
        "steps": how.steps,
    }


def _kept(case: Case, name: str, quick: bool, make: Callable[[], dict]) -> dict:
    """From the file of an earlier call where nothing it depends on has changed."""
    where = PARTS / f"{case.name}-{name}.json".replace(" ", "_").replace("/", "_")
    depends = {"quick": quick, "case": repr((case.trainings, case.baseline))}
    if where.exists():
        stored = json.loads(where.read_text())
        if stored["depends"] == plain(depends):
            return stored["made"]
    print(f"{case.name}: {name}", flush=True)
    made = plain({"model": name, **make()})
    PARTS.mkdir(parents=True, exist_ok=True)
    where.write_text(json.dumps({"depends": plain(depends), "made": made}))
    return made


def table(result: dict) -> str:
    rows = []
    for row in result["cases"]:
        for name, e in row.get("errors", {"–": {}}).items():
            rows.append(
                (
                    row["case"],
                    f"{row['train']} + {row['validation']}",
                    name,
                    row["model"] + (f" ({row['failed']})" if "failed" in row else ""),
                    row.get("parameters", "–"),
                    number(row.get("seconds"), 3),
                    number(e.get("energy_mae_mev_per_atom"), 3),
                    number(e.get("forces_mae_mev"), 3),
                    number(e.get("forces_rmse_mev"), 3),
                )
            )
    return markdown(
        ("data", "train + validation", "test", "model", "parameters", "training / s",
         "energy MAE / meV/atom", "force MAE / meV/Å", "force RMSE / meV/Å"), rows,
    )  # fmt: skip
