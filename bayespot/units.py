"""The one unit system: eV, Angstrom, fs, K, u; and the papers' nm, kJ/mol, ps."""

from ase import units as _ase

BOLTZMANN = float(_ase.kB)
"""k_B in eV/K."""

MASS = float(_ase.fs**-2)  # ASE measures time in A sqrt(u/eV), so that 1 fs is about 0.098
"""One atomic mass unit in eV fs^2/Angstrom^2, the mass that makes F = m a hold in eV, A, fs."""

KJ_PER_MOL = float(_ase.kJ / _ase.mol)
"""1 kJ/mol in eV."""

KJ_PER_MOL_NM = KJ_PER_MOL / 10
"""1 kJ/mol/nm in eV/Angstrom."""

NANOMETER = 10.0
"""1 nm in Angstrom."""

PICOSECOND = 1000.0
"""1 ps in fs."""

GPA = float(_ase.GPa)
"""1 GPa in eV/Angstrom^3."""
