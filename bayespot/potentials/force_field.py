"""Classical force fields of one molecule, read from a TOML file.

    energy = "kJ/mol"            # or "kcal/mol", "eV" (the default)
    length = "nm"                # or "Angstrom" (the default); angles are in degrees
    temperature = 300.0          # K, only where a variance stands in for a stiffness

    [[bonds]]                    # k/2 (d - d0)^2
    atoms = [0, 1]               # counted from 0
    length = 0.1517
    stiffness = 265265.0         # energy/length^2; or variance = ... in length^2

    [[angles]]                   # k/2 (theta - theta0)^2
    atoms = [0, 1, 2]            # the corner in the middle
    angle = 119.9
    stiffness = 1047.0           # energy/radian^2; or variance = ... in degrees^2

    [[dihedrals]]                # k (1 + cos(n phi - phase)); phi is 0 where the ends eclipse
    atoms = [0, 1, 3, 4]
    multiplicity = 2
    phase = 180.0
    stiffness = 10.46

    [pairs]
    form = "lennard-jones"       # 4 eps ((s/d)^12 - (s/d)^6); or "repulsion", eps (s/d)^12
    exclude = 3                  # no pairs up to this many bonds apart
    types = ["CT", "C", "O"]     # of each atom in turn

    [pairs.parameters]           # pairs: mean sigma, geometric mean of epsilon
    CT = { sigma = 0.339967, epsilon = 0.457730 }
    C = { sigma = 0.339967, epsilon = 0.359824 }
    O = { sigma = 0.295992, epsilon = 0.878640 }

A variance ``v`` means the stiffness ``k_B T / v`` (methods.md section 5).
"""

from __future__ import annotations

import collections
import difflib
import itertools
import math
import tomllib
from pathlib import Path
from typing import Any, Literal

import pydantic
from ase import units

from bayespot.errors import UserError
from bayespot.potentials.base import Sum
from bayespot.potentials.dihedrals import ProperDihedrals
from bayespot.potentials.harmonic import HarmonicAngles, HarmonicBonds
from bayespot.potentials.listed_pairs import ListedPairs
from bayespot.units import BOLTZMANN, KJ_PER_MOL, NANOMETER

_ENERGY = {"eV": 1.0, "kJ/mol": KJ_PER_MOL, "kcal/mol": float(units.kcal / units.mol)}
_LENGTH = {"Angstrom": 1.0, "nm": NANOMETER}
_DEGREE = math.pi / 180

_Atom = pydantic.NonNegativeInt


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


class _Spring(_Section):
    stiffness: pydantic.PositiveFloat | None = None
    variance: pydantic.PositiveFloat | None = None

    @pydantic.model_validator(mode="after")
    def _one(self) -> _Spring:
        if (self.stiffness is None) == (self.variance is None):
            raise ValueError("give either stiffness or variance")
        return self


class _Bond(_Spring):
    atoms: tuple[_Atom, _Atom]
    length: pydantic.PositiveFloat


class _Angle(_Spring):
    atoms: tuple[_Atom, _Atom, _Atom]
    angle: float = pydantic.Field(ge=0, le=180)


class _Dihedral(_Section):
    atoms: tuple[_Atom, _Atom, _Atom, _Atom]
    multiplicity: pydantic.PositiveInt
    phase: float
    stiffness: float


class _Type(_Section):
    sigma: pydantic.PositiveFloat
    epsilon: pydantic.NonNegativeFloat


class _Pairs(_Section):
    form: Literal["lennard-jones", "repulsion"]
    exclude: int = pydantic.Field(3, ge=0)
    types: list[str]
    parameters: dict[str, _Type]


class _File(_Section):
    energy: Literal["eV", "kJ/mol", "kcal/mol"] = "eV"
    length: Literal["Angstrom", "nm"] = "Angstrom"
    temperature: pydantic.PositiveFloat | None = None
    bonds: list[_Bond] = []
    angles: list[_Angle] = []
    dihedrals: list[_Dihedral] = []
    pairs: _Pairs | None = None


def read_force_field(path: str | Path, num_atoms: int) -> Sum:
    """A sum of bonds, angles, dihedrals and pairs, as far as the file has them.

    Args:
        path: TOML file in the format above.
        num_atoms: of the molecule, to check the file against.

    Raises:
        UserError: no such file, no TOML, a key that is unknown, missing or out of range, or an
            atom that the molecule does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no force field {path}", "Give the path of a TOML file")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}", "Mend that line") from error
    try:
        file = _File.model_validate(raw)
    except pydantic.ValidationError as error:
        raise _explain(error, path) from error
    _check(file, num_atoms, path)
    return _build(file, num_atoms)


def _build(file: _File, num_atoms: int) -> Sum:
    energy, length = _ENERGY[file.energy], _LENGTH[file.length]

    def spring(term: _Bond | _Angle, unit: float, variance_unit: float) -> float:
        if term.stiffness is not None:
            return term.stiffness * energy / unit**2
        assert term.variance is not None
        assert file.temperature is not None
        return BOLTZMANN * file.temperature / (term.variance * variance_unit**2)

    terms = []
    if file.bonds:
        terms.append(
            HarmonicBonds(
                tuple(b.atoms for b in file.bonds),
                tuple(b.length * length for b in file.bonds),
                tuple(spring(b, length, length) for b in file.bonds),
            )
        )
    if file.angles:
        terms.append(
            HarmonicAngles(
                tuple(a.atoms for a in file.angles),
                tuple(a.angle * _DEGREE for a in file.angles),
                tuple(spring(a, 1.0, _DEGREE) for a in file.angles),
            )
        )
    if file.dihedrals:
        terms.append(
            ProperDihedrals(
                tuple(d.atoms for d in file.dihedrals),
                tuple(d.multiplicity for d in file.dihedrals),
                tuple(d.phase * _DEGREE for d in file.dihedrals),
                tuple(d.stiffness * energy for d in file.dihedrals),
            )
        )
    if file.pairs:
        table = [file.pairs.parameters[name] for name in file.pairs.types]
        pairs = _distant(file, num_atoms)
        terms.append(
            ListedPairs(
                pairs,
                tuple((table[i].sigma + table[j].sigma) / 2 * length for i, j in pairs),
                tuple(math.sqrt(table[i].epsilon * table[j].epsilon) * energy for i, j in pairs),
                file.pairs.form == "repulsion",
            )
        )
    return Sum(tuple(terms))


def _distant(file: _File, num_atoms: int) -> tuple[tuple[int, int], ...]:
    """Pairs of atoms more bonds apart than are excluded, or not connected at all."""
    assert file.pairs is not None
    bonded = collections.defaultdict(set)
    for i, j in (bond.atoms for bond in file.bonds):
        bonded[i].add(j)
        bonded[j].add(i)
    near = [{i} for i in range(num_atoms)]
    for _ in range(file.pairs.exclude):
        near = [atoms.union(*(bonded[a] for a in atoms)) for atoms in near]
    return tuple(p for p in itertools.combinations(range(num_atoms), 2) if p[1] not in near[p[0]])


def _check(file: _File, num_atoms: int, path: Path) -> None:
    """What one key cannot tell: atoms that exist, types that are given, a temperature."""
    if not (file.bonds or file.angles or file.dihedrals or file.pairs):
        raise UserError(f"{path} holds no terms", "Give bonds, angles, dihedrals or pairs")
    for name in ("bonds", "angles", "dihedrals"):
        for number, term in enumerate(getattr(file, name)):
            key = f"{name}.{number}"
            missing = [a for a in term.atoms if a >= num_atoms]
            if missing:
                raise UserError(
                    f"{key}.atoms in {path} names atom {missing[0]}, and the molecule has "
                    f"{num_atoms} atoms",
                    f"Atoms count from 0 to {num_atoms - 1}",
                )
            if len(set(term.atoms)) < len(term.atoms):
                raise UserError(f"{key}.atoms in {path} names an atom twice", "Mend that entry")
            if getattr(term, "variance", None) is not None and file.temperature is None:
                raise UserError(
                    f"{key}.variance in {path} needs a temperature",
                    "Add temperature = ... in K at the top",
                )
    if file.pairs is None:
        return
    if len(file.pairs.types) != num_atoms:
        raise UserError(
            f"pairs.types in {path} has {len(file.pairs.types)} entries, and the molecule has "
            f"{num_atoms} atoms",
            "Give one type for each atom",
        )
    for number, name in enumerate(file.pairs.types):
        if name not in file.pairs.parameters:
            raise UserError(
                f'pairs.types.{number} in {path} is "{name}", which pairs.parameters lacks',
                _nearest(name, list(file.pairs.parameters)),
            )


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {near[0]}" if near else f"Known are {', '.join(sorted(known))}"


_SECTIONS: dict[str, type[_Section]] = {
    "bonds": _Bond,
    "angles": _Angle,
    "dihedrals": _Dihedral,
    "pairs": _Pairs,
    "parameters": _Type,
}


def _explain(error: pydantic.ValidationError, path: Path) -> UserError:
    errors = error.errors()
    # a misspelled key that must be there is both unknown and missing: name the typo
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where: list[Any] = list(first["loc"])
    key = ".".join(str(part) for part in where)
    if first["type"] == "extra_forbidden":
        section = [_SECTIONS[p] for p in where[:-1] if p in _SECTIONS]
        model = section[-1] if section else _File
        fix = _nearest(str(where[-1]), list(model.model_fields))
        return UserError(f"unknown key {key} in {path}", fix)
    if first["type"] == "missing":
        return UserError(f"{path} lacks {key}", f"Add {key}")
    message = first["msg"].removeprefix("Value error, ")
    return UserError(f"{key} in {path}: {message}", "Change that value")
