"""The whole configuration of ``bayespot fit``, and its targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

import pydantic
from pydantic import Field

from bayespot.config.base import Finite, Positive, Section
from bayespot.config.observables import ObservableConfig
from bayespot.config.potentials import PotentialConfig, SchNetPotential
from bayespot.config.simulation import TrainingMD
from bayespot.config.training import (
    DiffTRePart,
    ForceMatchingPart,
    InterleavedTrainer,
    RelativeEntropyPart,
    ReweightedPart,
    StABlEPart,
    TrainerConfig,
)
from bayespot.config.whole import Data, Run


class TargetConfig(Section):
    """What an observable shall be: ``value`` and its standard ``error``, or a ``file`` of columns
    (axis, value, perhaps error; a number: value, perhaps error)."""

    observable: ObservableConfig
    value: Finite | tuple[Finite, ...] | None = None
    error: Positive | tuple[Positive, ...] | None = None
    file: Path | None = None
    weight: Positive = 1.0
    point: Annotated[int, Field(ge=0)] = 0

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> TargetConfig:
        if (self.value is None) == (self.file is None):
            raise ValueError("give either value or file")
        return self


class FitConfig(Section):
    """Everything a fit depends on."""

    example: ClassVar[str] = "bayespot template --fit"

    title: str = "bayespot fit"
    run: Run = Run()
    data: Data | None = None
    potential: PotentialConfig = SchNetPotential()
    trainer: TrainerConfig
    md: TrainingMD | None = None
    targets: tuple[TargetConfig, ...] = ()

    @property
    def parts(self) -> tuple[Any, ...]:
        """Of an interleaved trainer, or the trainer."""
        trainer = self.trainer
        return trainer.parts if isinstance(trainer, InterleavedTrainer) else (trainer,)

    def part(self, kind: type[Section]) -> Any:
        """The section of that kind among the parts, or None."""
        return next((part for part in self.parts if isinstance(part, kind)), None)

    @pydantic.model_validator(mode="after")
    def _whole(self) -> FitConfig:
        needs = {
            "data": [ForceMatchingPart],
            "md": [ReweightedPart, StABlEPart],
            "targets": [DiffTRePart, StABlEPart],
        }
        for name, kinds in needs.items():
            user = next((p for p in self.parts if isinstance(p, tuple(kinds))), None)
            if user is not None and not getattr(self, name):
                raise ValueError(f"{user.kind} needs [{name}]")
        if self.targets and self.md is None:
            raise ValueError("targets are simulated: they need [md]")
        if self.md is not None:
            last = len(self.md.points) - 1
            for target in self.targets:
                if target.point > last:
                    raise ValueError(
                        f"target {target.observable.name} is at state point {target.point}, and"
                        f" [md] has {last + 1} (the first is 0)"
                    )
        for target in self.targets:
            for other in self.targets:
                same = target.observable.name == other.observable.name
                if same and target.observable != other.observable:
                    raise ValueError(
                        f"two observables are called {target.observable.name}: give each a name"
                    )
                if same and target is not other and target.point == other.point:
                    raise ValueError(
                        f"{target.observable.name} has two targets at state point {target.point}"
                    )
        self._start()
        return self

    def _start(self) -> None:
        shown, labels = self.part(RelativeEntropyPart), self.part(ForceMatchingPart)
        if self.data is None and shown is None and (self.md is None or self.md.start is None):
            raise ValueError("nothing says which atoms there are: give [md.start], or [data]")
        sites = labels is not None and labels.mapping is not None
        if shown is not None and shown.mapping is not None and self.data is not None and not sites:
            raise ValueError(
                "[data] has labels of atoms, and mapping makes sites of them: force_matching needs"
                " a mapping too"
            )
        free = next(
            (
                p.kind
                for p in self.parts
                if isinstance(p, DiffTRePart | RelativeEntropyPart | StABlEPart)
            ),
            None,
        )
        if self.md is not None and self.md.ensemble == "nve" and (free or self.targets):
            raise ValueError(
                f"{free or 'targets'} need canonical averages, and nothing holds the"
                ' temperature: use ensemble = "nvt" or "npt"'
            )
        stable = self.part(StABlEPart)
        if stable is not None and sites and stable.label_weight and stable.weights.energy:
            raise ValueError("mapped frames have no energies: energy = 0 in the weights of stable")
        if stable is not None and self.md is not None:
            if self.md.equilibration:
                raise ValueError("stable goes on block by block: equilibration must be 0")
            if len(self.md.points) > 1:
                raise ValueError("stable learns at one state point")
