"""A run directory: whom it belongs to, how long its stages took, and draws that others read."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bayespot import files
from bayespot.config import Data
from bayespot.data import Shift
from bayespot.draws import Draws
from bayespot.errors import UserError
from bayespot.potentials import Potential
from bayespot.progress import Progress

PACKAGES = ("bayespot", "jax", "jaxlib", "jax-md", "numpyro", "blackjax", "optax", "arviz",
            "dm-haiku", "numpy", "scipy", "ase")  # fmt: skip

EFFECTS = {"settings": ("data", "potential", "fit"), "data": ("potential",)}
"""Of two runs that differ in the first, the others may differ for that reason: settings (the
seed) split the data, and potentials are made of both."""


def versions() -> dict[str, str]:
    """Versions of everything that numbers depend on."""
    return {name: version(name) for name in PACKAGES}


def claim(folder: Path, text: str, identity: dict[str, Any]) -> str:
    """Take a folder for a run, or find that it is its own already; its fingerprint.

    Args:
        folder: made if it is not there.
        text: the resolved configuration.
        identity: what the results depend on, as JSON; versions of packages are added.

    Raises:
        UserError: the folder belongs to a run with another identity.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Versions too: a run continued with another version would be neither one's result.
    identity = {**identity, "versions": versions()}
    marker = folder / "fingerprint.json"
    if marker.exists():
        stored = json.loads(marker.read_text())
        # through JSON as well: tuples become lists
        what = [k for k, v in json.loads(json.dumps(identity)).items() if stored.get(k) != v]
        if what:
            for cause, effects in EFFECTS.items():
                if cause in what:
                    what = [k for k in what if k not in effects]
            raise UserError(
                f"{folder} holds a run with other {' and '.join(what)}",
                "Choose another directory with --output, or start over with --fresh",
            )
    else:
        files.write_text(folder / "config.toml", text)
        files.write_text(marker, json.dumps(identity, indent=2) + "\n")
    logging.getLogger("bayespot").info("versions %s", json.dumps(identity["versions"]))
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def finish(folder: Path, seconds: dict[str, float]) -> None:
    """Write how long stages took, and remove checkpoints."""
    # a stage that was done before keeps its time
    path = folder / "timings.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    files.write_text(path, json.dumps({**before, **seconds}, indent=2) + "\n")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


class Stage:
    """Times a stage, and says so in log and terminal."""

    def __init__(self, name: str, seconds: dict[str, float], progress: Progress) -> None:
        self.name, self.seconds, self.progress = name, seconds, progress

    def __enter__(self) -> None:
        self.start = time.perf_counter()
        logging.getLogger("bayespot").info("stage %s: start", self.name)

    def __exit__(self, kind: object, *rest: object) -> None:
        self.progress.finish()
        if kind is None:
            self.seconds[self.name] = time.perf_counter() - self.start
            message = f"{self.name}: {self.seconds[self.name]:.1f} s"
            logging.getLogger("bayespot").info("stage %s", message)
            self.progress.note(message)


def bare_names(data: Data) -> Data:
    """[data] with bare file names: a result must not depend on where its input lies."""
    return data.model_copy(
        update={
            name: None if (path := getattr(data, name)) is None else Path(path.name)
            for name in ("train", "test", "validation")
        }
    )


def potential_hash(potential: Potential) -> str:
    """Of its formula and all its numbers but the trained ones."""
    return hashlib.sha256(repr(potential).encode()).hexdigest()


def fitted_hash(folder: Path) -> str:
    """Of the draws that a fit left in its run directory."""
    return hashlib.sha256(_draws_of(folder).read_bytes()).hexdigest()


def _draws_of(folder: Path) -> Path:
    path = folder / "posterior.nc"
    if not path.is_file():
        raise UserError(
            f"{folder} holds no posterior.nc of a finished fit", "Give the directory of one"
        )
    return path


def start_params(folder: Path, like: Any, members: int) -> tuple[Any, dict[str, Any]]:
    """Parameters of a fit's members to start another from, and the provenance of that fit.

    Args:
        folder: its run directory.
        like: parameters of one member.
        members: how many are wanted: those it has, in their order, or all like its only one.

    Raises:
        UserError: no finished fit, one of other parameters, or of another number of members.
    """
    draws = Draws.load(_draws_of(folder), {"potential": like}, partly=True)
    params = draws.flat()["potential"]
    found = int(draws.healthy.sum())
    if found not in (1, members):
        raise UserError(
            f"{folder} holds {found} healthy members, and {members} shall start from them",
            f"Set members in [trainer] to {found}",
        )
    repeats = members // found
    return jax.tree.map(lambda x: np.repeat(x, repeats, axis=0), params), draws.provenance


def fitted(folder: Path, like: Any, potential: Potential, shift: Shift) -> Draws:
    """Members of a fit as draws; their noise is what they miss on the validation frames.

    Args:
        folder: its run directory.
        like: pytree of one draw.
        potential: what they are parameters of.
        shift: of the energies.

    Raises:
        UserError: no finished fit, one without labels, of another potential or other energies, or
            of a single member.
    """
    path = _draws_of(folder)
    made = Draws.load(path, {}, partly=True).provenance
    if made.get("energy_shift") is None:
        raise UserError(
            f"{folder} was fitted without labels, and its members have no noise",
            "Fit with [data]",
        )
    if made.get("potential_sha256") != potential_hash(potential):
        raise UserError(
            f"{folder} was fitted with another [potential], or other numbers from other training"
            " frames",
            "Take [data], [potential] and seed from its config.toml",
        )
    if made["energy_shift"] != json.loads(json.dumps(shift._asdict())):
        raise UserError(
            f"{folder} was fitted to energies of other frames", "Take [data] and seed from it"
        )
    draws = Draws.load(path, like)
    if draws.healthy.sum() < 2:
        raise UserError(
            f"{folder} holds {draws.healthy.sum()} healthy member, and one has no spread",
            "Fit with members = 2 or more",
        )
    return draws
