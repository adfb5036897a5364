"""What methods hand back, whoever wrote them."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from bayespot.draws import Draws


def members(found: Any, most: int) -> tuple[Any, dict]:
    """(parameters with a leading draw axis, what is known of the cost) of what a method gave.

    ``Draws``, or parameters: {"potential": ..., "noise": ...}, or those of the potential alone.

    Raises:
        UserError: no chain of the draws is healthy.
    """
    if isinstance(found, Draws):
        return found.flat(most), found.provenance
    if not (isinstance(found, dict) and "potential" in found):
        found = {"potential": found}
    count = len(jax.tree.leaves(found)[0])
    pick = np.linspace(0, count - 1, min(most, count)).round().astype(int)
    return jax.tree.map(lambda x: np.asarray(x)[pick], found), {}
