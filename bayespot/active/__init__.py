"""Active learning: explore, choose, label; and which observable to measure next."""

from bayespot.active.choose import Candidates, Choice, candidates, choose, information
from bayespot.active.explore import Explored, explore
from bayespot.active.joint import observe
from bayespot.active.label import Labelled, label
from bayespot.active.measure import Gain, Observed, by_weights, measure_next
from bayespot.active.structures import Fingerprints, Seen, closest, difference, fingerprint

__all__ = [
    "Candidates",
    "Choice",
    "Explored",
    "Fingerprints",
    "Gain",
    "Labelled",
    "Observed",
    "Seen",
    "by_weights",
    "candidates",
    "choose",
    "closest",
    "difference",
    "explore",
    "fingerprint",
    "information",
    "label",
    "measure_next",
    "observe",
]
