"""``bayespot predict``: a run directory and structures give frames with uncertainties."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayespot.errors import UserError

if TYPE_CHECKING:
    import ase


def predict_file(
    folder: Path,
    structures: Path,
    out: Path,
    *,
    model_devi: Path | None = None,
    page: Path | None = None,
    members: int | None = None,
    noise: bool = False,
    recalibrate: bool = True,
    ensembles: bool = True,
) -> list[str]:
    """Predict the structures of a file, and write them.

    Args:
        folder: of a finished run or fit.
        structures: extxyz or what else ASE reads; labels are kept, and not needed.
        out: extxyz to write.
        model_devi: DeePMD-kit's file to write besides.
        page: chemiscope page (.html) or data (.json, .json.gz) to write besides.
        members: at most so many.
        noise: uncertainties include the learned noise of the labels.
        recalibrate: as the run was calibrated, if it was.
        ensembles: keep what each member says.

    Returns:
        Lines that say what was done.

    Raises:
        UserError: no finished run, structures that cannot be read, a single member where a
            spread is needed.
    """
    from bayespot.committee import load
    from bayespot.export import annotate, write_chemiscope, write_frames, write_model_devi

    frames = read_structures(structures)
    committee = load(folder, members, recalibrate=recalibrate)
    if committee.members < 2 and model_devi is not None:
        raise UserError(
            f"{committee.name} has one member, and no model deviation",
            "Sample more draws, or fit several members",
        )
    stress = any(atoms.pbc.all() for atoms in frames)
    predicted = committee.predict(frames, stress=stress)
    made = annotate(
        frames, predicted,
        recalibration=committee.recalibration, noise=noise, ensembles=ensembles,
    )  # fmt: skip
    write_frames(out, made)
    if model_devi is not None:
        write_model_devi(model_devi, frames, predicted)
    if page is not None:
        write_chemiscope(page, made, title=f"{committee.name}: {structures.name}")
    return [*_told(committee.members, made), *(str(p) for p in (out, model_devi, page) if p)]


def read_structures(path: Path) -> list[ase.Atoms]:
    """All frames of a file.

    Raises:
        UserError: no such file, nothing in it, or ASE cannot read it.
    """
    import ase.io

    if not path.is_file():
        raise UserError(f"there is no file {path}", "Give extxyz or another file that ASE reads")
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:
        raise UserError(
            f"ASE cannot read {path} ({type(error).__name__}: {error})",
            "Give extxyz or another file that ASE reads",
        ) from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames:
        raise UserError(f"{path} holds no frames", "Give a file with at least one")
    return frames


def _told(members: int, frames: Sequence[ase.Atoms]) -> list[str]:
    lines = [f"{len(frames)} frames, {members} members"]
    if members < 2:
        return [lines[0] + ": one member has no spread, and no uncertainties"]
    energy = [atoms.info["energy_uncertainty"] / len(atoms) for atoms in frames]
    forces = [np.linalg.norm(a.arrays["forces_uncertainty"], axis=1).max() for a in frames]
    kind = "recalibrated" if frames[0].info["recalibrated"] else "not recalibrated"
    lines.append(
        f"standard deviations ({kind}): energy {1000 * np.median(energy):.2g} meV/atom,"
        f" largest of forces {1000 * np.median(forces):.2g} meV/Å (medians over frames)"
    )
    most = int(np.argmax(forces))
    lines.append(f"least certain: frame {most}, {1000 * forces[most]:.2g} meV/Å")
    return lines
