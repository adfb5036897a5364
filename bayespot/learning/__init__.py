"""Active learning as a job in a run directory: rounds of training, exploring and labelling."""

from bayespot.learning.job import learn

__all__ = ["learn"]
