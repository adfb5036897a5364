"""Sections of the trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from bayespot.config.base import Count, Finite, Positive, Section
from bayespot.config.structure import RDFObservable

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Adam(Section):
    """Its learning rate falls to ``last`` times the first by the end of training; gradients longer
    than ``clip`` are shortened."""

    learning_rate: Positive = 5e-3
    decay: Literal["cosine", "exponential", "constant"] = "cosine"
    last: Annotated[float, Field(gt=0, le=1)] = 0.01
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    clip: Positive | None = None


class QuickAdam(Adam):
    """With the short memory that the DiffTRe papers take."""

    decay: Literal["cosine", "exponential", "constant"] = "exponential"
    b1: Annotated[float, Field(ge=0, lt=1)] = 0.1
    b2: Annotated[float, Field(ge=0, lt=1)] = 0.4


class LabelWeights(Section):
    """Of squared errors of energies (eV per atom), forces (eV/Angstrom), stress (eV/Angstrom^3)."""

    energy: NotNegative = 1.0
    forces: NotNegative = 1.0
    stress: NotNegative = 0.0


class Mapping(Section):
    """Sites of a molecule, for each of ``molecules`` alike; ``elements`` name them.

    They are centres of ``groups`` of its atoms, or a ``file`` has the matrices: an npz of
    ``positions`` (sites, atoms) and perhaps ``forces``.  Atoms in ``constraints`` are at distances
    that the finer model holds constant.  ``forces``: of atoms that are a site's own, or the
    combination that fluctuates least in the training frames.
    """

    groups: Annotated[tuple[tuple[int, ...], ...], Field(min_length=1)] | None = None
    centre: Literal["mass", "geometry"] = "mass"
    file: Path | None = None
    elements: Annotated[tuple[str, ...], Field(min_length=1)]
    molecules: Count = 1
    forces: Literal["basic", "least_noise"] = "basic"
    constraints: tuple[tuple[int, int], ...] = ()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Mapping:
        if (self.groups is None) == (self.file is None):
            raise ValueError("give either groups or file")
        if self.groups is None:
            return self
        if len(self.groups) != len(self.elements):
            raise ValueError(f"{len(self.elements)} elements for {len(self.groups)} groups")
        if not all(self.groups) or any(len(set(g)) < len(g) for g in self.groups):
            raise ValueError("groups must be lists of different atoms")
        return self


class ForceMatchingPart(Section):
    """Labels; an update is an epoch, or ``steps`` mini-batches.

    A frame counts with its number under ``weight_key``, times what ``config_types`` has for its
    ``config_type``; both are 1 where nothing is said.  ``mapping`` makes sites of the atoms, which
    have forces only.
    """

    kind: Literal["force_matching"]
    optimizer: Adam = Adam()
    batch_size: Count = 8
    steps: Count | None = None
    weights: LabelWeights = LabelWeights()
    weight_key: str | None = None
    config_types: dict[str, NotNegative] = Field(default_factory=dict)
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    isotropic: bool = False
    mapping: Mapping | None = None

    @pydantic.model_validator(mode="after")
    def _has_labels(self) -> ForceMatchingPart:
        if self.mapping is not None and (self.weights.energy or self.weights.stress):
            raise ValueError("mapped frames have forces only: weights of energy and stress are 0")
        return self


class ReweightedPart(Section):
    """Trajectories are made anew below a share ``recompute`` of effective frames; steps leave a
    share of at least ``trust``."""

    optimizer: QuickAdam = QuickAdam()
    recompute: Share = 0.9
    trust: Share = 0.2
    warm_up: Annotated[int, Field(ge=0)] = 0
    batch_size: Count = 8


class DiffTRePart(ReweightedPart):
    """Simulated averages shall be the targets."""

    kind: Literal["difftre"]


class RelativeEntropyPart(ReweightedPart):
    """Configurations shall be distributed as those in ``reference``, a file (or one for each
    state point) that ASE reads."""

    kind: Literal["relative_entropy"]
    reference: Path | Annotated[tuple[Path, ...], Field(min_length=1)]
    mapping: Mapping | None = None
    frames_per_update: Count | None = None


class StructureCriterion(Section):
    """A trajectory is unstable once ``integral |g - g_ref| dr`` over ``blocks`` simulations exceeds
    ``threshold`` Angstrom; g_ref is ``value`` or comes from a ``file`` of columns."""

    observable: RDFObservable
    value: Annotated[tuple[Finite, ...], Field(min_length=1)] | None = None
    file: Path | None = None
    threshold: Positive = 3.0
    blocks: Count = 1

    @pydantic.model_validator(mode="after")
    def _one_way(self) -> StructureCriterion:
        if (self.value is None) == (self.file is None):
            raise ValueError("give either value or file")
        return self


class NeighborhoodsSection(Section):
    """Molecules that are samples of their own: ``atoms`` of the first, for each of ``molecules``
    alike.

    Targets are of one molecule, and name atoms by their places in it, as ``bonds`` do.  Of the
    molecules in each of ``bins`` of their worst bond's deviation, ``per_bin`` count; 0 takes all.
    ``lengths`` are those of the frames that simulations start from, if they are not given.
    """

    atoms: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    molecules: Count
    bonds: tuple[tuple[int, int], ...] = ()
    lengths: tuple[Positive, ...] | None = None
    bins: Count = 100
    per_bin: Annotated[int, Field(ge=0)] = 5

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> NeighborhoodsSection:
        size = len(self.atoms)
        if len(set(self.atoms)) < size:
            raise ValueError("atoms must be different")
        if any(i == j or min(i, j) < 0 or max(i, j) >= size for i, j in self.bonds):
            raise ValueError(f"bonds are pairs of different places in atoms, from 0 to {size - 1}")
        if self.lengths is not None and len(self.lengths) != len(self.bonds):
            raise ValueError(f"{len(self.lengths)} lengths for {len(self.bonds)} bonds")
        if self.per_bin and not self.bonds:
            raise ValueError("molecules are balanced by their bonds: give some, or per_bin = 0")
        return self


class StABlEPart(Section):
    """Simulate until ``f_max`` of the replicas broke, learn from the targets until ``f_min`` do.

    Replicas beyond the limits of [md] stand still there.  ``label_weight`` of the training frames
    keeps what they say; ``stable_for`` ends training once members simulated so many steps.
    """

    kind: Literal["stable"]
    optimizer: Adam = Adam(learning_rate=1e-3, decay="constant")
    rewind: Count = 1
    f_max: Share = 0.5
    f_min: Share = 0.1
    states: Annotated[int, Field(ge=2)] | None = None
    label_weight: NotNegative = 10.0
    label_frames: Count = 8
    weights: LabelWeights = LabelWeights()
    batch_size: Count = 8
    structure: tuple[StructureCriterion, ...] = ()
    neighborhoods: NeighborhoodsSection | None = None
    stable_for: Count | None = None


Part = Annotated[
    ForceMatchingPart | DiffTRePart | RelativeEntropyPart | StABlEPart, Field(discriminator="kind")
]


class Course(Section):
    """How long, and how many at once.

    ``patience``: updates without a new minimum of the (validation) loss that end training.
    ``start``: the run directory of another fit, whose parameters are where this one starts.
    """

    updates: Count
    members: Count = 1
    patience: Count | None = None
    start: Path | None = None
    checkpoint_seconds: NotNegative = 30.0


class ForceMatchingTrainer(Course, ForceMatchingPart):
    """Alone."""


class DiffTReTrainer(Course, DiffTRePart):
    """Alone."""


class RelativeEntropyTrainer(Course, RelativeEntropyPart):
    """Alone."""


class StABlETrainer(Course, StABlEPart):
    """Alone."""


class InterleavedTrainer(Course):
    """``parts`` take turns, ``turns`` updates each; the guard steps in where a loss exceeds
    ``tolerance`` times its best."""

    kind: Literal["interleaved"]
    parts: Annotated[tuple[Part, ...], Field(min_length=2)]
    turns: tuple[Count, ...] | None = None
    tolerance: Annotated[float, Field(gt=1)] = 2.0

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> InterleavedTrainer:
        names = [part.kind for part in self.parts]
        double = sorted({n for n in names if names.count(n) > 1})
        if double:
            raise ValueError(f"two parts are {double[0]}: give one of each")
        if self.turns is not None and len(self.turns) != len(self.parts):
            raise ValueError(f"{len(self.turns)} turns for {len(self.parts)} parts")
        if self.patience is not None:
            raise ValueError("patience has no one loss to look at: leave it out")
        return self


TrainerConfig = Annotated[
    ForceMatchingTrainer
    | DiffTReTrainer
    | RelativeEntropyTrainer
    | StABlETrainer
    | InterleavedTrainer,
    Field(discriminator="kind"),
]
