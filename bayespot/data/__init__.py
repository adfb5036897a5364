"""Labelled configurations: readers, checks, padded data sets."""

from bayespot.data.checks import check_splits, check_units
from bayespot.data.dataset import Batch, Dataset, Shift, fit_shift, make_dataset
from bayespot.data.mapping import LinearMap
from bayespot.data.readers import Frame, Keys, read

__all__ = [
    "Batch",
    "Dataset",
    "Frame",
    "Keys",
    "LinearMap",
    "Shift",
    "check_splits",
    "check_units",
    "fit_shift",
    "make_dataset",
    "read",
]
