"""A chemiscope page of frames with uncertainties: chemiscope's own JSON, or one HTML file.

chemiscope (Fraux, Cersonsky & Ceriotti, J. Open Source Softw. 5, 2117, 2020) is the optional
dependency ``bayespot[export]``.  The HTML file holds its viewer and needs neither a server nor a
network.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase

Properties = dict[str, dict[str, Any]]


def write_chemiscope(path: Path, frames: Sequence[ase.Atoms], *, title: str = "bayespot") -> None:
    """Write a map of all frames, uncertainty against energy or error, beside their structures.

    Args:
        path: ``.html`` is a page by itself; ``.json`` or ``.json.gz`` is for chemiscope.org and
            ``chemiscope.show_input``.
        frames: of ``annotate``.
        title: of the page.

    Raises:
        UserError: chemiscope is not installed, no frames, or another kind of file.
    """
    try:
        import chemiscope
    except ImportError as error:
        raise UserError(
            "chemiscope is not installed", "Install it: pip install 'bayespot[export]'"
        ) from error
    if not frames:
        raise UserError("there are no frames to show", "Give at least one")
    if not path.name.endswith((".html", ".json", ".json.gz")):
        raise UserError(
            f"{path} is neither a page nor data for chemiscope",
            "Give a name that ends in .html, .json or .json.gz",
        )
    of_frames, of_atoms = properties(frames)
    bare = [_bare(atoms) for atoms in frames]
    given = {
        "metadata": {"name": title, "description": f"{len(frames)} structures, by bayespot"},
        "properties": of_frames | of_atoms,
        "environments": chemiscope.all_atomic_environments(bare),
        "settings": _settings(of_frames, of_atoms),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        content = chemiscope.create_input(bare, **given)
        path.write_text(_page(title, content), encoding="utf-8")
    else:
        chemiscope.write_input(str(path), bare, **given)


def properties(frames: Sequence[ase.Atoms]) -> tuple[Properties, Properties]:
    """Of frames and of atoms, as chemiscope wants them; errors where all frames have labels."""
    sizes = np.array([len(atoms) for atoms in frames])
    energy = np.array([atoms.get_potential_energy() for atoms in frames])
    forces = [atoms.get_forces() for atoms in frames]
    of_frames: Properties = {
        "frame": _property("structure", np.arange(len(frames)), "", "place in the file"),
        "energy": _property("structure", energy / sizes, "eV/atom", "mean over members"),
    }
    of_atoms: Properties = {"force": _atoms("force", forces, "mean over members")}
    if all("energy_uncertainty" in atoms.info for atoms in frames):
        told = "standard deviation, recalibrated" if _stretched(frames) else "standard deviation"
        sigma = np.array([atoms.info["energy_uncertainty"] for atoms in frames])
        of_frames["energy_uncertainty"] = _property("structure", sigma / sizes, "eV/atom", told)
        spreads = [atoms.arrays["forces_uncertainty"] for atoms in frames]
        of_atoms["force_uncertainty"] = _atoms("force_uncertainty", spreads, f"{told}, of a vector")
        most = [np.linalg.norm(s, axis=1).max() for s in spreads]
        of_frames["max_force_uncertainty"] = _property(
            "structure", np.array(most), "eV/Å", "of the atom that is least certain"
        )
    if all("REF_energy" in atoms.info for atoms in frames):
        labels = np.array([float(atoms.info["REF_energy"]) for atoms in frames])
        error = np.abs(energy - labels) / sizes
        of_frames["energy_error"] = _property("structure", error, "eV/atom", "absolute error")
    if all("REF_forces" in atoms.arrays for atoms in frames):
        gaps = [f - a.arrays["REF_forces"] for f, a in zip(forces, frames, strict=True)]
        of_atoms["force_error"] = _atoms("force_error", gaps, "length of the error")
        worst = [np.linalg.norm(g, axis=1).max() for g in gaps]
        of_frames["max_force_error"] = _property(
            "structure", np.array(worst), "eV/Å", "of the atom that is most wrong"
        )
    kinds = [str(atoms.info.get("config_type", "")) for atoms in frames]
    if any(kinds):
        of_frames["config_type"] = _property("structure", kinds, "", "as in the file")
    return of_frames, of_atoms


def _stretched(frames: Sequence[ase.Atoms]) -> bool:
    return all(bool(atoms.info.get("recalibrated")) for atoms in frames)


def _property(target: str, values: Any, unit: str, told: str) -> dict[str, Any]:
    made = {"target": target, "values": values, "description": told}
    return made | ({"units": unit} if unit else {})


def _atoms(name: str, vectors: Sequence[np.ndarray], told: str) -> dict[str, Any]:
    del name
    lengths = np.concatenate([np.linalg.norm(v, axis=1) for v in vectors])
    return _property("atom", lengths, "eV/Å", told)


def _settings(of_frames: Properties, of_atoms: Properties) -> dict[str, Any]:
    """Error against uncertainty where both are known, and atoms coloured by their uncertainty."""
    sure = "max_force_uncertainty" if "max_force_uncertainty" in of_frames else "energy"
    other = "max_force_error" if "max_force_error" in of_frames else "energy"
    colour = "force_uncertainty" if "force_uncertainty" in of_atoms else "force"
    return {
        "target": "structure",
        "map": {
            "x": {"property": sure if other != sure else "frame"},
            "y": {"property": other},
            "color": {"property": "config_type" if "config_type" in of_frames else "frame"},
        },
        "structure": [{"color": {"property": colour}, "keepOrientation": True}],
    }


def _bare(atoms: ase.Atoms) -> ase.Atoms:
    """The structure without labels, of which chemiscope would make properties of its own."""
    import ase

    return ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


def _page(title: str, content: dict[str, Any]) -> str:
    """The viewer that chemiscope ships for notebooks, with a page in the notebook's place."""
    viewer = files("chemiscope").joinpath("static/chemiscope-widget.mjs").read_bytes()
    template = files("bayespot.export").joinpath("chemiscope.html").read_text(encoding="utf-8")
    # what a script element may hold: no "</script>"
    data = json.dumps(content, allow_nan=True).replace("</", "<\\/")
    parts = {
        "TITLE": html.escape(title),
        "DATA": data,
        "VIEWER": base64.b64encode(viewer).decode("ascii"),
    }
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template
