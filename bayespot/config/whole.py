"""The whole configuration, and the sections about the run, its data and its reference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Section
from bayespot.config.observables import ObservableConfig
from bayespot.config.potentials import PotentialConfig, SchNetPotential
from bayespot.config.sampling import PosteriorConfig, SamplerConfig
from bayespot.config.simulation import MDConfig


class Run(Section):
    """Seed and number format."""

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["float32", "float64"] = "float32"


class Data(Section):
    """Files and their split; paths are relative to the configuration file."""

    train: Path
    test: Path
    validation: Path | None = None
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None


class Reference(Section):
    """An npz with ``NAME``, ``NAME_error`` and for curves ``NAME_axis``, for any observable."""

    file: Path
    label: str = "reference"


class Config(Section):
    """Everything a run depends on."""

    title: str = "bayespot run"
    run: Run = Run()
    data: Data
    potential: PotentialConfig = SchNetPotential()
    posterior: PosteriorConfig = PosteriorConfig()
    sampler: SamplerConfig = SamplerConfig()
    md: MDConfig
    observables: Annotated[tuple[ObservableConfig, ...], Field(min_length=1)]
    reference: Reference | None = None

    @pydantic.model_validator(mode="after")
    def _names(self) -> Config:
        names = [o.name for o in self.observables]
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ValueError(f"observables share the name {double[0]}: give each its own")
        total = self.sampler.chains * (
            1 if self.sampler.method == "ensemble" else self.sampler.draws
        )
        if total < 2 and self.sampler.method != "fit":
            raise ValueError("one draw has no spread: ask for more chains or draws")
        return self
