"""Sizes of the quick and the full setting."""

import dataclasses
from pathlib import Path

from benchmarks.common import Setting
from benchmarks.difftre import diamond, double_well, well

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclasses.dataclass(frozen=True)
class Case:
    """One setting.

    Attributes:
        work: of an update of the double well with the paper's thermostat.
        own_updates, peer_updates: that we and the peer make of it, the first to be left out.
        learning: of an update of the double well with noise as thermostat.
        lengths: states of the gradient norms.
        atoms: of the comparison with back-propagation; three particles each.
        repeats: of a timing.
        diamond: likewise.
    """

    work: double_well.Work
    own_updates: int
    peer_updates: int
    learning: double_well.Work
    lengths: tuple[int, ...]
    atoms: int
    repeats: int
    diamond: diamond.Work


CASES: dict[Setting, Case] = {
    "quick": Case(
        double_well.Work(states=200),
        12,
        12,
        double_well.Work(states=1000, skip=50, every=20),
        (5, 20, 40),
        167,
        3,
        diamond.Work(),
    ),
    "full": Case(
        double_well.Work(states=1000, skip=100, every=100),
        well.UPDATES,
        20,
        double_well.Work(states=5000, skip=100, every=20),
        (5, 10, 15, 20, 25, 30, 35, 40),
        667,
        3,
        diamond.Work(3, 0.5, 50, 150, 120, 0.05, 400),
    ),
}
