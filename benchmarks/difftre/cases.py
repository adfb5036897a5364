"""Sizes of the quick and the full setting."""

import dataclasses
from pathlib import Path

from benchmarks.common import Setting
from benchmarks.difftre import diamond, double_well

DATA = Path(__file__).parents[3] / "shared" / "data"


@dataclasses.dataclass(frozen=True)
class Case:
    """One setting.

    Attributes:
        work: of an update of the double well.
        peer_updates: that the peer makes of it, the first few to be left out.
        lengths: states of the gradient norms.
        atoms: of the comparison with back-propagation; three particles each.
        repeats: of a timing.
        diamond: likewise.
    """

    work: double_well.Work
    peer_updates: int
    lengths: tuple[int, ...]
    atoms: int
    repeats: int
    diamond: diamond.Work


CASES: dict[Setting, Case] = {
    "quick": Case(double_well.Work(states=200), 12, (5, 20, 40), 167, 3, diamond.Work()),
    "full": Case(
        double_well.Work(states=1000, skip=100, every=100),
        20,
        (5, 10, 15, 20, 25, 30, 35, 40),
        667,
        3,
        diamond.Work(3, 0.5, 50, 150, 120, 0.05, 400),
    ),
}
