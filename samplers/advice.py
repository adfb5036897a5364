"""What a result says about itself: failures and disagreements, each with what to do."""

from typing import Any

import numpy as np

from samplers.base import Info


def advise(
    alive: np.ndarray,
    failed_at: np.ndarray,
    infos: Info,
    rhat: np.ndarray,
    first: np.ndarray,
    size: int,
) -> tuple[str, ...]:
    """Sentences for the person who reads the result; none where all is well.

    Args:
        alive, failed_at: (chain,).
        infos: arrays (chain, period) after burn-in.
        rhat: (q,) R-hat of the watched quantities; NaN where it is unknown.
        first: (chain,) log density in the first period of the run.
        size: number of parameters; equilibrium costs half a unit of log density for each.
    """
    made = []
    for chain in np.flatnonzero(~alive):
        made.append(
            f"chain {chain} met a non-finite number at step {failed_at[chain]} and stands still:"
            " lower the step size, clip gradients, or start from an optimised position"
        )
    trace = np.asarray(infos.log_density)
    if trace.size:
        with np.errstate(invalid="ignore"):  # chains that are not alive may hold infinities
            fall = np.asarray(first) - trace[:, -max(1, trace.shape[1] // 4) :].mean(axis=1)
        for chain in np.flatnonzero(alive & (fall > 10 * size + 100)):
            made.append(
                f"chain {chain} runs away: its log density fell by {fall[chain]:.3g}, where"
                f" {size} parameters at equilibrium cost about {size / 2:.0f}; lower the step size"
            )
    worst = _worst(rhat)
    if worst is not None and rhat[worst] > 1.1:
        made.append(
            f"chains disagree: R-hat {rhat[worst]:.2f} of watched quantity {worst}; run longer,"
            " or search more modes (resgld, cyclical), and count the spread over chains as"
            " uncertainty"
        )
    made += _acceptance(np.asarray(infos.acceptance), np.asarray(infos.divergent))
    rates = infos.extra.get("swap_rate")
    if rates is not None and np.size(rates) and np.isfinite(rates).all():
        last = np.asarray(rates)[:, -1].mean(axis=0)
        for pair in np.flatnonzero(last < 0.05):
            made.append(
                f"replicas {pair} and {pair + 1} swap at a rate of {last[pair]:.3f}: put a"
                " temperature between theirs, or estimate energies on more data"
            )
    return tuple(made)


def _worst(rhat: np.ndarray) -> Any:
    return int(np.nanargmax(rhat)) if np.isfinite(rhat).any() else None


def _acceptance(acceptance: np.ndarray, divergent: np.ndarray) -> list[str]:
    made = []
    if acceptance.size:
        mean = float(acceptance.mean())
        if mean < 0.2:
            made.append(f"only {mean:.0%} of proposals are accepted: lower the step size")
    share = float(divergent.mean()) if divergent.size else 0.0
    if share > 0:
        made.append(
            f"{share:.1%} of steps diverged: raise target_acceptance or the warm-up, or lower the"
            " step size"
        )
    return made
