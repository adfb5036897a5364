"""The configuration of ``bayespot learn``: that of a run, and what to do about its intervals."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Positive, Section
from bayespot.config.whole import Config


class Bias(Section):
    """Lowers the energy where draws disagree: ``depth`` (eV) times
    ``exp(-variance / (atoms width^2)) - 1``, ``width`` in eV per square root of atoms."""

    depth: Positive
    width: Positive


class Explore(Section):
    """Simulations that find candidates: the draws, perhaps hotter (several temperatures are spread
    over the replicas), from the training frames; with a bias their mean, biased.  The rest is that
    of [md]."""

    temperature: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    steps: Count = 2000
    stride: Count = 20
    draws: Annotated[int, Field(ge=2)] | None = None
    replicas: Count = 1
    bias: Bias | None = None


class Learn(Section):
    """Rounds of exploring, choosing, labelling and retraining.

    They end when every observable in ``half_width`` has a 95 % interval that narrow (its unit; of
    curves the widest point) and no more than ``max_unstable`` of the draws are unstable, or when
    rounds or labels are spent.
    """

    calculator: str = "gfn2-xtb"
    rounds: Count = 5
    frames: Count = 10
    labels: Count | None = None
    half_width: dict[str, Positive] = Field(default_factory=dict)
    max_unstable: Annotated[float, Field(ge=0, le=1)] = 0.1
    choice: Literal["information", "uncertainty", "random"] = "information"
    candidates: Annotated[int, Field(ge=2)] = 1000
    members: Annotated[int, Field(ge=2)] = 40
    similar: Annotated[float, Field(ge=0)] = 0.02
    closest: Annotated[float, Field(ge=0, lt=1)] = 0.6
    max_force: Positive = 50.0
    retrain: Literal["warm", "fresh"] = "warm"
    warm_share: Annotated[float, Field(gt=0, le=1)] = 0.5
    explore: Explore = Explore()


class LearnConfig(Config):
    """Everything that learning depends on."""

    example: ClassVar[str] = "bayespot template --learn"

    title: str = "bayespot learn"
    learn: Learn

    @pydantic.model_validator(mode="after")
    def _learns(self) -> LearnConfig:
        names = {o.name for o in self.observables}
        for name in self.learn.half_width:
            if name not in names:
                raise ValueError(
                    f"half_width names {name}, and the observables are {', '.join(sorted(names))}"
                )
        if self.sampler.method == "fit":
            raise ValueError('learning retrains: method = "fit" has nothing to train')
        explore = self.learn.explore
        if explore.steps % explore.stride:
            raise ValueError(
                f"explore.steps {explore.steps} must be a multiple of its stride {explore.stride}"
            )
        if isinstance(explore.temperature, tuple) and len(explore.temperature) != explore.replicas:
            raise ValueError(
                f"explore has {len(explore.temperature)} temperatures for {explore.replicas}"
                " replicas"
            )
        if self.md.ensemble == "nve" and explore.bias is not None:
            raise ValueError("a bias heats: explore with a thermostat")
        return self
