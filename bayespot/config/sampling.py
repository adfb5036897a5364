"""Sections of the posterior and its sampler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Positive, Section


class NoisePrior(Section):
    """Prior of a noise scale: exponential (mean ``scale``), gamma (``shape`` * ``scale``) or
    half-normal."""

    distribution: Literal["exponential", "gamma", "half_normal"] = "exponential"
    scale: Positive = 1.0
    shape: Positive = 1.0


class PosteriorConfig(Section):
    """Prior, noise and temperature of the posterior; stresses enter with ``stress_noise``."""

    temperature: Positive = 1.0
    weight_scale: Positive = 10.0
    energy_noise: NoisePrior = NoisePrior()
    forces_noise: NoisePrior = NoisePrior()
    stress_noise: NoisePrior | None = None


class WarmStart(Section):
    """Adam before the first sampling step (the whole work of an ensemble)."""

    steps: Count = 4000
    learning_rate: Positive = 3e-3
    batch_size: Count = 8
    energy_weight: Positive = 1.0


class SamplerConfig(Section):
    """Sampler and its chains; or "fit": draws are the members in ``fit``, a run directory of
    ``bayespot fit``."""

    method: Literal["psgld", "ensemble", "nuts", "fit"] = "psgld"
    fit: Path | None = None
    chains: Count = 8
    draws: Count = 20
    burn_in: Annotated[int, Field(ge=0)] = 2000
    thinning: Count = 100
    batch_size: Count = 8
    first_step_size: Positive = 1e-5
    last_step_size: Positive = 1e-6
    preconditioner_memory: Annotated[float, Field(ge=0, lt=1)] = 0.99
    preconditioner_floor: Positive = 1e-5
    warm_start: WarmStart | None = None

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> SamplerConfig:
        if self.burn_in % self.thinning:
            raise ValueError(
                f"burn_in {self.burn_in} must be a multiple of thinning {self.thinning}"
            )
        if (self.method == "fit") != (self.fit is not None):
            raise ValueError('method = "fit" and fit, the run directory, belong together')
        if self.first_step_size < self.last_step_size:
            raise ValueError("first_step_size must not be below last_step_size")
        if self.method == "nuts" and self.burn_in < 20:
            raise ValueError("nuts adapts during burn_in: give at least 20 steps")
        return self
