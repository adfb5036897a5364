"""ASE calculators with uncertainties: of a committee of draws, and around any calculators."""

from bayespot.calculator.around import CommitteeCalculator
from bayespot.calculator.evaluate import Evaluated, Evaluator
from bayespot.calculator.posterior import PosteriorCalculator
from bayespot.calculator.spread import QUANTITIES, Spread

__all__ = [
    "QUANTITIES",
    "CommitteeCalculator",
    "Evaluated",
    "Evaluator",
    "PosteriorCalculator",
    "Spread",
]
