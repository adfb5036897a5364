"""The potential, and what of it comes from the training frames."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

from bayespot import config as cfg
from bayespot.build import physics, samples
from bayespot.build.symbols import symbols
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.potentials import (
    MACE,
    BehlerParrinello,
    CubicSpline,
    DimeNetPP,
    GemNetT,
    NequIP,
    PaiNN,
    PairMLP,
    Potential,
    Scaled,
    SchNet,
    UltraFast,
)

NETWORKS: dict[str, Callable[..., Potential]] = {
    "schnet": SchNet,
    "dimenet_pp": DimeNetPP,
    "painn": PaiNN,
    "nequip": NequIP,
    "mace": MACE,
    "gemnet_t": GemNetT,
}


def potential(config: Any, frames: list[Frame]) -> Potential:
    """The potential of a section, plus its priors.

    Args:
        config: one of the sections of ``cfg.PotentialConfig``.
        frames: of the training split.

    Raises:
        UserError: a file that cannot be read, elements that the potential does not know, or frames
            that do not determine what is left to them.
    """
    species = tuple(sorted({int(z) for f in frames for z in f.atoms.numbers}))
    if isinstance(config, cfg.Learned):
        main = _learned(config, frames, species)
    else:
        main = physics.term(config, frames)
    made = functools.reduce(operator.add, (physics.term(p, frames) for p in config.priors), main)
    unknown = set() if made.elements is None else set(species) - made.elements
    if unknown:
        raise UserError(
            f"the training frames hold {symbols(unknown)}, which [potential] has no parameters for",
            "Add them, remove the term that lacks them, or choose another kind",
        )
    return made


def _learned(config: cfg.Learned, frames: list[Frame], species: tuple[int, ...]) -> Potential:
    options = {name: value for name, value in config if name not in ("kind", "priors")}
    options["range"] = options.pop("cutoff")
    if isinstance(config, cfg.PairMLPPotential):
        return PairMLP(**options)
    if isinstance(config, cfg.CubicSplinePotential):
        options["start"] = config.start or samples.shortest_distance(frames, config.cutoff)
        return CubicSpline(species=species if options.pop("by_species") else (), **options)
    if isinstance(config, cfg.UltraFastPotential):
        options["triplet_range"] = options.pop("triplet_cutoff")
        end = min(config.cutoff, config.triplet_cutoff)
        options["start"] = config.start or samples.shortest_distance(frames, end)
        return UltraFast(species=species, **options)
    assert isinstance(config, cfg.Network)
    if config.scale == "per_species":
        sizes = samples.force_sizes(frames, species)
        plain = _network(config, {**options, "scale": 1.0}, frames, species)
        return Scaled(plain, species, sizes, (0.0,) * len(species))
    return _network(config, options, frames, species)


def _network(
    config: cfg.Network, options: dict[str, Any], frames: list[Frame], species: tuple[int, ...]
) -> Potential:
    if isinstance(config, cfg.BehlerParrinelloPotential):
        if options.pop("standardize"):
            return BehlerParrinello.from_data(
                samples.representative(frames, species), species, **options
            )
        return BehlerParrinello(species, **options)
    if options.get("neighbors", 1.0) is None:
        options["neighbors"] = samples.mean_neighbors(frames, config.cutoff)
    return NETWORKS[config.kind](species, **options)  # type: ignore[attr-defined]
