"""Ways on disk: what a later call reads in place of simulating, and frames to be labelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayespot import files
from bayespot.intervals.ways import Ways
from bayespot.uncertainty import Estimate

if TYPE_CHECKING:
    import ase

PARTS = (
    "mean", "total", "parameter", "md", "md_of_mean", "low68", "high68", "low95", "high95",
    "values",
)  # fmt: skip


def write_uncertain(path: Path, ways: Ways, like: ase.Atoms) -> None:
    """Configurations of high uncertainty as extxyz, to be labelled; no file where there are none.

    Args:
        path: to write.
        ways: what kept them.
        like: species, masses and periodicity.
    """
    import ase
    import ase.io

    frames = []
    for positions, cell, (_, replica, frame) in zip(*ways.uncertain, strict=True):
        box = np.asarray(cell, float) if like.pbc.any() else None
        info = {"replica": int(replica), "frame": int(frame)}
        places = np.asarray(positions, float)[: len(like)]
        frames.append(ase.Atoms(like.numbers, places, cell=box, pbc=like.pbc, info=info))
    path.unlink(missing_ok=True)  # of another recalibration, perhaps
    if frames:
        files.write_atomically(path, lambda p: ase.io.write(p, frames, format="extxyz"))


def save_ways(path: Path, ways: Ways) -> None:
    """As npz, atomically."""
    keys = [(w, o, p) for w, group in ways.estimates.items() for o in group for p in PARTS]
    arrays = [getattr(ways.estimates[w][o], p) for w, o, p in keys]
    header = {
        "keys": keys, "calls": ways.calls, "notes": ways.notes, "ways": list(ways.estimates),
        "scales": ways.scales,
    }  # fmt: skip
    indices = [ways.used[w] for w in ways.estimates]
    files.save_arrays(path, [*arrays, *indices, *ways.uncertain], json.loads(json.dumps(header)))


def load_ways(path: Path) -> Ways:
    """What ``save_ways`` wrote."""
    arrays, header = files.load_arrays(path)
    count, ways = len(header["keys"]), header["ways"]
    parts: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for (way, name, part), x in zip(header["keys"], arrays[:count], strict=True):
        parts.setdefault((way, name), {})[part] = x
    estimates: dict[str, dict[str, Estimate]] = {way: {} for way in ways}
    for (way, name), found in parts.items():
        values = found.pop("values")
        estimates[way][name] = Estimate(**found, draws=len(values), values=values)
    used = dict(zip(ways, arrays[count : count + len(ways)], strict=True))
    return Ways(
        estimates,
        used,
        header["calls"],
        tuple(header["notes"]),
        tuple(arrays[-3:]),  # type: ignore[arg-type]
        header.get("scales", {}),
    )
