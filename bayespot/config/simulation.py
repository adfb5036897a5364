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


class Dynamics(Section):
    """What all simulations need; times in fs, lengths in Angstrom."""

    ensemble: Literal["nvt", "npt", "nve"] = "nvt"
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
    max_bond_deviation: Positive = 0.5
    min_distance: Annotated[float, Field(ge=0)] = 0.0


class MeanConfig(Section):
    """The draws' mean simulated too: watched, reweighted to every draw, and the start of short
    runs of each.  Thresholds in eV/Angstrom ("energy": eV per atom; "relative": a fraction)."""

    steps: Count | None = None
    replicas: Count = 4
    every: Count = 1
    threshold: Positive | None = None
    statistic: Literal["max", "mean", "relative", "energy"] = "max"
    action: Literal["warn", "stop"] = "warn"
    window: Count = 1
    dumps: Annotated[int, Field(ge=0)] = 5
    short_steps: Count | None = None
    short_equilibration: Annotated[int, Field(ge=0)] = 0
    short_replicas: Annotated[int, Field(ge=2)] = 2


class MDConfig(Dynamics):
    """Simulation of all draws at one state point; temperature in K, pressure in GPa.

    Trajectories that break are left out ("exclude"), begun again elsewhere up to ``restarts`` times
    ("restart"), or left out and evidence against their draw ("evidence").  A recalibration that is
    stored with the posterior is applied where ``recalibrated``.
    """

    temperature: Positive
    pressure: Finite = 0.0
    blocks: Count = 10
    draws: Annotated[int, Field(ge=2)] = 40
    replicas: Annotated[int, Field(ge=1)] = 4
    unstable: Literal["exclude", "restart", "evidence"] = "exclude"
    restarts: Count = 2
    recalibrated: bool = True
    mean: MeanConfig | None = None

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
        if self.mean is not None:
            self._check_mean(self.mean)
        return self

    def _check_mean(self, mean: MeanConfig) -> None:
        steps = mean.steps or self.steps
        if steps % (self.blocks * self.stride * mean.every):
            raise ValueError(
                f"[md.mean] steps {steps} must be a multiple of blocks * stride * every"
                f" = {self.blocks * self.stride * mean.every}"
            )
        if self.equilibration % (steps // self.blocks):
            raise ValueError(
                f"equilibration {self.equilibration} must be a whole number of blocks of"
                f" {steps // self.blocks} steps, those of [md.mean]"
            )
        for name in ("short_steps", "short_equilibration"):
            if (getattr(mean, name) or 0) % self.stride:
                raise ValueError(f"[md.mean] {name} must be a multiple of stride {self.stride}")


class TrainingMD(Dynamics):
    """Trajectories that trainers learn from, of one or several state points; ``replicas`` of each,
    ``steps`` long (StABlE: t)."""

    temperature: Positive | Annotated[tuple[Positive, ...], Field(min_length=1)]
    pressure: Finite | Annotated[tuple[Finite, ...], Field(min_length=1)] = 0.0
    replicas: Count = 4

    @property
    def points(self) -> list[tuple[float, float]]:
        """Temperature and pressure of each state point."""
        each = [x if isinstance(x, tuple) else (x,) for x in (self.temperature, self.pressure)]
        number = max(len(x) for x in each)
        temperatures, pressures = (x if len(x) == number else x * number for x in each)
        return list(zip(temperatures, pressures, strict=True))

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> TrainingMD:
        sizes = {len(x) for x in (self.temperature, self.pressure) if isinstance(x, tuple)}
        if len(sizes - {1}) > 1:
            raise ValueError("temperature and pressure must be lists of one length, or one number")
        if len(set(self.points)) < len(self.points):
            raise ValueError("temperature and pressure name a state point twice")
        for name, value in (("steps", self.steps), ("equilibration", self.equilibration)):
            if value % self.stride:
                raise ValueError(f"{name} {value} must be a multiple of stride {self.stride}")
        return self
