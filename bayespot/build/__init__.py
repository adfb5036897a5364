"""From configuration to objects: data, potential, posterior, simulation, observables."""

from bayespot.build.comparison import reference
from bayespot.build.labels import frame_weights
from bayespot.build.learning import posterior, sampling
from bayespot.build.measurement import observable, observables
from bayespot.build.potentials import potential
from bayespot.build.simulation import md, mean_setting, simulated, stability, starting_frames
from bayespot.build.splits import Splits, datasets, read_splits
from bayespot.build.training import Input, read_input, simulation_of, trainer

__all__ = [
    "Input",
    "Splits",
    "datasets",
    "frame_weights",
    "md",
    "mean_setting",
    "observable",
    "observables",
    "posterior",
    "potential",
    "read_input",
    "read_splits",
    "reference",
    "sampling",
    "simulated",
    "simulation_of",
    "stability",
    "starting_frames",
    "trainer",
]
