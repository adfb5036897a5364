"""Trainers of a configuration, and what they start from."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayespot import config as cfg
from bayespot.build.coarse import mapped_splits, reference_frames
from bayespot.build.labels import force_matching, optimizer
from bayespot.build.molecules import molecules, stability
from bayespot.build.potentials import potential
from bayespot.build.simulation import simulated, starting_frames, training_md
from bayespot.build.splits import Splits, datasets, read_splits
from bayespot.build.targets import structure, targets
from bayespot.data import Frame
from bayespot.errors import UserError
from bayespot.md import RDFDeviation, Simulation
from bayespot.potentials import Potential
from bayespot.system import System
from bayespot.trainers import (
    DiffTRe,
    Interleaved,
    Neighborhoods,
    PerNeighborhood,
    RelativeEntropy,
    StABlE,
    Target,
    Trainer,
    Weights,
)


class Input(NamedTuple):
    """What a fit reads.

    Attributes:
        splits: labelled frames; None without ``[data]``.
        reference: configurations of relative entropy for each state point; empty for others.
        starts: where simulations start, or labelled frames where there are none.
        potential: what is trained.
        targets: of averages.
        structure: criteria of stability that averages decide.
        neighborhoods: that targets are of; None where they are of the whole.
    """

    splits: Splits | None
    reference: list[list[Frame]]
    starts: list[Frame]
    potential: Potential
    targets: tuple[Target, ...]
    structure: tuple[RDFDeviation, ...] = ()
    neighborhoods: Neighborhoods | None = None

    @property
    def system(self) -> System:
        """The first start."""
        return System.from_ase(self.starts[0].atoms)

    @property
    def measured(self) -> tuple[Target, ...]:
        """Targets that a frame of the whole system can be asked for."""
        if self.neighborhoods is None:
            return self.targets
        groups = self.neighborhoods.groups
        return tuple(
            dataclasses.replace(t, observable=PerNeighborhood.of(t.observable, groups))
            for t in self.targets
        )


def read_input(config: cfg.FitConfig) -> Input:
    """Read and check all files.

    Raises:
        UserError: naming the file or the setting that is wrong.
    """
    splits = None if config.data is None else read_splits(config.data, config.run.seed)
    labels = config.part(cfg.ForceMatchingPart)
    if splits is not None and labels is not None and labels.mapping is not None:
        splits = mapped_splits(splits, labels.mapping)
    entropy = config.part(cfg.RelativeEntropyPart)
    shown = [] if entropy is None else reference_frames(entropy)
    if splits is not None:
        known = splits["train"]
    elif shown:
        known = [frame for frames in shown for frame in frames]
    else:
        assert config.md is not None
        known = simulated(config.md, None)
    starts = starting_frames(known) if config.md is None else simulated(config.md, known)
    made = potential(config.potential, known)
    if not jax.tree.leaves(jax.eval_shape(made.init, jax.random.key(0), _system(known[0]))):
        raise UserError(
            f"the potential {config.potential.kind} has no parameters to train",
            "Choose another kind in [potential], or add trainable = true where it knows it",
        )
    for number, frames in enumerate(shown):
        if not np.array_equal(frames[0].atoms.numbers, starts[0].atoms.numbers):
            raise UserError(
                f"{frames[0].where} has other sites than the simulation of {starts[0].where}",
                "Give both the same elements in one order, perhaps by mapping",
            )
        if config.md is not None and config.md.ensemble != "npt":
            _check_cells(frames, starts[0], number)
    parts = molecules(config.part(cfg.StABlEPart), starts)
    return Input(
        None if splits is None else datasets(splits, made.cutoff),
        shown,
        starts,
        made,
        targets(config, starts, None if parts is None else parts.groups[0]),
        structure(config, starts),
        parts,
    )


def _system(frame: Frame) -> System:
    return System.from_ase(frame.atoms)


def _check_cells(frames: list[Frame], start: Frame, number: int) -> None:
    same = [np.allclose(f.atoms.cell, start.atoms.cell, atol=1e-4) for f in frames]
    if any(start.atoms.pbc) and not all(same):
        raise UserError(
            f"{frames[same.index(False)].where} has another cell than {start.where}, and the"
            f" volume of state point {number} is constant",
            'Give frames of one cell, or use ensemble = "npt"',
        )


def trainer(config: cfg.FitConfig, made: Input, key: jax.Array) -> Trainer:
    """The trainer of ``[trainer]``.

    Args:
        config: the whole.
        made: what was read for it.
        key: chooses where trajectories start.

    Raises:
        UserError: settings that do not fit together.
    """
    section, updates = config.trainer, config.trainer.updates
    if not isinstance(section, cfg.InterleavedTrainer):
        return _part(section, updates, config, made, key)
    turns = section.turns or (1,) * len(section.parts)
    parts = {
        part.kind: _part(part, updates * number, config, made, key)
        for part, number in zip(section.parts, turns, strict=True)
    }
    return Interleaved(parts, turns, section.tolerance)


def _part(section: Any, updates: int, config: cfg.FitConfig, made: Input, key: jax.Array) -> Any:
    """One trainer that makes ``updates`` in all."""
    if isinstance(section, cfg.ForceMatchingPart):
        assert made.splits is not None
        return force_matching(section, updates, made.potential, made.splits)
    assert config.md is not None
    simulation, more = simulation_of(config.md, config.trainer.members, made, key)
    if isinstance(section, cfg.StABlEPart):
        labels = None if made.splits is None else made.splits.train.batch
        return StABlE(
            simulation,
            made.targets,
            optimizer(section.optimizer, updates),
            rewind=section.rewind,
            structure=made.structure,
            neighborhoods=made.neighborhoods,
            f_max=section.f_max,
            f_min=section.f_min,
            states=section.states,
            labels=labels if section.label_weight else None,
            label_weight=section.label_weight,
            label_frames=section.label_frames,
            weights=Weights(**dict(section.weights)),
            batch_size=section.batch_size,
            **more,
        )
    names = ("recompute", "trust", "warm_up", "batch_size")
    more |= {name: getattr(section, name) for name in names}
    adam = optimizer(section.optimizer, updates)
    if isinstance(section, cfg.DiffTRePart):
        return DiffTRe(simulation, made.targets, adam, **more)
    positions, cells = _stacked(made.reference)
    return RelativeEntropy(
        simulation,
        positions,
        adam,
        frame_cells=cells if config.md.ensemble == "npt" else None,
        frames_per_update=section.frames_per_update,
        **more,
    )


def _stacked(reference: list[list[Frame]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Positions and cells of each state point."""
    positions = [np.stack([f.atoms.positions for f in frames]) for frames in reference]
    cells = [np.stack([f.atoms.cell.complete().array for f in frames]) for frames in reference]
    return positions, cells


def simulation_of(
    md: cfg.TrainingMD, members: int, made: Input, key: jax.Array
) -> tuple[Simulation, dict[str, Any]]:
    """What trainers simulate, and their ``replicas`` and ``starts``, chosen at random."""
    ensemble, length, replicas = training_md(md)
    simulation = Simulation(
        made.potential,
        made.system,
        ensemble,
        length,
        [criterion.observable for criterion in made.structure],
        stability=stability(md, made.starts, made.neighborhoods),
        keep=1,
    )
    positions = jnp.asarray(np.stack([f.atoms.positions for f in made.starts]), float)
    choice = jax.random.randint(key, (members, replicas), 0, len(positions))
    return simulation, {"replicas": replicas, "starts": positions[choice]}
