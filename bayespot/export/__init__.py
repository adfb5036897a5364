"""Ways out: predictions with uncertainties for the tools others use.

Frames with uncertainties (extxyz, chemiscope), model deviations as DeePMD-kit writes them, and a
committee as the force field of i-PI (``bayespot.export.ipi``) and of LAMMPS
(``bayespot.export.lammps``).
"""

from bayespot.export.chemiscope import write_chemiscope
from bayespot.export.frames import annotate, forces_of, write_frames
from bayespot.export.model_devi import model_deviation, write_model_devi

__all__ = [
    "annotate",
    "forces_of",
    "model_deviation",
    "write_chemiscope",
    "write_frames",
    "write_model_devi",
]
