"""Synthetic posteriors whose calibration is known."""

import numpy as np

from bayespot.calibration import Quantity


def posterior(
    seed=0, *, members=20, frames=60, size=30, stretch=1.0, noise=0.1, spread=0.5, shared=0.5,
    stated=1.0, groups=None, name="forces",
):  # fmt: skip
    """Members and truth are draws of one law (where ``stretch`` is 1), alike within frames.

    Args:
        stretch: by how much errors exceed what members and noise say; a number or (n,).
        noise: standard deviation of the labels.
        spread: of the logarithms of the numbers' true deviations.
        stated: share of that spread that the members show.
        shared: correlation of the members' deviations within a frame.
        groups: function of the frame's number of each number and the generator -> groups.
    """
    rng = np.random.default_rng(seed)
    n = frames * size
    frame = np.repeat(np.arange(frames), size)
    size_of = rng.normal(size=n)
    deviation, shown = (0.3 * np.exp(s * spread * size_of) for s in (1.0, stated))
    draws = np.sqrt(shared) * rng.normal(size=(members + 1, frames))[:, frame]
    draws = draws + np.sqrt(1 - shared) * rng.normal(size=(members + 1, n))
    centre = rng.normal(size=n)
    made = {} if groups is None else groups(frame, rng)
    factor = stretch(made) if callable(stretch) else stretch
    truth = centre + factor * (deviation * draws[0] + noise * rng.normal(size=n))
    samples = centre + shown * draws[1:]
    return Quantity(name, "eV/Å", truth, samples, np.full(n, noise**2), frame, made)
