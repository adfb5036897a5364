"""Force-field files: read, refused, and the priors of alanine dipeptide."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read

from bayespot.errors import UserError
from bayespot.neighbors import allocate
from bayespot.potentials import energy_and_forces, read_force_field
from bayespot.system import System
from bayespot.units import BOLTZMANN

pytestmark = pytest.mark.usefixtures("x64", "compile_fast")
ALANINE = Path(__file__).parents[3] / "shared" / "data" / "alanine_dipeptide"
CHAIN = """
energy = "kcal/mol"
temperature = 300.0

[[bonds]]
atoms = [0, 1]
length = 1.5
stiffness = 300.0

[[bonds]]
atoms = [1, 2]
length = 1.45
variance = 0.002

[[bonds]]
atoms = [2, 3]
length = 1.5
stiffness = 310.0

[[angles]]
atoms = [0, 1, 2]
angle = 110.0
stiffness = 60.0

[[angles]]
atoms = [1, 2, 3]
angle = 112.0
variance = 9.0

[[dihedrals]]
atoms = [0, 1, 2, 3]
multiplicity = 3
phase = 60.0
stiffness = 1.4

[pairs]
form = "lennard-jones"
exclude = 2
types = ["CT", "CT", "O", "H"]

[pairs.parameters]
CT = { sigma = 3.4, epsilon = 0.11 }
O = { sigma = 3.0, epsilon = 0.2 }
H = { sigma = 2.4, epsilon = 0.02 }
"""
BUTANE = Atoms("CCOH", [[0, 0, 0], [1.5, 0.1, 0], [2.0, 1.4, 0.2], [3.4, 1.5, 0.9]])


def run(potential, atoms):
    system = System.from_ase(atoms)
    params = [{}] * len(potential.terms)
    return float(energy_and_forces(potential, params, system, allocate(system, 1.0))[0])


def write(tmp_path, text):
    path = tmp_path / "field.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_chain_by_hand(tmp_path):
    kcal, kt = units.kcal / units.mol, BOLTZMANN * 300
    a = BUTANE
    expected = kcal * 150 * (a.get_distance(0, 1) - 1.5) ** 2
    expected += kt / (2 * 0.002) * (a.get_distance(1, 2) - 1.45) ** 2
    expected += kcal * 155 * (a.get_distance(2, 3) - 1.5) ** 2
    expected += kcal * 30 * np.radians(a.get_angle(0, 1, 2) - 110) ** 2
    expected += kt / (2 * 9) * (a.get_angle(1, 2, 3) - 112) ** 2
    expected += kcal * 1.4 * (1 + np.cos(np.radians(3 * a.get_dihedral(0, 1, 2, 3) - 60)))
    x = ((3.4 + 2.4) / 2 / a.get_distance(0, 3)) ** 6
    expected += kcal * 4 * np.sqrt(0.11 * 0.02) * (x**2 - x)
    potential = read_force_field(write(tmp_path, CHAIN), 4)
    assert run(potential, a) == pytest.approx(expected, rel=1e-10)
    assert potential.terms[3].pairs == ((0, 3),)
    hash(potential)


def test_lengths_in_nanometres(tmp_path):
    """The same bond in both units."""
    metre = "[[bonds]]\natoms = [0, 1]\nlength = 0.15\nstiffness = 30000.0\n"
    nano = read_force_field(write(tmp_path, 'energy = "kJ/mol"\nlength = "nm"\n' + metre), 4)
    angstrom = metre.replace("0.15", "1.5").replace("30000.0", "300.0")
    other = read_force_field(write(tmp_path, 'energy = "kJ/mol"\n' + angstrom), 4)
    assert run(nano, BUTANE) == pytest.approx(run(other, BUTANE), rel=1e-12)
    assert run(nano, BUTANE) > 0


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("length = 1.45", "lenght = 1.45", r"unknown key bonds\.1\.lenght .*Did you mean length"),
        ("phase = 60.0", "fase = 60.0", r"unknown key dihedrals\.0\.fase .*Did you mean phase"),
        ("[[angles]]", "[[angels]]", r"unknown key angels .*Did you mean angles"),
        ("sigma = 3.0", "sgima = 3.0", r"parameters\.O\.sgima .*Did you mean sigma"),
        ("exclude = 2", "excluded = 2", r"pairs\.excluded .*Did you mean exclude"),
        ("length = 1.45\n", "", r"lacks bonds\.1\.length"),
        ("atoms = [0, 1, 2, 3]\n", "", r"lacks dihedrals\.0\.atoms"),
        ("atoms = [1, 2, 3]", "atoms = [1, 2, 4]", r"angles\.1\.atoms .*names atom 4"),
        ("atoms = [1, 2, 3]", "atoms = [1, 2]", r"angles\.1\.atoms"),
        ("atoms = [1, 2, 3]", "atoms = [1, 2, -1]", r"angles\.1\.atoms\.2"),
        ("atoms = [1, 2, 3]", "atoms = [1, 2, 1]", r"angles\.1\.atoms .*twice"),
        ("variance = 0.002", "", r"bonds\.1.*either stiffness or variance"),
        ("temperature = 300.0", "", r"bonds\.1\.variance .*needs a temperature"),
        ('"O", "H"]', '"O"]', r"pairs\.types .*has 3 entries"),
        ('"O", "H"]', '"OH", "H"]', r'pairs\.types\.2 .*"OH"'),
        ('"kcal/mol"', '"kcal"', "energy in"),
        ("stiffness = 300.0", "stiffness = -3.0", r"bonds\.0\.stiffness"),
        ("stiffness = 300.0", "stiffness = nan", r"bonds\.0\.stiffness"),
        ("[[bonds]]", "[[bonds]", "not valid TOML"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path, old, new, words):
    assert old in CHAIN
    path = write(tmp_path, CHAIN.replace(old, new))
    with pytest.raises(UserError, match=words) as caught:
        read_force_field(path, 4)
    assert "field.toml" in str(caught.value)


def test_no_file_and_an_empty_file(tmp_path):
    with pytest.raises(UserError, match="there is no force field"):
        read_force_field(tmp_path / "none.toml", 4)
    with pytest.raises(UserError, match="holds no terms"):
        read_force_field(write(tmp_path, ""), 4)


BONDS = ((0, 1), (1, 2), (1, 3), (4, 6), (6, 7), (4, 5), (3, 4), (6, 8), (8, 9))
ANGLES = (
    (0, 1, 2),
    (0, 1, 3),
    (2, 1, 3),
    (1, 3, 4),
    (3, 4, 5),
    (3, 4, 6),
    (5, 4, 6),
    (4, 6, 7),
    (4, 6, 8),
    (7, 6, 8),
    (6, 8, 9),
)
# which chain each row of the dihedral files means is not stated: any will do to compare formulas
DIHEDRALS = (
    (1, 3, 4, 5),
    (1, 3, 4, 6),
    (0, 1, 3, 4),
    (2, 1, 3, 4),
    (3, 4, 6, 8),
    (5, 4, 6, 8),
    (4, 6, 8, 9),
    (7, 6, 8, 9),
)


@pytest.mark.skipif(not ALANINE.is_dir(), reason="needs ../shared/data/alanine_dipeptide")
def test_priors_of_alanine_dipeptide(tmp_path):
    """Their stored bonds, angles, dihedrals and 15 mixed pairs, written as a file and read."""
    d = {p.stem.removeprefix("prior_"): np.load(p) for p in ALANINE.glob("*.npy")}
    text = 'energy = "kJ/mol"\nlength = "nm"\ntemperature = 300.0\n'
    for atoms, size, var in zip(BONDS, d["eq_bond_length"], d["eq_bond_variance"], strict=True):
        text += f"[[bonds]]\natoms = {list(atoms)}\nlength = {size}\nvariance = {var:.9f}\n"
    for atoms, size, var in zip(ANGLES, d["eq_angle"], d["eq_angle_variance"], strict=True):
        text += f"[[angles]]\natoms = {list(atoms)}\nangle = {size}\nvariance = {var}\n"
    rows = zip(DIHEDRALS, d["dihedral_multiplicity"], d["dihedral_phase"], strict=True)
    for (atoms, many, phases), ks in zip(rows, d["dihedral_constant"], strict=True):
        for n, phase, k in zip(many, phases, ks, strict=True):
            if n:
                text += f"[[dihedrals]]\natoms = {list(atoms)}\nmultiplicity = {n}\n"
                text += f"phase = {phase}.0\nstiffness = {k}\n"
    # AMBER03's atom types, not stored: their mixture is
    text += '[pairs]\nform = "repulsion"\n'
    text += 'types = ["CT", "C", "O", "N", "CT", "CT", "C", "O", "N", "CT"]\n[pairs.parameters]\n'
    for name, s, e in (
        ("CT", 0.339967, 0.45773),
        ("C", 0.339967, 0.359824),
        ("O", 0.295992, 0.87864),
        ("N", 0.325, 0.71128),
    ):
        text += f"{name} = {{ sigma = {s}, epsilon = {e} }}\n"
    potential = read_force_field(write(tmp_path, text), 10)
    bonds, angles, dihedrals, pairs = potential.terms
    kj, kt = units.kJ / units.mol, BOLTZMANN * 300

    atoms = read(ALANINE / "heavy_atoms.gro")
    atoms.pbc = False
    for a, size in zip(ANGLES, d["eq_angle"], strict=True):
        assert abs(atoms.get_angle(*a) - size) < 12  # the rows of the files are these angles
    for b, size in zip(BONDS, d["eq_bond_length"], strict=True):
        assert abs(atoms.get_distance(*b) - 10 * size) < 0.1

    # more than three bonds apart, mean sigma, geometric mean of epsilon: theirs, to 6 digits
    np.testing.assert_allclose(pairs.sigma, 10 * d["sigma"], rtol=1e-5)
    np.testing.assert_allclose(pairs.epsilon, kj * d["epsilon"], rtol=1e-5)

    expected = 0.0
    for b, size, var in zip(BONDS, d["eq_bond_length"], d["eq_bond_variance"], strict=True):
        expected += kt / (2 * 100 * var) * (atoms.get_distance(*b) - 10 * size) ** 2
    for a, size, var in zip(ANGLES, d["eq_angle"], d["eq_angle_variance"], strict=True):
        expected += kt / (2 * var) * (atoms.get_angle(*a) - size) ** 2
    for m, chain in enumerate(DIHEDRALS):
        phi = atoms.get_dihedral(*chain)
        for n in range(3):
            many, phase = d["dihedral_multiplicity"][m, n], d["dihedral_phase"][m, n]
            if many:
                k = kj * d["dihedral_constant"][m, n]
                expected += k * (1 + np.cos(np.radians(many * phi - phase)))
    for (i, j), s, e in zip(pairs.pairs, d["sigma"], d["epsilon"], strict=True):
        expected += kj * e * (10 * s / atoms.get_distance(i, j)) ** 12
    assert expected > 0.1
    assert run(potential, atoms) == pytest.approx(expected, rel=1e-4)
    assert len(dihedrals.dihedrals) == 16
    assert len(bonds.bonds) == 9
    assert len(angles.angles) == 11
