"""Any committee against labelled frames: who predicts, on which frames, and what comes of it."""

from bayespot.assessment.frames import Chosen, check_unseen, read_frames, training_frames
from bayespot.assessment.sources import Source, distinct, open_source
from bayespot.assessment.whole import Assessed, assess, store

__all__ = [
    "Assessed",
    "Chosen",
    "Source",
    "assess",
    "check_unseen",
    "distinct",
    "open_source",
    "read_frames",
    "store",
    "training_frames",
]
