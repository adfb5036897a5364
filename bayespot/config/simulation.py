"""Sections of the simulation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Finite, Positive, Section


class Start(Section):
    """Where simulations start, if not from the training frames."""

    structure: Path
    repeat: tuple[Count, Count, Count] = (1, 1, 1)


class MDConfig(Section):
    """Simulation of all draws; times in fs, temperatures in K, pressure in GPa."""

    ensemble: Literal["nvt", "npt", "nve"] = "nvt"
    temperature: Positive
    pressure: Finite = 0.0
    barostat_time: Positive = 500.0
    compressibility: Positive = 0.01
    barostat_interval: Count = 10
    start: Start | None = None
    time_step: Positive = 0.5
    thermostat: Literal["langevin", "nose_hoover"] = "langevin"
    friction: Positive = 0.01
    relaxation_time: Positive = 50.0
    equilibration: Annotated[int, Field(ge=0)] = 0
    steps: Count = 10_000
    stride: Count = 10
    blocks: Count = 10
    draws: Annotated[int, Field(ge=2)] = 40
    replicas: Annotated[int, Field(ge=1)] = 4
    max_bond_deviation: Positive = 0.5
    min_distance: Annotated[float, Field(ge=0)] = 0.0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> MDConfig:
        if self.replicas == 1 and self.blocks < 2:
            raise ValueError("replicas = 1 needs at least 2 blocks to tell MD noise")
        if self.steps % (self.blocks * self.stride):
            raise ValueError(
                f"steps {self.steps} must be a multiple of blocks * stride"
                f" = {self.blocks * self.stride}"
            )
        if self.equilibration % (self.steps // self.blocks):
            raise ValueError(
                f"equilibration {self.equilibration} must be a whole number of blocks of"
                f" {self.steps // self.blocks} steps"
            )
        return self
