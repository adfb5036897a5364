"""The reference that observables are compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bayespot import config as cfg
from bayespot.errors import UserError
from bayespot.observables import FreeEnergy, Observable


def reference(
    config: cfg.Reference | None, made: list[Observable]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and standard error of every observable the reference file knows."""
    if config is None:
        return {}
    path = Path(config.file)
    if not path.is_file():
        raise UserError(f"there is no reference file {path}", "Check the path in [reference]")
    found = {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
    except (ValueError, OSError, TypeError) as error:
        raise UserError(
            f"{path} is no npz file of plain arrays", "Write the reference with numpy.savez"
        ) from error
    for o in made:
        if o.name not in arrays:
            continue
        value = np.asarray(arrays[o.name], float)
        if value.shape != o.shape:
            raise UserError(
                f"{path} has {o.name} of shape {value.shape}, the observable has {o.shape}",
                "Use the reference's number of bins",
            )
        axis = f"{o.name}_axis"
        if (
            o.axis is not None
            and axis in arrays
            and not np.allclose(arrays[axis], o.axis, atol=1e-6)
        ):
            raise UserError(
                f"{path} has {o.name} on another axis than the observable",
                "Use the reference's range and number of bins",
            )
        spread = np.asarray(arrays.get(f"{o.name}_error", np.zeros(o.shape)), float)
        seen = ~np.isnan(value) if isinstance(o, FreeEnergy) else np.full(o.shape, True)
        if spread.shape != o.shape or not np.all(np.isfinite([value[seen], spread[seen]])):
            raise UserError(
                f"{path} has {o.name} or {o.name}_error with NaN or of another shape than"
                f" {o.shape}",
                "Give finite numbers, one error for each value",
            )
        found[o.name] = value, spread
    if not found:
        raise UserError(
            f"{path} knows none of the observables {', '.join(o.name for o in made)}",
            f"It holds {', '.join(sorted(arrays))}: name the observables alike",
        )
    return found
