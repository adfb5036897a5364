"""Members of one potential, draws or networks, as others use them: loaded, predicting.

A run directory holds all that takes: ``posterior.nc`` the parameters, ``potential.json`` the
formula with its fixed numbers, ``recalibration.json`` what was learnt about their uncertainties.
The training data are not needed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import files
from bayespot.calibration import Predicted, Recalibration
from bayespot.calibration.elements import SYMBOLS
from bayespot.data import Frame, Shift, make_dataset
from bayespot.draws import Draws
from bayespot.errors import UserError
from bayespot.md import Monitor
from bayespot.potentials import CommitteeMean, Potential
from bayespot.potentials.serial import from_json, to_json
from bayespot.predict import predict
from bayespot.system import System

if TYPE_CHECKING:
    import ase

POSTERIOR, POTENTIAL, RECALIBRATION = "posterior.nc", "potential.json", "recalibration.json"


@dataclasses.dataclass(frozen=True)
class Committee:
    """Members of one potential.

    Attributes:
        potential: what all are parameters of.
        params: pytree of numpy arrays with a leading member axis.
        shift: energy of each element that was taken off before training, eV.
        noise: learned standard deviation of each member, (members,): "energy" in eV per frame,
            "forces" in eV/Angstrom, "stress" in eV/Angstrom^3; what is not known is missing.
        recalibration: of their uncertainties; None where nobody looked.
        name: for tables.
    """

    potential: Potential
    params: Any
    shift: Shift
    noise: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    recalibration: Recalibration | None = None
    name: str = "posterior"

    @property
    def members(self) -> int:
        """How many."""
        return len(jax.tree.leaves(self.params)[0])

    @property
    def float64(self) -> bool:
        """Whether the parameters ask for double precision."""
        return any(np.asarray(x).dtype == np.float64 for x in jax.tree.leaves(self.params))

    def monitor(self, threshold: float, **settings: Any) -> Monitor:
        """A watch over MD of ``mean``; its uncertainties recalibrated where the committee is.

        Args:
            threshold: eV/Angstrom, as for ``md.Monitor``.
            settings: others of ``md.Monitor``.

        Raises:
            UserError: the recalibration is no factor.
        """
        known = self.recalibration
        scales = {} if known is None else monitor_scales(known, self.shift.elements)
        return Monitor(threshold, **scales, **settings)

    @property
    def mean(self) -> CommitteeMean:
        """The potential that MD of the committee takes, with ``params``."""
        return CommitteeMean(self.potential, self.members)

    def predict(
        self, frames: Sequence[Frame | ase.Atoms], *, stress: bool = False, chunk: int = 16
    ) -> Predicted:
        """Energies, forces and (periodic frames) stresses of all members.

        Args:
            frames: labelled or not, of any sizes and periodicities.
            stress: predict that too; NaN for frames that are not periodic in all directions.
            chunk: frames evaluated at once.

        Raises:
            UserError: elements training lacked.
        """
        given = [_frame(f, number) for number, f in enumerate(frames)]
        self._check_elements(given)
        energy = np.full((self.members, len(given)), np.nan)
        stresses = np.full((self.members, len(given), 3, 3), np.nan)
        forces: list[np.ndarray] = [np.empty(0)] * len(given)
        with jax.enable_x64(self.float64):
            params = jax.tree.map(jnp.asarray, self.params)
            for places in _alike(given):
                part = [given[i] for i in places]
                batch = make_dataset(part, self.shift, self.potential.cutoff).batch
                periodic = stress and all(batch.system.pbc)
                made = predict(self.potential, params, batch, chunk, stress=periodic)
                for n, i in enumerate(places):
                    numbers = given[i].atoms.numbers
                    energy[:, i] = made.energy[:, n].astype(float) + self.shift.of(numbers)
                    forces[i] = made.forces[:, n, : len(numbers)].astype(float)
                    if made.stress is not None:
                        stresses[:, i] = made.stress[:, n]
        variance = {name: np.asarray(x, float) ** 2 for name, x in self.noise.items()}
        return Predicted(energy, forces, stresses if stress else None, variance, self.name)

    def _check_elements(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            unknown = set(frame.atoms.numbers.tolist()) - set(self.shift.elements)
            if unknown:
                symbols = ", ".join(str(SYMBOLS[z]) for z in sorted(unknown))
                known = ", ".join(str(SYMBOLS[z]) for z in self.shift.elements)
                raise UserError(
                    f"{frame.where} has {symbols}, and {self.name} was trained on {known}",
                    "Leave such frames out, or train on data with them",
                )


def monitor_scales(known: Recalibration, elements: Sequence[int]) -> dict[str, Any]:
    """The factors of a recalibration, as settings of ``md.Monitor``.

    Args:
        known: the recalibration.
        elements: atomic numbers that the potential knows.

    Raises:
        UserError: it is no factor.
    """
    return {
        "scale": known.factor("forces"),
        "element_scales": tuple((z, known.factor("forces", z)) for z in elements),
        "energy_scale": known.factor("energy"),
    }


def _frame(given: Frame | ase.Atoms, number: int) -> Frame:
    if isinstance(given, Frame):
        # labels play no part; an open frame with a stress would be refused
        return dataclasses.replace(given, stress=None)
    return Frame(given, 0.0, np.zeros((len(given), 3)), "the given structures", number)


def _alike(frames: Sequence[Frame]) -> Iterator[list[int]]:
    """Places of frames of one periodicity and like size: one program, little padding."""
    order = sorted(
        range(len(frames)), key=lambda i: (tuple(frames[i].atoms.pbc), len(frames[i].atoms))
    )
    group: list[int] = []
    for i in order:
        first = frames[group[0]].atoms if group else frames[i].atoms
        same = np.array_equal(first.pbc, frames[i].atoms.pbc)
        if group and not (same and len(frames[i].atoms) <= 1.5 * len(first)):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def save_potential(folder: Path, potential: Potential, example: ase.Atoms) -> None:
    """Write ``potential.json``: formula, fixed numbers, and a configuration it was made for.

    A potential that JSON cannot hold leaves no file: its users give it to ``load``.
    """
    try:
        formula = to_json(potential)
    except TypeError:
        return
    numbers = {
        "numbers": example.numbers.tolist(),
        "positions": example.positions.tolist(),
        "cell": example.cell.array.tolist(),
        "pbc": example.pbc.tolist(),
    }
    files.write_json(folder / POTENTIAL, {"potential": formula, "example": numbers})


def load(
    folder: str | Path,
    members: int | None = None,
    *,
    recalibrate: bool = True,
    potential: Potential | None = None,
) -> Committee:
    """The draws of a finished ``bayespot run``, or the members of a ``bayespot fit``.

    Args:
        folder: its run directory.
        members: at most so many, spread evenly over chains.
        recalibrate: with the recalibration that is stored there, if there is one.
        potential: in place of the one that is stored.

    Raises:
        UserError: no finished run, or files that do not fit together.
    """
    folder = Path(folder)
    for name in (POSTERIOR, POTENTIAL):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}", _advice(folder, name))
    content = _json(folder / POTENTIAL)
    potential = potential or from_json(content["potential"])
    draws = _draws(folder / POSTERIOR, potential, _example(content["example"]))
    flat = draws.flat(members)
    stored = draws.provenance.get("energy_shift")
    if stored is None:  # fitted without energies
        elements = tuple(sorted(set(content["example"]["numbers"])))
        shift = Shift(elements, (0.0,) * len(elements))
    else:
        shift = Shift(tuple(stored["elements"]), tuple(stored["energies"]))
    noise = {
        name.removeprefix("log_sigma_"): np.exp(np.asarray(x, float))
        for name, x in flat.get("noise", {}).items()
    }
    known = load_recalibration(folder) if recalibrate else None
    return Committee(potential, flat["potential"], shift, noise, known, folder.name)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path} cannot be read as JSON ({error})", "Copy it again, or make it anew"
        ) from error


def _advice(folder: Path, name: str) -> str:
    if not folder.is_dir():
        return "Give the directory of a finished bayespot run or fit"
    if name == POSTERIOR and (folder / "config.toml").is_file():
        return (
            "Finish it with bayespot run or fit; with [sampler] fit the members are in that folder"
        )
    return "Give the directory of a bayespot run or fit of this version; an older run is made anew"


def _example(content: dict[str, Any]) -> System:
    import ase

    return System.from_ase(ase.Atoms(**content))


def _draws(path: Path, potential: Potential, system: System) -> Draws:
    import xarray as xr

    try:
        with xr.open_dataset(path, group="posterior", engine="h5netcdf") as stored:
            names = [str(name) for name in stored.data_vars]
            wide = any(stored[name].dtype == np.float64 for name in names)
    except (OSError, KeyError) as error:
        raise UserError(
            f"{path} cannot be read as posterior draws ({error})",
            "Copy it again, or make the run anew",
        ) from error
    scalar = jax.ShapeDtypeStruct((), np.float32)
    prefix = "noise."
    noise = {n.removeprefix(prefix): scalar for n in names if n.startswith(prefix)}
    with jax.enable_x64(wide):
        shapes = jax.eval_shape(potential.init, jax.random.key(0), system)
    return Draws.load(path, {"potential": shapes, **({"noise": noise} if noise else {})})


def save_recalibration(folder: str | Path, recalibration: Recalibration) -> None:
    """Store with the posterior in ``folder``, for ``load`` and all who use it."""
    files.write_json(Path(folder) / RECALIBRATION, recalibration.to_json())


def remove_recalibration(folder: str | Path) -> bool:
    """Forget it; False where there was none."""
    path = Path(folder) / RECALIBRATION
    there = path.is_file()
    path.unlink(missing_ok=True)
    return there


def load_recalibration(folder: str | Path) -> Recalibration | None:
    """What is stored there; None where nothing is."""
    path = Path(folder) / RECALIBRATION
    if not path.is_file():
        return None
    return Recalibration.from_json(_json(path))
