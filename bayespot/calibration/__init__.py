"""How far stated uncertainties can be trusted, and what makes them right.

``quantities`` turns predictions of a committee and labels into kinds of number; ``assess`` and
``assessment`` judge them, on a test split; ``recalibrate`` learns maps of standard deviations and
conformal intervals, on another (``split``).  The distribution that everything is judged by is that
of ``predictive``.
"""

from bayespot.calibration.assess import assess
from bayespot.calibration.comparison import Method, assessment
from bayespot.calibration.fitting import recalibrate
from bayespot.calibration.predicted import Labels, Predicted, quantities, split
from bayespot.calibration.predictive import Predictive, VectorPredictive, predictive
from bayespot.calibration.quantity import Quantity
from bayespot.calibration.recalibration import Conformal, Isotonic, Recalibration, Scale
from bayespot.calibration.summary import Calibration, calibrate, miscalibration_area

__all__ = [
    "Calibration",
    "Conformal",
    "Isotonic",
    "Labels",
    "Method",
    "Predicted",
    "Predictive",
    "Quantity",
    "Recalibration",
    "Scale",
    "VectorPredictive",
    "assess",
    "assessment",
    "calibrate",
    "miscalibration_area",
    "predictive",
    "quantities",
    "recalibrate",
    "split",
]
